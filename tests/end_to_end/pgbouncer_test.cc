// SPDX-License-Identifier: Apache-2.0
// Every way to a PostgreSQL database through a real PgBouncer in transaction mode: other clients of its server
// connections never find anything of ours in them.

#include "tests/fakes/pgbouncer.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kRows = 300;

class PgBouncerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    db_.Run(
        absl::StrCat("DROP TABLE IF EXISTS items, brought, reembed_ids, reembed_indexes CASCADE; CREATE TABLE items "
                     "(id int PRIMARY KEY, body text, emb vector(64)); INSERT INTO items SELECT g, 'row ' || g FROM "
                     "generate_series(1, ",
                     kRows, ") g"));
    pool_ = std::make_unique<PgBouncer>(db_);
    before_ = pool_->SessionState();
  }

  // Whoever comes next finds the server's connections, all of them, as they were.
  void ExpectNoTrace(const std::string& after) {
    EXPECT_EQ(pool_->SessionState(), before_) << after;
    EXPECT_EQ(pool_->Try("CREATE TEMPORARY TABLE w (x int) ON COMMIT DROP"), "ok") << after;
  }

  ProcessResult Run(const std::vector<std::string>& args, int exit_code = 0) {
    std::vector<std::string> command = {REEMBED_BINARY};
    command.insert(command.end(), args.begin(), args.end());
    ProcessResult result = RunProcess(command, {{"XDG_STATE_HOME", folder_ / "state"}});
    EXPECT_EQ(result.exit_code, exit_code) << args[0] << ": " << result.err << result.out;
    ExpectNoTrace(args[0]);
    return result;
  }

  std::vector<std::string> Job(const std::string& verb, const std::string& source, const std::string& job,
                               std::vector<std::string> more = {}) {
    std::vector<std::string> args = {verb, "--source", source, "--embedder", "builtin", "--dimensions", "64"};
    args.insert(args.end(), more.begin(), more.end());
    if (!job.empty()) args.insert(args.end(), {"--job", folder_ / job});
    return args;
  }

  std::string Count(const std::string& column = "emb", const std::string& table = "items") {
    return db_.Ask(absl::StrCat("SELECT count(", column, ") FROM ", table));
  }

  PostgresServer& db_ = TestPostgres();
  TempFolder folder_;
  std::unique_ptr<PgBouncer> pool_;
  std::string before_;
};

TEST_F(PgBouncerTest, TheFixtureSeesWhatASessionKeeps) {
  EXPECT_EQ(pool_->Try("SET default_transaction_read_only = on"), "ok");
  EXPECT_NE(pool_->SessionState(), before_);
  EXPECT_EQ(pool_->Try("RESET default_transaction_read_only"), "ok");
}

TEST_F(PgBouncerTest, InPlaceFromPlanToRollback) {
  for (const std::string more : {"", "&triggers=skip", "&triggers=auto", "&new_column=other&triggers=skip"}) {
    const std::string uri = pool_->Uri(absl::StrCat("table=items&text=body&vector=emb", more));
    const std::string job = absl::StrCat("job", more.size());
    Run(Job("plan", uri, job, {"--all"}));
    Run(Job("run", uri, job, {"--all", "--yes"}));
    EXPECT_EQ(Count(), absl::StrCat(kRows));
    Run(Job("run", uri, job, {"--all", "--yes"}));
    Run({"verify", folder_ / job});
    Run({"status", folder_ / job});
    Run({"search", "row 7", "--target", pool_->Uri("table=items&vector=emb"), "--embedder", "builtin", "--dimensions",
         "64"});
    Run({"rollback", folder_ / job, "--yes"});
    EXPECT_EQ(Count(), "0") << more;
  }
}

TEST_F(PgBouncerTest, UpsertMakesATableAndFillsIt) {
  db_.Run("DROP TABLE IF EXISTS made");
  const std::string source = pool_->Uri("table=items&text=body");
  const std::vector<std::string> target = {"--target", pool_->Uri("table=made&vector=v&mode=upsert&triggers=auto")};
  Run(Job("plan", source, "job", target));
  Run(Job("run", source, "job", target));
  EXPECT_EQ(Count("v", "made"), absl::StrCat(kRows));
  // Into rows that are there.
  Run(Job("run", source, "again", target));
  Run({"verify", folder_ / "job"});
  Run({"rollback", folder_ / "again", "--yes"});
}

