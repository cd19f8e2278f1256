// SPDX-License-Identifier: Apache-2.0
// What PostgreSQL refuses: the whole target, which is known before anything is bought, or single rows, in its words.

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/postgres/postgres_connection.h"
#include "io/store/postgres/postgres_reader.h"
#include "io/store/postgres/postgres_sink.h"
#include "io/store/postgres/postgres_source.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/vector_rows.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const Model kModel{.name = "test-model", .dim = 2};

class PostgresLimitsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server_.Run(
        "DROP TABLE IF EXISTS m, parts, wide CASCADE; DROP DOMAIN IF EXISTS name_id, body_type, numbers, numbers2; "
        "CREATE TABLE m (id bigint PRIMARY KEY, c text, v vector(2)); INSERT INTO m SELECT i, 'text ' || i FROM "
        "generate_series(1, 5) i; DO $$ BEGIN CREATE ROLE app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END "
        "$$; ALTER ROLE app RESET default_transaction_read_only; GRANT SELECT, INSERT, UPDATE ON m TO app");
  }

  absl::StatusOr<std::unique_ptr<VectorSink>> Make(const std::string& parameters, const std::string& user = "tester",
                                                   const Model& model = kModel) {
    return MakePostgresSink(server_.At(parameters, user), model, {.patience = absl::Seconds(10)});
  }

  std::unique_ptr<VectorSink> MakeOpen(const std::string& parameters, const std::string& user = "tester") {
    auto sink = Make(parameters, user);
    EXPECT_THAT(sink, IsOk());
    if (!sink.ok()) return nullptr;
    EXPECT_THAT(PrepareAndOpen(sink->get(), {.model = kModel}, {}), IsOk());
    return *std::move(sink);
  }

  // Ordinal and reason of each row that one Write refuses.
  static std::vector<std::string> Write(VectorSink* sink, int rows) {
    VectorRows numbered(kModel.dim);
    for (int i = 0; i < rows; ++i) numbered.Add(i, int64_t{i + 1});
    const Batch* batch = numbered.batch();
    std::vector<RefusedRow> refused;
    EXPECT_THAT(sink->Write({&batch, 1}, &refused), IsOk());
    std::vector<std::string> shown;
    for (const RefusedRow& row : refused) shown.push_back(absl::StrCat(row.ordinal, " ", row.reason.ToString()));
    return shown;
  }

  void OnEachRow(const std::string& when, const std::string& body) {
    server_.Run(absl::StrCat("CREATE OR REPLACE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ", body,
                             "; RETURN NEW; END $$; CREATE OR REPLACE TRIGGER t ", when,
                             " ON m FOR EACH ROW EXECUTE FUNCTION t()"));
  }

  PostgresServer& server_ = TestPostgres();
};

// Whatever code a trigger raises: its own, one that reads like the server's, or that of its own mistake.
TEST_F(PostgresLimitsTest, ARowThatATriggerRefusesIsRefusedAloneInItsWords) {
  for (const std::string mode : {"update", "upsert"}) {
    for (const std::string raise :
         {"RAISE EXCEPTION 'not this one' USING ERRCODE = 'PT403'", "RAISE EXCEPTION 'not this one'",
          "RAISE EXCEPTION 'not this one' USING ERRCODE = 'insufficient_privilege'",
          "RAISE EXCEPTION 'not this one' USING ERRCODE = 'feature_not_supported'",
          "RAISE EXCEPTION 'not this one' USING ERRCODE = 'object_not_in_prerequisite_state'",
          "RAISE EXCEPTION 'not this one' USING ERRCODE = 'external_routine_exception'"}) {
      SCOPED_TRACE(mode + " " + raise);
      server_.Run("UPDATE m SET v = NULL");
      OnEachRow("BEFORE INSERT OR UPDATE", absl::StrCat("IF NEW.id = 2 THEN ", raise, "; END IF"));
      EXPECT_THAT(Write(MakeOpen("table=m&vector=v&mode=" + mode).get(), 5),
                  ElementsAre(AllOf(HasSubstr("1 FAILED_PRECONDITION"), HasSubstr("not this one"))));
      EXPECT_EQ(server_.Ask("SELECT count(v), count(*) FROM m"), "4|5");
      server_.Run("DROP TRIGGER t ON m");
    }
  }
}

