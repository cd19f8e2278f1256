// SPDX-License-Identifier: Apache-2.0
#include "engine/rollback.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string BytesOf(absl::Span<const float> vector) {
  return {reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float)};
}
std::string Written(int row) { return BytesOf({static_cast<float>(row) + 0.5f, 1}); }

// A log whose n-th row has the key "n".
class Log final : public UndoReader {
 public:
  void Add(std::optional<std::string> content) { rows_.push_back(std::move(content)); }
  void ForgetWritten(int64_t row) { unknown_.insert(row); }

  absl::StatusOr<std::optional<OldRow>> Next() override {
    if (next_ == rows_.size()) return std::nullopt;
    key_ = absl::StrCat(next_);
    OldRow row{.ordinal = static_cast<int64_t>(next_), .key = absl::string_view(key_)};
    if (rows_[next_].has_value()) row.content = *rows_[next_];
    ++next_;
    return row;
  }
  absl::StatusOr<std::optional<std::string>> FindNote(absl::string_view) override { return std::nullopt; }
  absl::StatusOr<std::optional<absl::Span<const float>>> WrittenVector(int64_t ordinal) override {
    if (unknown_.contains(ordinal)) return std::nullopt;
    written_ = {static_cast<float>(ordinal) + 0.5f, 1};
    return absl::MakeConstSpan(written_);
  }

 private:
  std::vector<std::optional<std::string>> rows_;
  std::set<int64_t> unknown_;
  std::vector<float> written_;
  std::string key_;
  size_t next_ = 0;
};

// Rows in memory: key -> content, which is the bytes of a vector.
class Table final : public RowTable {
 public:
  std::map<std::string, std::string> rows;
  std::set<std::string> in_use, refused, stuck;
  bool together = false;                     // what it refuses fails the whole of a change
  std::function<void(Table*)> before_apply;  // what somebody else does meanwhile; once
  bool lose_answers = false;                 // all is done, and nobody hears of it
  int reads = 0, taken_away = 0;

