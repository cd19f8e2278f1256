// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_sink.h"

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/postgres/postgres_reader.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/vector_rows.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const Model kModel{.name = "test-model", .dim = 2};

// A server of this program, with an empty table `m` of three rows and a trigger that stamps changes.
class PostgresSinkTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server_.Run(
        "DROP TABLE IF EXISTS m, other CASCADE; CREATE TABLE m (id bigint PRIMARY KEY, c text, v vector(2), model "
        "text, "
        "stamp int NOT NULL DEFAULT 0); INSERT INTO m (id, c) VALUES (1, 'a'), (2, 'b'), (3, 'c')");
  }

  absl::StatusOr<std::unique_ptr<VectorSink>> Make(const std::string& parameters, const Model& model = kModel) {
    return MakePostgresSink(server_.At(parameters), model, {.patience = absl::Seconds(10)});
  }

  std::unique_ptr<VectorSink> MakeOpen(const std::string& parameters, const Model& model = kModel) {
    auto sink = Make(parameters, model);
    EXPECT_THAT(sink, IsOk());
    if (!sink.ok()) return nullptr;
    EXPECT_THAT(PrepareAndOpen(sink->get(), {.model = model}, {}), IsOk());
    return *std::move(sink);
  }

  // Ordinal and reason of each row that one Write refuses.
  static std::vector<std::string> Write(VectorSink* sink, const VectorRows& rows) {
    const Batch* batch = rows.batch();
    std::vector<RefusedRow> refused;
    EXPECT_THAT(sink->Write({&batch, 1}, &refused), IsOk());
    std::vector<std::string> shown;
    for (const RefusedRow& row : refused) shown.push_back(absl::StrCat(row.ordinal, " ", row.reason.ToString()));
    return shown;
  }

  // Rows with keys 1 to `rows` and ordinals one below.
  static VectorRows Numbered(int rows) {
    VectorRows numbered(kModel.dim);
    for (int i = 0; i < rows; ++i) numbered.Add(i, int64_t{i + 1});
    return numbered;
  }

  PostgresServer& server_ = TestPostgres();
};

TEST_F(PostgresSinkTest, WritesExactNumbersAndNothingElse) {
  VectorRows rows(kModel.dim);
  rows.Add(1, int64_t{2});
  rows.AddWithoutVector(2, int64_t{3});
  EXPECT_THAT(Write(MakeOpen("table=m&vector=v&model_column=model").get(), rows), IsEmpty());
  EXPECT_EQ(server_.Ask("SELECT id, c, v, model, stamp FROM m ORDER BY id"),
            "1|a|NULL|NULL|0\n2|b|[1,1.5]|test-model|0\n3|c|NULL|NULL|0");
}

TEST_F(PostgresSinkTest, NoRowIsBlamedForAColumnThatGotAnotherType) {
  const auto sink = MakeOpen("table=m&vector=v");
  server_.Run("ALTER TABLE m ALTER COLUMN v TYPE vector(3)");
  const VectorRows rows = Numbered(3);
  const Batch* batch = rows.batch();
  std::vector<RefusedRow> refused;
  EXPECT_THAT(sink->Write({&batch, 1}, &refused),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("holds vectors of 3 numbers")));
  EXPECT_THAT(refused, IsEmpty());
}

TEST_F(PostgresSinkTest, TakesKeysOfEveryKind) {
  const std::string uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
  for (const auto& [type, key] : std::vector<std::pair<std::string, Key>>{{"smallint", int64_t{-7}},
                                                                          {"integer", int64_t{70000}},
                                                                          {"bigint", int64_t{1} << 40},
                                                                          {"text", "it's \"quoted\" \\ \xc3\xa4"},
                                                                          {"varchar(20)", "short"},
                                                                          {"char(6)", "pad"},
                                                                          {"uuid", uuid}}) {
    SCOPED_TRACE(type);
    const std::string quoted =
        std::holds_alternative<int64_t>(key) ? KeyText(ViewOf(key)) : "E'it\\'s \"quoted\" \\\\ \xc3\xa4'";
    server_.Run(absl::StrCat("DROP TABLE IF EXISTS other; CREATE TABLE other (\"the key\" ", type,
                             " PRIMARY KEY, \"v \"\"x\" vector(2)); INSERT INTO other VALUES (",
                             type == "text" || std::holds_alternative<int64_t>(key)
                                 ? quoted
                                 : absl::StrCat("'", std::get<std::string>(key), "'"),
                             ")"));
    VectorRows rows(kModel.dim);
    rows.Add(4, key);
    rows.Add(5, type == "text" ? Key("another") : Key("no such key at all, and far too long"));
    EXPECT_THAT(Write(MakeOpen("table=other&vector=v \"x").get(), rows), ElementsAre(HasSubstr("5 NOT_FOUND")));
    EXPECT_EQ(server_.Ask("SELECT \"v \"\"x\" FROM other"), "[4,4.5]");
    auto reader = OpenPostgresReader(server_.At("table=other&vector=v \"x"));
    ASSERT_THAT(reader, IsOk());
    const auto found = (*reader)->Find(ViewOf(key));
    ASSERT_THAT(found, IsOk());
    ASSERT_TRUE(found->has_value());
    EXPECT_EQ(KeyText((*found)->key), KeyText(ViewOf(key)));
    EXPECT_THAT((*found)->vector, ElementsAre(4, 4.5));
  }
}

