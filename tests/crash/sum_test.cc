// SPDX-License-Identifier: Apache-2.0
// Each row of a job is counted once, in its last state, whatever happens to it: texts and vectors that are refused,
// edits, deletions and insertions by somebody else while runs go on, kills. And what was edited during a run has the
// vector of its new text when it ends.

#include <poll.h>
#include <signal.h>
#include <sqlite3.h>

#include <atomic>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "tests/crash/crash_flags.h"
#include "tests/crash/crash_store.h"
#include "tests/crash/expected_table.h"
#include "tests/crash/text_shop.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/text_vector.h"

namespace reembed {
namespace {

constexpr int kDim = 8;
constexpr int kJobs = 3;          // of a store in the normal run
constexpr int kRefusedKeys = 13;  // each key that is five beyond a multiple is refused by the store, if it can
constexpr int kRefusedRest = 5;
constexpr char kColumns[] = "key=k&text=body&vector=v";

// A table t(k, body, v) that somebody writes to while it is embedded in place. Used by one thread at a time.
class BusyStore {
 public:
  virtual ~BusyStore() = default;
  virtual void Make(const std::string& folder) = 0;
  virtual void Insert(int key, const std::string& text, bool old_vector) = 0;
  virtual void Edit(int key, const std::string& text) = 0;
  virtual void Delete(int key) = 0;
  virtual std::string Source() const = 0;
  virtual std::map<std::string, std::string> Texts() = 0;
  virtual std::map<std::string, std::string> Vectors() = 0;  // bytes
  // Edits that a trigger of the store has seen; -1: it has none.
  virtual int Seen() { return -1; }
  virtual bool RefusesKeys() const { return true; }
};

std::string Literal(const std::string& key) {
  std::string text = "[";
  for (const float number : TextVector(absl::StrCat("old ", key), kDim)) {
    absl::StrAppendFormat(&text, "%s%.9g", text.size() == 1 ? "" : ",", number);
  }
  return text + "]";
}

class BusySqlite final : public BusyStore {
 public:
  ~BusySqlite() override { sqlite3_close(db_); }
  void Make(const std::string& folder) override {
    sqlite3_close(std::exchange(db_, nullptr));
    path_ = folder + "/rows.db";
    ASSERT_EQ(sqlite3_open(path_.c_str(), &db_), SQLITE_OK);
    sqlite3_busy_timeout(db_, 60000);
    Run(absl::StrCat(
        "PRAGMA journal_mode = WAL; CREATE TABLE t (k INTEGER PRIMARY KEY, body TEXT, v BLOB); CREATE TABLE seen (k "
        "INTEGER); CREATE TRIGGER sees AFTER UPDATE OF body ON t BEGIN INSERT INTO seen VALUES (NEW.k); END; CREATE "
        "TRIGGER refuses BEFORE UPDATE OF v ON t WHEN NEW.k % ",
        kRefusedKeys, " = ", kRefusedRest, " AND NEW.v IS NOT NULL BEGIN SELECT RAISE(ABORT, 'not this one'); END"));
  }
  void Insert(int key, const std::string& text, bool old_vector) override {
    std::string hex;
    if (old_vector) {
      for (const char byte : ExpectedBytes(absl::StrCat("old ", key), kDim)) {
        absl::StrAppendFormat(&hex, "%02x", static_cast<unsigned char>(byte));
      }
    }
    Run(absl::StrCat("INSERT INTO t VALUES (", key, ", '", text, "', ", old_vector ? "x'" + hex + "'" : "NULL", ")"));
  }
  void Edit(int key, const std::string& text) override {
    Run(absl::StrCat("UPDATE t SET body = '", text, "' WHERE k = ", key));
  }
  void Delete(int key) override { Run(absl::StrCat("DELETE FROM t WHERE k = ", key)); }
  std::string Source() const override { return absl::StrCat("sqlite:", path_, "?table=t&", kColumns); }
  std::map<std::string, std::string> Texts() override { return Pairs("SELECT k, body FROM t"); }
  std::map<std::string, std::string> Vectors() override {
    std::map<std::string, std::string> vectors = Pairs("SELECT k, hex(v) FROM t WHERE v IS NOT NULL");
    for (auto& [key, hex] : vectors) {
      std::string bytes;
      for (size_t i = 0; i < hex.size(); i += 2) {
        bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
      }
      hex = std::move(bytes);
    }
    return vectors;
  }
  int Seen() override { return std::stoi(Query(path_, "SELECT count(*) FROM seen").front()); }

