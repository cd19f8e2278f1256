// SPDX-License-Identifier: Apache-2.0
#include "io/store/falkordb/falkordb_undo.h"

#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/falkordb/falkordb_reader.h"
#include "io/store/falkordb/falkordb_sink.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/memory_undo.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/vector_rows.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr int kDim = 4;
constexpr char kNodes[] = "label=M&key=id&vector=v&model_property=model";

class FalkorUndoTest : public ::testing::Test {
 protected:
  void SetUp() override { server_->DropGraph(); }
  void TearDown() override { server_->Command({"GRAPH.CONFIG", "SET", "RESULTSET_SIZE", "-1"}); }

  // Nodes 1 to 9, of which every third has no vector.
  void Fill() {
    server_->Run(
        "UNWIND range(1, 9) AS i CREATE (n:M {id: i, c: 'text ' + i, v: CASE WHEN i % 3 > 0 THEN "
        "vecf32([i, 0.25, 0.5, 1.0]) END, model: CASE WHEN i % 2 = 0 THEN 'old model' END})");
  }

  // Every node with all its properties and their types.
  std::string Dump() {
    return server_->Ask(
        "MATCH (n) UNWIND keys(n) AS k WITH n, k ORDER BY id(n), k RETURN id(n), labels(n)[0], k, typeOf(n[k]), n[k]");
  }

  static VectorRows Rows(int from, int to, int dim = kDim) {
    VectorRows rows(dim);
    for (int i = from; i <= to; ++i) rows.Add(i, int64_t{i});
    return rows;
  }

  absl::Status Write(const std::string& parameters, const VectorRows& rows, UndoLog* undo, size_t refusals = 0) {
    const Model model{.name = "new model", .dim = rows.batch()->dim()};
    const auto sink = MakeFalkorSink(server_->At(parameters), model, {.patience = absl::Seconds(10)});
    if (!sink.ok()) return sink.status();
    const absl::StatusOr<int64_t> from = PrepareAndOpen(sink->get(), {.model = model, .undo = undo}, {});
    if (!from.ok()) return from.status();
    const Batch* const batch = rows.batch();
    std::vector<RefusedRow> refused;
    if (absl::Status status = (*sink)->Write({&batch, 1}, &refused); !status.ok()) return status;
    EXPECT_EQ(refused.size(), refusals);
    return CompleteAndPublish(sink->get(), {.undo = undo});
  }

  absl::StatusOr<RollbackReport> RollBack(const std::string& parameters, const MemoryUndo& undo, int dim = kDim) {
    return RollBackFalkor(server_->At(parameters), undo.Read(dim).get(), {.patience = absl::Seconds(10)});
  }

  std::unique_ptr<FalkorServer> own_;  // null: the one of all tests
  FalkorServer* server_ = &TestFalkor();
};

TEST_F(FalkorUndoTest, VectorsComeBackToTheBitAndAbsentOnesGo) {
  Fill();
  const std::vector<float> hard = {-0.0f, std::numeric_limits<float>::denorm_min(), 0.1f,
                                   std::numeric_limits<float>::max()};
  Batch odd({}, kDim);
  odd.AddRow(0, int64_t{2}, 0)->vector = hard.data();
  {
    const auto sink = MakeFalkorSink(server_->At("label=M&key=id&vector=v"), {.name = "m", .dim = kDim}, {});
    ASSERT_THAT(sink, IsOk());
    ASSERT_THAT(PrepareAndOpen(sink->get(), {.model = {.name = "m", .dim = kDim}}, {}), IsOk());
    const Batch* const batch = &odd;
    std::vector<RefusedRow> refused;
    ASSERT_THAT((*sink)->Write({&batch, 1}, &refused), IsOk());
  }
  const std::string before = Dump();
  for (const int dim : {kDim, 2}) {
    MemoryUndo undo;
    // Twice, as after a crash: what is kept stays. One node is not there.
    ASSERT_THAT(Write(kNodes, Rows(1, 10, dim), &undo, 1), IsOk());
    ASSERT_THAT(Write(kNodes, Rows(1, 10, dim), &undo, 1), IsOk());
    EXPECT_NE(Dump(), before);
    EXPECT_EQ(undo.rows(), 9u);
    // However few nodes the server gives in one answer.
    server_->Command({"GRAPH.CONFIG", "SET", "RESULTSET_SIZE", "2"});
    auto report = RollBack(kNodes, undo, dim);
    server_->Command({"GRAPH.CONFIG", "SET", "RESULTSET_SIZE", "-1"});
    ASSERT_THAT(report, IsOk());
    EXPECT_EQ(Dump(), before);
    EXPECT_EQ(report->rows_restored, 9);
    EXPECT_THAT(report->left, IsEmpty());
    EXPECT_THAT(report->notes, IsEmpty());
    report = RollBack(kNodes, undo, dim);
    ASSERT_THAT(report, IsOk());
    EXPECT_EQ(report->rows_unchanged, 9);
    EXPECT_EQ(report->rows_restored, 0);
    EXPECT_EQ(Dump(), before);
  }
  const auto reader = OpenFalkorReader(server_->At("label=M&key=id&vector=v"), kDim);
  ASSERT_THAT(reader, IsOk());
  const auto row = (*reader)->Find(int64_t{2});
  ASSERT_THAT(row, IsOk());
  ASSERT_TRUE(row->has_value());
  EXPECT_EQ(std::memcmp((*row)->vector.data(), hard.data(), sizeof(float) * kDim), 0);
}

