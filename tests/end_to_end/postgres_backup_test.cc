// SPDX-License-Identifier: Apache-2.0
// backup and restore of the rows of a real PostgreSQL.

#include <poll.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

constexpr int kKills = 12;

class PostgresBackupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server_.Run("DROP SCHEMA IF EXISTS memory CASCADE; CREATE SCHEMA memory; SET search_path = memory, public;");
    // The child sorts before its parent. A trigger that would show in the rows, a generated column, dropped columns.
    server_.Run(R"(
      CREATE TABLE memory.memories (gone INT, id SERIAL PRIMARY KEY, user_id VARCHAR(255) NOT NULL, content TEXT,
        embedding public.vector(8), half public.halfvec(3), metadata JSONB DEFAULT '{}', importance FLOAT, tags TEXT[],
        at TIMESTAMP, raw BYTEA, length INT GENERATED ALWAYS AS (length(content)) STORED);
      ALTER TABLE memory.memories DROP COLUMN gone;
      CREATE TABLE memory.duplicates (id INT GENERATED ALWAYS AS IDENTITY, original INT REFERENCES memory.memories ON DELETE
        CASCADE, "odd name/x" TEXT);
      CREATE TABLE memory."odd table/.." (x INT);
      CREATE FUNCTION memory.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.content := 'touched'; RETURN NEW; END
        $$;
      INSERT INTO memory.memories (user_id, content, embedding, half, metadata, importance, tags, at, raw)
        SELECT 'u' || i % 7, CASE WHEN i % 11 > 0 THEN 'text ä ' || i END,
          CASE WHEN i % 5 > 0 THEN ('[' || i || ',0.1,-2.5e-7,3,4,5,6,7]')::public.vector END, '[1,2,0.5]',
          jsonb_build_object('k', i), i / 3.0, ARRAY['a', NULL, 'b' || i], '2025-01-31 12:00:00.123456', '\x00ff'
        FROM generate_series(1, 4000) i;
      INSERT INTO memory.duplicates (original, "odd name/x") SELECT i, 'x' || i FROM generate_series(1, 900) i;
      INSERT INTO memory."odd table/.." VALUES (1), (NULL);
      CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON memory.memories FOR EACH ROW EXECUTE FUNCTION memory.touch();
    )");
  }

  // The server is everybody's.
  void TearDown() override { server_.Run("RESET search_path; DROP SCHEMA memory CASCADE"); }

  std::string Rows() {
    return server_.Ask("SELECT * FROM memory.memories ORDER BY id") + "\n" +
           server_.Ask("SELECT * FROM memory.duplicates ORDER BY id") + "\n" +
           server_.Ask("SELECT * FROM memory.\"odd table/..\" ORDER BY x") + "\n" +
           server_.Ask(
               "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'memory.memories'::regclass AND NOT "
               "tgisinternal");
  }

  // Another state of all tables.
  void Spoil() {
    server_.Run(
        "DELETE FROM memory.memories WHERE id % 2 = 0; UPDATE memory.memories SET embedding = NULL; "
        "INSERT INTO memory.\"odd table/..\" VALUES (7)");
  }

  ProcessResult Run(const std::vector<std::string>& args) { return RunClean(REEMBED_BINARY, folder_.path(), args); }
  std::vector<std::string> BackupTo(const std::string& name) {
    return {"backup", "--source", server_.Uri("schema=memory"), "--to", folder_ / name};
  }

  PostgresServer& server_ = TestPostgres();
  TempFolder folder_;
};

TEST_F(PostgresBackupTest, RowsComeBackAsTheyWere) {
  const std::string rows = Rows();
  const ProcessResult backup = Run(BackupTo("saved"));
  ASSERT_EQ(backup.exit_code, 0) << backup.err;
  Spoil();
  const std::string spoilt = Rows();
  const ProcessResult unasked = Run({"restore", folder_ / "saved"});
  EXPECT_EQ(unasked.exit_code, 2);
  EXPECT_THAT(unasked.err, HasSubstr("\"memories\" (2,000 rows)"));
  EXPECT_EQ(Rows(), spoilt);
  const ProcessResult restore = Run({"restore", folder_ / "saved", "--yes"});
  ASSERT_EQ(restore.exit_code, 0) << restore.err;
  EXPECT_EQ(Rows(), rows);
  // New rows get numbers behind the old, also where the sequence is new.
  server_.Run("ALTER SEQUENCE memory.memories_id_seq RESTART");
  ASSERT_EQ(Run({"restore", folder_ / "saved", "--yes"}).exit_code, 0);
  EXPECT_EQ(server_.Ask("INSERT INTO memory.memories (user_id) VALUES ('new') RETURNING id"), "4001");
}

