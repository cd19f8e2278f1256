// SPDX-License-Identifier: Apache-2.0
// Each row of a job is counted once, in its last state, whatever happens to it: texts and vectors that are refused,
// edits, deletions and insertions by somebody else while runs go on, kills. And what was edited during a run has the
// vector of its new text when it ends.

#include <poll.h>
#include <signal.h>

#include <atomic>
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
#include "tests/crash/busy_stores.h"
#include "tests/crash/crash_flags.h"
#include "tests/crash/expected_table.h"
#include "tests/crash/text_shop.h"
#include "tests/fakes/process.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

constexpr int kJobs = 3;  // of a store in the normal run

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
    args_ = {REEMBED_ARMED_BINARY, "run", "--json", "--api-base", shop_.api_base()};
    for (const std::string& word : store_->Args()) args_.push_back(word);
    for (const std::string& more :
         {std::string("--model"), std::string("m"), std::string("--dimensions"), absl::StrCat(kBusyDim),
          std::string("--batch-size"), absl::StrCat(1 + Below(30)), std::string("--concurrency"),
          absl::StrCat(1 + Below(3)), std::string("--job"), folder_ / "job"}) {
      args_.push_back(more);
    }
    if (all_ && store_->is_in_place()) args_.insert(args_.end(), {"--all", "--yes"});
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
    return !store_->Refuses(std::stoi(key)) && !text.empty() && !absl::EndsWith(text, " refused");
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
    const auto texts = store_->Texts();
    int stale = 0;
    for (const auto& vectors : store_->Vectors()) {
      for (const auto& [key, text] : texts) {
        const auto vector = vectors.find(key);
        if (!Gets(key, text)) continue;  // what such a row had before stays
        if (vector != vectors.end() && vector->second == ExpectedBytes(text, kBusyDim)) continue;
        ADD_FAILURE() << "row " << key << " `" << text << "` has "
                      << (vector == vectors.end() ? "no vector" : "another vector");
        ++stale;
      }
      for (const auto& [key, vector] : vectors) {
        EXPECT_TRUE(texts.contains(key) || !store_->is_in_place()) << "row " << key << " came back";
      }
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
  TextShop shop_{kBusyDim};
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

INSTANTIATE_TEST_SUITE_P(Stores, SumTest, ::testing::ValuesIn(BusyStores()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace reembed
