// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_sink.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "engine/number/normalize.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/qdrant/qdrant_reader.h"
#include "io/store/qdrant/qdrant_target.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/vector_rows.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDim = 4;
using Points = std::map<std::string, QdrantServer::Point>;

Location At(const QdrantServer& server, const std::string& rest) {
  return *ParseLocation(absl::StrCat("qdrant:", server.url(), "/", rest));
}

absl::StatusOr<std::unique_ptr<VectorSink>> Make(const Location& location, int dim = kDim, bool same_as_source = false,
                                                 const std::string& key = "") {
  return MakeQdrantSink(location, {.name = "m", .dim = dim}, same_as_source,
                        {.api_key = key, .patience = absl::Seconds(20)});
}

std::string Uuid(int n) { return absl::StrFormat("00000000-0000-4000-8000-%012x", n); }

// What VectorRows gives the row, as a Cosine collection keeps it.
std::vector<float> Stored(int64_t ordinal, int dim = kDim) {
  std::vector<float> vector;
  for (int i = 0; i < dim; ++i) vector.push_back(static_cast<float>(ordinal) + (i % 2 == 0 ? 0.0f : 0.5f));
  EXPECT_THAT(NormalizeRows(absl::MakeSpan(vector), dim), IsOk());
  return vector;
}

void ExpectVector(const std::vector<float>& stored, int64_t ordinal) {
  const std::vector<float> wanted = Stored(ordinal, static_cast<int>(stored.size()));
  for (size_t i = 0; i < stored.size(); ++i) ASSERT_NEAR(stored[i], wanted[i], 1e-6) << "row " << ordinal;
}

// A collection with `points` points, 1, 2, ... as integers (or as UUIDs), with an odd payload each and old vectors.
void Fill(QdrantServer* server, const std::string& name, int points, int dim, bool uuids = false,
          const std::string& vectors = "") {
  server->Do(
      "PUT", "/collections/" + name,
      absl::StrCat(R"({"vectors":)",
                   vectors.empty() ? absl::StrCat(R"({"size":)", dim, R"(,"distance":"Cosine"})") : vectors, "}"));
  server->Do("PUT", "/collections/" + name + "/index?wait=true", R"({"field_name":"tags","field_schema":"keyword"})");
  std::string old = "[1";
  for (int i = 1; i < dim; ++i) old += ",0";
  old += "]";
  if (!vectors.empty()) old = R"({"old":[1,0],"new":)" + old + "}";
  for (int begin = 1; begin <= points; begin += 1000) {
    std::string body = R"({"points":[)";
    for (int i = begin; i < begin + 1000 && i <= points; ++i) {
      const std::string id = uuids ? absl::StrCat("\"", Uuid(i), "\"") : absl::StrCat(i);
      absl::StrAppend(&body, i == begin ? "" : ",", R"({"id":)", id, R"(,"vector":)", old,
                      R"(,"payload":{"content":"text )", i,
                      R"(","archived":true,"n":9007199254740993,"f":1.0,"o":{"a":[1,)", i,
                      R"(,null]},"tags":["x","\u00e9\"\\"]}})");
    }
    server->Do("PUT", "/collections/" + name + "/points?wait=true", body + "]}");
  }
}

std::map<std::string, std::map<std::string, std::string>> Payloads(const Points& points) {
  std::map<std::string, std::map<std::string, std::string>> payloads;
  for (const auto& [id, point] : points) payloads[id] = point.payload;
  return payloads;
}

absl::Status WriteAll(VectorSink* sink, const VectorRows& rows, std::vector<RefusedRow>* refused) {
  const absl::StatusOr<int64_t> from = PrepareAndOpen(sink, {.model = {.name = "m", .dim = rows.batch()->dim()}}, {});
  if (!from.ok()) return from.status();
  const Batch* const batch = rows.batch();
  if (absl::Status status = sink->Write({&batch, 1}, refused); !status.ok()) return status;
  if (absl::Status status = sink->Flush(); !status.ok()) return status;
  return CompleteAndPublish(sink, {});
}

