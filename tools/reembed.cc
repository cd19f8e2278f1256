// SPDX-License-Identifier: Apache-2.0
// The `reembed` command: its subcommands are declared in the *_flags files, one file each does the work.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "engine/status_macros.h"
#include "tools/bench_flags.h"
#include "tools/environment.h"
#include "tools/index_flags.h"
#include "tools/job_flags.h"
#include "tools/launch/launch_flags.h"
#include "tools/output.h"
#include "tools/process_limits.h"
#include "tools/run_flags.h"
#include "tools/serve_flags.h"
#include "tools/setup_flags.h"
#include "tools/signals.h"
#include "tools/store_flags.h"
#include "tools/usage.h"
#include "tools/with_layers.h"

namespace reembed {
namespace {

constexpr char kExitCodes[] =
    "Exit codes: 0 done; 1 failed; 2 wrong argument or no consent; 3 finished, some rows rejected; 5 temporary, run "
    "again;\n6 key, quota, model or width; 7 cap of money or tokens; 8 verify found a difference, or a run another "
    "job's vectors;\n9 nothing to do, with --error-on-nothing; 10 --max-duration has passed, resumable; 11 locked by "
    "another run;\n129/130/143 interrupted by HUP, Ctrl-C or TERM, resumable";

// What is to be said of the words before anything is done.
absl::Status CheckWords(const CLI::App& app, Words words) {
  ABSL_RETURN_IF_ERROR(CheckNoEmptyValue(app));
  if (std::find(words.begin(), words.end(), "--quiet") != words.end()) return absl::OkStatus();
  for (const std::string& note : UnreadVariables(app, words)) Note(note, WantsJson(words));
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  ForgetServiceLinks();
  RestartForLibraries(argv);
  IgnoreWriteSignals();
  const ShownStream shown_output(&std::cout), shown_errors(&std::cerr);
  const std::vector<std::string> words(argv + 1, argv + argc);
  EndInWordsWhenOutOfMemory(WantsJson(words));
  CLI::App app{"reembed gives every row of a store a new embedding", "reembed"};
  app.set_version_flag("--version", std::string("reembed " REEMBED_VERSION));
  app.require_subcommand(1);
  app.footer(std::string("Examples:\n  reembed plan --system agentloop\n  reembed run --system agentloop --target "
                         "faiss:messages.faiss\n  reembed search --index messages.faiss \"trip to Lisbon\"\n\n") +
             kExitCodes);
  std::function<ExitCode(const Environment&)> chosen;
  AddRunAndPlan(&app, words, &chosen);
  AddJobCommands(&app, &chosen);
  AddStoreCommands(&app, words, &chosen);
  AddIndex(&app, words, &chosen);
  AddLaunch(&app, words, &chosen);
  AddServe(&app, &chosen);
  AddBench(&app, words, &chosen);
  AddSetUp(&app, words, &chosen);
  AcceptNoColor(&app);
  NameVariables(&app);
  try {
    app.parse(argc, argv);
    HideLogins(argc, argv);
  } catch (const CLI::Success& asked) {
    app.exit(asked);  // --help, --version
    return kExitDone;
  } catch (const CLI::ParseError& error) {
    if (AsksForHelp(words)) {
      std::cout << AskedCommand(&app)->help();
      return kExitDone;
    }
    return Fail(CommandOf(app), UsageError(app, error, words), WantsJson(words));
  }
  if (absl::Status checked = CheckWords(app, words); !checked.ok()) {
    return Fail(CommandOf(app), checked, WantsJson(words));
  }
  if (absl::Status taken = TakeSharedSettings(AskedCommand(&app), words); !taken.ok()) {
    return Fail(CommandOf(app), taken, WantsJson(words));
  }
  if (absl::Status files = AllowOpenFiles(kFilesOfACommand); !files.ok()) {
    return Fail(CommandOf(app), files, WantsJson(words));
  }
  return chosen(Environment());
}

}  // namespace
}  // namespace reembed

// NOLINTNEXTLINE(bugprone-exception-escape): what escapes is told by the handler of tools/process_limits.cc.
int main(int argc, char** argv) { return reembed::Main(argc, argv); }
