// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_undo.h"

#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/qdrant/qdrant_sink.h"
#include "tests/fakes/memory_undo.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/vector_rows.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;
using Points = std::map<std::string, QdrantServer::Point>;

constexpr int kDim = 4;

Location At(const QdrantServer& server, const std::string& rest) {
  return *ParseLocation(absl::StrCat("qdrant:", server.url(), "/", rest));
}

Key Id(int i) {
  if (i % 2 == 0) return int64_t{i};
  return absl::StrFormat("00000000-0000-4000-8000-%012x", i);
}

std::string IdText(int i) { return KeyText(ViewOf(Id(i))); }

// Points 1 to `points` with random vectors and a payload.
void Fill(QdrantServer* server, const std::string& name, int points, const std::string& distance,
          const std::string& vector = "", int dim = kDim) {
  const std::string config = absl::StrCat(R"({"size":)", dim, R"(,"distance":")", distance, "\"}");
  const std::string other = R"("other":{"size":1,"distance":"Dot"})";
  server->Do("PUT", "/collections/" + name,
             absl::StrCat(R"({"vectors":)",
                          vector.empty() ? config : absl::StrCat("{\"", vector, "\":", config, ",", other, "}"), "}"));
  server->Do("PUT", "/collections/" + name + "/index?wait=true", R"({"field_name":"tags","field_schema":"keyword"})");
  std::minstd_rand random(17);
  std::normal_distribution<float> number;
  std::string body = R"({"points":[)";
  for (int i = 1; i <= points; ++i) {
    std::string numbers;
    for (int k = 0; k < dim; ++k) absl::StrAppendFormat(&numbers, "%s%.9g", k == 0 ? "[" : ",", number(random));
    numbers.push_back(']');
    if (!vector.empty()) numbers = absl::StrCat("{\"", vector, "\":", numbers, R"(,"other":[)", i, "]}");
    absl::StrAppend(&body, i == 1 ? "" : ",", R"({"id":)", KeyJson(ViewOf(Id(i))), R"(,"vector":)", numbers,
                    R"(,"payload":{"content":"text )", i, R"(","archived":true}})");
  }
  server->Do("PUT", "/collections/" + name + "/points?wait=true", body + "]}");
}

VectorRows RowsOf(int from, int to, int dim = kDim) {
  VectorRows rows(dim);
  for (int i = from; i <= to; ++i) rows.Add(i, Id(i));
  return rows;
}

absl::Status Write(const Location& location, const VectorRows& rows, UndoLog* undo, bool finish = true) {
  const Model model{.name = "m", .dim = rows.batch()->dim()};
  const auto sink = MakeQdrantSink(location, model, false, {.patience = absl::Seconds(5)});
  if (!sink.ok()) return sink.status();
  const absl::StatusOr<int64_t> from = PrepareAndOpen(sink->get(), {.model = model, .undo = undo}, {});
  if (!from.ok()) return from.status();
  const Batch* const batch = rows.batch();
  std::vector<RefusedRow> refused;
  if (absl::Status status = (*sink)->Write({&batch, 1}, &refused); !status.ok()) return status;
  EXPECT_TRUE(refused.empty());
  return finish ? CompleteAndPublish(sink->get(), {}) : absl::OkStatus();
}

absl::StatusOr<RollbackReport> RollBack(const Location& location, const MemoryUndo& undo, int dim = kDim) {
  return RollBackQdrant(location, undo.Read(dim).get(), {.patience = absl::Seconds(5)});
}

// Fails the request number `at` that changes something, as if the process had died there.
void FailChange(QdrantServer* server, int* at) {
  server->FailNext(1, 507, [at](const std::string& method, const std::string& path) {
    const bool reads = method == "GET" || absl::EndsWith(path, "/points") || absl::EndsWith(path, "/scroll") ||
                       absl::EndsWith(path, "/count");
    return (!reads || method == "PUT") && (*at)-- == 0;
  });
}