  absl::Status Read(absl::Span<const OldRow> old, absl::Span<RowNow> now) override {
    ++reads;
    for (size_t i = 0; i < old.size(); ++i) {
      const std::string key = KeyText(old[i].key);
      const auto found = rows.find(key);
      now[i].was_there = old[i].content.has_value();
      now[i].there = found != rows.end();
      if (now[i].there) now[i].content = found->second;
      if (in_use.contains(key)) now[i].stays = "somebody uses it";
      if (stuck.contains(key)) now[i].stuck = "it is stuck";
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<bool>> Holds(const RowNow& now, absl::Span<const float> written) override {
    return now.content == BytesOf(written);
  }

  absl::Status Apply(absl::Span<const RowChange> changes, absl::Span<RowOutcome> outcomes) override {
    if (before_apply) std::exchange(before_apply, nullptr)(this);
    const auto is_refused = [this](const RowChange& change) { return refused.contains(KeyText(change.key)); };
    if (together && std::any_of(changes.begin(), changes.end(), is_refused)) {
      std::fill(outcomes.begin(), outcomes.end(), RowOutcome{RowOutcome::Kind::kTogether, "a row is not wanted"});
      return absl::OkStatus();
    }
    for (size_t i = 0; i < changes.size(); ++i) {
      const std::string key = KeyText(changes[i].key);
      if (is_refused(changes[i])) {
        outcomes[i] = {RowOutcome::Kind::kRefused, "a row is not wanted"};
      } else if (!rows.contains(key)) {
        outcomes[i].kind = RowOutcome::Kind::kAgain;
      } else if (changes[i].content.has_value()) {
        rows[key] = std::string(*changes[i].content);
      } else {
        rows.erase(key);
      }
      if (lose_answers) outcomes[i].kind = RowOutcome::Kind::kAgain;
    }
    return absl::OkStatus();
  }

  absl::Status TakeAway(UndoReader*, RollbackReport*) override {
    ++taken_away;
    return absl::OkStatus();
  }
};

class RollbackTest : public ::testing::Test {
 protected:
  // Rows that the job has overwritten.
  void Overwrite(int rows) {
    for (int i = 0; i < rows; ++i) {
      log_.Add(absl::StrCat("old ", i));
      table_.rows[absl::StrCat(i)] = Written(i);
    }
  }
  // A row that it has added; returns its number.
  std::string AddRow(int number) {
    log_.Add(std::nullopt);
    table_.rows[absl::StrCat(number)] = Written(number);
    return absl::StrCat(number);
  }
  void RollBack() {
    absl::StatusOr<RollbackReport> report = RollBackRows("a table", &table_, &log_);
    ASSERT_THAT(report, IsOk());
    report_ = *std::move(report);
    EXPECT_EQ(table_.taken_away, 1);
  }
  std::vector<int64_t> Counts() const {
    return {report_.rows_restored, report_.rows_unchanged, report_.rows_gone, report_.rows_left};
  }
  std::string ReasonOf(size_t left) const {
    return left < report_.left.size()
               ? absl::StrCat(KeyText(ViewOf(report_.left[left].key)), ": ", report_.left[left].reason)
               : "";
  }

  Log log_;
  Table table_;
  RollbackReport report_;
};

TEST_F(RollbackTest, EveryRowIsDecidedByWhatItHolds) {
  Overwrite(4);
  table_.rows["0"] = "old 0";        // never overwritten, or put back before
  table_.rows.erase("1");            // somebody removed it
  table_.rows["2"] = "of somebody";  // or changed it
  const std::string added = AddRow(4), used = AddRow(5), gone = AddRow(6);
  table_.in_use.insert(used);
  table_.rows.erase(gone);
  RollBack();
  EXPECT_THAT(Counts(), ElementsAre(2, 2, 1, 2));
  EXPECT_EQ(ReasonOf(0), "2: its vector is not the one that the job wrote");
  EXPECT_EQ(ReasonOf(1), "5: somebody uses it");
  EXPECT_EQ(table_.rows["3"], "old 3");
  EXPECT_EQ(table_.rows["2"], "of somebody");
  EXPECT_FALSE(table_.rows.contains(added));
  EXPECT_TRUE(table_.rows.contains(used));
}

TEST_F(RollbackTest, WhereNobodyKnowsWhatWasWrittenRowsArePutBackAndNoneIsRemoved) {
  Overwrite(1);
  AddRow(1);
  log_.ForgetWritten(0);
  log_.ForgetWritten(1);
  table_.rows["0"] = "perhaps of somebody";
  RollBack();
  EXPECT_THAT(Counts(), ElementsAre(1, 0, 0, 1));
  EXPECT_EQ(table_.rows["0"], "old 0");
  EXPECT_TRUE(table_.rows.contains("1"));
  EXPECT_THAT(ReasonOf(0), HasSubstr("not known"));
}

// One by one, or found by halving.
TEST_F(RollbackTest, ARowThatTheStoreRefusesIsNamedAndAllOthersArePutBack) {
  for (const bool together : {false, true}) {
    SCOPED_TRACE(together);
    log_ = Log();
    table_ = Table();
    table_.together = together;
    table_.refused = {"7", "8", "700"};
    Overwrite(1000);
    RollBack();
    EXPECT_THAT(Counts(), ElementsAre(997, 0, 0, 3));
    EXPECT_EQ(ReasonOf(0), "7: a row is not wanted");
    EXPECT_EQ(ReasonOf(2), "700: a row is not wanted");
    for (int i = 0; i < 1000; ++i) {
      const std::string key = absl::StrCat(i);
      ASSERT_EQ(table_.rows[key], table_.refused.contains(key) ? Written(i) : absl::StrCat("old ", i)) << key;
    }
    EXPECT_LT(table_.reads, 60);
  }
}

TEST_F(RollbackTest, ARowThatCannotBeAskedForIsLeft) {
  Overwrite(2);
  table_.stuck = {"1"};
  RollBack();
  EXPECT_THAT(Counts(), ElementsAre(1, 0, 0, 1));
  EXPECT_EQ(ReasonOf(0), "1: it is stuck");
}

TEST_F(RollbackTest, ARowThatVanishesMeanwhileIsGone) {
  Overwrite(3);
  table_.before_apply = [](Table* table) { table->rows.erase("1"); };
  RollBack();
  EXPECT_THAT(Counts(), ElementsAre(2, 0, 1, 0));
}

// The connection was lost behind a change that was made.
TEST_F(RollbackTest, WhatIsFoundDoneAfterALostAnswerCountsAsDone) {
  Overwrite(3);
  table_.lose_answers = true;
  RollBack();
  EXPECT_THAT(Counts(), ElementsAre(3, 0, 0, 0));
}

TEST_F(RollbackTest, RowsThatKeepComingAndGoingEndItInWords) {
  Overwrite(1);
  class Restless final : public RowTable {
   public:
    absl::Status Read(absl::Span<const OldRow>, absl::Span<RowNow> now) override {
      now[0] = {.there = true, .was_there = true, .content = Written(0)};
      ++reads;
      return absl::OkStatus();
    }
    absl::StatusOr<std::optional<bool>> Holds(const RowNow&, absl::Span<const float>) override { return true; }
    absl::Status Apply(absl::Span<const RowChange>, absl::Span<RowOutcome> outcomes) override {
      outcomes[0].kind = RowOutcome::Kind::kAgain;
      return absl::OkStatus();
    }
    absl::Status TakeAway(UndoReader*, RollbackReport*) override { return absl::OkStatus(); }
    int reads = 0;
  } restless;
  EXPECT_THAT(RollBackRows("a table", &restless, &log_),
              HasError(absl::StatusCode::kUnavailable, AllOf(HasSubstr("a table"), HasSubstr("run this again"))));
  EXPECT_EQ(restless.reads, 5);
}

TEST_F(RollbackTest, WithoutATableRowsAreGone) {
  log_.Add("old");
  log_.Add(std::nullopt);
  ASSERT_THAT(CountRowsGone(&log_, "the table t is not there any more", &report_), IsOk());
  EXPECT_THAT(Counts(), ElementsAre(0, 1, 1, 0));
  EXPECT_THAT(report_.notes, ElementsAre("the table t is not there any more"));
}

TEST_F(RollbackTest, WithoutAColumnAllRowsAreLeftAndNamed) {
  log_.Add("old");
  log_.Add(std::nullopt);
  ASSERT_THAT(LeaveRows(&log_, "the column v is gone", &report_), IsOk());
  EXPECT_THAT(Counts(), ElementsAre(0, 0, 0, 2));
  EXPECT_EQ(ReasonOf(1), "1: the column v is gone");
  EXPECT_THAT(report_.notes, IsEmpty());
}

}  // namespace
}  // namespace reembed