// Vectors whose numbers are hard to print and to round: subnormals, negative zero, the smallest and largest.
class HardRows {
 public:
  static constexpr int kDim = 12;
  HardRows()
      : vector_{0.1f,          -0.0f,    1e-45f,  std::numeric_limits<float>::min(),
                3.4028235e38f, -1e-30f,  1 / 3.f, 16777217.0f / 3,
                0.000060976f,  65504.0f, 2049.0f, -7.5f} {
    batch_.AddRow(0, int64_t{1}, 0)->vector = vector_.data();
  }
  std::vector<float>& vector() { return vector_; }
  const Batch* batch() const { return &batch_; }

 private:
  std::vector<float> vector_;
  Batch batch_{BatchLimits{}, kDim};
};

TEST_F(PostgresSinkTest, EveryFormComesBackBitForBit) {
  const Model model{.name = "hard", .dim = HardRows::kDim};
  for (const auto& [type, parameter] : std::vector<std::pair<std::string, std::string>>{{"vector(12)", ""},
                                                                                        {"vector", ""},
                                                                                        {"halfvec(12)", ""},
                                                                                        {"bit(12)", ""},
                                                                                        {"text", ""},
                                                                                        {"varchar(400)", ""},
                                                                                        {"json", ""},
                                                                                        {"jsonb", ""},
                                                                                        {"bytea", "&type=json"},
                                                                                        {"bytea", ""}}) {
    SCOPED_TRACE(type + parameter);
    HardRows rows;
    const bool half = type == "halfvec(12)";
    if (half) rows.vector()[4] = -65504.0f, rows.vector()[7] = 1234.567f;  // within its range
    server_.Run(
        absl::StrCat("DROP TABLE m; CREATE TABLE m (id int PRIMARY KEY, v ", type, "); INSERT INTO m VALUES (1), (2)"));
    const std::string parameters = absl::StrCat("table=m&vector=v", parameter);
    const auto sink = MakeOpen(parameters, model);
    const Batch* batch = rows.batch();
    std::vector<RefusedRow> refused;
    EXPECT_THAT(sink->Write({&batch, 1}, &refused), IsOk());
    EXPECT_THAT(refused, IsEmpty());
    auto reader = OpenPostgresReader(server_.At(parameters));
    ASSERT_THAT(reader, IsOk());
    EXPECT_EQ((*reader)->rows(), 1);
    EXPECT_EQ((*reader)->dim(), HardRows::kDim);
    std::vector<float> expected = rows.vector();
    (*reader)->Round(absl::MakeSpan(expected));
    const auto stored = (*reader)->Next();
    ASSERT_THAT(stored, IsOk());
    ASSERT_TRUE(stored->has_value());
    EXPECT_EQ(std::memcmp((*stored)->vector.data(), expected.data(), expected.size() * sizeof(float)), 0)
        << ::testing::PrintToString(expected) << " came back as " << ::testing::PrintToString((*stored)->vector);
    // The server's own arithmetic is the judge of ours.
    if (half) {
      std::string text;
      for (const float number : rows.vector())
        absl::StrAppend(&text, text.empty() ? "" : ",", absl::StrFormat("%.9g", number));
      EXPECT_EQ(server_.Ask(absl::StrCat("SELECT count(*) FROM m WHERE v = '[", text, "]'::vector::halfvec")), "1");
    }
    if (type == "bit(12)") {
      EXPECT_EQ(server_.Ask("SELECT v FROM m WHERE id = 1"), "101110111110");
    }
  }
}

TEST_F(PostgresSinkTest, RefusesANumberThatHalfvecCannotHold) {
  server_.Run("ALTER TABLE m ALTER v TYPE halfvec(2) USING NULL");
  VectorRows rows(kModel.dim);
  rows.Add(1, int64_t{1});
  rows.Add(70000, int64_t{2});
  EXPECT_THAT(Write(MakeOpen("table=m&vector=v").get(), rows),
              ElementsAre(HasSubstr("row 2: its vector has a number")));
  EXPECT_EQ(server_.Ask("SELECT id, v FROM m WHERE v IS NOT NULL"), "1|[1,1.5]");
}

