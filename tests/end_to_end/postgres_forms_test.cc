// SPDX-License-Identifier: Apache-2.0
// Columns of PostgreSQL whose vectors take less room: what is in them is what pgvector itself makes of whole vectors.

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

class PostgresFormsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    db_.Run(
        "DROP TABLE IF EXISTS forms; CREATE TABLE forms (id int PRIMARY KEY, body text, whole vector(64), short "
        "vector(32), half halfvec(32)); INSERT INTO forms SELECT g, 'row ' || g || ' of ' || g * 7 % 11 FROM "
        "generate_series(1, 60) g");
  }

  ProcessResult Run(const std::string& column, const std::vector<std::string>& flags = {}) {
    std::vector<std::string> args = {
        REEMBED_BINARY, "run",     "--source",      db_.Uri("table=forms&text=body&vector=" + column),
        "--embedder",   "builtin", "--dimensions",  "64",
        "--yes",        "--job",   folder_ / column};
    args.insert(args.end(), flags.begin(), flags.end());
    return RunProcess(args);
  }

  PostgresServer& db_ = TestPostgres();
  TempFolder folder_;
};

TEST_F(PostgresFormsTest, ColumnsHoldWhatPgvectorMakesOfTheWholeVector) {
  ASSERT_EQ(Run("whole").exit_code, 0);
  ASSERT_EQ(Run("short", {"--output-dim", "32"}).exit_code, 0);
  ASSERT_EQ(Run("half", {"--output-type", "float16", "--output-dim", "32"}).exit_code, 0);
  ASSERT_EQ(Run("bits", {"--output-type", "binary", "--output-dim", "24"}).exit_code, 0);
  EXPECT_EQ(db_.Ask("SELECT count(*), count(short), count(half), count(bits), bool_and(short::halfvec(32) = half), "
                    "bool_and(binary_quantize(subvector(short, 1, 24))::bit(24) = bits), bool_and(length(bits) = 24), "
                    // Sums in another order: a few units in the last place.
                    "max((l2_normalize(subvector(whole, 1, 32)) <-> short)) < 1e-6 FROM forms"),
            "60|60|60|60|t|t|t|t");
  for (const std::string column : {"short", "half", "bits"}) {
    const ProcessResult verified = RunProcess({REEMBED_BINARY, "verify", folder_ / column});
    EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
    EXPECT_THAT(verified.out, HasSubstr("60 vectors compared; of the 10 nearest")) << column;
  }
  std::string other = "[1";
  for (int i = 1; i < 32; ++i) other += ",0";
  db_.Run("UPDATE forms SET half = '" + other + "]' WHERE id = 7");
  EXPECT_THAT(RunProcess({REEMBED_BINARY, "verify", folder_ / "half"}).out, HasSubstr("row 7: holds another vector"));
}

TEST_F(PostgresFormsTest, TheSameCommandGoesOnAndTheWayBackIsThere) {
  const std::vector<std::string> flags = {"--output-type", "float16", "--output-dim", "32"};
  ASSERT_EQ(Run("half", flags).exit_code, 0);
  db_.Run("INSERT INTO forms VALUES (61, 'a row that came later')");
  const ProcessResult again = Run("half", flags);
  EXPECT_EQ(again.exit_code, 0) << again.out << again.err;
  EXPECT_EQ(db_.Ask("SELECT count(half) FROM forms"), "61");
  const ProcessResult back = RunProcess({REEMBED_BINARY, "rollback", folder_ / "half", "--yes"});
  EXPECT_EQ(back.exit_code, 0) << back.out << back.err;
  EXPECT_EQ(db_.Ask("SELECT count(half) FROM forms"), "0");
}

TEST_F(PostgresFormsTest, WhatPgvectorDoesNotHaveIsRefused) {
  for (const std::string type : {"int8", "bfloat16"}) {
    const ProcessResult run = Run("other", {"--output-type", type});
    EXPECT_EQ(run.exit_code, 2);
    EXPECT_THAT(run.err, HasSubstr("type=" + type + ": expected vector, halfvec, bit"));
  }
  const ProcessResult wide = Run("short", {"--output-dim", "65"});
  EXPECT_EQ(wide.exit_code, 2);
  EXPECT_THAT(wide.err, HasSubstr("expected 1 to 64"));
}

}  // namespace
}  // namespace reembed