TEST(QdrantSinkTest, GivesPointsNewVectorsAndTouchesNothingElse) {
  QdrantServer server;
  Fill(&server, "memories", 3000, kDim);
  const auto before = Payloads(server.Points("memories"));
  auto sink = Make(At(server, "memories"), kDim, true);
  ASSERT_THAT(sink, IsOk());
  VectorRows rows(kDim);
  for (int i = 1; i <= 2999; ++i) rows.Add(i, int64_t{i});
  rows.Add(3500, int64_t{777777});  // not there
  rows.AddWithoutVector(3600, int64_t{3000});
  std::vector<RefusedRow> refused;
  ASSERT_THAT(WriteAll(sink->get(), rows, &refused), IsOk());
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].ordinal, 3500);
  EXPECT_THAT(refused[0].reason, HasError(absl::StatusCode::kNotFound, HasSubstr("777777")));
  const Points after = server.Points("memories");
  EXPECT_EQ(Payloads(after), before);
  for (int i = 1; i <= 2999; ++i) ExpectVector(after.at(absl::StrCat(i)).vectors.at(""), i);
  EXPECT_EQ(after.at("3000").vectors.at(""), (std::vector<float>{1, 0, 0, 0}));
  EXPECT_EQ(server.requests().count("PUT /collections/{}/points"), 1u) << "only the test's own";
}

// Requests overtake each other, so a point may be in one of them only.
TEST(QdrantSinkTest, OfRowsThatAreOnePointTheLastIsSent) {
  QdrantServer server;
  Fill(&server, "memories", 600, kDim, true);
  auto sink = Make(At(server, "memories"), kDim, true);
  ASSERT_THAT(sink, IsOk());
  VectorRows rows(kDim);
  for (int i = 1; i <= 600; ++i) rows.Add(i, absl::AsciiStrToUpper(Uuid(i)));
  for (int i = 1; i <= 600; ++i) rows.Add(1000 + i, Uuid(i));
  std::vector<RefusedRow> refused;
  ASSERT_THAT(WriteAll(sink->get(), rows, &refused), IsOk());
  EXPECT_TRUE(refused.empty());
  EXPECT_EQ(server.requests()["PUT /collections/{}/points/vectors"], 3) << "256 points each";
  const Points after = server.Points("memories");
  for (int i = 1; i <= 600; ++i) ExpectVector(after.at(Uuid(i)).vectors.at(""), 1000 + i);
}

TEST(QdrantSinkTest, ASnapshotIsMadeBeforeAnythingChanges) {
  QdrantServer server;
  Fill(&server, "memories", 20, kDim);
  const Points before = server.Points("memories");
  VectorRows rows(kDim);
  for (int i = 1; i <= 20; ++i) rows.Add(i, int64_t{i});
  std::vector<RefusedRow> refused;
  auto sink = Make(At(server, "memories?snapshot=yes"), kDim, true);
  ASSERT_THAT(sink, IsOk());
  EXPECT_TRUE(server.Snapshots("memories").empty());
  ASSERT_THAT(WriteAll(sink->get(), rows, &refused), IsOk());
  EXPECT_THAT(server.Snapshots("memories"), ElementsAre(before));
  EXPECT_NE(server.Points("memories"), before);
  // The job goes on: what is there now is no longer what was.
  sink = Make(At(server, "memories?snapshot=yes"), kDim, true);
  ASSERT_THAT(sink, IsOk());
  ASSERT_THAT(PrepareAndOpen(sink->get(), {.model = {.name = "m", .dim = kDim}}, {.position = 20, .stored_rows = 20}),
              IsOk());
  EXPECT_EQ(server.Snapshots("memories").size(), 1u);
  const auto changes = QdrantChanges(At(server, "memories?snapshot=yes"), {.name = "m", .dim = kDim}, {});
  ASSERT_THAT(changes, IsOk());
  EXPECT_THAT(*changes, ElementsAre(HasSubstr("/collections/memories/snapshots lists it")));
  // One that cannot be made changes nothing.
  server.FailNext(
      1, 403, [](const std::string&, const std::string& path) { return path.find("snapshots") != std::string::npos; });
  sink = Make(At(server, "memories?snapshot=yes"), kDim, true);
  ASSERT_THAT(sink, IsOk());
  EXPECT_THAT(PrepareAndOpen(sink->get(), {.model = {.name = "m", .dim = kDim}}, {}).status(),
              HasError(absl::StatusCode::kPermissionDenied, ::testing::_));
}