TEST_F(PostgresLimitsTest, ARowThatATriggerDropsInSilenceIsNotTakenForStored) {
  server_.Run("DELETE FROM m WHERE id > 3");
  OnEachRow("BEFORE INSERT OR UPDATE", "IF NEW.id IN (2, 4) THEN RETURN NULL; END IF");
  EXPECT_THAT(Write(MakeOpen("table=m&vector=v&mode=upsert").get(), 5),
              ElementsAre(AllOf(HasSubstr("1 "), HasSubstr("ignored the change")),
                          AllOf(HasSubstr("3 "), HasSubstr("ignored the change"))));
  EXPECT_EQ(server_.Ask("SELECT string_agg(id::text, ' ' ORDER BY id) FROM m WHERE v IS NOT NULL"), "1 3 5");
}

TEST_F(PostgresLimitsTest, ARowThatAPolicyForbidsIsRefusedAlone) {
  server_.Run(
      "ALTER TABLE m ENABLE ROW LEVEL SECURITY; CREATE POLICY s ON m USING (true) WITH CHECK (id <> 3 OR v IS NULL)");
  for (const std::string mode : {"update", "upsert"}) {
    EXPECT_THAT(Write(MakeOpen("table=m&vector=v&mode=" + mode, "app").get(), 5),
                ElementsAre(AllOf(HasSubstr("2 FAILED_PRECONDITION"), HasSubstr("row-level security policy"))));
    EXPECT_EQ(server_.Ask("SELECT count(v) FROM m"), "4") << mode;
  }
}

// What is wrong with the statement is wrong with no row.
TEST_F(PostgresLimitsTest, ARightThatWasTakenAwayEndsTheRun) {
  const auto sink = MakeOpen("table=m&vector=v", "app");
  server_.Run("REVOKE UPDATE ON m FROM app");
  VectorRows rows(kModel.dim);
  for (int i = 0; i < 5; ++i) rows.Add(i, int64_t{i + 1});
  const Batch* batch = rows.batch();
  std::vector<RefusedRow> refused;
  EXPECT_THAT(sink->Write({&batch, 1}, &refused), HasError(absl::StatusCode::kPermissionDenied, HasSubstr("m")));
  EXPECT_THAT(refused, IsEmpty());
}

TEST_F(PostgresLimitsTest, AServerThatTakesNoWritesIsFoundOutAtOnce) {
  server_.Run("ALTER ROLE app SET default_transaction_read_only = on");
  EXPECT_THAT(Make("table=m&vector=v", "app"),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("default_transaction_read_only")));
  EXPECT_THAT(PostgresChanges(server_.At("table=m&vector=v", "app"), kModel),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("default_transaction_read_only")));
  // It can be read all the same.
  EXPECT_THAT(OpenPostgresSource(server_.At("table=m&text=c", "app"), {}), IsOk());
}

TEST(PostgresReplicaTest, AReplicaIsFoundOutAtOnce) {
  PostgresServer server;
  server.Run("CREATE TABLE m (id int PRIMARY KEY, c text, v vector(2)); CHECKPOINT");
  server.Stop();
  std::ofstream(server.folder() + "/data/standby.signal") << "";
  server.Start();
  ASSERT_EQ(server.Ask("SELECT pg_is_in_recovery()"), "t");
  EXPECT_THAT(MakePostgresSink(server.At("table=m&vector=v"), kModel, {}),
              HasError(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("replica"), HasSubstr("primary"))));
  EXPECT_THAT(OpenPostgresSource(server.At("table=m&text=c"), {}), IsOk());
}