TEST_F(FalkorUndoTest, PropertiesOfOtherTypesComeBack) {
  server_->Run(
      "CREATE (:M {id: 1, v: 'a \"text\"\\n\\\\', model: 7}), (:M {id: 2, v: 42, model: true}), (:M {id: 3, v: 2.0, "
      "model: ''}), (:M {id: 4, v: false}), (:M {id: 5, v: [1, 2.0, 'x', true, -0.5], model: [1.0]}), (:M {id: 6, "
      "v: [], model: 0.1}), (:M {id: 7, v: -0.0, model: -9223372036854775807}), (:M {id: 8, v: vecf32([]), model: "
      "vecf32([1, 2])})");
  const std::string before = Dump();
  MemoryUndo undo;
  ASSERT_THAT(Write(kNodes, Rows(1, 8), &undo), IsOk());
  EXPECT_NE(Dump(), before);
  auto report = RollBack(kNodes, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_restored, 8);
  EXPECT_EQ(Dump(), before);
  report = RollBack(kNodes, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_unchanged, 8);
}

// The server shows 15 digits of a number, and 17 are needed.
TEST_F(FalkorUndoTest, NumbersComeBackToTheBit) {
  const std::string list = "[1.0 / 3, 'x', 0.1 + 0.2, 7, 2.0 / 3e10, -1e18 / 7]";
  server_->Run(
      absl::StrCat("CREATE (:M {id: 1, v: 0.1 + 0.2, w: 0.1 + 0.2}), (:M {id: 2, v: ", list, ", w: ", list, "})"));
  const auto differences = [&] {
    return server_->Ask(
        "MATCH (a:M {id: 1}), (b:M {id: 2}) RETURN a.v - a.w, b.v[0] - b.w[0], b.v[2] - b.w[2], b.v[4] - b.w[4], "
        "b.v[5] - b.w[5]");
  };
  MemoryUndo undo;
  ASSERT_THAT(Write("label=M&key=id&vector=v", Rows(1, 2), &undo), IsOk());
  ASSERT_THAT(RollBack("label=M&key=id&vector=v", undo), IsOk());
  EXPECT_EQ(differences(), "0|0|0|0|0");
}

TEST_F(FalkorUndoTest, WhatCouldNotBePutBackIsNotOverwritten) {
  for (const std::string odd : {"point({latitude: 1.0, longitude: 2.0})", "[1, [2.0]]", "0.0 / 0.0", "[1.0 / 0.0]"}) {
    SCOPED_TRACE(odd);
    server_->DropGraph();
    server_->Run(absl::StrCat("CREATE (:M {id: 1, v: vecf32([1, 2])}), (:M {id: 2, v: ", odd, "})"));
    const std::string before = Dump();
    MemoryUndo undo;
    EXPECT_THAT(
        Write("label=M&key=id&vector=v", Rows(1, 2), &undo),
        HasError(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("row 2"), HasSubstr("without an undo log"))));
    EXPECT_EQ(Dump(), before);
    EXPECT_EQ(undo.rows(), 0u);
  }
}