TEST(QdrantSinkTest, AddsPointsThatAreMissingUnlessToldNotTo) {
  QdrantServer server;
  Fill(&server, "memories", 2, kDim);
  VectorRows rows(kDim);
  for (int i = 1; i <= 4; ++i) rows.Add(i, int64_t{i});
  std::vector<RefusedRow> refused;
  auto sink = Make(At(server, "memories"));
  ASSERT_THAT(sink, IsOk());
  ASSERT_THAT(WriteAll(sink->get(), rows, &refused), IsOk());
  EXPECT_TRUE(refused.empty());
  EXPECT_EQ(server.Points("memories").size(), 4u);
  EXPECT_EQ(server.Points("memories")["1"].payload.size(), 6u);
  server.Do("POST", "/collections/memories/points/delete?wait=true", R"({"points":[4]})");
  sink = Make(At(server, "memories?mode=update"));
  ASSERT_THAT(sink, IsOk());
  ASSERT_THAT(WriteAll(sink->get(), rows, &refused), IsOk());
  EXPECT_EQ(refused.size(), 1u);
  EXPECT_EQ(server.Points("memories").size(), 3u);
}

TEST(QdrantSinkTest, MakesACollectionAndBuildsItsGraphAtTheEnd) {
  for (const int version : {19, 15}) {
    QdrantServer server({.minor_version = version});
    auto sink = Make(At(server, "new%20one"));
    ASSERT_THAT(sink, IsOk());
    EXPECT_THAT(server.Collections(), ElementsAre());
    const Location location = At(server, "fresh?distance=Dot");
    EXPECT_THAT(*QdrantChanges(location, {.name = "m", .dim = kDim}, {}),
                ElementsAre(HasSubstr("makes the collection")));
    sink = Make(location);
    ASSERT_THAT(sink, IsOk());
    VectorRows rows(kDim);
    for (int i = 0; i < 500; ++i) rows.Add(i, Uuid(i));
    const Batch* const batch = rows.batch();
    std::vector<RefusedRow> refused;
    ASSERT_EQ(*PrepareAndOpen(sink->get(), {.model = {.name = "m", .dim = kDim}}, {.position = 7}), 0);
    ASSERT_THAT((*sink)->Write({&batch, 1}, &refused), IsOk());
    EXPECT_EQ(server.HnswM("fresh"), version == 19 ? 0 : 16);
    // Another process goes on.
    sink = Make(location);
    ASSERT_THAT(sink, IsOk());
    EXPECT_EQ(
        *PrepareAndOpen(sink->get(), {.model = {.name = "m", .dim = kDim}}, {.position = 500, .stored_rows = 500}),
        500);
    ASSERT_THAT((*sink)->Write({&batch, 1}, &refused), IsOk());
    ASSERT_THAT(CompleteAndPublish(sink->get(), {}), IsOk());
    EXPECT_EQ(server.HnswM("fresh"), 16);
    EXPECT_TRUE(refused.empty());
    const Points points = server.Points("fresh");
    ASSERT_EQ(points.size(), 500u);
    EXPECT_EQ(points.at(Uuid(3)).vectors.at(""), (std::vector<float>{3, 3.5, 3, 3.5}));  // Dot keeps them as they are
  }
}

TEST(QdrantSinkTest, ACollectionThatVanishedIsFilledFromTheStart) {
  QdrantServer server;
  Fill(&server, "memories", 2, kDim);
  auto sink = Make(At(server, "memories"));
  ASSERT_THAT(sink, IsOk());
  server.Do("DELETE", "/collections/memories");
  EXPECT_EQ(*PrepareAndOpen(sink->get(), {.model = {.name = "m", .dim = kDim}}, {.position = 9, .stored_rows = 9}), 0);
  sink = Make(At(server, "memories"));
  ASSERT_THAT(sink, IsOk());
  EXPECT_EQ(*PrepareAndOpen(sink->get(), {.model = {.name = "m", .dim = kDim}}, {.position = 9, .stored_rows = 9}), 0);
}