TEST_F(PostgresLimitsTest, WhatTheTableCannotTakeIsFoundOutAtOnce) {
  using absl::StatusCode;
  server_.Run(
      "CREATE TABLE wide (id int, c text, v vector(2), kind text NOT NULL, PRIMARY KEY (id)); CREATE PUBLICATION p FOR "
      "TABLE wide; ALTER TABLE wide REPLICA IDENTITY NOTHING");
  EXPECT_THAT(Make("table=wide&vector=v"),
              HasError(StatusCode::kFailedPrecondition, AllOf(HasSubstr("replica identity"), HasSubstr("wide"))));
  server_.Run("DROP PUBLICATION p");
  EXPECT_THAT(Make("table=wide&vector=v"), IsOk());
  EXPECT_THAT(Make("table=wide&vector=v&mode=upsert"),
              HasError(StatusCode::kFailedPrecondition, AllOf(HasSubstr("`kind`"), HasSubstr("needs a value"))));
  server_.Run("REVOKE SELECT ON m FROM app; GRANT SELECT (id, c) ON m TO app");
  EXPECT_THAT(Make("table=m&vector=v", "app"),
              HasError(StatusCode::kPermissionDenied, HasSubstr("may not SELECT column `v`")));
  // A table that is still to be made.
  EXPECT_THAT(Make("table=none&vector=v&mode=upsert&index=hnsw", "tester", {.name = "large", .dim = 5000}),
              HasError(StatusCode::kFailedPrecondition, HasSubstr("4000")));
  EXPECT_THAT(Make("table=none&vector=v&mode=upsert", "tester", {.name = "huge", .dim = 20000}),
              HasError(StatusCode::kFailedPrecondition, HasSubstr("16000")));
  EXPECT_THAT(Make("table=none&schema=nowhere&vector=v&mode=upsert"),
              HasError(StatusCode::kFailedPrecondition, HasSubstr("CREATE SCHEMA \"nowhere\"")));
  server_.Run("REVOKE CREATE ON SCHEMA public FROM PUBLIC");
  EXPECT_THAT(Make("table=none&vector=v&mode=upsert", "app"),
              HasError(StatusCode::kPermissionDenied, HasSubstr("GRANT CREATE ON SCHEMA")));
  // The name of the index.
  server_.Run("CREATE TABLE m_v_hnsw (x int)");
  EXPECT_THAT(Make("table=m&vector=v&index=hnsw"), HasError(StatusCode::kFailedPrecondition, HasSubstr("m_v_hnsw")));
  server_.Run("DROP TABLE m_v_hnsw");
}

TEST_F(PostgresLimitsTest, AnIndexOfAPartitionedTableIsBuiltOnEachPartition) {
  const std::string long_name(60, 'l');
  server_.Run(absl::StrCat(
      "CREATE TABLE parts (id bigint PRIMARY KEY, v vector(2)) PARTITION BY RANGE (id); CREATE TABLE parts_a PARTITION "
      "OF parts FOR VALUES FROM (0) TO (3); CREATE TABLE parts_b PARTITION OF parts FOR VALUES FROM (3) TO (9) "
      "PARTITION BY RANGE (id); CREATE TABLE ",
      long_name, "1 PARTITION OF parts_b FOR VALUES FROM (3) TO (5); CREATE TABLE ", long_name,
      "2 PARTITION OF parts_b FOR VALUES FROM (5) TO (9); INSERT INTO parts SELECT i FROM generate_series(1, 5) i"));
  for (const std::string index : {"hnsw", "ivfflat"}) {
    for (int i = 0; i < 2; ++i) {
      const auto sink = MakeOpen("table=parts&vector=v&index=" + index);
      EXPECT_THAT(Write(sink.get(), 5), IsEmpty());
      EXPECT_THAT(CompleteAndPublish(sink.get(), {}), IsOk());
      EXPECT_EQ(
          server_.Ask(absl::StrCat("SELECT count(*), bool_and(indisvalid) FROM pg_index i JOIN pg_class c ON c.oid "
                                   "= i.indexrelid JOIN pg_am a ON a.oid = c.relam WHERE amname = '",
                                   index, "' AND indrelid IN (SELECT relid FROM pg_partition_tree('parts'))")),
          "5|t");
    }
  }
  // A killed run leaves some of it.
  server_.Run("DROP INDEX parts_v_hnsw");
  const auto sink = MakeOpen("table=parts&vector=v&index=hnsw");
  server_.Run("CREATE INDEX parts_v_hnsw ON ONLY parts USING hnsw (v vector_cosine_ops)");
  EXPECT_THAT(CompleteAndPublish(sink.get(), {}), IsOk());
  EXPECT_EQ(server_.Ask("SELECT indisvalid FROM pg_index WHERE indexrelid = 'parts_v_hnsw'::regclass"), "t");
  EXPECT_THAT(Make("table=parts_a&vector=other"),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("is a partition of parts")));
}