TEST(QdrantUndoTest, EveryVectorIsPutBackByteForByte) {
  for (const std::string distance : {"Cosine", "Dot"}) {
    for (const std::string vector : {"", "new one"}) {
      SCOPED_TRACE(absl::StrCat(distance, " ", vector));
      QdrantServer server;
      Fill(&server, "memories", 1300, distance, vector);
      const Points before = server.Points("memories");
      const Location location = At(server, vector.empty() ? "memories" : "memories?vector=new%20one");
      MemoryUndo undo;
      ASSERT_THAT(Write(location, RowsOf(1, 1290), &undo), IsOk());
      EXPECT_NE(server.Points("memories"), before);
      // Again, as after a crash: what is kept stays.
      ASSERT_THAT(Write(location, RowsOf(1, 1290), &undo), IsOk());
      auto report = RollBack(location, undo);
      ASSERT_THAT(report, IsOk());
      EXPECT_EQ(server.Points("memories"), before);
      EXPECT_EQ(report->rows_restored, 1290);
      EXPECT_THAT(report->left, IsEmpty());
      EXPECT_THAT(report->notes, IsEmpty());
      report = RollBack(location, undo);
      ASSERT_THAT(report, IsOk());
      EXPECT_EQ(report->rows_restored, 0);
      EXPECT_EQ(report->rows_unchanged, 1290);
    }
  }
}

// As those of a memory system, which a point has when it is added.
class PayloadsOfKeys final : public QdrantPayloads {
 public:
  std::vector<std::string> keyword_indexes() const override { return {}; }
  absl::Status Complete(absl::Span<const KeyView> keys, absl::Span<std::string* const> payloads) override {
    for (size_t i = 0; i < keys.size(); ++i) {
      *payloads[i] = absl::StrCat(R"({"content":)", KeyJson(keys[i]), R"(,"tags":["a","b"],"z":{"y":0.10,"x":null}})");
    }
    return absl::OkStatus();
  }
};

TEST(QdrantUndoTest, PointsThatWereAddedWithAPayloadGoUnlessSomebodyChangedIt) {
  QdrantServer server;
  Fill(&server, "memories", 10, "Cosine");
  Points before = server.Points("memories");
  const Location location = At(server, "memories");
  const Model model{.name = "m", .dim = kDim};
  MemoryUndo undo;
  for (int time = 0; time < 2; ++time) {
    const auto sink =
        MakeQdrantSink(location, model, false, {.patience = absl::Seconds(5)}, std::make_unique<PayloadsOfKeys>());
    ASSERT_THAT(sink, IsOk());
    ASSERT_THAT(PrepareAndOpen(sink->get(), {.model = model, .undo = &undo}, {}), IsOk());
    const VectorRows rows = RowsOf(1, 20);
    const Batch* const batch = rows.batch();
    std::vector<RefusedRow> refused;
    ASSERT_THAT((*sink)->Write({&batch, 1}, &refused), IsOk());
  }
  ASSERT_EQ(server.Points("memories").size(), 20u);
  server.Do(
      "PUT", "/collections/memories/points?wait=true",
      R"({"points":[{"id":12,"vector":[12,12.5,12,12.5],"payload":{"content":12,"tags":["a","b"],"new":1}},)"
      R"({"id":14,"vector":[14,14.5,14,14.5],"payload":{"content":14,"tags":["b","a"],"z":{"y":0.1,"x":null}}},)"
      R"({"id":16,"vector":[16,16.5,16,16.5],"payload":{"z":{"x":null,"y":1e-1},"tags":["a","b"],"content":16}}]})");
  const Points changed = server.Points("memories");
  const auto report = RollBack(location, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_restored, 18);
  ASSERT_EQ(report->left.size(), 2u);
  EXPECT_THAT(report->left[0].reason, HasSubstr("changed its payload"));
  for (const int i : {12, 14}) before[IdText(i)] = changed.at(IdText(i));
  EXPECT_EQ(server.Points("memories"), before);
}