TEST_F(PostgresSinkTest, RefusesRowsThatAreGoneAndStoresTheRest) {
  server_.Run(
      "DELETE FROM m WHERE id = 2; ALTER TABLE m ADD CHECK (id <> 3 OR v IS NULL);"
      "CREATE OR REPLACE FUNCTION ignore() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
      "INSERT INTO m (id) VALUES (4), (5); CREATE TRIGGER i BEFORE UPDATE ON m FOR EACH ROW WHEN (NEW.id = 5) EXECUTE "
      "FUNCTION ignore()");
  EXPECT_THAT(Write(MakeOpen("table=m&vector=v").get(), Numbered(5)),
              ElementsAre(AllOf(HasSubstr("1 NOT_FOUND"), HasSubstr("row 2: is gone")),
                          AllOf(HasSubstr("2 FAILED_PRECONDITION"), HasSubstr("violates check constraint")),
                          AllOf(HasSubstr("4 FAILED_PRECONDITION"), HasSubstr("ignored the change"))));
  EXPECT_EQ(server_.Ask("SELECT id, v FROM m WHERE v IS NOT NULL ORDER BY id"), "1|[0,0.5]\n4|[3,3.5]");
}

// The server sends the result of a statement before it commits: what fails then must not pass for stored.
TEST_F(PostgresSinkTest, ARowThatIsRefusedAtCommitIsNotTakenForStored) {
  server_.Run(
      "CREATE OR REPLACE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE check_violation; END';"
      "CREATE CONSTRAINT TRIGGER l AFTER UPDATE ON m DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.id = 2) "
      "EXECUTE FUNCTION late()");
  EXPECT_THAT(Write(MakeOpen("table=m&vector=v").get(), Numbered(3)), ElementsAre(HasSubstr("row 2: ")));
  EXPECT_EQ(server_.Ask("SELECT id, v FROM m WHERE v IS NOT NULL ORDER BY id"), "1|[0,0.5]\n3|[2,2.5]");
}

TEST_F(PostgresSinkTest, TheLastOfSeveralRowsWithOneKeyCounts) {
  VectorRows rows(kModel.dim);
  for (int i = 0; i < 3; ++i) rows.Add(i, int64_t{1});
  EXPECT_THAT(Write(MakeOpen("table=m&vector=v").get(), rows), IsEmpty());
  EXPECT_EQ(server_.Ask("SELECT v FROM m WHERE id = 1"), "[2,2.5]");
}

TEST_F(PostgresSinkTest, AddsMissingColumnsOnlyWhenOpened) {
  const std::string parameters = "table=m&vector=em bed\"ding&model_column=made by";
  EXPECT_THAT(
      *PostgresChanges(server_.At(parameters), kModel),
      ElementsAre(HasSubstr("adds the column em bed\"ding \"public\".\"vector\"(2) to m"), HasSubstr("made by")));
  auto sink = Make(parameters);
  ASSERT_THAT(sink, IsOk());
  EXPECT_EQ(server_.Ask("SELECT count(*) FROM information_schema.columns WHERE table_name = 'm'"), "5");
  EXPECT_EQ(*PrepareAndOpen(sink->get(), {.model = kModel}, {.position = 7}), 0) << "what the column held is gone";
  EXPECT_THAT(Write(sink->get(), Numbered(1)), IsEmpty());
  EXPECT_EQ(server_.Ask("SELECT \"em bed\"\"ding\", \"made by\" FROM m WHERE id = 1"), "[0,0.5]|test-model");
  EXPECT_THAT(*PostgresChanges(server_.At(parameters), kModel), IsEmpty());
  auto again = Make(parameters);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(*PrepareAndOpen(again->get(), {.model = kModel}, {.position = 7}), 7);
}

TEST_F(PostgresSinkTest, FindsPgvectorInAnotherSchema) {
  server_.Run("CREATE SCHEMA extensions; ALTER EXTENSION vector SET SCHEMA extensions");
  EXPECT_THAT(Write(MakeOpen("table=m&vector=new").get(), Numbered(3)), IsEmpty());
  EXPECT_EQ(server_.Ask("SELECT new::text FROM m WHERE id = 3"), "[2,2.5]");
  const auto sink = MakeOpen("table=m&vector=new&index=hnsw");
  EXPECT_THAT(CompleteAndPublish(sink.get(), {}), IsOk());
  server_.Run("ALTER EXTENSION vector SET SCHEMA public; DROP SCHEMA extensions");
}