TEST(QdrantSinkTest, KeysThatAreNoIds) {
  QdrantServer server;
  const Location plain = At(server, "c");
  const Location hashed = At(server, "c?ids=uuid5&key=source");
  EXPECT_THAT(CheckQdrantKey(plain, absl::string_view("note/1")),
              HasError(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("note/1"), HasSubstr("ids=uuid5"))));
  EXPECT_THAT(CheckQdrantKey(plain, int64_t{1}), IsOk());
  EXPECT_THAT(CheckQdrantKey(hashed, absl::string_view("note/1")), IsOk());
  VectorRows rows(kDim);
  rows.Add(1, std::string("note/1"));
  rows.Add(2, int64_t{2});
  std::vector<RefusedRow> refused;
  auto sink = Make(hashed);
  ASSERT_THAT(sink, IsOk());
  ASSERT_THAT(WriteAll(sink->get(), rows, &refused), IsOk());
  EXPECT_TRUE(refused.empty());
  for (const auto& [id, point] : server.Points("c")) {
    EXPECT_THAT(point.payload.at("source"), ::testing::AnyOf("\"note/1\"", "2"));
  }
  auto reader = OpenQdrantReader(hashed, kDim, {});
  ASSERT_THAT(reader, IsOk());
  const auto found = (*reader)->Find(absl::string_view("note/1"));
  ASSERT_THAT(found, IsOk());
  ASSERT_TRUE(found->has_value());
  EXPECT_EQ(std::get<absl::string_view>((*found)->key), "note/1");
  sink = Make(plain);
  ASSERT_THAT(sink, IsOk());
  ASSERT_THAT(WriteAll(sink->get(), rows, &refused), IsOk());
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_THAT(refused[0].reason, HasError(absl::StatusCode::kInvalidArgument, HasSubstr("note/1")));
}

TEST(QdrantSinkTest, NamedVectors) {
  QdrantServer server;
  Fill(&server, "memories", 10, kDim, false,
       R"({"old":{"size":2,"distance":"Cosine"},"new":{"size":4,"distance":"Cosine"}})");
  VectorRows rows(kDim);
  for (int i = 1; i <= 10; ++i) rows.Add(i, int64_t{i});
  std::vector<RefusedRow> refused;
  EXPECT_THAT(Make(At(server, "memories")), HasError(absl::StatusCode::kNotFound, HasSubstr("new, old")));
  auto sink = Make(At(server, "memories?vector=new"));
  ASSERT_THAT(sink, IsOk());
  ASSERT_THAT(WriteAll(sink->get(), rows, &refused), IsOk());
  sink = Make(At(server, "memories?vector=third"));
  ASSERT_THAT(sink, IsOk());
  ASSERT_THAT(WriteAll(sink->get(), rows, &refused), IsOk());
  for (const auto& [id, point] : server.Points("memories")) {
    EXPECT_EQ(point.vectors.at("old"), (std::vector<float>{1, 0}));
    EXPECT_EQ(point.vectors.at("third"), point.vectors.at("new"));
    EXPECT_EQ(point.payload.size(), 6u);
  }
  QdrantServer old({.minor_version = 17});
  Fill(&old, "memories", 10, kDim, false,
       R"({"old":{"size":2,"distance":"Cosine"},"new":{"size":4,"distance":"Cosine"}})");
  sink = Make(At(old, "memories?vector=third"));
  ASSERT_THAT(sink, IsOk());
  EXPECT_THAT(WriteAll(sink->get(), rows, &refused), HasError(absl::StatusCode::kUnimplemented, HasSubstr("1.18")));
}

// A share found no collection, and its sibling's, of that very name, in the list of those with similar names.
TEST(QdrantSinkTest, ACollectionThatIsMadeDuringTheLookIsTaken) {
  QdrantServer server;
  Fill(&server, "memories", 3, kDim);
  const auto is_look = [](const std::string& method, const std::string& path) {
    return method == "GET" && path == "/collections/memories";
  };
  server.FailNext(1, 404, is_look);
  EXPECT_THAT(Make(At(server, "memories")), IsOk());
  server.FailNext(2, 404, is_look);
  EXPECT_THAT(Make(At(server, "memories")),
              HasError(absl::StatusCode::kAborted, AllOf(HasSubstr("memories"), HasSubstr("lists it now"))));
}