 private:
  void Run(const std::string& sql) {
    ASSERT_EQ(sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db_);
  }
  std::map<std::string, std::string> Pairs(const std::string& sql) const {
    std::map<std::string, std::string> pairs;
    for (const std::string& row : Query(path_, sql)) pairs.insert(absl::StrSplit(row, absl::MaxSplits('|', 1)));
    return pairs;
  }

  std::string path_;
  sqlite3* db_ = nullptr;
};

// Servers whose answers are "key|text" in lines, and whose vectors the product's own reader reads.
class BusyServer : public BusyStore {
 public:
  std::map<std::string, std::string> Vectors() override {
    Findings findings;
    return ReadTarget(Source(), kDim, &findings);
  }

 protected:
  static std::map<std::string, std::string> Pairs(const std::string& answer) {
    std::map<std::string, std::string> pairs;
    for (const absl::string_view row : absl::StrSplit(answer, '\n', absl::SkipEmpty())) {
      pairs.insert(absl::StrSplit(row, absl::MaxSplits('|', 1)));
    }
    return pairs;
  }
};

class BusyPostgres final : public BusyServer {
 public:
  void Make(const std::string&) override {
    server_.Run(absl::StrCat(
        "DROP TABLE IF EXISTS t, seen CASCADE; CREATE TABLE t (k int PRIMARY KEY, body text, v vector(", kDim,
        ")); CREATE TABLE seen (k int); CREATE OR REPLACE FUNCTION sees() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO seen VALUES (NEW.k); RETURN NEW; END $$; CREATE TRIGGER sees AFTER UPDATE OF body ON t FOR EACH "
        "ROW EXECUTE FUNCTION sees(); CREATE OR REPLACE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN "
        "IF NEW.k % ",
        kRefusedKeys, " = ", kRefusedRest,
        " THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$; CREATE TRIGGER refuses BEFORE UPDATE OF v "
        "ON "
        "t FOR EACH ROW EXECUTE FUNCTION refuses()"));
  }
  void Insert(int key, const std::string& text, bool old_vector) override {
    server_.Run(absl::StrCat("INSERT INTO t VALUES (", key, ", '", text, "', ",
                             old_vector ? absl::StrCat("'", Literal(absl::StrCat(key)), "'") : "NULL", ")"));
  }
  void Edit(int key, const std::string& text) override {
    server_.Run(absl::StrCat("UPDATE t SET body = '", text, "' WHERE k = ", key));
  }
  void Delete(int key) override { server_.Run(absl::StrCat("DELETE FROM t WHERE k = ", key)); }
  std::string Source() const override { return server_.Uri(absl::StrCat("table=t&", kColumns)); }
  std::map<std::string, std::string> Texts() override { return Pairs(server_.Ask("SELECT k, body FROM t")); }
  int Seen() override { return std::stoi(server_.Ask("SELECT count(*) FROM seen")); }

 private:
  PostgresServer& server_ = TestPostgres();
};

class BusyFalkor final : public BusyServer {
 public:
  void Make(const std::string&) override {
    server_.DropGraph();
    server_.Run("CREATE INDEX FOR (n:T) ON (n.k)");
  }
  void Insert(int key, const std::string& text, bool old_vector) override {
    server_.Run(absl::StrCat("CREATE (:T {k: ", key, ", body: '", text, "'",
                             old_vector ? absl::StrCat(", v: vecf32(", Literal(absl::StrCat(key)), ")") : "", "})"));
  }
  void Edit(int key, const std::string& text) override {
    server_.Run(absl::StrCat("MATCH (n:T {k: ", key, "}) SET n.body = '", text, "'"));
  }
  void Delete(int key) override { server_.Run(absl::StrCat("MATCH (n:T {k: ", key, "}) DELETE n")); }
  std::string Source() const override { return server_.Uri(absl::StrCat("label=T&", kColumns)); }
  std::map<std::string, std::string> Texts() override { return Pairs(server_.Ask("MATCH (n:T) RETURN n.k, n.body")); }
  bool RefusesKeys() const override { return false; }

