// SPDX-License-Identifier: Apache-2.0
// What a run says of a PostgreSQL table that is not as it left it, or of which it sees a part, and what it pays for.

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/canary.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class PostgresTruthTest : public ::testing::Test {
 protected:
  void SetUp() override {
    db_.Run(
        "DROP TABLE IF EXISTS items CASCADE; CREATE TABLE items (id int PRIMARY KEY, own text, body text, emb "
        "vector(64)); INSERT INTO items SELECT g, CASE g % 2 WHEN 0 THEN 'app' ELSE 'other' END, 'row ' || g FROM "
        "generate_series(1, 6) g; DO $$ BEGIN CREATE ROLE app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END "
        "$$; "
        "ALTER ROLE app RESET default_transaction_read_only; GRANT SELECT, UPDATE ON items TO app");
    auto server = EmbeddingServer::Start({.dim = 64});
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
  }

  ProcessResult Run(const std::string& verb, const std::string& more, const std::vector<std::string>& flags = {},
                    const std::string& user = "tester", const std::string& job = "job") {
    std::vector<std::string> args = {REEMBED_BINARY, verb,
                                     "--source",     db_.Uri("table=items&text=body&vector=emb" + more, user),
                                     "--api-base",   server_->base_url(),
                                     "--model",      "reembed-lexical-1",
                                     "--dimensions", "64",
                                     "--job",        folder_ / job};
    args.insert(args.end(), flags.begin(), flags.end());
    return RunProcess(args);
  }

  PostgresServer& db_ = TestPostgres();
  TempFolder folder_;
  std::unique_ptr<EmbeddingServer> server_;
};

TEST_F(PostgresTruthTest, RowsThatATriggerEmptiesAreNamedAndNeverBoughtAgain) {
  db_.Run(
      "CREATE OR REPLACE FUNCTION empty() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id <= 2 THEN NEW.emb = "
      "NULL; END IF; RETURN NEW; END $$; CREATE TRIGGER e BEFORE UPDATE ON items FOR EACH ROW EXECUTE FUNCTION "
      "empty()");
  int64_t bought = 0;
  for (int i = 0; i < 3; ++i) {
    const ProcessResult run = Run("run", "");
    EXPECT_EQ(run.exit_code, 5) << run.err << run.out;
    EXPECT_THAT(run.err, AllOf(HasSubstr("2 rows"), HasSubstr("had been written and are empty again (keys 1, 2)"),
                               HasSubstr("trigger"), Not(HasSubstr("another --job"))));
    EXPECT_THAT(run.out, AllOf(HasSubstr("4 of 6 rows have a vector now"), HasSubstr("partial, 4 of 6 rows"),
                               Not(HasSubstr("all 6 rows have")), Not(HasSubstr("complete"))));
    if (i == 0) bought = server_->counts().texts;
    EXPECT_EQ(server_->counts().texts, bought) << "run " << i;
  }
  EXPECT_THAT(Run("run", "", {"--json"}).out, HasSubstr("\"rows_emptied\":2"));
  // What is advised: without the trigger the same command makes it whole, from what is paid for.
  EXPECT_EQ(Run("run", "&triggers=skip").exit_code, 0);
  EXPECT_EQ(db_.Ask("SELECT count(emb) FROM items"), "6");
  db_.Run("UPDATE items SET emb = NULL WHERE id = 5");
  EXPECT_EQ(Run("run", "&triggers=skip").exit_code, 0);
  EXPECT_EQ(db_.Ask("SELECT count(emb) FROM items"), "6");
  EXPECT_EQ(server_->counts().texts, bought);
}

TEST_F(PostgresTruthTest, APartIsNotCalledTheWhole) {
  db_.Run(
      "ALTER TABLE items ENABLE ROW LEVEL SECURITY; CREATE POLICY s ON items USING (own = current_user); ANALYZE "
      "items");
  const ProcessResult plan = Run("plan", "", {}, "app");
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_THAT(plan.out, HasSubstr("row-level security hides rows of items"));
  const ProcessResult run = Run("run", "", {}, "app");
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.err, HasSubstr("row-level security hides rows of items"));
  EXPECT_THAT(run.out,
              AllOf(HasSubstr("3 of 3 rows"), HasSubstr("the statistics know about 6 in all"), Not(HasSubstr("%"))));
  EXPECT_THAT(Run("run", "", {"--json"}, "app").out,
              AllOf(HasSubstr("\"row_level_security\":true"), HasSubstr("\"table_rows_known\":6")));
  const ProcessResult own = Run("run", "", {"--all", "--yes"}, "tester", "own");
  EXPECT_THAT(own.out, HasSubstr("6 of 6 rows"));
  EXPECT_THAT(own.out, HasSubstr("100.00 %"));
}

TEST_F(PostgresTruthTest, AnIndexIsMadeAlsoWhereNoRowNeedsAVector) {
  const std::string vector = db_.Ask("SELECT array_agg(i)::vector(64) FROM generate_series(1, 64) i");
  db_.Run(absl::StrCat("UPDATE items SET emb = '", vector, "'"));
  EXPECT_THAT(Run("plan", "&index=hnsw").out, HasSubstr("builds an index (hnsw)"));
  const ProcessResult run = Run("run", "&index=hnsw");
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(db_.Ask("SELECT indisvalid FROM pg_index WHERE indexrelid = 'items_emb_hnsw'::regclass"), "t");
  EXPECT_EQ(server_->counts().texts, 0);
}

TEST_F(PostgresTruthTest, NothingIsBoughtForAServerThatTakesNoWrites) {
  db_.Run("ALTER ROLE app SET default_transaction_read_only = on");
  for (const std::string verb : {"plan", "run"}) {
    const ProcessResult refused = Run(verb, "", {}, "app");
    EXPECT_EQ(refused.exit_code, 6) << refused.out;
    EXPECT_THAT(refused.err, HasSubstr("default_transaction_read_only"));
  }
  EXPECT_EQ(server_->counts().texts, 0);
}

}  // namespace
}  // namespace reembed
