// SPDX-License-Identifier: Apache-2.0
// Texts of all lengths, to a server that people run: they leave longest first, and each row gets its own vector.

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/fault_fixture.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/process.h"
#include "tests/fakes/read_file.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/text_vector.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kRows = 300;
constexpr int kDim = 32;  // wide enough for vectors that are decoded while they arrive
constexpr int kBad = 151;

class TextOrderCliTest : public ::testing::Test {
 protected:
  TextOrderCliTest() {
    std::mt19937 random(5);
    db_.Run("CREATE TABLE notes(id TEXT PRIMARY KEY, body TEXT, embedding BLOB)");
    for (int i = 0; i < kRows; ++i) {
      // Some rows share a text.
      texts_.push_back(i % 10 == 9 ? texts_[i - 5]
                                   : absl::StrFormat("note %03d %s", i, std::string(random() % 60 * 8, 'x')));
      db_.Run(absl::StrCat("INSERT INTO notes(id, body) VALUES ('", Key(i), "', '", texts_.back(), "')"));
    }
    db_.Close();
  }

  // Their keys have an order that is neither that of their numbers nor that of their lengths.
  static std::string Key(int row) { return absl::StrCat("key-", row * 7 % kRows, "-", row); }

  // Refuses large requests, and has no vector for one text.
  void Serve() {
    server_ = std::make_unique<ScriptedServer>([this](const ServerRequest& request) {
      const std::vector<std::string> asked = TextsOf(request.body);
      if (asked.size() > 40) return ServerReply{.status = 413};
      ReplyScript script{.dim = kDim, .bytes_per_token = 4};
      for (size_t i = 0; i < asked.size(); ++i) {
        if (asked[i] == texts_[kBad]) script.nan_row = static_cast<int>(i);
      }
      return OpenAiAnswer(request, script);
    });
  }

  ProcessResult Run(const std::string& dialect, const std::vector<std::string>& more = {}) {
    std::vector<std::string> args = {
        REEMBED_BINARY, "run",
        "--source",     absl::StrCat("sqlite:", db_.path(), "?table=notes&key=id&text=body&vector=embedding"),
        "--embedder",   dialect,
        "--api-base",   server_->url(),
        "--model",      "fake",
        "--dimensions", absl::StrCat(kDim),
        "--batch-size", "64",
        "--job",        folder_ / dialect,
        "--json"};
    args.insert(args.end(), more.begin(), more.end());
    return RunProcess(args, {{"HOME", folder_.path()},
                             {"XDG_STATE_HOME", folder_ / "state"},
                             {"XDG_CONFIG_HOME", folder_ / "config"},
                             {"OPENAI_API_KEY", ""}});
  }

  void ExpectEachRowItsOwn() {
    std::map<std::string, std::string> stored;
    for (const std::string& row :
         Query(db_.path(), "SELECT id, hex(embedding) FROM notes WHERE embedding IS NOT NULL")) {
      const size_t bar = row.find('|');
      stored[row.substr(0, bar)] = row.substr(bar + 1);
    }
    EXPECT_EQ(stored.size(), kRows - 1u);
    for (int i = 0; i < kRows; ++i) {
      if (i == kBad) continue;
      EXPECT_EQ(stored[Key(i)], HexOf(TextVector(texts_[i], kDim))) << Key(i);
    }
    EXPECT_EQ(stored.count(Key(kBad)), 0u);
  }

  SqliteFile db_;
  TempFolder folder_;
  std::vector<std::string> texts_;
  std::unique_ptr<ScriptedServer> server_;
};

TEST_F(TextOrderCliTest, RowsGetTheirOwnVectorsWhateverOrderTheirTextsLeaveIn) {
  for (const std::string dialect : {"infinity", "openai"}) {
    for (const bool hedge : {false, true}) {
      SCOPED_TRACE(absl::StrCat(dialect, hedge ? ", hedged" : ""));
      Serve();
      const ProcessResult run = Run(dialect, hedge ? std::vector<std::string>{"--hedge"} : std::vector<std::string>{});
      EXPECT_EQ(run.exit_code, 3) << run.err;
      ExpectEachRowItsOwn();
      const std::string rejects = ReadFile(folder_ / dialect + "/rejects.jsonl");
      EXPECT_THAT(rejects, AllOf(HasSubstr(absl::StrCat("\"key\":\"", Key(kBad), "\",")), HasSubstr("NaN")));
      EXPECT_EQ(std::count(rejects.begin(), rejects.end(), '\n'), 1);
      int sorted = 0, others = 0;
      for (const ServerRequest& request : server_->requests()) {
        const std::vector<std::string> asked = TextsOf(request.body);
        if (asked.size() < 10) continue;
        const auto is_longer = [](const std::string& a, const std::string& b) { return a.size() > b.size(); };
        ++(std::is_sorted(asked.begin(), asked.end(), is_longer) ? sorted : others);
      }
      EXPECT_EQ(dialect == "infinity" ? others : sorted, 0);
      EXPECT_GE(sorted + others, kRows / 64);
      std::filesystem::remove_all(folder_ / dialect);
      db_.Run("UPDATE notes SET embedding = NULL");
      db_.Close();
    }
  }
}

// What a cache has lies between what is bought, so batches leave in pieces.
TEST_F(TextOrderCliTest, WhatACacheHasIsNotMixedUpWithWhatIsBought) {
  const std::vector<std::string> more = {"--cache", folder_ / "cache"};
  Serve();
  for (int third = 0; third < 2; ++third) {
    std::vector<std::string> some = more;
    some.insert(some.end(), {"--where", absl::StrCat("CAST(substr(body, 6, 3) AS INTEGER) % 3 = ", third)});
    EXPECT_LE(Run("infinity", some).exit_code, 3);
    std::filesystem::remove_all(folder_ / "infinity");
  }
  db_.Run("UPDATE notes SET embedding = NULL");
  db_.Close();
  const int before = server_->request_count();
  const ProcessResult run = Run("infinity", more);
  EXPECT_EQ(run.exit_code, 3) << run.err;
  EXPECT_GT(server_->request_count(), before);
  ExpectEachRowItsOwn();
  std::map<std::string, int> bought;
  for (const ServerRequest& request : server_->requests()) {
    const std::vector<std::string> asked = TextsOf(request.body);
    if (asked.size() > 40) continue;
    for (const std::string& text : asked) ++bought[text];
  }
  for (int i = 0; i < kRows; ++i) {
    EXPECT_TRUE(i == kBad || bought[texts_[i]] == 1) << texts_[i];
  }
}

}  // namespace
}  // namespace reembed