TEST_F(PostgresBackupTest, RefusesWhatDoesNotFitAndChangesNothing) {
  ASSERT_EQ(Run(BackupTo("saved")).exit_code, 0);
  EXPECT_EQ(Run({"backup", "--source", server_.Uri("schema=nowhere"), "--to", folder_ / "x"}).exit_code, 2);
  server_.Run("ALTER TABLE memory.memories ALTER COLUMN embedding TYPE public.vector USING embedding::public.vector");
  const std::string now = Rows();
  const ProcessResult type = Run({"restore", folder_ / "saved", "--yes"});
  EXPECT_EQ(type.exit_code, 6) << type.err;
  EXPECT_THAT(type.err, HasSubstr("embedding vector(8), half"));
  EXPECT_EQ(Rows(), now);
  server_.Run("ALTER TABLE memory.memories ALTER COLUMN embedding TYPE public.vector(8)");
  // Rows that a constraint refuses: the transaction ends, and all is as it was.
  server_.Run("DELETE FROM memory.memories WHERE id > 10; ALTER TABLE memory.memories ADD CHECK (id <= 10)");
  const std::string few = Rows();
  const ProcessResult refused = Run({"restore", folder_ / "saved", "--yes"});
  EXPECT_EQ(refused.exit_code, 6) << refused.err;
  EXPECT_EQ(Rows(), few);
}

TEST_F(PostgresBackupTest, IsOfOneMomentWhileOthersWrite) {
  std::atomic<bool> stop{false};
  std::atomic<int> changes{0};
  PostgresServer writers;
  writers.Run(
      "CREATE TABLE a (x INT, pad TEXT); CREATE TABLE z (x INT, pad TEXT); INSERT INTO a SELECT i, repeat('x', "
      "300) FROM generate_series(1, 20000) i; INSERT INTO z SELECT * FROM a");
  std::thread writer([&] {
    while (!stop) {
      writers.Run("BEGIN; INSERT INTO a VALUES (1); INSERT INTO z VALUES (1); COMMIT");
      ++changes;
    }
  });
  for (int i = 0; i < 4; ++i) {
    const int before = changes;
    const ProcessResult backup =
        Run({"backup", "--source", writers.Uri(""), "--to", absl::StrCat(folder_ / "saved", i), "--json"});
    EXPECT_EQ(backup.exit_code, 0) << backup.err;
    EXPECT_GT(changes, before) << "writers were held up";
    const int64_t both = LastNumber(backup, "rows");
    EXPECT_EQ(both % 2, 0) << "a moment that never was";
    EXPECT_GE(both, 40000 + 2 * before);
  }
  stop = true;
  writer.join();
}

TEST_F(PostgresBackupTest, KilledAtAnyMomentARestoreLeavesTheOldOrTheNew) {
  const std::string wanted = Rows();
  ASSERT_EQ(Run(BackupTo("saved")).exit_code, 0);
  Spoil();
  const std::string old = Rows();
  ASSERT_EQ(Run(BackupTo("old")).exit_code, 0);
  const std::vector<std::string> args = {REEMBED_BINARY, "restore", folder_ / "saved", "--yes"};
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(RunProcess(args).exit_code, 0);
  const auto whole_run =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start).count();
  EXPECT_EQ(Rows(), wanted);
  const uint64_t seed = std::random_device{}();
  std::mt19937_64 random(seed);
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  int stayed = 0;
  for (int i = 0; i < kKills; ++i) {
    ASSERT_EQ(Run({"restore", folder_ / "old", "--yes"}).exit_code, 0);
    Process process(args);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::microseconds(random() % whole_run);
    pollfd none{.fd = -1, .events = 0, .revents = 0};
    while (process.IsRunning() && std::chrono::steady_clock::now() < deadline) poll(&none, 1, 1);
    process.Signal(SIGKILL);
    process.Wait();
    const std::string left = Rows();
    EXPECT_TRUE(left == old || left == wanted) << "neither the old nor the new, kill " << i;
    stayed += left == old ? 1 : 0;
  }
  EXPECT_GT(stayed, 0) << "no kill came in the middle";
  ASSERT_EQ(RunProcess(args).exit_code, 0);
  EXPECT_EQ(Rows(), wanted);
}

}  // namespace
}  // namespace reembed