TEST_F(PostgresSinkTest, TriggersAreRespectedUnlessTheyAreSkipped) {
  server_.Run(
      "CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.stamp = OLD.stamp + 1; RETURN "
      "NEW; END'; CREATE TRIGGER s BEFORE UPDATE ON m FOR EACH ROW EXECUTE FUNCTION stamp()");
  EXPECT_THAT(*PostgresChanges(server_.At("table=m&vector=v"), kModel), ElementsAre(HasSubstr("fires the trigger s")));
  EXPECT_THAT(Write(MakeOpen("table=m&vector=v").get(), Numbered(1)), IsEmpty());
  EXPECT_THAT(*PostgresChanges(server_.At("table=m&vector=v&triggers=skip"), kModel), IsEmpty());
  EXPECT_THAT(Write(MakeOpen("table=m&vector=v&triggers=skip").get(), Numbered(3)), IsEmpty());
  EXPECT_THAT(*PostgresChanges(server_.At("table=m&vector=v&triggers=auto"), kModel), IsEmpty());
  EXPECT_EQ(server_.Ask("SELECT id, stamp, v FROM m ORDER BY id"), "1|1|[0,0.5]\n2|0|[1,1.5]\n3|0|[2,2.5]");
}

TEST_F(PostgresSinkTest, ANewColumnTakesThePlaceOfTheOldOneAtTheEnd) {
  server_.Run("ALTER TABLE m ALTER v TYPE vector(3) USING '[1,2,3]'::vector(3)");
  EXPECT_THAT(
      Make("table=m&vector=v"),
      HasError(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr("`v` of type vector(3): holds vectors of 3 numbers, and this job makes 2"),
                     HasSubstr("&new_column=v_2"), HasSubstr("ALTER TABLE \"public\".\"m\" ALTER COLUMN \"v\" TYPE"))));
  const std::string parameters = "table=m&vector=v&new_column=v_2&index=hnsw";
  auto sink = Make(parameters);
  ASSERT_THAT(sink, IsOk());
  EXPECT_EQ(*PrepareAndOpen(sink->get(), {.model = kModel}, {.position = 2}), 0);
  EXPECT_THAT(Write(sink->get(), Numbered(2)), IsEmpty());
  EXPECT_EQ(server_.Ask("SELECT v, v_2 FROM m WHERE id = 2"), "[1,2,3]|[1,1.5]");
  // A crash comes here; the next run goes on where this one was.
  sink = Make(parameters);
  ASSERT_THAT(sink, IsOk());
  EXPECT_EQ(*PrepareAndOpen(sink->get(), {.model = kModel}, {.position = 2}), 2);
  EXPECT_THAT(Write(sink->get(), Numbered(3)), IsEmpty());
  EXPECT_THAT(CompleteAndPublish(sink->get(), {}), IsOk());
  EXPECT_EQ(server_.Ask("SELECT v, v_old FROM m ORDER BY id"), "[0,0.5]|[1,2,3]\n[1,1.5]|[1,2,3]\n[2,2.5]|[1,2,3]");
  EXPECT_THAT(server_.Ask("SELECT indexdef FROM pg_indexes WHERE tablename = 'm'"),
              HasSubstr("USING hnsw (v vector_cosine_ops)"));
  // And a run after that one finds it done.
  sink = Make(parameters);
  ASSERT_THAT(sink, IsOk());
  EXPECT_EQ(*PrepareAndOpen(sink->get(), {.model = kModel}, {.position = 3}), 3);
  EXPECT_THAT(CompleteAndPublish(sink->get(), {}), IsOk());
  EXPECT_EQ(server_.Ask("SELECT v, v_old FROM m WHERE id = 1"), "[0,0.5]|[1,2,3]");
  EXPECT_THAT(Make("table=m&vector=v&new_column=v_x"),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("DROP COLUMN \"v_old\"")));
  EXPECT_THAT(Make("table=m&vector=v&new_column=c"),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("reembed did not make")));
}

// As shards fill it: the names are swapped once, by whoever publishes.
// As where another job adds the column between this one's look at the table and its own ALTER TABLE.
TEST_F(PostgresSinkTest, AColumnThatSomebodyMakesMeanwhileIsNamedWithWhatToDo) {
  const auto sink = Make("table=m&vector=v&new_column=v_2");
  ASSERT_THAT(sink, IsOk());
  server_.Run("BEGIN; ALTER TABLE m ADD COLUMN v_2 vector(2)");
  absl::Status prepared;
  std::atomic<bool> done = false;
  std::thread preparer([&] {
    prepared = PrepareAndOpen(sink->get(), {.model = kModel}, {}).status();
    done = true;
  });
  while (!done && server_.Ask("SELECT count(*) FROM pg_locks WHERE NOT granted") == "0") std::this_thread::yield();
  server_.Run("COMMIT");
  preparer.join();
  EXPECT_THAT(prepared, HasError(absl::StatusCode::kUnavailable,
                                 AllOf(HasSubstr("expected no column `v_2`, and somebody has made it meanwhile"),
                                       HasSubstr("run the same command again"))));
}