TEST(QdrantSinkTest, MistakesAreFoundBeforeAnythingIsBought) {
  QdrantServer server({.api_key = "secret-key"});
  Fill(&server, "memories", 3, kDim);
  EXPECT_THAT(Make(At(server, "memories"), 8, false, "secret-key"),
              HasError(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("4 numbers"), HasSubstr("makes 8"), HasSubstr("on_width=side"))));
  EXPECT_THAT(Make(At(server, "memorys"), kDim, false, "secret-key"),
              HasError(absl::StatusCode::kNotFound, AllOf(HasSubstr("`memories`"), HasSubstr("create=yes"))));
  EXPECT_THAT(Make(At(server, "memorys?create=yes"), kDim, false, "secret-key"), IsOk());
  EXPECT_THAT(Make(At(server, "memories")), HasError(absl::StatusCode::kUnauthenticated, HasSubstr("QDRANT_API_KEY")));
  EXPECT_THAT(Make(At(server, "memories"), kDim, false, "wrong-secret"),
              HasError(absl::StatusCode::kPermissionDenied,
                       AllOf(HasSubstr("QDRANT_API_KEY"), Not(HasSubstr("wrong-secret")))));
  EXPECT_THAT(Make(At(server, "memories?mod=update")),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("`mode`")));
  EXPECT_THAT(Make(At(server, "memories?mode=replace")),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("upsert")));
  EXPECT_THAT(Make({.scheme = "qdrant", .path = "http://me:pass@127.0.0.1/c"}),
              HasError(absl::StatusCode::kInvalidArgument, Not(HasSubstr("pass@"))));
  EXPECT_THAT(Make(*ParseLocation("qdrant:http://127.0.0.1")),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("6333")));
  const Location gone = At(server, "memories");
  server.Stop();
  EXPECT_THAT(Make(gone), HasError(absl::StatusCode::kUnavailable, HasSubstr("is Qdrant running")));
}

TEST(QdrantSinkTest, BusyServersAndLostAnswersAreWaitedFor) {
  for (const int status : {429, 503, 500, 408}) {
    QdrantServer server;
    Fill(&server, "memories", 600, kDim);
    auto sink = Make(At(server, "memories"));
    ASSERT_THAT(sink, IsOk());
    VectorRows rows(kDim);
    for (int i = 1; i <= 600; ++i) rows.Add(i, int64_t{i});
    server.FailNext(2, status, [](const std::string& method, const std::string&) { return method == "PUT"; });
    std::vector<RefusedRow> refused;
    ASSERT_THAT(WriteAll(sink->get(), rows, &refused), IsOk());
    EXPECT_TRUE(refused.empty());
    for (const auto& [id, point] : server.Points("memories")) ExpectVector(point.vectors.at(""), std::stoi(id));
  }
}

TEST(QdrantSinkTest, RequestsThatAreTooLongAreHalved) {
  QdrantServer server({.max_body_bytes = 2000});
  Fill(&server, "memories", 3, kDim);
  auto sink = Make(At(server, "memories?mode=upsert"));
  ASSERT_THAT(sink, IsOk());
  VectorRows rows(kDim);
  for (int i = 1; i <= 100; ++i) rows.Add(i, int64_t{i});
  std::vector<RefusedRow> refused;
  ASSERT_THAT(WriteAll(sink->get(), rows, &refused), IsOk());
  EXPECT_TRUE(refused.empty());
  EXPECT_EQ(server.Points("memories").size(), 100u);
}

