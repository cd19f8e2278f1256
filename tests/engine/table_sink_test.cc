// SPDX-License-Identifier: Apache-2.0
#include "engine/table_sink.h"

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/memory_undo.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/vector_rows.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kDim = 2;

// A table in memory: what it was asked, and what it holds, as the first number of each vector.
struct Table {
  std::map<std::string, std::string> cells;
  std::vector<std::string> calls;
  bool names = false;   // keys are said in lower case, and the key "?" cannot be
  absl::Status broken;  // what Write() ends with
};

class MemoryWriter final : public RowWriter {
 public:
  explicit MemoryWriter(Table* table) : table_(table) {}

  absl::StatusOr<int64_t> Begin(const SinkContext& context, const SinkPosition& last) override {
    table_->calls.push_back(absl::StrCat("begin at ", last.position));
    undo_ = context.undo;
    return last.position;
  }

  absl::Status NameRows(absl::Span<RowToWrite> rows) override {
    if (!table_->names) return RowWriter::NameRows(rows);
    for (RowToWrite& row : rows) {
      row.key = absl::AsciiStrToLower(KeyText(row.row->key));
      if (row.key == "?") row.refusal = absl::InvalidArgumentError("no key is like this");
    }
    return absl::OkStatus();
  }

  absl::Status Write(absl::Span<RowToWrite* const> rows) override {
    std::string call = "write";
    for (const RowToWrite* const row : rows) absl::StrAppend(&call, " ", row->row->ordinal);
    table_->calls.push_back(call);
    ABSL_RETURN_IF_ERROR(
        LogOldRows(rows, undo_, [&](size_t row, std::optional<absl::string_view>* content) -> absl::StatusOr<bool> {
          const auto cell = table_->cells.find(NameOf(*rows[row]));
          if (cell != table_->cells.end()) *content = cell->second;
          return cell != table_->cells.end() || table_->names;
        }));
    for (RowToWrite* const row : rows) {
      const std::string name = NameOf(*row);
      if (name == "gone") {
        row->SetGone();
      } else if (name == "wrong") {
        row->Refuse("is not wanted");
      } else {
        table_->cells[name] = absl::StrCat(row->row->vector[0]);
      }
    }
    return table_->broken;
  }

  absl::Status Flush() override {
    table_->calls.push_back("flush");
    return absl::OkStatus();
  }
  absl::Status Complete() override {
    table_->calls.push_back("complete");
    return absl::OkStatus();
  }
  absl::StatusOr<bool> Prepare(const SinkContext&) override {
    table_->calls.push_back("prepare");
    return true;
  }
  absl::Status Publish(const SinkContext&) override {
    table_->calls.push_back("publish");
    return absl::OkStatus();
  }

 private:
  static std::string NameOf(const RowToWrite& row) { return row.key.value_or(KeyText(row.row->key)); }

  Table* const table_;
  UndoLog* undo_ = nullptr;
};

class TableSinkTest : public ::testing::Test {
 protected:
  std::unique_ptr<VectorSink> Sink(UndoLog* undo = nullptr) {
    auto sink = MakeTableSink("notes.db: table `m`", kDim, std::make_unique<MemoryWriter>(&table_));
    EXPECT_EQ(*sink->Open({.model = {.name = "new", .dim = kDim}, .undo = undo}, {.position = 7}), 7);
    return sink;
  }

  // "ordinal CODE: message" of what was refused.
  std::vector<std::string> Write(VectorSink* sink, const std::vector<const Batch*>& batches) {
    std::vector<RefusedRow> refused;
    EXPECT_THAT(sink->Write(batches, &refused), IsOk());
    std::vector<std::string> texts;
    for (const RefusedRow& row : refused) texts.push_back(absl::StrCat(row.ordinal, " ", row.reason.ToString()));
    return texts;
  }

  Table table_;
};