 private:
  FalkorServer& server_ = TestFalkor();
};

std::unique_ptr<BusyStore> MakeBusyStore(const std::string& name) {
  if (name == "sqlite") return std::make_unique<BusySqlite>();
  if (name == "postgres") return std::make_unique<BusyPostgres>();
  return std::make_unique<BusyFalkor>();
}

// The numbers of a run's summary.
class Summary {
 public:
  explicit Summary(const std::string& out) {
    for (const absl::string_view line : absl::StrSplit(out, '\n')) {
      if (absl::StrContains(line, R"("message_type":"summary")")) text_ = std::string(line);
    }
  }
  bool is_there() const { return !text_.empty(); }
  int64_t operator[](const std::string& name) const {
    const size_t at = text_.find("\"" + name + "\":");
    return at == std::string::npos ? -1 : std::strtoll(text_.c_str() + at + name.size() + 3, nullptr, 10);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// One job with a writer beside it.
class BusyJob {
 public:
  BusyJob(std::string name, uint64_t seed) : name_(std::move(name)), random_(seed), store_(MakeBusyStore(name_)) {}

  void Run() {
    store_->Make(folder_.path());
    rows_ = static_cast<int>(150 + Below(300));
    all_ = Below(2) == 0;
    for (next_ = 1; next_ <= rows_; ++next_) store_->Insert(next_, RandomText(), all_ && Below(2) == 0);
    const auto texts = store_->Texts();
    for (const auto& [key, text] : texts) different_.insert(text);
    args_ = {REEMBED_ARMED_BINARY, "run", "--json", "--source", store_->Source(), "--api-base", shop_.api_base()};
    for (const std::string& more :
         {std::string("--model"), std::string("m"), std::string("--dimensions"), absl::StrCat(kDim),
          std::string("--batch-size"), absl::StrCat(1 + Below(30)), std::string("--concurrency"),
          absl::StrCat(1 + Below(3)), std::string("--job"), folder_ / "job"}) {
      args_.push_back(more);
    }
    if (all_) args_.insert(args_.end(), {"--all", "--yes"});
    std::thread writer([this, seed = random_()] { Write(seed); });
    int kills = 0;
    for (int left = static_cast<int>(Below(4)); left > 0 && !done_; --left) kills += RunOnce(true) ? 1 : 0;
    RunOnce(false);
    // Before the last look of the run: it has bought something since.
    const bool was_quiet = done_ && shop_.sold() > sold_to_writer_;
    done_ = true;
    writer.join();
    const int stale = was_quiet ? Stale() : 0;
    EXPECT_EQ(stale, 0) << "after the run";
    RunOnce(false);
    const int later = Stale();
    EXPECT_EQ(later, 0) << "after the next run";
    ExpectEachOnce();
    std::cout << "measure busy writer " << name_ << ": rows " << rows_ << ", edited " << edited_ << ", deleted "
              << deleted_ << ", inserted " << next_ - 1 - rows_ << ", seen by a trigger " << store_->Seen()
              << ", kills " << kills << ", the writer was done before the run " << was_quiet << ", stale after the run "
              << stale << ", after the next " << later << std::endl;
  }

 private:
  uint64_t Below(uint64_t n) { return random_() % n; }

  std::string RandomText() {
    switch (Below(12)) {
      case 0:
        return "";
      case 1:
        return absl::StrCat(kRowTextMark, Below(1000000), " refused");
      case 2:
      case 3:
        return absl::StrCat(kRowTextMark, "of several ", Below(10));
      default:
        return absl::StrCat(kRowTextMark, Below(1000000000));
    }
  }

  // Whether a row with this key and text gets a vector.
  bool Gets(const std::string& key, const std::string& text) const {
    const bool refused = store_->RefusesKeys() && std::stoi(key) % kRefusedKeys == kRefusedRest;
    return !refused && !text.empty() && !absl::EndsWith(text, " refused");
  }

  // Keeps step with what is bought, and ends before all is.
  void Write(uint64_t seed) {
    std::mt19937_64 random(seed);
    std::set<int> gone;
    int64_t before = 0;
    int ops = 0;
    while (!done_ && shop_.sold() < static_cast<int64_t>(different_.size()) * 7 / 10) {
      if (shop_.sold() == before && ops == 0) {
        poll(nullptr, 0, 1);
        continue;
      }
      if (ops == 0) ops = 8;  // for each answer that was sold
      --ops;
      before = shop_.sold();
      const int key = 1 + static_cast<int>(random() % static_cast<uint64_t>(next_ - 1));
      const std::string text = random() % 9 == 0 ? ""
                                                 : absl::StrCat(kRowTextMark, "new ", random() % 1000000,
                                                                random() % 9 == 0 ? " refused" : "");
      const uint64_t what = random() % 10;
      if (what < 2) {
        store_->Insert(next_, text, false);
        ++next_;
      } else if (!gone.contains(key) && what < 4) {
        store_->Delete(key);
        gone.insert(key);
        ++deleted_;
      } else if (!gone.contains(key)) {
        store_->Edit(key, text);
        ++edited_;
      }
    }
    sold_to_writer_ = shop_.sold();
    done_ = true;
  }

  // Whether it was killed.
  bool RunOnce(bool may_be_killed) {
    std::map<std::string, std::string> environment = {{"HOME", folder_.path()},
                                                      {"XDG_STATE_HOME", folder_ / "state"},
                                                      {"XDG_CONFIG_HOME", folder_ / "config"},
                                                      {"OPENAI_API_KEY", "sk-sum"},
                                                      {"OPENAI_BASE_URL", ""}};
    if (may_be_killed) environment["KILL_POINT_AT"] = absl::StrCat(1 + Below(60));
    const ProcessResult run = RunProcess(args_, environment);
    if (run.signal == SIGKILL) return true;
    EXPECT_TRUE(run.exit_code == 0 || run.exit_code == 3) << run.exit_code << run.out << run.err;
    last_ = Summary(run.out);
    EXPECT_TRUE(last_.is_there()) << run.out;
    EXPECT_EQ(last_["rows_selected"],
              last_["rows_embedded"] + last_["rows_skipped"] + last_["rows_rejected"] + last_["rows_gone"])
        << last_.text();
    EXPECT_EQ(last_["rows_pending"], 0) << last_.text();
    EXPECT_EQ(run.exit_code == 3, last_["rows_rejected"] > 0) << last_.text();
    return false;
  }

  // Rows whose vector is not the one of their text, or that have one and should have none, or lack one.
  int Stale() {
    const auto vectors = store_->Vectors();
    int stale = 0;
    for (const auto& [key, text] : store_->Texts()) {
      const auto vector = vectors.find(key);
      if (!Gets(key, text)) continue;  // what such a row had before stays
      if (vector != vectors.end() && vector->second == ExpectedBytes(text, kDim)) continue;
      ADD_FAILURE() << "row " << key << " `" << text << "` has "
                    << (vector == vectors.end() ? "no vector" : "another vector");
      ++stale;
    }
    return stale;
  }

  // What the last summary says against what is there.
  void ExpectEachOnce() {
    int right = 0, refused = 0;
    for (const auto& [key, text] : store_->Texts()) ++(Gets(key, text) ? right : refused);
    const int64_t done = last_["rows_embedded"] + last_["rows_skipped"];
    // Rows that were deleted later may be counted as what they were.
    EXPECT_GE(done, right) << last_.text();
    EXPECT_LE(done, right + deleted_) << last_.text();
    EXPECT_GE(last_["rows_rejected"], refused) << last_.text();
    EXPECT_LE(last_["rows_rejected"], refused + deleted_) << last_.text();
    EXPECT_LE(last_["rows_gone"], deleted_) << last_.text();
    EXPECT_LE(last_["rows_selected"], next_ - 1) << last_.text();
  }

  const std::string name_;
  std::mt19937_64 random_;
  const std::unique_ptr<BusyStore> store_;
  const TempFolder folder_;
  TextShop shop_{kDim};
  std::set<std::string> different_;
  std::vector<std::string> args_;
  int rows_ = 0;
  bool all_ = false;
  std::atomic<int> next_{1}, edited_{0}, deleted_{0};
  std::atomic<int64_t> sold_to_writer_{0};  // texts, when it ended
  std::atomic<bool> done_{false};           // the writer
  Summary last_{""};
};

class SumTest : public ::testing::TestWithParam<std::string> {};

TEST_P(SumTest, EachRowIsCountedOnceWhateverHappens) {
  const uint64_t first = TheCrashFlags().seed.value_or(std::random_device()());
  for (uint64_t seed = first; seed < first + (TheCrashFlags().seed.has_value() ? 1 : kJobs) && !HasFailure(); ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed, "; again: crash_test --seed ", seed, " --gtest_filter='*SumTest*",
                              GetParam(), "'"));
    BusyJob(GetParam(), seed).Run();
  }
}

INSTANTIATE_TEST_SUITE_P(Stores, SumTest, ::testing::Values("sqlite", "postgres", "falkordb"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace reembed