TEST_F(PgBouncerTest, RowsOfAFileAreBroughtAndTakenBack) {
  db_.Run(
      "CREATE TABLE brought (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, title text, embedding vector(64), made "
      "timestamptz)");
  const std::string file = folder_ / "from.db";
  const ProcessResult made =
      RunProcess({"/usr/bin/sqlite3", file,
                  "CREATE TABLE t (id INTEGER PRIMARY KEY, title TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b c')"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const std::string source = absl::StrCat("sqlite:", file, "?table=t&text=title");
  const std::vector<std::string> target = {
      "--target", pool_->Uri("table=brought&mode=insert&origin=f&fields=title&set.title=r->>'title'&"
                             "set.made='2024-01-01 00:00:00'::timestamptz&text=title&triggers=skip")};
  Run(Job("plan", source, "job", target));
  Run(Job("run", source, "job", target));
  EXPECT_EQ(db_.Ask("SELECT count(embedding), min(made AT TIME ZONE 'UTC') FROM brought"), "2|2024-01-01 00:00:00");
  Run({"verify", folder_ / "job"});
  Run({"rollback", folder_ / "job", "--yes"});
  EXPECT_EQ(Count("*", "brought"), "0");
}

TEST_F(PgBouncerTest, BackupAndRestore) {
  const std::string before = db_.Ask("SELECT md5(string_agg(items::text, ';' ORDER BY id)) FROM items");
  const std::string place = pool_->Uri("table=items");
  Run({"backup", "--source", place, "--to", folder_ / "saved"});
  db_.Run("DELETE FROM items WHERE id > 5");
  Run({"restore", folder_ / "saved", "--yes"});
  EXPECT_EQ(db_.Ask("SELECT md5(string_agg(items::text, ';' ORDER BY id)) FROM items"), before);
}

// A run whose rows are refused leaves no more than one whose rows are not.
TEST_F(PgBouncerTest, NothingIsLeftWhereRowsAreRefused) {
  db_.Run("ALTER TABLE items ADD CHECK (emb IS NULL OR id % 7 <> 0)");
  Run(Job("run", pool_->Uri("table=items&text=body&vector=emb&triggers=skip"), "job"), 3);
  EXPECT_EQ(Count(), absl::StrCat(kRows - kRows / 7));
  Run({"rollback", folder_ / "job", "--yes"});
}

TEST_F(PgBouncerTest, WhatWantsADirectConnectionIsRefusedBeforeAnythingIsBought) {
  for (const std::string index : {"hnsw", "ivfflat", "rebuild"}) {
    const std::string uri = pool_->Uri("table=items&text=body&vector=emb&index=" + index);
    for (const std::string verb : {"plan", "run"}) {
      const ProcessResult refused = Run(Job(verb, uri, "job"), 6);
      EXPECT_THAT(refused.err, AllOf(HasSubstr("direct connection"), HasSubstr("CREATE INDEX CONCURRENTLY")));
    }
  }
  EXPECT_EQ(Count(), "0");
  // PgBouncer says no to options=, or, as many are set up, drops it in silence.
  for (const std::string settings : {"", "ignore_startup_parameters = options"}) {
    const PgBouncer pool(db_, settings);
    const ProcessResult refused = RunProcess({REEMBED_BINARY, "plan", "--source",
                                              pool.Uri("table=items&text=body&vector=emb&options=-c%20work_mem=64MB"),
                                              "--embedder", "builtin", "--dimensions", "64", "--job", folder_ / "job"});
    EXPECT_EQ(refused.exit_code, 6) << settings << refused.out;
    EXPECT_THAT(refused.err, AllOf(HasSubstr("options="), HasSubstr("direct connection"))) << settings;
  }
}

}  // namespace
}  // namespace reembed
