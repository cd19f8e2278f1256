// SPDX-License-Identifier: Apache-2.0
// Texts above the model's limit, through the whole command. Needs the vocabulary in the packages that the CTest fixture
// `npm` puts into the build tree.

#include "engine/text/long_text.h"

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <numeric>
#include <random>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "io/embed/vocabulary_file.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/process.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kDim = 64;
constexpr int64_t kLimit = 8192;  // of text-embedding-3-small
constexpr int kRows = 60;

std::string VocabularyPath(const std::string& name) {
  return absl::StrCat(REEMBED_NPM_DIR, "/node_modules/tiktoken/encoders/", name, ".json");
}

// Of about so many tokens; the words depend on the row.
std::string TextOf(int row, int words) {
  std::string text = absl::StrCat("row ", row);
  for (int i = 0; i < words; ++i) absl::StrAppend(&text, i % 40 == 39 ? "\n" : " ", "word", (row * 7919 + i) % 1000);
  return text;
}

// id -> bytes of the vector
std::map<int64_t, std::string> StoredNotes(const std::string& db) {
  std::map<int64_t, std::string> stored;
  for (const std::string& row :
       Query(db, "SELECT id || ' ' || hex(embedding) FROM notes WHERE embedding IS NOT NULL")) {
    const size_t space = row.find(' ');
    stored[std::stoll(row)] = absl::HexStringToBytes(absl::string_view(row).substr(space + 1));
  }
  return stored;
}

class LongTextCliTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto vocabulary = LoadVocabulary(VocabularyPath("cl100k_base"));
    ASSERT_THAT(vocabulary, IsOk());
    tokenizer_ = *std::move(vocabulary);
    db_ = folder_ / "notes.db";
    std::ofstream(db_).close();
    std::string sql = "CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT, embedding BLOB);";
    for (int row = 1; row <= kRows; ++row) {
      // Two tokens a word and more: each tenth row is far too long, some a little, most are short.
      const int words = row % 10 == 0 ? 5000 + row * 50 : row % 10 == 5 ? 4200 : row % 17;
      texts_[row] = TextOf(row, words);
      absl::StrAppend(&sql, "INSERT INTO notes(id, body) VALUES (", row, ", '", texts_[row], "');");
      long_rows_ += tokenizer_->Count(texts_[row]) > kLimit;
    }
    Change(db_, sql);
    ASSERT_EQ(long_rows_, kRows / 5);
    auto server = EmbeddingServer::Start({.dim = kDim, .threads = 2});
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
  }

  std::vector<std::string> Args(const std::string& command, const std::vector<std::string>& more) {
    std::vector<std::string> args = {REEMBED_BINARY,
                                     command,
                                     "--source",
                                     absl::StrCat("sqlite:", db_, "?table=notes&key=id&text=body&vector=embedding"),
                                     "--api-base",
                                     server_->base_url(),
                                     "--model",
                                     "text-embedding-3-small",
                                     "--dimensions",
                                     absl::StrCat(kDim),
                                     "--job",
                                     folder_ / "job",
                                     "--json",
                                     "--batch-size",
                                     "16",
                                     "--concurrency",
                                     "2",
                                     "--progress",
                                     "off"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }

  ProcessResult Cli(const std::string& command, const std::vector<std::string>& more) {
    return RunProcess(Args(command, more), Clean());
  }

  std::map<std::string, std::string> Clean() {
    return {{"HOME", folder_.path()}, {"XDG_CONFIG_HOME", folder_ / "config"}, {"OPENAI_API_KEY", ""}};
  }

  std::vector<std::string> WithPolicy(const std::string& policy) {
    return {"--long-text", policy, "--tokenizer", VocabularyPath("cl100k_base")};
  }

  // The vector of a row by the policy, made without the command.
  std::vector<float> Expected(const std::string& text, LongText policy) {
    const TextLimit limit{.policy = policy, .max_tokens = kLimit, .meter = tokenizer_.get()};
    const auto vector_of = [](absl::string_view part) {
      const std::string bytes = ExpectedEmbedding(std::string(part), kDim);
      std::vector<float> vector(kDim);
      std::memcpy(vector.data(), bytes.data(), bytes.size());
      return vector;
    };
    if (!IsTooLong(limit, text)) return vector_of(text);
    const auto parts = FitText(limit, text, 16);
    EXPECT_THAT(parts, IsOk());
    if (policy == LongText::kTruncate) return vector_of(parts->front());
    EXPECT_GT(parts->size(), 1u);
    std::vector<double> sum(kDim);
    for (const absl::string_view part : *parts) {
      EXPECT_LE(tokenizer_->Count(part), kLimit);
      const std::vector<float> vector = vector_of(part);
      for (int i = 0; i < kDim; ++i) sum[i] += static_cast<double>(tokenizer_->Count(part)) * vector[i];
    }
    const double length = std::sqrt(std::inner_product(sum.begin(), sum.end(), sum.begin(), 0.0));
    std::vector<float> mean;
    for (const double value : sum) mean.push_back(static_cast<float>(value / length));
    return mean;
  }

  void ExpectAllStored(LongText policy) {
    const std::map<int64_t, std::string> stored = StoredNotes(db_);
    EXPECT_EQ(stored.size(), texts_.size());
    for (const auto& [row, text] : texts_) {
      ASSERT_EQ(stored.count(row), 1u) << row;
      const std::vector<float> wanted = Expected(text, policy);
      for (int i = 0; i < kDim; ++i) {
        float value;
        std::memcpy(&value, stored.at(row).data() + i * sizeof(float), sizeof(float));
        ASSERT_NEAR(value, wanted[i], 1e-6) << "row " << row;
      }
    }
  }

  TempFolder folder_;
  std::string db_;
  std::map<int64_t, std::string> texts_;
  int64_t long_rows_ = 0;
  std::unique_ptr<BpeTokenizer> tokenizer_;
  std::unique_ptr<EmbeddingServer> server_;
};