TEST_F(TableSinkTest, RowsOfAllBatchesComeTogetherInTheOrderOfTheirOrdinals) {
  VectorRows later(kDim), earlier(kDim);
  later.Add(12, std::string("d"));
  later.AddWithoutVector(11, std::string("no vector"));
  later.Add(10, std::string("c"));
  earlier.Add(3, std::string("a"));
  earlier.Add(4, int64_t{9});
  const auto sink = Sink();
  EXPECT_THAT(Write(sink.get(), {later.batch(), earlier.batch()}), IsEmpty());
  EXPECT_THAT(sink->Flush(), IsOk());
  EXPECT_THAT(sink->Complete(), IsOk());
  EXPECT_THAT(table_.calls, ElementsAre("begin at 7", "write 3 4 10 12", "flush", "complete"));
  EXPECT_THAT(table_.cells,
              ElementsAre(std::pair("9", "4"), std::pair("a", "3"), std::pair("c", "10"), std::pair("d", "12")));
}

TEST_F(TableSinkTest, WhatIsOnceAJobIsTheWritersOwn) {
  const auto sink = MakeTableSink("notes.db: table `m`", kDim, std::make_unique<MemoryWriter>(&table_));
  EXPECT_THAT(sink->Prepare({.model = {.name = "new", .dim = kDim + 1}}),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("expected vectors of")));
  EXPECT_THAT(table_.calls, IsEmpty());
  // What was made anew holds nothing of what the ledger believes.
  EXPECT_EQ(*PrepareAndOpen(sink.get(), {.model = {.name = "new", .dim = kDim}}, {.position = 7}), 0);
  EXPECT_THAT(CompleteAndPublish(sink.get(), {}), IsOk());
  EXPECT_THAT(table_.calls, ElementsAre("prepare", "begin at 0", "complete", "publish"));
}

TEST_F(TableSinkTest, WithoutAVectorNobodyIsCalled) {
  VectorRows rows(kDim);
  rows.AddWithoutVector(1, std::string("a"));
  const auto sink = Sink();
  EXPECT_THAT(Write(sink.get(), {rows.batch()}), IsEmpty());
  EXPECT_THAT(Write(sink.get(), {}), IsEmpty());
  EXPECT_THAT(table_.calls, ElementsAre("begin at 7"));
}

TEST_F(TableSinkTest, RefusalsNamePlaceAndRowAndKeepTheirCode) {
  VectorRows rows(kDim);
  rows.Add(1, std::string("a"));
  rows.Add(2, std::string("gone"));
  rows.Add(3, std::string("wrong"));
  const auto sink = Sink();
  EXPECT_THAT(Write(sink.get(), {rows.batch()}),
              ElementsAre("2 NOT_FOUND: notes.db: table `m`: row gone: is gone from the target",
                          "3 FAILED_PRECONDITION: notes.db: table `m`: row wrong: is not wanted"));
  VectorRows again(kDim);
  again.Add(4, std::string("b"));
  EXPECT_THAT(Write(sink.get(), {again.batch()}), IsEmpty()) << "refusals are of one call";
}

TEST_F(TableSinkTest, OfRowsThatTheStoreTakesForOneTheLastIsWritten) {
  table_.names = true;
  VectorRows rows(kDim), more(kDim);
  rows.Add(1, std::string("A"));
  rows.Add(2, std::string("b"));
  rows.Add(4, std::string(""));
  more.Add(5, std::string("a"));
  more.Add(6, std::string("?"));
  more.Add(7, std::string(""));
  const auto sink = Sink();
  EXPECT_THAT(Write(sink.get(), {more.batch(), rows.batch()}),
              ElementsAre("6 INVALID_ARGUMENT: notes.db: table `m`: row ?: no key is like this"));
  EXPECT_THAT(table_.calls, ElementsAre("begin at 7", "write 2 5 7"));
  EXPECT_THAT(table_.cells, ElementsAre(std::pair("", "7"), std::pair("a", "5"), std::pair("b", "2")));
}

TEST_F(TableSinkTest, WithoutNamesEachRowIsWritten) {
  VectorRows rows(kDim);
  rows.Add(1, std::string("a"));
  rows.Add(2, std::string("a"));
  const auto sink = Sink();
  EXPECT_THAT(Write(sink.get(), {rows.batch()}), IsEmpty());
  EXPECT_THAT(table_.calls, ElementsAre("begin at 7", "write 1 2"));
}