TEST_F(PostgresSinkTest, AColumnThatSomebodyRenamesMeanwhileIsNamedWithWhatToDo) {
  const std::unique_ptr<VectorSink> sink = MakeOpen("table=m&vector=v&new_column=v_2");
  server_.Run("ALTER TABLE m RENAME COLUMN v_2 TO w");
  const VectorRows rows = Numbered(2);
  const Batch* batch = rows.batch();
  std::vector<RefusedRow> refused;
  EXPECT_THAT(sink->Write({&batch, 1}, &refused),
              HasError(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr("expected the column `v_2`, and somebody has renamed or dropped it"),
                             HasSubstr("run the same command again"))));
  EXPECT_THAT(refused, IsEmpty());
}

TEST_F(PostgresSinkTest, SeveralSinksFillANewColumnThatOnePublishes) {
  const std::string parameters = "table=m&vector=v&new_column=v_2&index=hnsw";
  auto begins = Make(parameters), one = Make(parameters), other = Make(parameters);
  ASSERT_THAT(begins, IsOk());
  ASSERT_THAT(one, IsOk());
  ASSERT_THAT(other, IsOk());
  EXPECT_THAT((*one)->Open({.model = kModel}, {}),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("has no column `v_2`")));
  EXPECT_TRUE(*(*begins)->Prepare({.model = kModel}));
  EXPECT_FALSE(*(*begins)->Prepare({.model = kModel})) << "it is there by now";
  ASSERT_THAT((*one)->Open({.model = kModel}, {}), IsOk());
  ASSERT_THAT((*other)->Open({.model = kModel}, {}), IsOk());
  VectorRows last(kModel.dim);
  last.Add(2, int64_t{3});
  EXPECT_THAT(Write(one->get(), Numbered(2)), IsEmpty());
  ASSERT_THAT((*one)->Complete(), IsOk());
  EXPECT_THAT(Write(other->get(), last), IsEmpty());
  ASSERT_THAT((*other)->Complete(), IsOk());
  EXPECT_EQ(server_.Ask("SELECT count(v), count(v_2) FROM m"), "0|3") << "nobody has published it";
  EXPECT_EQ(server_.Ask("SELECT count(*) FROM pg_indexes WHERE tablename = 'm'"), "1") << "the key's";
  auto ends = Make(parameters);
  ASSERT_THAT(ends, IsOk());
  ASSERT_THAT((*ends)->Publish({.model = kModel}), IsOk());
  EXPECT_EQ(server_.Ask("SELECT v, v_old FROM m ORDER BY id"), "[0,0.5]|NULL\n[1,1.5]|NULL\n[2,2.5]|NULL");
  EXPECT_EQ(server_.Ask("SELECT count(*) FROM pg_indexes WHERE tablename = 'm'"), "2");
}

TEST_F(PostgresSinkTest, BuildsTheIndexThatFits) {
  const Model large{.name = "large", .dim = 3072};
  const Model huge{.name = "huge", .dim = 4096};
  server_.Run("ALTER TABLE m ADD h halfvec(3072), ADD b bit(4096), ADD big vector(3072)");
  for (const auto& [parameters, model, definition] : std::vector<std::tuple<std::string, Model, std::string>>{
           {"vector=v&index=hnsw&metric=l2", kModel, "USING hnsw (v vector_l2_ops)"},
           {"vector=v&index=ivfflat", kModel, "USING ivfflat (v vector_cosine_ops) WITH (lists='10')"},
           {"vector=h&index=hnsw&metric=ip", large, "USING hnsw (h halfvec_ip_ops)"},
           {"vector=big&index=hnsw", large, "USING hnsw (((big)::halfvec(3072)) halfvec_cosine_ops)"},
           {"vector=b&index=hnsw", huge, "USING hnsw (b bit_hamming_ops)"}}) {
    SCOPED_TRACE(parameters);
    for (int i = 0; i < 2; ++i)
      EXPECT_THAT(CompleteAndPublish(MakeOpen("table=m&" + parameters, model).get(), {}), IsOk());
    EXPECT_THAT(server_.Ask("SELECT indexdef FROM pg_indexes WHERE tablename = 'm'"), HasSubstr(definition));
  }
  EXPECT_THAT(Make("table=m&vector=n&index=hnsw", huge),
              HasError(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("2000"), HasSubstr("4000"))));
  server_.Run(
      "DROP ROLE IF EXISTS maker; CREATE ROLE maker LOGIN; CREATE TABLE other (id int PRIMARY KEY, v vector(2)); ALTER "
      "TABLE other OWNER TO maker; REVOKE CREATE ON SCHEMA public FROM PUBLIC");
  EXPECT_THAT(
      MakePostgresSink(server_.At("table=other&vector=v&index=hnsw", "maker"), kModel),
      HasError(absl::StatusCode::kPermissionDenied, HasSubstr("GRANT CREATE ON SCHEMA \"public\" TO \"maker\"")));
  server_.Run("DROP TABLE other; DROP ROLE maker");
  // What an interrupted build leaves behind is no index.
  server_.Run("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'm_v_hnsw'::regclass");
  EXPECT_THAT(CompleteAndPublish(MakeOpen("table=m&vector=v&index=hnsw").get(), {}), IsOk());
  EXPECT_EQ(server_.Ask("SELECT indisvalid FROM pg_index WHERE indexrelid = 'm_v_hnsw'::regclass"), "t");
}