TEST(QdrantUndoTest, WhatSomebodyChangedSinceStaysAndIsReported) {
  QdrantServer server;
  Fill(&server, "memories", 20, "Cosine");
  Points before = server.Points("memories");
  const Location location = At(server, "memories");
  MemoryUndo undo;
  ASSERT_THAT(Write(location, RowsOf(1, 24), &undo), IsOk());
  EXPECT_EQ(server.Points("memories").size(), 24u);
  server.Do("PUT", "/collections/memories/points/vectors?wait=true",
            R"({"points":[{"id":4,"vector":[0,0,0,1]},{"id":22,"vector":[0,0,0,1]}]})");
  server.Do("POST", "/collections/memories/points/delete?wait=true", R"({"points":[6]})");
  server.Do("PUT", "/collections/memories/points?wait=true",
            R"({"points":[{"id":24,"vector":[24,24.5,24,24.5],"payload":{"content":"mine now"}}]})");
  auto report = RollBack(location, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_restored, 20) << "18 put back, 2 removed";
  EXPECT_EQ(report->rows_gone, 1);
  EXPECT_EQ(report->rows_left, 3);
  ASSERT_EQ(report->left.size(), 3u);
  EXPECT_EQ(report->left[0].key, Id(4));
  EXPECT_THAT(report->left[0].reason, HasSubstr("not the one that the job wrote"));
  EXPECT_EQ(report->left[1].key, Id(22));
  EXPECT_EQ(report->left[2].key, Id(24));
  EXPECT_THAT(report->left[2].reason, HasSubstr("payload"));
  Points after = server.Points("memories");
  for (const int i : {4, 22, 24}) EXPECT_EQ(after.erase(IdText(i)), 1u);
  for (const int i : {4, 6}) before.erase(IdText(i));
  EXPECT_EQ(after, before);
}

TEST(QdrantUndoTest, HashedKeysOfPointsThatWereAdded) {
  QdrantServer server;
  Fill(&server, "memories", 3, "Dot");
  const Points before = server.Points("memories");
  const Location location = At(server, "memories?ids=uuid5&key=source");
  MemoryUndo undo;
  VectorRows rows(kDim);
  for (int i = 1; i <= 5; ++i) rows.Add(i, absl::StrCat("note/", i));
  ASSERT_THAT(Write(location, rows, &undo), IsOk());
  EXPECT_EQ(server.Points("memories").size(), 8u);
  // Nobody knows what was written: a point is not removed then.
  auto report = RollBack(location, undo, 0);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_left, 5);
  report = RollBack(location, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_restored, 5);
  EXPECT_EQ(server.Points("memories"), before);
}

TEST(QdrantUndoTest, WithoutKeptVectorsOldOnesAreStillPutBack) {
  QdrantServer server;
  Fill(&server, "memories", 10, "Cosine");
  const Points before = server.Points("memories");
  MemoryUndo undo;
  ASSERT_THAT(Write(At(server, "memories"), RowsOf(1, 10), &undo), IsOk());
  const auto report = RollBack(At(server, "memories"), undo, 0);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(server.Points("memories"), before);
}

TEST(QdrantUndoTest, AVectorNameThatWasAddedGoesAgain) {
  QdrantServer server;
  Fill(&server, "memories", 30, "Cosine", "old");
  const Points before = server.Points("memories");
  const Location location = At(server, "memories?vector=new");
  MemoryUndo undo;
  ASSERT_THAT(Write(location, RowsOf(1, 30), &undo), IsOk());
  EXPECT_EQ(server.Dim("memories", "new"), kDim);
  server.Do("PUT", "/collections/memories/points/vectors?wait=true",
            R"({"points":[{"id":8,"vector":{"new":[0,0,0,1]}}]})");
  auto report = RollBack(location, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_restored, 29);
  EXPECT_EQ(report->rows_left, 1);
  EXPECT_THAT(report->notes, ElementsAre(AllOf(HasSubstr("the vector new stays"), HasSubstr("1 point has it"))));
  server.Do("POST", "/collections/memories/points/vectors/delete?wait=true", R"({"points":[8],"vector":["new"]})");
  report = RollBack(location, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_unchanged, 30);
  EXPECT_THAT(report->notes, ElementsAre(HasSubstr("took away the vector new")));
  EXPECT_EQ(server.Dim("memories", "new"), 0);
  EXPECT_EQ(server.Points("memories"), before);
  report = RollBack(location, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_unchanged, 30);
}