TEST_F(TableSinkTest, RowsWhoseKeysCannotBeDoNotReachTheTable) {
  table_.names = true;
  VectorRows rows(kDim);
  rows.Add(1, std::string("?"));
  const auto sink = Sink();
  EXPECT_EQ(Write(sink.get(), {rows.batch()}).size(), 1u);
  EXPECT_THAT(table_.calls, ElementsAre("begin at 7"));
}

TEST_F(TableSinkTest, AnotherWidthIsRefusedBeforeAnythingIsDone) {
  auto sink = MakeTableSink("notes.db: table `m`", kDim, std::make_unique<MemoryWriter>(&table_));
  const auto refused = HasError(absl::StatusCode::kFailedPrecondition,
                                ::testing::Eq("notes.db: table `m`: expected vectors of 2 numbers, got such of 3"));
  EXPECT_THAT(sink->Open({.model = {.name = "new", .dim = 3}}, {}), refused);
  EXPECT_THAT(table_.calls, IsEmpty());
  sink = Sink();
  VectorRows right(kDim), wrong(3);
  right.Add(1, std::string("a"));
  wrong.AddWithoutVector(2, std::string("b"));
  const std::vector<const Batch*> batches = {right.batch(), wrong.batch()};
  std::vector<RefusedRow> rows;
  EXPECT_THAT(sink->Write(batches, &rows), refused);
  EXPECT_THAT(table_.calls, ElementsAre("begin at 7"));
}

TEST_F(TableSinkTest, AnErrorOfTheStoreIsTheSinks) {
  table_.broken = absl::UnavailableError("locked");
  VectorRows rows(kDim);
  rows.Add(1, std::string("gone"));
  const auto sink = Sink();
  const Batch* const batch = rows.batch();
  std::vector<RefusedRow> refused;
  EXPECT_THAT(sink->Write({&batch, 1}, &refused), HasError(absl::StatusCode::kUnavailable, "locked"));
  EXPECT_TRUE(refused.empty()) << "nobody knows what became of the rows";
}

TEST_F(TableSinkTest, TheLogSeesWhatIsOverwrittenAndWhatIsAdded) {
  table_.cells = {{"a", "old"}};
  MemoryUndo undo;
  VectorRows rows(kDim);
  rows.Add(1, std::string("a"));
  rows.Add(2, std::string("b"));
  const auto sink = Sink(&undo);
  EXPECT_THAT(Write(sink.get(), {rows.batch()}), IsEmpty());
  EXPECT_EQ(undo.rows(), 1u) << "a row that is not there is not shown";
  table_.names = true;
  VectorRows more(kDim);
  more.Add(3, std::string("C"));
  EXPECT_THAT(Write(sink.get(), {more.batch()}), IsEmpty());
  const std::unique_ptr<UndoReader> log = undo.Read(0);
  absl::StatusOr<std::optional<OldRow>> row = log->Next();
  ASSERT_TRUE(row.ok() && row->has_value());
  EXPECT_EQ((*row)->ordinal, 1);
  EXPECT_EQ((*row)->key, KeyView("a"));
  EXPECT_EQ((*row)->content, "old");
  row = log->Next();
  ASSERT_TRUE(row.ok() && row->has_value());
  EXPECT_EQ((*row)->key, KeyView("C")) << "as the job knows the row";
  EXPECT_FALSE((*row)->content.has_value());
}

TEST_F(TableSinkTest, WhatTheLogDoesNotTakeIsNotOverwritten) {
  table_.cells = {{"a", "old"}};
  MemoryUndo undo;
  undo.Fail(absl::ResourceExhaustedError("no room"));
  VectorRows rows(kDim);
  rows.Add(1, std::string("a"));
  const auto sink = Sink(&undo);
  const Batch* const batch = rows.batch();
  std::vector<RefusedRow> refused;
  EXPECT_THAT(sink->Write({&batch, 1}, &refused), HasError(absl::StatusCode::kResourceExhausted, "no room"));
  EXPECT_THAT(table_.cells, ElementsAre(std::pair("a", "old")));
}

}  // namespace
}  // namespace reembed