// An index takes some keys for equal that are not, and does not find others.
TEST_F(FalkorUndoTest, KeysOfEveryKindAreFound) {
  const std::vector<std::string> keys = {"Key",
                                         "key",
                                         "KEY",
                                         "key ",
                                         " key",
                                         "",
                                         "k\ty",
                                         "\x01",
                                         "\"",
                                         "\\u41",
                                         "\u00e4",
                                         "\u00c4",
                                         "a\nb",
                                         "$rows",
                                         "`",
                                         std::string(5000, 'x'),
                                         std::string(5000, 'x') + "y"};
  for (const bool indexed : {false, true}) {
    server_->DropGraph();
    std::string list;
    for (const std::string& key : keys) {
      if (!list.empty()) list.push_back(',');
      AppendFalkorText(key, &list);
    }
    server_->Run(absl::StrCat("CYPHER keys=[", list,
                              "] UNWIND range(0, size($keys) - 1) AS i CREATE (:`The label` {"
                              "`the key`: $keys[i], `v v`: vecf32([i, i, i, i]), model: 'm' + i})"));
    if (indexed) server_->Run("CREATE INDEX FOR (n:`The label`) ON (n.`the key`)");
    const std::string before = Dump();
    const std::string at = "label=The label&key=the key&vector=v v&model_property=model";
    VectorRows rows(kDim);
    for (size_t i = 0; i < keys.size(); ++i) rows.Add(static_cast<int64_t>(i), keys[i]);
    MemoryUndo undo;
    ASSERT_THAT(Write(at, rows, &undo), IsOk());
    EXPECT_NE(Dump(), before);
    const auto report = RollBack(at, undo);
    ASSERT_THAT(report, IsOk());
    EXPECT_EQ(report->rows_restored, static_cast<int64_t>(keys.size()));
    EXPECT_EQ(Dump(), before);
    if (indexed) {
      EXPECT_THAT(report->notes, IsEmpty());
    } else {
      EXPECT_THAT(report->notes, ElementsAre(AllOf(HasSubstr("index on the key stays"),
                                                   HasSubstr("DROP INDEX FOR (n:`The label`) ON (n.`the key`)"))));
    }
  }
}

TEST_F(FalkorUndoTest, WhatSomebodyChangedSinceStaysAndIsReported) {
  Fill();
  server_->Run("CREATE INDEX FOR (n:M) ON (n.id)");
  MemoryUndo undo;
  ASSERT_THAT(Write(kNodes, Rows(1, 9), &undo), IsOk());
  server_->Run("MATCH (n:M {id: 4}) SET n.v = '' WITH n SET n.v = vecf32([4.0, 4.5, 4.0, 4.25])");
  server_->Run("MATCH (n:M {id: 5}) SET n.v = null");
  server_->Run("MATCH (n:M {id: 6}) DELETE n");
  server_->Run("MATCH (n:M {id: 7}) SET n.c = 'other text', n.more = 1");
  auto report = RollBack(kNodes, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_restored, 6);
  EXPECT_EQ(report->rows_gone, 1);
  EXPECT_EQ(report->rows_left, 2);
  std::vector<std::string> left;
  for (const RollbackReport::Row& row : report->left) {
    left.push_back(absl::StrCat(KeyText(ViewOf(row.key)), " ", row.reason));
  }
  EXPECT_THAT(left, UnorderedElementsAre("4 its vector is not the one that the job wrote",
                                         "5 its vector is not the one that the job wrote"));
  EXPECT_EQ(server_->Ask("MATCH (n:M) WHERE n.id IN [4, 5, 7] RETURN n.id, n.c, n.v, n.model, n.more ORDER BY n.id"),
            "4|text 4|<4.000000, 4.500000, 4.000000, 4.250000>|new model|NULL\n5|text 5|NULL|new model|NULL\n"
            "7|other text|<7.000000, 0.250000, 0.500000, 1.000000>|NULL|1");
  report = RollBack(kNodes, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_unchanged, 6);
  // Nobody knows what was written: what was there before counts more.
  report = RollBack(kNodes, undo, 0);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_restored, 2);
  EXPECT_EQ(report->rows_left, 0);
}

