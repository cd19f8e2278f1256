// SPDX-License-Identifier: Apache-2.0
// Texts above the limit of models whose tokenizer nobody knows: cut by what each API says when it refuses them.

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/dialect.h"
#include "tests/fakes/dialect_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/text_vector.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

constexpr int kDim = DialectServer::kDim;
constexpr int kRows = 80;

std::string WithoutSpace(std::string text) {
  std::erase_if(text, [](char c) { return absl::ascii_isspace(c); });
  return text;
}

class LongTextRefusedTest : public ::testing::TestWithParam<std::string> {
 protected:
  LongTextRefusedTest() : server_(GetParam()) {
    std::string sql = "BEGIN; CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT, embedding BLOB);";
    for (int row = 1; row <= kRows; ++row) {
      const int words = row % 10 == 3 ? 50 + 3 * row : row % 12;
      std::string& text = texts_[row];
      text = absl::StrCat("n", row, ".");
      for (int word = 0; word < words; ++word) absl::StrAppend(&text, word % 9 == 8 ? "\n" : " ", "n", row, ".", word);
      long_rows_ += text.size() > DialectServer::kMaxTextBytes;
      absl::StrAppend(&sql, "INSERT INTO notes(body) VALUES ('", text, "');");
    }
    db_.Run(sql + "COMMIT");
    db_.Close();
    SayLimit(DialectServer::kMaxTextBytes / 4);
  }

  // What models.toml knows of the model; 0: nothing of its limit.
  void SayLimit(int64_t tokens) {
    std::ofstream(data_ / "models.toml") << "[[model]]\nname = \"fake-model\"\ndim = 8\nunit_length = \"never\"\n"
                                         << (tokens > 0 ? absl::StrCat("max_tokens = ", tokens, "\n") : "");
  }

  std::vector<std::string> Args(const std::string& policy) {
    return {REEMBED_BINARY,
            "run",
            "--source",
            absl::StrCat("sqlite:", db_.path(), "?table=notes&key=id&text=body&vector=embedding"),
            "--embedder",
            GetParam(),
            "--api-base",
            server_.api_base(),
            "--model",
            DialectServer::kModel,
            "--job",
            state_ / "job",
            "--long-text",
            policy,
            "--batch-size",
            "16",
            "--concurrency",
            "3",
            "--json",
            "--progress",
            "off"};
  }

  std::map<std::string, std::string> Clean() {
    return {{"HOME", state_.path()},
            {"XDG_STATE_HOME", state_ / "state"},
            {"XDG_CONFIG_HOME", state_ / "config"},
            {"REEMBED_DATA", data_.path()},
            {FindDialect(GetParam())->key_variables[0], DialectServer::kKey}};
  }

  ProcessResult Run(const std::string& policy) { return RunProcess(Args(policy), Clean()); }

  static std::string Member(const ProcessResult& result, const std::string& name) {
    const std::string key = absl::StrCat("\"", name, "\":");
    const size_t at = result.out.rfind(key);
    if (at == std::string::npos) return "(none)";
    return result.out.substr(at + key.size(), result.out.find_first_of(",}", at) - at - key.size());
  }

  std::vector<float> Stored(int row) {
    const std::string quoted = db_.Ask(absl::StrCat("SELECT embedding FROM notes WHERE id = ", row));  // x'0123...'
    const std::string bytes = absl::HexStringToBytes(absl::string_view(quoted).substr(2, 8 * kDim));
    std::vector<float> vector(bytes.size() / sizeof(float));
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(vector.data()));
    return vector;
  }

  // What the API has embedded of a text, in the order of the text.
  std::vector<std::string> PiecesOf(const std::string& text) {
    std::map<size_t, std::string> found;
    for (const std::string& piece : server_.embedded()) {
      if (const size_t at = text.find(piece); at != std::string::npos) found[at] = piece;
    }
    std::vector<std::string> pieces;
    for (auto& [at, piece] : found) pieces.push_back(std::move(piece));
    return pieces;
  }

  void ExpectShortRowsStored() {
    for (const auto& [row, text] : texts_) {
      if (text.size() > DialectServer::kMaxTextBytes) continue;
      ASSERT_EQ(Stored(row), TextVector(text, kDim)) << row;
    }
  }

  void ExpectSecondRunSendsNothing(const std::string& policy) {
    const size_t before = server_.requests().size();
    const ProcessResult again = Run(policy);
    EXPECT_EQ(again.exit_code, 0) << again.err;
    EXPECT_EQ(server_.requests().size(), before);
  }

  DialectServer server_;
  SqliteFile db_;
  TempFolder state_, data_;
  std::map<int, std::string> texts_;
  int long_rows_ = 0;
};