// As in a container with the usual 64 MB of shared memory: a build by several workers is no way there.
TEST_F(PostgresLimitsTest, AnIndexIsBuiltByOneWorkerWhereSharedMemoryIsShort) {
  server_.Run("ALTER TABLE m SET (parallel_workers = 2)");
  const auto sink = MakeOpen("table=m&vector=v&index=hnsw&options=-c%20maintenance_work_mem=1000GB");
  EXPECT_THAT(Write(sink.get(), 5), IsEmpty());
  EXPECT_THAT(CompleteAndPublish(sink.get(), {}), IsOk());
  EXPECT_EQ(server_.Ask("SELECT indisvalid FROM pg_index WHERE indexrelid = 'm_v_hnsw'::regclass"), "t");
}

TEST_F(PostgresLimitsTest, DomainsAreWhatIsBeneathThem) {
  const std::string uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
  server_.Run(absl::StrCat(
      "CREATE DOMAIN name_id AS uuid; CREATE DOMAIN body_type AS varchar(20) CHECK (VALUE <> 'x'); CREATE DOMAIN "
      "numbers "
      "AS vector(2); CREATE DOMAIN numbers2 AS numbers NOT NULL; CREATE TABLE wide (id name_id PRIMARY KEY, c "
      "body_type, v numbers, w numbers2 DEFAULT '[7,7]'); INSERT INTO wide VALUES ('",
      uuid, "', 'a body')"));
  const auto source =
      OpenPostgresSource(server_.At("table=wide&text=c&vector=v"), {.rows = Selection::Rows::kWithoutVector, .dim = 2});
  ASSERT_THAT(source, IsOk());
  const auto row = (*source)->Next();
  ASSERT_THAT(row, IsOk());
  ASSERT_TRUE(row->has_value());
  EXPECT_EQ(KeyText((*row)->key), uuid);
  EXPECT_EQ((*row)->text, "a body");
  for (const std::string column : {"v", "w"}) {
    for (const std::string mode : {"update", "upsert"}) {
      const auto sink = MakeOpen(absl::StrCat("table=wide&vector=", column, "&mode=", mode, "&index=hnsw"));
      VectorRows rows(kModel.dim);
      rows.Add(1, uuid);
      const Batch* batch = rows.batch();
      std::vector<RefusedRow> refused;
      ASSERT_THAT(sink->Write({&batch, 1}, &refused), IsOk());
      EXPECT_THAT(refused, IsEmpty());
      EXPECT_EQ(server_.Ask(absl::StrCat("SELECT ", column, " FROM wide")), "[1,1.5]");
      EXPECT_THAT(CompleteAndPublish(sink.get(), {}), IsOk());
    }
    const auto reader = OpenPostgresReader(server_.At("table=wide&vector=" + column));
    ASSERT_THAT(reader, IsOk());
    EXPECT_EQ((*reader)->dim(), 2);
    EXPECT_TRUE((*(*reader)->Next()).has_value());
  }
  EXPECT_THAT(Make("table=wide&vector=v", "tester", {.name = "other", .dim = 3}),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("this job makes 3")));
}