// An index that grows with every row is slow; one that is dropped must come back whatever happens.
TEST_F(PostgresSinkTest, RebuildDropsTheIndexesOfTheColumnAndMakesTheSameAgain) {
  server_.Run(
      "ALTER TABLE m ADD v2 vector(2); CREATE INDEX mine ON m USING hnsw (v vector_l2_ops) WITH (m = 7); CREATE INDEX "
      "\"Its Lists\" ON m USING ivfflat ((v::halfvec(2)) halfvec_cosine_ops) WHERE id < 100; CREATE INDEX others ON m "
      "USING hnsw (v2 vector_l2_ops); CREATE INDEX ids ON m (id, c)");
  const std::string all = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'm' ORDER BY 1";
  const std::string before = server_.Ask(all);
  const auto changes = PostgresChanges(server_.At("table=m&vector=v&index=rebuild"), kModel);
  ASSERT_THAT(changes, IsOk());
  EXPECT_THAT(*changes, ElementsAre("drops the index Its Lists, and builds it again at the end",
                                    "drops the index mine, and builds it again at the end"));
  const auto kept = PostgresChanges(server_.At("table=m&vector=v2"), kModel);
  ASSERT_THAT(kept, IsOk());
  EXPECT_THAT(*kept, ElementsAre(HasSubstr("keeps the index others"))) << "those of v have the letter in their names";

  {
    const auto sink = MakeOpen("table=m&vector=v&index=rebuild");
    EXPECT_EQ(server_.Ask(all), before) << "nothing is written yet";
    EXPECT_THAT(Write(sink.get(), Numbered(2)), IsEmpty());
    EXPECT_EQ(server_.Ask("SELECT string_agg(indexname, ',' ORDER BY indexname) FROM pg_indexes WHERE tablename = 'm'"),
              "ids,m_pkey,others");
    // Here the run is killed, perhaps while it built one.
  }
  server_.Run("CREATE INDEX mine ON m USING hnsw (v vector_l2_ops) WITH (m = 7)");
  server_.Run("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'mine'::regclass");
  const auto next = MakeOpen("table=m&vector=v&index=rebuild");
  EXPECT_THAT(Write(next.get(), Numbered(3)), IsEmpty());
  EXPECT_THAT(CompleteAndPublish(next.get(), {}), IsOk());
  EXPECT_EQ(server_.Ask(all), before);
  EXPECT_EQ(server_.Ask("SELECT count(*) FROM pg_index WHERE NOT indisvalid"), "0");
  EXPECT_EQ(server_.Ask("SELECT to_regclass('reembed_indexes') IS NULL, count(v) FROM m"), "t|3");

  // Another run that asks for nothing makes up for one that never ended.
  EXPECT_THAT(Write(MakeOpen("table=m&vector=v&index=rebuild").get(), Numbered(1)), IsEmpty());
  EXPECT_NE(server_.Ask(all), before);
  EXPECT_THAT(CompleteAndPublish(MakeOpen("table=m&vector=v2").get(), {}), IsOk());
  EXPECT_EQ(server_.Ask(all), before);
  EXPECT_THAT(Make("table=m&vector=v&index=rebuild&new_column=n"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("filled in place")));
}

// How much memory and how many workers a build gets is libpq's `options`, as for every program.
TEST_F(PostgresSinkTest, TheBuildHasTheSettingsOfTheLocation) {
  server_.Run(
      "CREATE TABLE IF NOT EXISTS builds (memory text, workers text); TRUNCATE builds; CREATE OR REPLACE FUNCTION "
      "note_build() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO builds VALUES "
      "(current_setting('maintenance_work_mem'), current_setting('max_parallel_maintenance_workers')); END $$; CREATE "
      "EVENT TRIGGER builds ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION note_build()");
  EXPECT_THAT(CompleteAndPublish(MakeOpen("table=m&vector=v&index=hnsw&options=-c%20maintenance_work_mem=77MB%20-c%20"
                                          "max_parallel_maintenance_workers=3")
                                     .get(),
                                 {}),
              IsOk());
  EXPECT_EQ(server_.Ask("SELECT memory, workers FROM builds"), "77MB|3");
  server_.Run("DROP EVENT TRIGGER builds; DROP FUNCTION note_build; DROP TABLE builds");
}

