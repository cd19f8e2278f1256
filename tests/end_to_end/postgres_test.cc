// SPDX-License-Identifier: Apache-2.0
// The command against a real PostgreSQL: in place, twice, with a change of the width, and through a restart.

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/canary.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDim = 96;
constexpr int kRows = 20000;

// A table with texts of all kinds, other columns, a foreign key and an index.
class PostgresTest : public ::testing::Test {
 protected:
  void SetUp() override {
    db_.Run(absl::StrCat(
        "DROP TABLE IF EXISTS owners, notes CASCADE; CREATE TABLE owners (id int PRIMARY KEY); INSERT INTO owners "
        "VALUES "
        "(7); CREATE TABLE notes (id uuid PRIMARY KEY, owner int REFERENCES owners, body text, tags text[], old jsonb, "
        "made timestamptz DEFAULT now()); INSERT INTO notes SELECT md5(i::text)::uuid, 7, CASE i % 9 WHEN 0 THEN NULL "
        "WHEN 1 THEN '' WHEN 2 THEN E' \\t\\n' WHEN 3 THEN E'\\U0001F600 smile ' || i ELSE 'note ' || i % 5000 END, "
        "ARRAY['a', i::text], jsonb_build_object('i', i) FROM generate_series(1, ",
        kRows, ") i; CREATE INDEX ON notes (made)"));
    others_ = Others();
    auto server = EmbeddingServer::Start({.dim = kDim});
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
  }

  std::string Others() {
    return db_.Ask(
        "SELECT count(*), md5(string_agg(concat_ws('|', id, owner, body, tags, old, made), ';' ORDER BY id)) "
        "FROM notes");
  }

  std::vector<std::string> Command(const std::string& verb, const std::string& job,
                                   const std::string& more = "&vector=v", int dim = kDim) const {
    return {REEMBED_BINARY,  verb,
            "--source",      db_.Uri("table=notes&text=body" + more),
            "--api-base",    server_->base_url(),
            "--model",       "reembed-lexical-1",
            "--dimensions",  absl::StrCat(dim),
            "--batch-size",  "64",
            "--concurrency", "4",
            "--job",         folder_ / job};
  }

  // Every row with a text has its vector, every other one none.
  void ExpectComplete(const std::string& column) {
    EXPECT_EQ(db_.Ask(absl::StrCat("SELECT count(*) FROM notes WHERE (", column,
                                   " IS NULL) <> (coalesce(body, '') !~ '\\S')")),
              "0");
    EXPECT_EQ(Others(), others_);
    for (const std::string& text : {std::string("note 4"), std::string("note 4999")}) {
      const std::string stored =
          db_.Ask(absl::StrCat("SELECT DISTINCT ", column, " FROM notes WHERE body = '", text, "'"));
      const std::string wanted = ExpectedEmbedding(text, kDim);
      const float* numbers = reinterpret_cast<const float*>(wanted.data());
      std::string literal;
      for (int i = 0; i < kDim; ++i) absl::StrAppend(&literal, i == 0 ? "[" : ",", absl::StrFormat("%.9g", numbers[i]));
      EXPECT_EQ(db_.Ask(absl::StrCat("SELECT '", stored, "'::vector = '", literal, "]'::vector")), "t");
    }
  }

  PostgresServer& db_ = TestPostgres();
  TempFolder folder_;
  std::string others_;
  int64_t DifferentTexts() { return std::stoll(db_.Ask("SELECT count(DISTINCT body) FROM notes WHERE body ~ '\\S'")); }

  const int64_t checks_ = 1 + static_cast<int64_t>(CanaryTexts().size());  // texts: the probe and the canary
  std::unique_ptr<EmbeddingServer> server_;
};

