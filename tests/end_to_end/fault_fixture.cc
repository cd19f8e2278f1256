// SPDX-License-Identifier: Apache-2.0
#include "tests/end_to_end/fault_fixture.h"

#include <sqlite3.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/read_file.h"
#include "tests/fakes/text_vector.h"
#include "tests/places.h"

namespace reembed {
namespace {

constexpr char kMark[] = "note ";  // what all notes begin with

// id -> bytes of the vector, of all notes that have one.
std::map<int, std::string> Vectors(const std::string& db) {
  std::map<int, std::string> vectors;
  for (const std::string& row : Query(db, "SELECT id, hex(embedding) FROM notes WHERE embedding IS NOT NULL")) {
    const size_t bar = row.find('|');
    vectors[std::stoi(row)] = row.substr(bar + 1);
  }
  return vectors;
}

}  // namespace

std::string Summary(const ProcessResult& result, const std::string& name) {
  const std::string key = absl::StrCat("\"", name, "\":");
  const size_t at = result.out.rfind(key);
  if (at == std::string::npos) return "(no summary)";
  const size_t begin = at + key.size();
  return result.out.substr(begin, result.out.find_first_of(",}", begin) - begin);
}

std::string HexOf(const std::vector<float>& vector) {
  std::string out;
  const auto* bytes = reinterpret_cast<const unsigned char*>(vector.data());
  for (size_t i = 0; i < vector.size() * sizeof(float); ++i) {
    absl::StrAppend(&out, absl::Hex(bytes[i], absl::kZeroPad2));
  }
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::toupper(c); });
  return out;
}

void FaultTest::MakeNotes(int count) {
  notes_ = count;
  std::string sql = "BEGIN; CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT, embedding BLOB);";
  for (int id = 1; id <= count; ++id) {
    absl::StrAppend(&sql, "INSERT INTO notes VALUES (", id, ", '", NoteText(id), "', NULL);");
  }
  sqlite3* handle = nullptr;
  ASSERT_EQ(sqlite3_open(db().c_str(), &handle), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(handle, absl::StrCat(sql, "COMMIT").c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(handle);
}

void FaultTest::Serve(Script script) { Serve(std::move(script), nullptr); }

void FaultTest::Serve(Script script, ScriptedServer::ConnectionScript connections) {
  server_.reset();
  {
    const std::lock_guard lock(mutex_);
    arrivals_.clear();
    asked_.clear();
  }
  server_ = std::make_unique<ScriptedServer>(
      [this, script = std::move(script)](const ServerRequest& request) {
        const std::vector<std::string> texts = TextsOf(request.body);
        int number = 0;
        if (!absl::StartsWith(texts.at(0), kMark)) {
          {
            const std::lock_guard lock(mutex_);
            number = static_cast<int>(arrivals_.size());
          }
          return all_faulty_ && number > 0 ? script(number, request) : OpenAiAnswer(request, {.dim = kDim});
        }
        {
          const std::lock_guard lock(mutex_);
          number = static_cast<int>(arrivals_.size());
          arrivals_.push_back(MonotonicNow());
          asked_.push_back(texts);
        }
        return script(number, request);
      },
      std::move(connections));
}

void FaultTest::ServeFirst(std::vector<ServerReply> first) {
  Serve([this, first = std::move(first)](int number, const ServerRequest& request) {
    return static_cast<size_t>(number) < first.size() ? first[number] : Sell(request);
  });
}

ServerReply FaultTest::Sell(const ServerRequest& request, const ReplyScript& script) {
  {
    const std::lock_guard lock(mutex_);
    for (const std::string& text : TextsOf(request.body)) ++sold_[text];
  }
  ReplyScript with_width = script;
  if (script.dim == ReplyScript().dim) with_width.dim = kDim;
  return OpenAiAnswer(request, with_width);
}

ProcessResult FaultTest::Run(const std::vector<std::string>& more) {
  std::vector<std::string> args = {
      REEMBED_BINARY,  "run",
      "--source",      absl::StrCat("sqlite:", db(), "?table=notes&key=id&text=body&vector=embedding"),
      "--api-base",    server_->url() + "/v1",
      "--model",       "fake",
      "--dimensions",  absl::StrCat(kDim),
      "--batch-size",  absl::StrCat(batch_size_),
      "--concurrency", absl::StrCat(concurrency_),
      "--max-wait",    max_wait_,
      "--timeout",     timeout_,
      "--job",         job(),
      "--json"};
  args.insert(args.end(), more.begin(), more.end());
  ProcessResult result = RunProcess(args, {{"HOME", folder_.path()},
                                           {"XDG_STATE_HOME", folder_ / "state"},
                                           {"XDG_CONFIG_HOME", folder_ / "config"},
                                           {"OPENAI_BASE_URL", ""},
                                           {"OPENAI_API_KEY", key_}});
  const std::lock_guard lock(mutex_);
  absl::StrAppend(&said_, result.out, result.err);
  return result;
}

void FaultTest::ExpectComplete(const std::vector<int>& without) {
  EXPECT_EQ(ExpectNothingForeign(), notes_ - static_cast<int>(without.size()));
  const std::map<int, std::string> vectors = Vectors(db());
  for (const int id : without) EXPECT_EQ(vectors.count(id), 0u) << "note " << id;
}

int FaultTest::ExpectNothingForeign() {
  const std::map<int, std::string> vectors = Vectors(db());
  for (const auto& [id, hex] : vectors) EXPECT_EQ(hex, HexOf(TextVector(NoteText(id), kDim))) << "note " << id;
  const auto stored = static_cast<int>(vectors.size());
  EXPECT_EQ(Ledger("SELECT coalesce(sum(slot_end - slot_begin), 0) FROM kept"), stored);
  return stored;
}

void FaultTest::ExpectSoldAtMost(int times) {
  const std::lock_guard lock(mutex_);
  for (const auto& [text, count] : sold_) EXPECT_LE(count, times) << text;
}

int FaultTest::SoldTexts() {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(sold_.size());
}

int64_t FaultTest::Ledger(const std::string& sql) const {
  const std::vector<std::string> rows = Query(job() + "/ledger.db", sql);
  int64_t number = -1;
  EXPECT_TRUE(rows.size() == 1 && absl::SimpleAtoi(rows[0], &number)) << sql;
  return number;
}

std::string FaultTest::RejectReason(int id) const {
  const std::vector<std::string> reasons = Query(
      job() + "/ledger.db", absl::StrCat("SELECT reason FROM rejects JOIN rows USING (ordinal) WHERE key = ", id));
  EXPECT_LE(reasons.size(), 1u);
  return reasons.empty() ? "" : reasons[0];
}

int FaultTest::requests() {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(arrivals_.size());
}

std::vector<Moment> FaultTest::arrivals() {
  const std::lock_guard lock(mutex_);
  return arrivals_;
}

std::vector<std::vector<std::string>> FaultTest::asked() {
  const std::lock_guard lock(mutex_);
  return asked_;
}

std::string FaultTest::NoteText(int id) const { return absl::StrCat(kMark, "number ", id, " of somebody"); }

void FaultTest::TearDown() {
  server_.reset();
  EXPECT_THAT(said_, ::testing::Not(::testing::HasSubstr("very-secret")));
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path())) {
    if (!entry.is_regular_file()) continue;
    ++files;
    EXPECT_THAT(ReadFile(entry.path()), ::testing::Not(::testing::HasSubstr("very-secret"))) << entry.path();
  }
  EXPECT_GT(files, 0);
}

}  // namespace reembed