TEST_F(FalkorUndoTest, IndexesThatWereMadeStayAndAreNamed) {
  Fill();
  const std::string at = absl::StrCat(kNodes, "&index=cosine");
  const std::string before = Dump();
  MemoryUndo undo;
  ASSERT_THAT(Write(at, Rows(1, 9), &undo), IsOk());
  ASSERT_THAT(Write(at, Rows(1, 9), &undo), IsOk());
  const auto report = RollBack(at, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(Dump(), before);
  EXPECT_THAT(report->notes, ElementsAre(HasSubstr("DROP INDEX FOR (n:`M`) ON (n.`id`)"),
                                         HasSubstr("DROP VECTOR INDEX FOR (n:`M`) ON (n.`v`)")));
  EXPECT_EQ(server_->Ask("CALL db.idx.vector.queryNodes('M', 'v', 1, vecf32([5, 0.25, 0.5, 1])) YIELD node RETURN "
                         "node.id"),
            "5");
  // As the notes say.
  server_->Run("DROP INDEX FOR (n:`M`) ON (n.`id`)");
  server_->Run("DROP VECTOR INDEX FOR (n:`M`) ON (n.`v`)");
}

TEST_F(FalkorUndoTest, NothingIsWrittenThatCannotBeKept) {
  Fill();
  const std::string before = Dump();
  MemoryUndo undo;
  undo.Fail(absl::ResourceExhaustedError("the disk is full"));
  EXPECT_THAT(Write(kNodes, Rows(1, 9), &undo), HasError(absl::StatusCode::kResourceExhausted, HasSubstr("disk")));
  EXPECT_EQ(Dump(), before);
  EXPECT_EQ(server_->Ask("CALL db.indexes() YIELD label RETURN count(label)"), "0");
}

TEST_F(FalkorUndoTest, GoesOnThroughARestartOfTheServer) {
  // Another one, started again, would replay the constraints of graphs that other tests have dropped, and refuse to
  // take a vector away.
  own_ = std::make_unique<FalkorServer>();
  server_ = own_.get();
  Fill();
  const std::string before = Dump();
  MemoryUndo undo;
  ASSERT_THAT(Write(kNodes, Rows(1, 9), &undo), IsOk());
  server_->Stop();
  server_->Start();
  const auto report = RollBack(kNodes, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(Dump(), before);
  server_->Stop();
  server_->Start();
  EXPECT_EQ(Dump(), before) << "a rollback waits for the disk";
}

TEST_F(FalkorUndoTest, WhatIsGoneIsSaid) {
  Fill();
  MemoryUndo undo;
  ASSERT_THAT(Write(kNodes, Rows(1, 9), &undo), IsOk());
  server_->Run("MATCH (n:M) DELETE n");
  const auto report = RollBack(kNodes, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_gone, 9);
  server_->DropGraph();
  const auto gone = RollBack(kNodes, undo);
  ASSERT_THAT(gone, IsOk());
  EXPECT_EQ(gone->rows_gone, 9);
  EXPECT_THAT(gone->notes, ElementsAre(HasSubstr("no graph")));
}

// Calls somebody at the end of the log, when all is put back.
class CallingReader final : public UndoReader {
 public:
  CallingReader(std::unique_ptr<UndoReader> reader, std::function<void()> call)
      : reader_(std::move(reader)), call_(std::move(call)) {}
  absl::StatusOr<std::optional<OldRow>> Next() override {
    absl::StatusOr<std::optional<OldRow>> row = reader_->Next();
    if (row.ok() && !row->has_value() && ++ends_ == 2) call_();
    return row;
  }
  absl::StatusOr<std::optional<std::string>> FindNote(absl::string_view name) override {
    return reader_->FindNote(name);
  }
  absl::StatusOr<std::optional<absl::Span<const float>>> WrittenVector(int64_t ordinal) override {
    return reader_->WrittenVector(ordinal);
  }

 private:
  const std::unique_ptr<UndoReader> reader_;
  const std::function<void()> call_;
  int ends_ = 0;
};

TEST_F(FalkorUndoTest, WhatTheServerForgetsIsNotSaidToBePutBack) {
  own_ = std::make_unique<FalkorServer>(FalkorServer::Options{.keeping = FalkorServer::Options::Keeping::kSnapshots});
  server_ = own_.get();
  Fill();
  const std::string before = Dump();
  MemoryUndo undo;
  ASSERT_THAT(Write(kNodes, Rows(1, 9), &undo), IsOk());
  server_->Save();
  CallingReader log(undo.Read(kDim), [this] {
    server_->Stop();
    server_->Start();
  });
  const auto forgotten = RollBackFalkor(server_->At(kNodes), &log, {.patience = absl::Seconds(10)});
  EXPECT_THAT(forgotten, HasError(absl::StatusCode::kUnavailable, HasSubstr("run the same command again")));
  ASSERT_NE(Dump(), before);
  EXPECT_THAT(RollBack(kNodes, undo), IsOk());
  EXPECT_EQ(Dump(), before);
}

}  // namespace
}  // namespace reembed