// Say, one whose payload strict mode does not allow: the others go on.
TEST(QdrantSinkTest, APointThatTheServerRefusesIsRefusedAloneInItsWords) {
  for (const std::string mode : {"update", "upsert"}) {
    QdrantServer server;
    Fill(&server, "memories", mode == "update" ? 300 : 3, kDim);
    server.Refuse(R"({"id":37,)");
    auto sink = Make(At(server, "memories?mode=" + mode));
    ASSERT_THAT(sink, IsOk());
    VectorRows rows(kDim);
    for (int i = 1; i <= 300; ++i) rows.Add(i, int64_t{i});
    std::vector<RefusedRow> refused;
    ASSERT_THAT(WriteAll(sink->get(), rows, &refused), IsOk());
    ASSERT_EQ(refused.size(), 1u);
    EXPECT_EQ(refused[0].ordinal, 37);
    EXPECT_THAT(refused[0].reason,
                HasError(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("37"), HasSubstr("against the rules"))));
    const auto points = server.Points("memories");
    for (int i = 1; i <= 300; ++i) {
      if (i != 37) ExpectVector(points.at(absl::StrCat(i)).vectors.at(""), i);
    }
  }
}

// What is refused for every point is not the points' fault: nothing is gained by refusing all rows.
TEST(QdrantSinkTest, WhatIsRefusedForAllEndsTheRun) {
  QdrantServer server;
  server.Refuse(R"("id")");
  auto sink = Make(At(server, "memories?mode=upsert"));
  ASSERT_THAT(sink, IsOk());
  VectorRows rows(kDim);
  for (int i = 1; i <= 300; ++i) rows.Add(i, int64_t{i});
  std::vector<RefusedRow> refused;
  EXPECT_THAT(WriteAll(sink->get(), rows, &refused),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("against the rules")));
  EXPECT_TRUE(refused.empty());
}

TEST(QdrantSinkTest, BodiesStayFarBelowTheServersLimit) {
  constexpr int kWide = 3072;
  QdrantServer server;
  auto sink = Make(At(server, "wide"), kWide);
  ASSERT_THAT(sink, IsOk());
  VectorRows rows(kWide);
  for (int i = 1; i <= 600; ++i) rows.Add(i, int64_t{i});
  std::vector<RefusedRow> refused;
  ASSERT_THAT(WriteAll(sink->get(), rows, &refused), IsOk());
  EXPECT_EQ(server.Points("wide").size(), 600u);
  EXPECT_LT(server.largest_body(), size_t{8} << 20);
}

TEST(QdrantReaderTest, ReadsInAnyOrderAndRounds) {
  QdrantServer server;
  Fill(&server, "memories", 300, kDim, true);
  auto reader = OpenQdrantReader(At(server, "memories"), kDim, {});
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ((*reader)->rows(), 300);
  EXPECT_EQ((*reader)->dim(), kDim);
  int rows = 0;
  while (true) {
    const auto row = (*reader)->Next();
    ASSERT_THAT(row, IsOk());
    if (!row->has_value()) break;
    EXPECT_EQ(KeyText((*row)->key), Uuid(++rows));
  }
  EXPECT_EQ(rows, 300);
  const int scrolls = server.requests()["POST /collections/{}/points/scroll"];
  for (int i = 1; i <= 300; ++i) {
    const auto row = (*reader)->Find(Uuid(i));
    ASSERT_THAT(row, IsOk());
    ASSERT_TRUE(row->has_value());
  }
  EXPECT_LT(server.requests()["POST /collections/{}/points/scroll"] - scrolls, 20) << "asked in order, found in pages";
  for (int i = 300; i >= 1; i -= 7) {
    const auto row = (*reader)->Find(Uuid(i));
    ASSERT_THAT(row, IsOk());
    ASSERT_TRUE(row->has_value());
    EXPECT_EQ(KeyText((*row)->key), Uuid(i));
  }
  const auto missing = (*reader)->Find(int64_t{5});
  ASSERT_THAT(missing, IsOk());
  EXPECT_FALSE(missing->has_value());
  std::vector<float> vector = {3, 0, 4, 0};
  (*reader)->Round(absl::MakeSpan(vector));
  EXPECT_THAT(vector, ElementsAre(0.6f, 0, 0.8f, 0));
  EXPECT_THAT(OpenQdrantReader(At(server, "memories"), 8, {}),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("4")));
}