std::string Member(const ProcessResult& result, const std::string& name) {
  const std::string key = absl::StrCat("\"", name, "\":");
  const size_t at = result.out.rfind(key);
  if (at == std::string::npos) return "(none)";
  return result.out.substr(at + key.size(), result.out.find_first_of(",}", at) - at - key.size());
}

TEST_F(LongTextCliTest, TheyAreRejectedBeforeTheyAreSent) {
  const ProcessResult run =
      Cli("run", {"--tokenizer", VocabularyPath("cl100k_base"), "--canary-interval", "0"});  // no texts of its own
  EXPECT_EQ(run.exit_code, 3) << run.err;
  EXPECT_EQ(Member(run, "rows_rejected"), absl::StrCat(long_rows_));
  EXPECT_EQ(server_->counts().texts, kRows - long_rows_ + 1);  // and the text of the probe
  const ProcessResult status = RunProcess({REEMBED_BINARY, "status", folder_ / "job"}, Clean());
  EXPECT_THAT(status.out, AllOf(HasSubstr(absl::StrCat(tokenizer_->Count(texts_[10]), " tokens")), HasSubstr("8192"),
                                HasSubstr("--long-text")));
}

// Without a vocabulary only those are rejected that have more words than the limit has tokens.
TEST_F(LongTextCliTest, WithoutAVocabularyWhatIsCertainIsRejected) {
  std::string many_tokens;  // six or so a word
  for (int i = 0; i < 5000; ++i) many_tokens += " antidisestablishmentarianism";
  ASSERT_GT(tokenizer_->Count(many_tokens), kLimit);
  Change(db_, absl::StrCat("UPDATE notes SET body = '", many_tokens, "' WHERE id = 1"));
  const ProcessResult run = Cli("run", {"--where", "id = 1 OR id = 10"});
  EXPECT_EQ(run.exit_code, 3) << run.err;
  EXPECT_EQ(Member(run, "rows_rejected"), "1");
  EXPECT_EQ(Member(run, "rows_embedded"), "1");
  const ProcessResult status = RunProcess({REEMBED_BINARY, "status", folder_ / "job"}, Clean());
  EXPECT_THAT(status.out, HasSubstr("at least"));
}

TEST_F(LongTextCliTest, TheBeginningIsEmbeddedAndSaidSo) {
  const ProcessResult run = Cli("run", WithPolicy("truncate"));
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(Member(run, "rows_truncated"), absl::StrCat(long_rows_));
  EXPECT_EQ(Member(run, "rows_split"), "0");
  ExpectAllStored(LongText::kTruncate);
}

TEST_F(LongTextCliTest, PartsBecomeOneVector) {
  const ProcessResult run = Cli("run", WithPolicy("split"));
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(Member(run, "rows_split"), absl::StrCat(long_rows_));
  EXPECT_EQ(Member(run, "rows_truncated"), "0");
  ExpectAllStored(LongText::kSplit);
}

