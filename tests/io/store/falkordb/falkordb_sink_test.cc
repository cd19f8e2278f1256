// SPDX-License-Identifier: Apache-2.0
#include "io/store/falkordb/falkordb_sink.h"

#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/lost_writes.h"
#include "engine/pace/rate_limiter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/falkordb/falkordb_fetch.h"
#include "io/store/falkordb/falkordb_graph.h"
#include "io/store/falkordb/falkordb_lock.h"
#include "io/store/falkordb/falkordb_reader.h"
#include "io/store/falkordb/falkordb_source.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/vector_rows.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const Model kModel{.name = "test \"model\"", .dim = 2};
constexpr char kNodes[] = "label=M&key=id&vector=v";

class FalkorSinkTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server_.DropGraph();
    server_.Run("CREATE (:M {id: 1, c: 'a'}), (:M {id: 2, c: 'b', v: vecf32([7.0, 7.0])}), (:M {id: 3, c: 'c'})");
  }
  void TearDown() override { server_.Command({"GRAPH.CONFIG", "SET", "RESULTSET_SIZE", "-1"}); }

  std::unique_ptr<VectorSink> MakeOpen(const std::string& parameters, const Model& model = kModel) {
    auto sink = MakeFalkorSink(server_.At(parameters), model, {.patience = absl::Seconds(10)});
    EXPECT_THAT(sink, IsOk());
    if (!sink.ok()) return nullptr;
    EXPECT_THAT(PrepareAndOpen(sink->get(), {.model = model}, {}), IsOk());
    return *std::move(sink);
  }

  // Ordinal and reason of each row that one Write refuses.
  static std::vector<std::string> Write(VectorSink* sink, const Batch* batch) {
    std::vector<RefusedRow> refused;
    EXPECT_THAT(sink->Write({&batch, 1}, &refused), IsOk());
    std::vector<std::string> shown;
    for (const RefusedRow& row : refused) shown.push_back(absl::StrCat(row.ordinal, " ", row.reason.ToString()));
    return shown;
  }

  FalkorServer& server_ = TestFalkor();
};

TEST_F(FalkorSinkTest, WritesTheVectorAndTheModelAndNothingElse) {
  VectorRows rows(kModel.dim);
  rows.Add(1, int64_t{2});
  rows.AddWithoutVector(2, int64_t{3});
  rows.Add(3, int64_t{99});
  rows.Add(4, "a text");
  const auto sink = MakeOpen("label=M&key=id&vector=v&model_property=model");
  server_.Command({"GRAPH.CONFIG", "SET", "RESULTSET_SIZE", "1"});
  EXPECT_THAT(Write(sink.get(), rows.batch()), ElementsAre(HasSubstr("3 NOT_FOUND"), HasSubstr("4 NOT_FOUND")));
  EXPECT_THAT(sink->Flush(), IsOk());
  server_.Command({"GRAPH.CONFIG", "SET", "RESULTSET_SIZE", "-1"});
  EXPECT_EQ(server_.Ask("MATCH (n) RETURN n.id, n.c, n.model, n.v = vecf32([1.0, 1.5]), size(keys(n)) ORDER BY n.id"),
            "1|a|NULL|NULL|2\n2|b|test \"model\"|true|4\n3|c|NULL|NULL|2");
}

// The server itself takes vectors for the same whose numbers differ by less than 1, and keeps the old one.
TEST_F(FalkorSinkTest, ReplacesVectorsThatAreNear) {
  server_.Run("CREATE VECTOR INDEX FOR (n:M) ON (n.v) OPTIONS {dimension: 2, similarityFunction: 'euclidean'}");
  server_.Run("MATCH (n:M) SET n.v = NULL WITH n SET n.v = vecf32([0.5, 0.25])");
  server_.Command({"GRAPH.CONSTRAINT", "CREATE", "g", "MANDATORY", "NODE", "M", "PROPERTIES", "1", "v"});
  const float near[] = {0.5f, -0.25f};
  Batch batch({}, kModel.dim);
  batch.AddRow(0, int64_t{2}, 0)->vector = near;
  EXPECT_THAT(Write(MakeOpen(kNodes).get(), &batch), IsEmpty());
  EXPECT_EQ(server_.Ask("MATCH (n:M) RETURN n.id, n.v ORDER BY n.id"),
            "1|<0.500000, 0.250000>\n2|<0.500000, -0.250000>\n3|<0.500000, 0.250000>");
  EXPECT_EQ(server_.Ask("CALL db.idx.vector.queryNodes('M', 'v', 1, vecf32([0.5, -0.25])) YIELD node RETURN node.id"),
            "2");
}