TEST(QdrantUndoTest, ACollectionThatWasMadeStays) {
  QdrantServer server;
  const Location location = At(server, "fresh");
  MemoryUndo undo;
  ASSERT_THAT(Write(location, RowsOf(1, 10), &undo), IsOk());
  ASSERT_THAT(Write(location, RowsOf(1, 20), &undo), IsOk());
  const auto report = RollBack(location, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->notes, ElementsAre(AllOf(HasSubstr("fresh"), HasSubstr("stays"))));
  EXPECT_EQ(server.Points("fresh").size(), 20u);
}

TEST(QdrantUndoTest, NothingIsWrittenThatCannotBeKept) {
  QdrantServer server;
  Fill(&server, "memories", 10, "Cosine");
  const Points before = server.Points("memories");
  MemoryUndo undo;
  undo.Fail(absl::ResourceExhaustedError("the disk is full"));
  EXPECT_THAT(Write(At(server, "memories"), RowsOf(1, 12), &undo),
              HasError(absl::StatusCode::kResourceExhausted, HasSubstr("disk")));
  EXPECT_EQ(server.Points("memories"), before);
  EXPECT_THAT(Write(At(server, "new"), RowsOf(1, 12), &undo),
              HasError(absl::StatusCode::kResourceExhausted, HasSubstr("disk")));
  EXPECT_THAT(server.Collections(), ElementsAre("memories"));
}

TEST(QdrantUndoTest, ARollbackThatIsInterruptedAnywhereGoesOn) {
  for (int fail_at = 0; fail_at < 40; ++fail_at) {
    SCOPED_TRACE(absl::StrCat("failing request ", fail_at));
    QdrantServer server;
    Fill(&server, "memories", 1100, "Cosine", "v");
    const Points before = server.Points("memories");
    const Location location = At(server, "memories?vector=v");
    MemoryUndo undo;
    ASSERT_THAT(Write(location, RowsOf(1, 1200), &undo), IsOk());
    int left = fail_at;
    FailChange(&server, &left);
    const auto first = RollBack(location, undo);
    EXPECT_EQ(first.ok(), left >= 0) << first.status();
    server.FailNext(0, 507);
    const auto second = RollBack(location, undo);
    ASSERT_THAT(second, IsOk());
    EXPECT_EQ(server.Points("memories"), before);
    EXPECT_EQ(second->rows_restored + second->rows_unchanged, 1200);
    if (left >= 0) {
      EXPECT_GE(fail_at, 6);
      break;  // the failure did not come any more
    }
  }
}

TEST(QdrantUndoTest, PointsThatVanishUnderTheRollbackAreGone) {
  QdrantServer server;
  Fill(&server, "memories", 300, "Cosine");
  const Points before = server.Points("memories");
  MemoryUndo undo;
  ASSERT_THAT(Write(At(server, "memories"), RowsOf(1, 300), &undo), IsOk());
  server.FailNext(1, 404, [](const std::string& method, const std::string&) { return method == "PUT"; });
  const auto report = RollBack(At(server, "memories"), undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_restored, 300);
  EXPECT_EQ(server.Points("memories"), before);
}

class QdrantSideUndoTest : public ::testing::TestWithParam<bool> {
 protected:
  void Fill(QdrantServer* server) {
    reembed::Fill(server, real_, 40, "Cosine");
    if (!alias_) return;
    server->Do("POST", "/collections/aliases",
               R"({"actions":[{"create_alias":{"collection_name":"memories_v1","alias_name":"memories"}}]})");
  }

  void ExpectAsBefore(QdrantServer* server, const Points& before, bool is_beside) {
    EXPECT_THAT(server->Collections(), is_beside ? ::testing::Matcher<std::vector<std::string>>(
                                                       UnorderedElementsAre(real_, "memories__reembed_8"))
                                                 : UnorderedElementsAre(real_));
    EXPECT_EQ(server->Points(real_), before);
    EXPECT_EQ(server->Dim(real_), kDim);
    EXPECT_EQ(server->HnswM(real_), 16);
    EXPECT_THAT(server->Indexes(real_), ElementsAre("tags"));
    const std::string aliases = server->Do("GET", "/aliases");
    EXPECT_EQ(absl::StrContains(aliases, R"("collection_name":"memories_v1")"), alias_) << aliases;
  }