TEST_P(LongTextRefusedTest, TheBeginningIsEmbeddedAndSaidSo) {
  const ProcessResult run = Run("truncate");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(Member(run, "rows_truncated"), absl::StrCat(long_rows_));
  EXPECT_EQ(Member(run, "rows_split"), "0");
  EXPECT_EQ(server_.cut(), 0) << "the API should not have cut anything by itself";
  ExpectShortRowsStored();
  for (const auto& [row, text] : texts_) {
    if (text.size() <= DialectServer::kMaxTextBytes) continue;
    const std::vector<std::string> pieces = PiecesOf(text);
    ASSERT_EQ(pieces.size(), 1u) << row;
    EXPECT_EQ(text.find(pieces[0]), 0u);
    EXPECT_GE(pieces[0].size(), DialectServer::kMaxTextBytes * 4 / 10) << "more was cut off than need be";
    EXPECT_TRUE(absl::ascii_isspace(text[pieces[0].size()])) << "a word was cut";
    EXPECT_EQ(Stored(row), TextVector(pieces[0], kDim)) << row;
  }
  db_.Close();
  ExpectSecondRunSendsNothing("truncate");
}

TEST_P(LongTextRefusedTest, PartsBecomeOneVector) {
  const ProcessResult run = Run("split");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(Member(run, "rows_split"), absl::StrCat(long_rows_));
  EXPECT_EQ(Member(run, "rows_truncated"), "0");
  EXPECT_EQ(server_.cut(), 0);
  ExpectShortRowsStored();
  for (const auto& [row, text] : texts_) {
    if (text.size() <= DialectServer::kMaxTextBytes) continue;
    std::vector<double> sum(kDim);
    std::string together;
    for (const std::string& piece : PiecesOf(text)) {
      const std::vector<float> vector = TextVector(piece, kDim);
      for (int i = 0; i < kDim; ++i) sum[i] += static_cast<double>(piece.size()) * vector[i];
      together += piece;
    }
    ASSERT_EQ(WithoutSpace(together), WithoutSpace(text)) << row;
    double squares = 0;
    for (const double value : sum) squares += value * value;
    const std::vector<float> stored = Stored(row);
    for (int i = 0; i < kDim; ++i) ASSERT_NEAR(stored[i], sum[i] / std::sqrt(squares), 1e-6) << row;
  }
  db_.Close();
  ExpectSecondRunSendsNothing("split");
}

using LongTextRefusedKillTest = LongTextRefusedTest;

TEST_P(LongTextRefusedKillTest, KilledRunsLeaveNoForeignVector) {
  const uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  for (int kill = 0; kill < 4; ++kill) {
    Process run(Args("truncate"), Clean());
    const size_t requests = server_.requests().size() + 2 + random() % 12;
    pollfd none{.fd = -1, .events = 0, .revents = 0};
    while (run.IsRunning() && server_.requests().size() < requests) poll(&none, 1, 1);
    run.Signal(SIGKILL);
    run.Wait();
  }
  const ProcessResult run = Run("truncate");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  ExpectShortRowsStored();
  const std::vector<std::string> embedded = server_.embedded();
  for (const auto& [row, text] : texts_) {
    if (text.size() <= DialectServer::kMaxTextBytes) continue;
    const std::vector<float> stored = Stored(row);
    EXPECT_TRUE(std::any_of(embedded.begin(), embedded.end(), [&, &text = text](const std::string& piece) {
      return text.find(piece) == 0 && TextVector(piece, kDim) == stored;
    })) << row;
  }
  db_.Close();
  ExpectSecondRunSendsNothing("truncate");
}

TEST_P(LongTextRefusedTest, ALimitThatNobodyKnowsIsLearned) {
  SayLimit(0);
  const ProcessResult run = Run("split");
  if (FindDialect(GetParam())->long_input == LongInput::kCutSilently) {
    EXPECT_EQ(run.exit_code, 2);
    EXPECT_THAT(run.err + run.out, HasSubstr("the token limit of fake-model is not known"));
    EXPECT_EQ(server_.requests().size(), 0u);
    return;
  }
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(Member(run, "rows_split"), absl::StrCat(long_rows_));
  EXPECT_EQ(server_.cut(), 0);
  ExpectShortRowsStored();
}

// One that names figures, one that does not, one that has to be cut beforehand.
INSTANTIATE_TEST_SUITE_P(Apis, LongTextRefusedKillTest, ::testing::Values("openai", "ollama", "gemini"),
                         [](const auto& info) { return info.param; });
INSTANTIATE_TEST_SUITE_P(Apis, LongTextRefusedTest,
                         ::testing::Values("openai", "ollama", "llamacpp", "tei", "vllm", "cohere", "voyage", "gemini"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace reembed