TEST_F(PostgresSinkTest, UpsertMakesTheTableAndAddsRows) {
  for (const Key& key : {Key(int64_t{5}), Key("five")}) {
    server_.Run("DROP TABLE IF EXISTS made");
    VectorRows rows(kModel.dim), more(kModel.dim);
    rows.Add(0, key);
    rows.Add(1, key);
    more.Add(2, key);
    more.Add(3, std::holds_alternative<int64_t>(key) ? Key(int64_t{6}) : Key("six"));
    const std::string parameters = "table=made&mode=upsert&model_column=model";
    const auto sink = MakeOpen(parameters);
    EXPECT_THAT(Write(sink.get(), rows), IsEmpty());
    EXPECT_THAT(Write(MakeOpen(parameters).get(), more), IsEmpty());
    EXPECT_EQ(server_.Ask("SELECT * FROM made ORDER BY 2"), std::holds_alternative<int64_t>(key)
                                                                ? "5|[2,2.5]|test-model\n6|[3,3.5]|test-model"
                                                                : "five|[2,2.5]|test-model\nsix|[3,3.5]|test-model");
  }
}

TEST_F(PostgresSinkTest, SaysWhatIsWrongBeforeAnythingIsPaid) {
  using absl::StatusCode;
  server_.Run(
      "CREATE TABLE other (a int, b int, g int GENERATED ALWAYS AS (a) STORED, k int UNIQUE, t timestamptz UNIQUE, "
      "PRIMARY KEY (a, b)); CREATE VIEW w AS SELECT * FROM m; DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN; "
      "GRANT SELECT ON m TO reader; DROP ROLE IF EXISTS writer; CREATE ROLE writer LOGIN; GRANT SELECT, UPDATE ON m TO "
      "writer");
  EXPECT_THAT(Make("table=n&vector=v"), HasError(StatusCode::kNotFound, HasSubstr("no table `n`; did you mean `m`?")));
  EXPECT_THAT(Make("table=m&vector=v&key=idd"), HasError(StatusCode::kNotFound, HasSubstr("did you mean `id`?")));
  EXPECT_THAT(Make("table=m&vector=v&key=c"), HasError(StatusCode::kFailedPrecondition, HasSubstr("no unique index")));
  EXPECT_THAT(Make("table=m&vector=stamp"), HasError(StatusCode::kFailedPrecondition, HasSubstr("type integer")));
  EXPECT_THAT(Make("table=m&vector=id"), HasError(StatusCode::kInvalidArgument, HasSubstr("is the key")));
  EXPECT_THAT(Make("table=m&vector=v&type=bytea"),
              HasError(StatusCode::kInvalidArgument, HasSubstr("does not go with type=bytea")));
  EXPECT_THAT(Make("table=m"), HasError(StatusCode::kInvalidArgument, HasSubstr("&vector=COLUMN")));
  EXPECT_THAT(Make("table=m&vectr=v"), HasError(StatusCode::kInvalidArgument, HasSubstr("did you mean `vector`?")));
  EXPECT_THAT(Make("table=m&vector=v&index=flat"), HasError(StatusCode::kInvalidArgument, HasSubstr("hnsw")));
  EXPECT_THAT(Make("table=other&vector=v"), HasError(StatusCode::kInvalidArgument, HasSubstr("key=")));
  EXPECT_THAT(Make("table=other&vector=v&key=t"), HasError(StatusCode::kInvalidArgument, HasSubstr("timestamp")));
  EXPECT_THAT(Make("table=other&vector=v&key=k&model_column=g"),
              HasError(StatusCode::kFailedPrecondition, HasSubstr("computed by the table")));
  EXPECT_THAT(Make("table=w&vector=v&key=id"), HasError(StatusCode::kInvalidArgument, HasSubstr("is a view")));
  EXPECT_THAT(MakePostgresSink(server_.At("table=m&vector=v", "reader"), kModel),
              HasError(StatusCode::kPermissionDenied, HasSubstr("GRANT UPDATE ON \"public\".\"m\" TO \"reader\"")));
  EXPECT_THAT(MakePostgresSink(server_.At("table=other&key=k&vector=v", "reader"), kModel),
              HasError(StatusCode::kPermissionDenied, HasSubstr("GRANT SELECT ON \"public\".\"other\"")));
  EXPECT_THAT(MakePostgresSink(server_.At("table=m&vector=new", "writer"), kModel),
              HasError(StatusCode::kPermissionDenied, HasSubstr("takes the table's owner")));
  EXPECT_THAT(MakePostgresSink(server_.At("table=m&vector=v", "writer"), kModel), IsOk());
  EXPECT_THAT(MakePostgresSink(server_.At("table=m&vector=v&triggers=skip", "writer"), kModel),
              HasError(StatusCode::kPermissionDenied, HasSubstr("GRANT SET ON PARAMETER")));
  EXPECT_THAT(MakePostgresSink(server_.At("table=m&vector=v", "nobody"), kModel),
              HasError(StatusCode::kUnauthenticated, HasSubstr("nobody")));
  EXPECT_THAT(Make("table=m&vector=v&dbname=nowhere"), HasError(StatusCode::kNotFound, HasSubstr("nowhere")));
  EXPECT_THAT(Make("table=m&vector=v&port=1"),
              HasError(StatusCode::kUnavailable, HasSubstr("check that the server runs")));
  server_.Run("DROP VIEW w; DROP EXTENSION vector CASCADE");
  EXPECT_THAT(Make("table=m&vector=v"),
              HasError(StatusCode::kFailedPrecondition, HasSubstr("run CREATE EXTENSION vector")));
  server_.Run("CREATE EXTENSION vector");
}

