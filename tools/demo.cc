// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <iostream>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/file/own_file.h"
#include "tools/commands.h"
#include "tools/launch/quoting.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/sample/agentloop_sample.h"

namespace reembed {
namespace {

constexpr int64_t kMessages = 2000;
constexpr const char* kQueries[] = {"planning a trip to Lisbon", "the leaves of my tomato plants turn yellow",
                                    "my knee hurts after squats"};

// Is in a folder that this command made, so that no other database is ever taken for the sample.
constexpr char kMark[] = "made-by-reembed-demo.txt";
constexpr char kMarkText[] =
    "A sample of `reembed demo`: messages of an imagined assistant, their vectors, an index of these,\n"
    "and the job that made them. The folder may be removed.\n";

// Prints a command as it is typed.
void Show(std::vector<std::string> words) {
  words.insert(words.begin(), "reembed");
  std::cout << "\n$ " << ShellLine(words) << std::endl;
}

// Makes the folder, or finds that an earlier demo has. Errors: kAlreadyExists (it is there, and not a demo's); those of
// MakeOwnFolder() and ReplaceOwnFile().
absl::Status MakeDemoFolder(const std::string& folder) {
  const std::string mark = absl::StrCat(folder, "/", kMark);
  std::error_code error;
  if (std::filesystem::exists(mark, error)) return absl::OkStatus();
  if (std::filesystem::exists(folder, error) && !std::filesystem::is_empty(folder, error)) {
    return absl::AlreadyExistsError(
        absl::StrCat(folder,
                     ": expected a folder that is not there yet, got one with something in it; name another one: "
                     "reembed demo FOLDER"));
  }
  ABSL_RETURN_IF_ERROR(MakeOwnFolder(folder));
  return ReplaceOwnFile(mark, kMarkText);
}

absl::Status MakeSampleOnce(const std::string& database) {
  std::error_code error;
  if (std::filesystem::exists(database, error)) return absl::OkStatus();
  // What a demo left that was killed while it made one.
  std::filesystem::remove(absl::StrCat(database, ".partial"), error);
  Show({"systems", "agentloop", "--make-sample", database, "--rows", absl::StrCat(kMessages)});
  return MakeAgentloopSample(database, {.rows = kMessages, .odd_rows = AgentloopSampleOptions::OddRows::kSome});
}

}  // namespace

ExitCode DemoCommand(const DemoOptions& options, const Environment& environment) {
  // Names as short as they were given: what is printed can be copied.
  const std::string& folder = options.folder;
  const std::string database = absl::StrCat(folder, "/memory.db"), index = absl::StrCat(folder, "/messages.faiss"),
                    job = absl::StrCat(folder, "/job");
  absl::Status made = MakeDemoFolder(AbsolutePath(folder));
  if (made.ok()) made = MakeSampleOnce(database);
  if (!made.ok()) return Fail("demo", made, false);

  const std::string target = absl::StrCat("faiss:", index);
  Show({"run", "--system", "agentloop", "--db", database, "--embedder", "builtin", "--target", target, "--job", job});
  const ExitCode run = RunCommand(
      {.system = "agentloop", .db = database, .targets = {target}, .embedder = "builtin", .job = job}, environment);
  // Some rows of the sample have no text, as in real databases: they are reported.
  if (run != kExitDone && run != kExitRejectedRows) return run;
  for (const char* const query : kQueries) {
    Show({"search", "--index", index, "-k", "1", query});
    const ExitCode found = SearchCommand({.query = query, .index = index, .k = 1}, environment);
    if (found != kExitDone) return found;
  }
  std::cout << "\nnext: reembed status | verify | rollback " << ShellQuoted(job) << std::endl;
  return kExitDone;
}

}  // namespace reembed