TEST_F(FalkorSinkTest, KeepsEveryBit) {
  const std::vector<float> hard = {0.0f,
                                   -0.0f,
                                   1.0f,
                                   0.1f,
                                   -16777217.0f,
                                   1e20f,
                                   std::numeric_limits<float>::min(),
                                   std::numeric_limits<float>::denorm_min(),
                                   std::numeric_limits<float>::max(),
                                   std::numeric_limits<float>::lowest(),
                                   1.00000012f,
                                   123456.789f};
  const Model model{.name = "m", .dim = static_cast<int>(hard.size())};
  Batch batch({}, model.dim);
  batch.AddRow(0, int64_t{1}, 0)->vector = hard.data();
  EXPECT_THAT(Write(MakeOpen("label=M&key=id&vector=w", model).get(), &batch), IsEmpty());
  auto reader = OpenFalkorReader(server_.At("label=M&key=id&vector=w"), 0);
  ASSERT_THAT(reader, IsOk());
  ASSERT_EQ((*reader)->dim(), model.dim);
  const auto row = (*reader)->Next();
  ASSERT_THAT(row, IsOk());
  ASSERT_TRUE(row->has_value());
  EXPECT_EQ(std::memcmp((*row)->vector.data(), hard.data(), hard.size() * sizeof(float)), 0);
  EXPECT_FALSE((*reader)->Next()->has_value());
  EXPECT_FALSE((*reader)->Find(int64_t{2})->has_value());
  EXPECT_TRUE((*reader)->Find(int64_t{1})->has_value());
}

void AppendUtf8(uint32_t c, std::string* out) {
  if (c < 0x80) return out->push_back(static_cast<char>(c));
  const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  out->push_back(static_cast<char>((0xff00 >> (more + 1)) | (c >> (6 * more))));
  for (int i = more - 1; i >= 0; --i) out->push_back(static_cast<char>(0x80 | ((c >> (6 * i)) & 0x3f)));
}

// A text of the kinds of characters that a literal has to mind. Without NUL: no node can have one in its key.
std::string OddText(std::mt19937_64* random) {
  static constexpr const char* kOdd[] = {"\"",
                                         "\\",
                                         "'",
                                         "`",
                                         "$rows",
                                         "\\u0041",
                                         "\n",
                                         "\r\n",
                                         "\t",
                                         "{}",
                                         "[]",
                                         "//",
                                         "CYPHER a=1",
                                         "\x01",
                                         "\x1f",
                                         "\x7f",
                                         "%s",
                                         "\xc2\x80",
                                         "\xe2\x80\xa8",
                                         "\xef\xbb\xbf",
                                         "\xef\xbf\xbf",
                                         "\xf4\x8f\xbf\xbf",
                                         "\xf0\x9f\x98\x80"};
  std::string text;
  for (uint64_t left = (*random)() % 12; left > 0; --left) {
    if ((*random)() % 3 == 0) {
      text += kOdd[(*random)() % std::size(kOdd)];
      continue;
    }
    uint32_t c = 1 + static_cast<uint32_t>((*random)() % ((*random)() % 2 == 0 ? 0x7f : 0x10ffff));
    if (c >= 0xd800 && c < 0xe000) c -= 0x1000;  // no surrogates in UTF-8
    AppendUtf8(c, &text);
  }
  return text;
}