TEST_F(LongTextCliTest, KilledRunsLeaveNoHalfVectors) {
  const uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  for (int kill = 0; kill < 6; ++kill) {
    Process run(Args("run", WithPolicy("split")), Clean());
    const int64_t texts = server_->counts().texts + 1 + static_cast<int64_t>(random() % 20);
    pollfd none{.fd = -1, .events = 0, .revents = 0};
    while (run.IsRunning() && server_->counts().texts < texts) poll(&none, 1, 1);
    run.Signal(SIGKILL);
    run.Wait();
  }
  const ProcessResult run = Cli("run", WithPolicy("split"));
  EXPECT_EQ(run.exit_code, 0) << run.err;
  ExpectAllStored(LongText::kSplit);
}

TEST_F(LongTextCliTest, AJobKeepsItsPolicy) {
  std::vector<std::string> some = WithPolicy("split");
  some.insert(some.end(), {"--limit", "20"});
  ASSERT_EQ(Cli("run", some).exit_code, 0);
  for (const std::string other : {"truncate", "reject"}) {
    const ProcessResult refused = Cli("run", WithPolicy(other));
    EXPECT_NE(refused.exit_code, 0);
    EXPECT_THAT(refused.err + refused.out, HasSubstr("split above 8192 tokens of cl100k_base")) << other;
  }
  EXPECT_EQ(Cli("run", WithPolicy("split")).exit_code, 0);
  ExpectAllStored(LongText::kSplit);
}

TEST_F(LongTextCliTest, AWrongVocabularyIsSaidBeforeAnything) {
  const std::string none = folder_ / "none.json", text = folder_ / "text.tiktoken";
  std::ofstream(text) << "IQ== 0\nnonsense\n";
  for (const auto& [path, what] : {std::pair(VocabularyPath("o200k_base"), "another pattern"),
                                   std::pair(VocabularyPath("p50k_base"), "another pattern"),
                                   std::pair(none, "cannot be read"), std::pair(text, "line 2")}) {
    const ProcessResult run = Cli("run", {"--tokenizer", path});
    EXPECT_NE(run.exit_code, 0);
    EXPECT_THAT(run.err + run.out, AllOf(HasSubstr(what), HasSubstr(path)));
  }
  EXPECT_EQ(server_->counts().requests, 0);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "job"));
}

TEST_F(LongTextCliTest, AVocabularyIsForItsOwnModelsOnly) {
  std::vector<std::string> args = Args("run", WithPolicy("split"));
  *std::find(args.begin(), args.end(), "text-embedding-3-small") = "nomic-embed-text-v1.5";
  EXPECT_THAT(RunProcess(args, Clean()).err, HasSubstr("nomic-embed-text-v1.5 does not count tokens by cl100k_base"));
}

// Where the API does not count, as this server, the text goes as it is.
TEST_F(LongTextCliTest, WithoutAVocabularyTheApiDecides) {
  const ProcessResult run = Cli("run", {"--long-text", "split"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(Member(run, "rows_embedded"), absl::StrCat(kRows));
  std::vector<std::string> with = WithPolicy("split");
  const ProcessResult other = Cli("run", with);
  EXPECT_EQ(other.exit_code, 6);
  EXPECT_THAT(other.err + other.out, HasSubstr("split where the API refuses"));
}

TEST_F(LongTextCliTest, ThePlanCountsTokensAndRequests) {
  const ProcessResult run = Cli("run", WithPolicy("split"));
  const std::string tokens = Member(run, "tokens"), requests = Member(run, "requests");
  int64_t counted = 0;
  for (const auto& [row, text] : texts_) counted += tokenizer_->Count(text);
  std::vector<std::string> again = WithPolicy("split");
  again.push_back("--all");
  const ProcessResult plan = Cli("plan", again);
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_EQ(Member(plan, "tokens_exact"), "true");
  EXPECT_EQ(Member(plan, "rows_too_long"), absl::StrCat(long_rows_));
  // Where a text is cut, the space at the beginning of a part may cost a token more or less.
  EXPECT_NEAR(std::stod(Member(plan, "tokens")), static_cast<double>(counted), 2.0 * static_cast<double>(long_rows_));
  EXPECT_EQ(std::stoi(Member(plan, "requests")), std::stoi(requests) - 2);  // the probe and the canary
  const ProcessResult estimate = Cli("plan", {"--all"});
  EXPECT_EQ(Member(estimate, "tokens_exact"), "false");
  EXPECT_LE(std::stod(Member(estimate, "tokens_at_least")), static_cast<double>(counted));
  EXPECT_GE(std::stod(Member(estimate, "tokens_at_most")), std::stod(Member(estimate, "tokens")));
}

}  // namespace
}  // namespace reembed