// The states that a crash can leave behind are made by failing every request in turn.
TEST(QdrantSideTest, AnotherWidthIsBuiltBesideAndSwitchedOverAnyCrash) {
  for (const bool alias : {false, true}) {
    for (int fail_at = 0; fail_at < 40; ++fail_at) {
      SCOPED_TRACE(absl::StrCat(alias ? "alias" : "collection", ", failing request ", fail_at));
      QdrantServer server;
      const std::string real = alias ? "memories_v1" : "memories";
      Fill(&server, real, 40, kDim);
      if (alias) {
        server.Do("POST", "/collections/aliases",
                  R"({"actions":[{"create_alias":{"collection_name":"memories_v1","alias_name":"memories"}}]})");
      }
      const auto old = server.Points(real);
      const Location location = At(server, "memories?on_width=side");
      VectorRows rows(8);
      for (int i = 1; i <= 40; ++i) rows.Add(i, int64_t{i});
      std::vector<RefusedRow> refused;
      int left = fail_at;
      // 507 is final, as a crash is.
      server.FailNext(1, 507, [&left](const std::string& method, const std::string& path) {
        return (method != "GET" && path.find("points/count") == std::string::npos) && left-- == 0;
      });
      int runs = 0;
      absl::Status status;
      do {
        ASSERT_LT(++runs, 4) << status;
        auto sink = Make(location, 8);
        status = sink.ok() ? WriteAll(sink->get(), rows, &refused) : sink.status();
      } while (!status.ok());
      const std::string now = alias ? "memories__reembed_8" : "memories";
      const std::string kept = alias ? "memories_v1" : "memories__before_4";
      EXPECT_THAT(server.Collections(), ::testing::UnorderedElementsAre(now, kept));
      EXPECT_EQ(server.Points(kept), old);
      EXPECT_EQ(server.Dim(now), 8);
      EXPECT_EQ(server.HnswM(now), 16);
      EXPECT_THAT(server.Indexes(now), ElementsAre("tags"));
      const auto points = server.Points(now);
      EXPECT_EQ(Payloads(points), Payloads(old));
      for (const auto& [id, point] : points) ExpectVector(point.vectors.at(""), std::stoi(id));
      EXPECT_TRUE(refused.empty());
      // And once more: nothing changes.
      auto sink = Make(location, 8);
      ASSERT_THAT(sink, IsOk());
      EXPECT_EQ(*PrepareAndOpen(sink->get(), {.model = {.name = "m", .dim = 8}}, {.position = 40, .stored_rows = 40}),
                40);
      ASSERT_THAT(CompleteAndPublish(sink->get(), {}), IsOk());
      EXPECT_THAT(server.Collections(), ::testing::UnorderedElementsAre(now, kept));
      if (left > 0) break;  // the failure did not come any more
    }
  }
}

TEST(QdrantSideTest, KeepsOtherVectorsAndRefusesToOverwriteAnOldCopy) {
  QdrantServer server;
  Fill(&server, "memories", 20, kDim, true,
       R"({"old":{"size":2,"distance":"Dot"},"new":{"size":4,"distance":"Cosine","on_disk":true}})");
  VectorRows rows(8);
  for (int i = 1; i <= 20; ++i) rows.Add(i, Uuid(i));
  std::vector<RefusedRow> refused;
  const Location location = At(server, "memories?vector=new&on_width=side&keep_old=no");
  EXPECT_EQ(QdrantChanges(location, {.name = "m", .dim = 8}, {})->size(), 3u);
  auto sink = Make(location, 8);
  ASSERT_THAT(sink, IsOk());
  ASSERT_THAT(WriteAll(sink->get(), rows, &refused), IsOk());
  EXPECT_THAT(server.Collections(), ElementsAre("memories"));
  EXPECT_EQ(server.Dim("memories", "old"), 2);
  EXPECT_EQ(server.Dim("memories", "new"), 8);
  for (const auto& [id, point] : server.Points("memories")) {
    EXPECT_EQ(point.vectors.at("old"), (std::vector<float>{1, 0}));
    EXPECT_EQ(point.payload.size(), 6u);
  }
  server.Do("PUT", "/collections/memories__before_8", R"({"vectors":{"size":8,"distance":"Dot"}})");
  EXPECT_THAT(Make(location, 4), HasError(absl::StatusCode::kAlreadyExists, HasSubstr("memories__before_8")));
}

}  // namespace
}  // namespace reembed