TEST_F(FalkorSinkTest, AnyTextIsAParameter) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  std::set<std::string> keys;
  while (keys.size() < 2000) keys.insert(OddText(&random));
  server_.DropGraph();
  std::string rows;
  for (const std::string& key : keys) {
    if (!rows.empty()) rows.push_back(',');
    AppendFalkorText(key, &rows);
  }
  server_.Run(absl::StrCat("CYPHER keys=[", rows, "] UNWIND $keys AS k CREATE (:K {id: k})"));
  auto source = OpenFalkorSource(server_.At("label=K&key=id&text=id"), {});
  ASSERT_THAT(source, IsOk());
  std::set<std::string> read;
  while (true) {
    const auto row = (*source)->Next();
    ASSERT_THAT(row, IsOk());
    if (!row->has_value()) break;
    ASSERT_EQ(KeyText((*row)->key), *(*row)->text);
    read.insert(std::string(*(*row)->text));
  }
  EXPECT_TRUE(read == keys) << read.size() << " of " << keys.size();

  VectorRows vectors(kModel.dim);
  int64_t ordinal = 0;
  for (const std::string& key : keys) vectors.Add(++ordinal, key);
  vectors.Add(++ordinal, std::string("a\0b", 3));
  EXPECT_THAT(Write(MakeOpen("label=K&key=id&vector=v&model_property=m").get(), vectors.batch()),
              ElementsAre(HasSubstr("NOT_FOUND")));
  auto reader = OpenFalkorReader(server_.At("label=K&key=id&vector=v"), kModel.dim);
  ASSERT_THAT(reader, IsOk());
  ordinal = 0;
  for (const std::string& key : keys) {
    const auto found = (*reader)->Find(absl::string_view(key));
    ASSERT_THAT(found, IsOk());
    ASSERT_TRUE(found->has_value()) << absl::CHexEscape(key);
    ASSERT_EQ((*found)->vector[0], static_cast<float>(++ordinal)) << absl::CHexEscape(key);
  }
}

TEST_F(FalkorSinkTest, MakesTheIndexesAndRefusesOneOfAnotherWidth) {
  const std::string parameters = absl::StrCat(kNodes, "&index=cosine");
  auto changes = FalkorChanges(server_.At(parameters), kModel);
  ASSERT_THAT(changes, IsOk());
  EXPECT_THAT(*changes, ElementsAre(HasSubstr("index of M on id"), HasSubstr("vector index (cosine)")));
  const auto sink = MakeOpen(parameters);
  VectorRows rows(kModel.dim);
  for (int i = 1; i <= 3; ++i) rows.Add(i, int64_t{i});
  EXPECT_THAT(Write(sink.get(), rows.batch()), IsEmpty());
  EXPECT_THAT(CompleteAndPublish(sink.get(), {}), IsOk());
  EXPECT_THAT(CompleteAndPublish(sink.get(), {}), IsOk()) << "as after a crash between Publish and the ledger";
  EXPECT_EQ(server_.Ask("CALL db.idx.vector.queryNodes('M', 'v', 1, vecf32([3.0, 3.5])) YIELD node RETURN node.id"),
            "3");
  const absl::Status other = MakeFalkorSink(server_.At(kNodes), {.name = "m", .dim = 3}).status();
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(other.ToString(), HasSubstr("DROP VECTOR INDEX FOR (n:`M`) ON (n.`v`)"));
}

TEST_F(FalkorSinkTest, GoesOnThroughARestart) {
  const auto sink = MakeOpen(kNodes);
  server_.Stop();
  server_.Start();
  VectorRows rows(kModel.dim);
  rows.Add(1, int64_t{1});
  EXPECT_THAT(Write(sink.get(), rows.batch()), IsEmpty());
  EXPECT_EQ(server_.Ask("MATCH (n {id: 1}) RETURN n.v = vecf32([1.0, 1.5])"), "true");
}