TEST_F(PostgresTest, FillsATableInPlaceAndPaysOnce) {
  const ProcessResult plan = RunProcess(Command("plan", "job"));
  ASSERT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_THAT(plan.out, HasSubstr("adds the column v \"public\".\"vector\"(96) to notes"));
  EXPECT_THAT(plan.out, HasSubstr("20,000"));
  EXPECT_EQ(db_.Ask("SELECT count(*) FROM information_schema.columns WHERE table_name = 'notes'"), "6");
  const ProcessResult run = RunProcess(Command("run", "job"));
  EXPECT_EQ(run.exit_code, 3) << run.out << run.err;  // rows without a text are rejected
  ExpectComplete("v");
  const int64_t bought = server_->counts().texts;
  EXPECT_EQ(bought, DifferentTexts() + checks_);
  EXPECT_EQ(RunProcess(Command("run", "job")).exit_code, 3);
  EXPECT_EQ(server_->counts().texts, bought) << "a finished job bought again";
  const ProcessResult verified = RunProcess({REEMBED_BINARY, "verify", folder_ / "job"});
  EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
  db_.Run("UPDATE notes SET v = (SELECT v FROM notes WHERE body = 'note 5' LIMIT 1) WHERE body = 'note 4'");
  const ProcessResult foreign = RunProcess({REEMBED_BINARY, "verify", folder_ / "job"});
  EXPECT_EQ(foreign.exit_code, 8) << foreign.out << foreign.err;
  EXPECT_THAT(foreign.out, HasSubstr("holds another vector"));
}

TEST_F(PostgresTest, ANewWidthGoesIntoANewColumn) {
  db_.Run("ALTER TABLE notes ADD v vector(3); UPDATE notes SET v = '[1,2,3]'");
  const ProcessResult refused = RunProcess(Command("run", "job"));
  EXPECT_EQ(refused.exit_code, 6) << refused.out << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("&new_column=v_96"));
  EXPECT_EQ(server_->counts().requests, 0) << "before anything was paid";
  const std::string more = "&vector=v&new_column=v_96&index=hnsw";
  const ProcessResult run = RunProcess(Command("run", "job", more));
  EXPECT_EQ(run.exit_code, 3) << run.out << run.err;
  ExpectComplete("v");
  EXPECT_EQ(db_.Ask("SELECT count(*) FROM notes WHERE v_old = '[1,2,3]'"), absl::StrCat(kRows));
  const int64_t bought = server_->counts().texts;
  const ProcessResult again = RunProcess(Command("run", "job", more));
  EXPECT_EQ(again.exit_code, 3) << again.out << again.err;
  EXPECT_EQ(server_->counts().texts, bought);
  const ProcessResult verified = RunProcess({REEMBED_BINARY, "verify", folder_ / "job"});
  EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
  const ProcessResult found =
      RunProcess({REEMBED_BINARY, "search", "note 4711", "--target", db_.Uri("table=notes&vector=v"), "--source",
                  db_.Uri("table=notes&text=body"), "--api-base", server_->base_url(), "--model", "reembed-lexical-1"});
  EXPECT_EQ(found.exit_code, 0) << found.err;
  EXPECT_THAT(found.out, HasSubstr("note 4711"));
}

TEST_F(PostgresTest, HalfvecIsVerifiedToTheBit) {
  db_.Run("ALTER TABLE notes ADD v halfvec(96)");
  EXPECT_EQ(RunProcess(Command("run", "job")).exit_code, 3);
  const ProcessResult verified = RunProcess({REEMBED_BINARY, "verify", folder_ / "job"});
  EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
}

TEST_F(PostgresTest, GoesOnThroughARestartOfTheServer) {
  Process process(Command("run", "job"));
  while (process.IsRunning() && server_->counts().texts < 2000) {
  }
  ASSERT_TRUE(process.IsRunning()) << "too fast for this test";
  db_.Stop();
  db_.Start();
  const ProcessResult run = process.Wait();
  EXPECT_EQ(run.exit_code, 3) << run.out << run.err;
  ExpectComplete("v");
  EXPECT_EQ(server_->counts().texts, DifferentTexts() + checks_);
}

TEST_F(PostgresTest, NothingWrittenHoldsThePassword) {
  db_.Run("GRANT SELECT, UPDATE ON notes TO locked; ALTER TABLE notes ADD v vector(96)");
  std::vector<std::string> command = Command("run", "job");
  command[3] = db_.Uri("table=notes&text=body&vector=v", "locked");
  const ProcessResult run = RunProcess(command, {{"PGPASSWORD", "pass word"}});
  EXPECT_EQ(run.exit_code, 3) << run.out << run.err;
  EXPECT_EQ(RunProcess({"/bin/grep", "-r", "pass word", folder_.path()}).exit_code, 1);
  EXPECT_THAT(run.out + run.err, Not(HasSubstr("pass word")));
}

}  // namespace
}  // namespace reembed