// A unique index is that of one table, and its key may come again in a table that inherits from it: whose vector would
// the row get?
TEST_F(PostgresLimitsTest, AKeyThatComesAgainInAnInheritingTableIsRefused) {
  server_.Run("CREATE TABLE parts (PRIMARY KEY (id)) INHERITS (m); INSERT INTO parts (id, c) VALUES (7, 'seven')");
  EXPECT_THAT(OpenPostgresSource(server_.At("table=m&text=c&vector=v"), {}), IsOk());
  server_.Run("INSERT INTO parts (id, c) VALUES (1, 'another one')");
  EXPECT_THAT(OpenPostgresSource(server_.At("table=m&text=c&vector=v"), {}),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("several rows have the same key")));
  EXPECT_THAT(OpenPostgresSource(server_.At("table=parts&text=c&vector=v"), {}), IsOk());
}

TEST_F(PostgresLimitsTest, SaysWhatToDoWhereNoColumnNamesARow) {
  server_.Run("CREATE TABLE wide (a int, b int, c text, v vector(2), PRIMARY KEY (a, b))");
  EXPECT_THAT(OpenPostgresSource(server_.At("table=wide&text=c"), {}),
              HasError(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("primary key of 2 columns (a, b)"), HasSubstr("key=row_id"))));
  // As it is said.
  server_.Run("ALTER TABLE \"public\".\"wide\" ADD COLUMN row_id bigint GENERATED ALWAYS AS IDENTITY UNIQUE");
  server_.Run("INSERT INTO wide VALUES (1, 1, 'x')");
  EXPECT_THAT(Write(MakeOpen("table=wide&vector=v&key=row_id").get(), 1), IsEmpty());
  EXPECT_EQ(server_.Ask("SELECT v FROM wide"), "[0,0.5]");
}

TEST_F(PostgresLimitsTest, ATextThatIsNoTextIsRemarked) {
  server_.Run("CREATE TABLE wide (id int PRIMARY KEY, tags text[], facts jsonb, c varchar(9), v vector(2))");
  EXPECT_THAT(SurveyPostgres(server_.At("table=wide&vector=v&text=tags"), {})->remarks,
              ElementsAre(AllOf(HasSubstr("text[]"), HasSubstr("array_to_string(\"tags\", ' ')"))));
  EXPECT_THAT(SurveyPostgres(server_.At("table=wide&vector=v&template={facts} {c}"), {})->remarks,
              ElementsAre(AllOf(HasSubstr("jsonb"), HasSubstr("\"facts\"->>'FIELD'"))));
  EXPECT_THAT(SurveyPostgres(server_.At("table=wide&vector=v&text=c"), {})->remarks, IsEmpty());
}

TEST_F(PostgresLimitsTest, HiddenRowsAreRemarked) {
  server_.Run(
      "ALTER TABLE m ENABLE ROW LEVEL SECURITY; CREATE POLICY s ON m USING (id <= 3); INSERT INTO m VALUES (6, 'six'); "
      "ANALYZE m");
  const auto survey = SurveyPostgres(server_.At("table=m&text=c&vector=v", "app"), {.dim = 2});
  ASSERT_THAT(survey, IsOk());
  EXPECT_EQ(survey->rows_selected, 3);
  EXPECT_THAT(survey->remarks, ElementsAre(AllOf(HasSubstr("row-level security hides rows"), HasSubstr("about 6"))));
  // Its owner sees all.
  EXPECT_THAT(SurveyPostgres(server_.At("table=m&text=c&vector=v"), {.dim = 2})->remarks, IsEmpty());
}

}  // namespace
}  // namespace reembed