// What was written went to a server that may have lost it, however it keeps its data.
TEST_F(FalkorSinkTest, AnotherProcessIsNoticedBeforeAPositionIsSaved) {
  const auto sink = MakeOpen(kNodes);
  VectorRows rows(kModel.dim);
  rows.Add(1, int64_t{1});
  EXPECT_THAT(Write(sink.get(), rows.batch()), IsEmpty());
  EXPECT_THAT(sink->Flush(), IsOk());
  server_.Stop();
  server_.Start();
  const absl::Status lost = sink->Flush();
  EXPECT_THAT(lost, HasError(absl::StatusCode::kUnavailable, HasSubstr("may have lost what was written")));
  EXPECT_TRUE(AreWritesLost(lost));
  EXPECT_TRUE(AreWritesLost(sink->Complete()));
}

// Where nobody has waited for the disk, a position says nothing.
TEST_F(FalkorSinkTest, GoesOnWhereItWasOnlyBehindAFileThatIsWaitedFor) {
  for (const auto& [policy, start] : {std::pair("everysec", 5), std::pair("no", 0), std::pair("always", 5)}) {
    server_.Command({"CONFIG", "SET", "appendfsync", policy});
    auto sink = MakeFalkorSink(server_.At(kNodes), kModel, {.patience = absl::Seconds(10)});
    ASSERT_THAT(sink, IsOk());
    EXPECT_EQ(PrepareAndOpen(sink->get(), {.model = kModel}, {.position = 5, .stored_rows = 5}).value(), start)
        << policy;
  }
}

// It is tried for a second, where others are for minutes: a command that was told to stop ends with it.
TEST_F(FalkorSinkTest, ALeaseHoldsNobodyUpWhileTheServerIsAway) {
  auto lock = LockFalkorProperty(server_.At(kNodes), {.job = "/jobs/a", .note = [](const std::string&) {}}, {});
  ASSERT_THAT(lock, IsOk());
  server_.Stop();
  const Moment asked = MonotonicNow();
  EXPECT_FALSE((*lock)->unbroken());
  lock->reset();
  EXPECT_LT(MonotonicNow() - asked, absl::Seconds(30));
  server_.Start();
}

TEST_F(FalkorSinkTest, FetchGivesPropertiesByKey) {
  server_.Run("CREATE (:P {id: 'x', tags: ['a', 'b'], importance: 0.5, n: 7, on: true, s: 't'}), (:P {id: 'y'})");
  auto fetch = FalkorFetch::Open(server_.At("label=P&key=id"));
  ASSERT_THAT(fetch, IsOk());
  for (const char* const size : {"-1", "1"}) {
    server_.Command({"GRAPH.CONFIG", "SET", "RESULTSET_SIZE", size});
    const std::vector<KeyView> keys = {"y", "gone", "x", int64_t{1}, "x"};
    const auto rows = (*fetch)->Fetch(keys, {"tags", "importance", "n", "on", "s", "no such"});
    ASSERT_THAT(rows, IsOk());
    ASSERT_EQ(rows->size(), keys.size());
    EXPECT_FALSE((*rows)[1].has_value());
    EXPECT_FALSE((*rows)[3].has_value());
    ASSERT_TRUE((*rows)[0].has_value());
    EXPECT_TRUE((*rows)[0]->at(0).IsNull());
    for (const size_t place : {2, 4}) {
      ASSERT_TRUE((*rows)[place].has_value());
      const FalkorProperties& x = *(*rows)[place];
      const auto& tags = std::get<FalkorValue::List>(x[0].value);
      ASSERT_EQ(tags.size(), 2u);
      EXPECT_EQ(std::get<std::string>(tags[1].value), "b");
      EXPECT_EQ(std::get<double>(x[1].value), 0.5);
      EXPECT_EQ(std::get<int64_t>(x[2].value), 7);
      EXPECT_EQ(std::get<bool>(x[3].value), true);
      EXPECT_EQ(std::get<std::string>(x[4].value), "t");
      EXPECT_TRUE(x[5].IsNull());
    }
  }
}

}  // namespace
}  // namespace reembed