  const bool alias_ = GetParam();
  const std::string real_ = alias_ ? "memories_v1" : "memories";
};

INSTANTIATE_TEST_SUITE_P(Ways, QdrantSideUndoTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "alias" : "copy"; });

// The states that a crash can leave behind are made by failing every request in turn: first of the run, then of the
// rollback.
TEST_P(QdrantSideUndoTest, IsSwitchedBackFromAnyCrash) {
  for (const bool in_run : {true, false}) {
    bool failed = true;
    for (int fail_at = 0; failed; ++fail_at) {
      SCOPED_TRACE(absl::StrCat("failing request ", fail_at, in_run ? " of the run" : " of the rollback"));
      ASSERT_LT(fail_at, 40);
      QdrantServer server;
      Fill(&server);
      const Points before = server.Points(real_);
      const Location location = At(server, "memories?on_width=side");
      MemoryUndo undo;
      int left = fail_at;
      if (in_run) FailChange(&server, &left);
      const absl::Status written = Write(location, RowsOf(1, 44, 8), &undo);
      if (!in_run) {
        ASSERT_THAT(written, IsOk());
        EXPECT_THAT(server.Collections(), UnorderedElementsAre(alias_ ? "memories__reembed_8" : "memories",
                                                               alias_ ? "memories_v1" : "memories__before_4"));
        FailChange(&server, &left);
        const auto first = RollBack(location, undo, 8);
        EXPECT_EQ(first.ok(), left >= 0) << first.status();
      }
      failed = left < 0;
      server.FailNext(0, 507);
      auto report = RollBack(location, undo, 8);
      ASSERT_THAT(report, IsOk());
      ExpectAsBefore(&server, before, server.Collections().size() > 1);
      EXPECT_EQ(report->rows_restored + report->rows_unchanged, 40);
      if (!failed) {
        EXPECT_THAT(server.Points("memories__reembed_8").size(), 44u) << "nothing that was there is lost";
        EXPECT_THAT(report->notes, ::testing::Contains(HasSubstr("memories__reembed_8 stays")));
      }
      report = RollBack(location, undo, 8);
      ASSERT_THAT(report, IsOk());
      EXPECT_EQ(report->rows_unchanged, 40);
      // And the next run switches again.
      ASSERT_THAT(Write(location, RowsOf(1, 44, 8), &undo), IsOk());
      EXPECT_EQ(server.Dim(alias_ ? "memories__reembed_8" : "memories"), 8);
      ASSERT_THAT(RollBack(location, undo, 8), IsOk());
      ExpectAsBefore(&server, before, true);
    }
  }
}

TEST_P(QdrantSideUndoTest, WhatIsGoneCannotBePutBack) {
  QdrantServer server;
  Fill(&server);
  const Location location = At(server, "memories?on_width=side&keep_old=no");
  MemoryUndo undo;
  ASSERT_THAT(Write(location, RowsOf(1, 40, 8), &undo), IsOk());
  const auto collections = server.Collections();
  EXPECT_THAT(RollBack(location, undo, 8),
              HasError(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("gone"), HasSubstr("snapshot"))));
  EXPECT_EQ(server.Collections(), collections);
}

TEST_P(QdrantSideUndoTest, WhatSomebodyMadeOfItSinceStays) {
  QdrantServer server;
  Fill(&server);
  const Location location = At(server, "memories?on_width=side");
  MemoryUndo undo;
  ASSERT_THAT(Write(location, RowsOf(1, 40, 8), &undo), IsOk());
  server.Do("PUT", "/collections/third", R"({"vectors":{"size":16,"distance":"Dot"}})");
  if (alias_) {
    server.Do("POST", "/collections/aliases",
              R"({"actions":[{"delete_alias":{"alias_name":"memories"}},)"
              R"({"create_alias":{"collection_name":"third","alias_name":"memories"}}]})");
  } else {
    server.Do("DELETE", "/collections/memories");
    server.Do("PUT", "/collections/memories", R"({"vectors":{"size":16,"distance":"Dot"}})");
  }
  EXPECT_THAT(RollBack(location, undo, 8), HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("expected")));
}

}  // namespace
}  // namespace reembed