TEST_F(PostgresSinkTest, PasswordsComeFromTheEnvironmentAndAreNeverShown) {
  server_.Run("GRANT SELECT, UPDATE ON m TO locked");
  const Location location = server_.At("table=m&vector=v", "locked");
  EXPECT_THAT(MakePostgresSink(location, kModel),
              HasError(absl::StatusCode::kUnauthenticated, HasSubstr("PGPASSWORD")));
  setenv("PGPASSWORD", "wrong secret", 1);
  EXPECT_THAT(MakePostgresSink(location, kModel),
              HasError(absl::StatusCode::kUnauthenticated, AllOf(HasSubstr("locked"), Not(HasSubstr("wrong secret")))));
  setenv("PGPASSWORD", "pass word", 1);
  EXPECT_THAT(MakePostgresSink(location, kModel), IsOk());
  unsetenv("PGPASSWORD");
  for (const std::string uri :
       {"postgres://u:hush@h/d?table=t", "postgres://h/d?table=t&password=hush", "postgres://u:hush@h/d?table"}) {
    EXPECT_THAT(ParseLocation(uri), HasError(absl::StatusCode::kInvalidArgument,
                                             AllOf(HasSubstr("holds a password"), Not(HasSubstr("hush")))));
  }
}

TEST_F(PostgresSinkTest, GoesOnAfterTheServerWasRestarted) {
  const auto sink = MakeOpen("table=m&vector=v");
  EXPECT_THAT(Write(sink.get(), Numbered(1)), IsEmpty());
  server_.Stop();
  std::vector<std::string> refused_rows;
  std::thread writer([&] { refused_rows = Write(sink.get(), Numbered(3)); });
  server_.Start();
  writer.join();
  EXPECT_THAT(refused_rows, IsEmpty());
  EXPECT_THAT(sink->Flush(), IsOk());
  EXPECT_EQ(server_.Ask("SELECT v FROM m ORDER BY id"), "[0,0.5]\n[1,1.5]\n[2,2.5]");
  // With no patience it says so.
  auto hasty = MakePostgresSink(server_.At("table=m&vector=v"), kModel, {.patience = absl::ZeroDuration()});
  ASSERT_THAT(hasty, IsOk());
  ASSERT_THAT(PrepareAndOpen(hasty->get(), {.model = kModel}, {}), IsOk());
  server_.Stop();
  const VectorRows rows = Numbered(3);
  const Batch* batch = rows.batch();
  std::vector<RefusedRow> refused;
  EXPECT_THAT((*hasty)->Write({&batch, 1}, &refused),
              HasError(absl::StatusCode::kUnavailable, HasSubstr("postgres://")));
  server_.Start();
}

TEST_F(PostgresSinkTest, AChangeOfAnotherColumnMeanwhileIsNotLost) {
  const auto sink = MakeOpen("table=m&vector=v");
  // Another session has changed row 2 and not said COMMIT yet: the sink waits for it.
  PostgresServer& server = server_;
  server.Run("BEGIN; UPDATE m SET c = 'changed' WHERE id = 2");
  std::vector<std::string> refused;
  std::thread writer([&] { refused = Write(sink.get(), Numbered(3)); });
  while (server.Ask("SELECT count(*) FROM pg_locks WHERE NOT granted") == "0") std::this_thread::yield();
  server.Run("COMMIT");
  writer.join();
  EXPECT_THAT(refused, IsEmpty());
  EXPECT_EQ(server.Ask("SELECT c, v FROM m ORDER BY id"), "a|[0,0.5]\nchanged|[1,1.5]\nc|[2,2.5]");
}

}  // namespace
}  // namespace reembed
