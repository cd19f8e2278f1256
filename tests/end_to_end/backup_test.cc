// SPDX-License-Identifier: Apache-2.0
// backup and restore of files: what comes back is what was there, whatever runs, dies or fills up meanwhile.

#include <poll.h>
#include <signal.h>
#include <sqlite3.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/memu.h"
#include "tests/fakes/process.h"
#include "tests/fakes/read_file.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;

constexpr int kKills = 20;

// Everything in the database as SQL, by SQLite's own program.
std::string Dump(const std::string& db) {
  const ProcessResult dump = RunProcess({"/usr/bin/env", "sqlite3", "-batch", db, ".dump"});
  EXPECT_EQ(dump.exit_code, 0) << dump.err;
  return dump.out;
}

// Waits for the end of the process, at most so long; returns whether it came.
bool EndsWithin(Process* process, std::chrono::microseconds time) {
  const auto deadline = Clock::now() + time;
  pollfd none{.fd = -1, .events = 0, .revents = 0};
  while (process->IsRunning()) {
    if (Clock::now() >= deadline) return false;
    poll(&none, 1, 1);
  }
  return true;
}

class BackupTest : public ::testing::Test {
 protected:
  ProcessResult Run(const std::vector<std::string>& args) { return RunClean(REEMBED_BINARY, folder_.path(), args); }

  // The command with files of at most so many bytes, as on a disk that is full.
  ProcessResult RunWithFullDisk(const std::vector<std::string>& args, int64_t bytes) {
    std::vector<std::string> words = {"-c", absl::StrCat("ulimit -f ", bytes / 512, "; exec \"$@\""), "sh",
                                      REEMBED_BINARY};
    words.insert(words.end(), args.begin(), args.end());
    return RunClean("/bin/sh", folder_.path(), words);
  }

  void MakeSample(const std::string& path, int rows, int text_bytes = 0) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    const ProcessResult made = Run({"systems", "agentloop", "--make-sample", path, "--rows", absl::StrCat(rows),
                                    "--text-bytes", absl::StrCat(text_bytes)});
    ASSERT_EQ(made.exit_code, 0) << made.err;
  }

  bool Exists(const std::string& name) { return std::filesystem::exists(folder_ / name); }

  TempFolder folder_;
};

TEST_F(BackupTest, BothDatabasesOfAgentloopComeBackAsTheyWere) {
  const std::string memory = folder_ / ".agentloop/memory.db", movies = folder_ / ".agentloop/movie_suggestions.db";
  MakeSample(memory, 300);
  MakeSample(movies, 40);
  Change(movies, "PRAGMA journal_mode=WAL; UPDATE messages SET embedding = x'00000080' WHERE message_id < 9");
  const std::string old_memory = Dump(memory), old_movies = Dump(movies);
  const std::string to = folder_ / "saved";
  const ProcessResult backup = Run({"backup", "--system", "agentloop", "--to", to, "--json"});
  ASSERT_EQ(backup.exit_code, 0) << backup.err;
  EXPECT_EQ(LastNumber(backup, "parts"), 2) << backup.out;
  EXPECT_EQ(Dump(to + "/memory.db"), old_memory) << "the copy is a database of its own";
  EXPECT_EQ(Dump(to + "/movie_suggestions.db"), old_movies);
  EXPECT_FALSE(Exists("saved.partial"));

  Change(memory, "DELETE FROM messages WHERE message_id % 3 = 0; CREATE TABLE later (x); VACUUM");
  Change(movies, "UPDATE messages SET content = 'gone', embedding = NULL; DELETE FROM messages_fts");
  const ProcessResult unasked = Run({"restore", to});
  EXPECT_EQ(unasked.exit_code, 2) << "there was no yes";
  EXPECT_THAT(unasked.err, HasSubstr("--yes"));
  EXPECT_NE(Dump(memory), old_memory);
  // One of them is in use: the other stays, too.
  const std::string now = Dump(memory);
  sqlite3* user = nullptr;
  ASSERT_EQ(sqlite3_open(movies.c_str(), &user), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(user, "SELECT count(*) FROM messages", nullptr, nullptr, nullptr), SQLITE_OK);
  const ProcessResult in_use = Run({"restore", to, "--yes"});
  EXPECT_EQ(in_use.exit_code, 11) << in_use.err;
  EXPECT_THAT(in_use.err, HasSubstr("is open in process"));
  sqlite3_close(user);
  EXPECT_EQ(Dump(memory), now);
  const ProcessResult restore = Run({"restore", to, "--yes"});
  ASSERT_EQ(restore.exit_code, 0) << restore.err;
  EXPECT_EQ(Dump(memory), old_memory);
  EXPECT_EQ(Dump(movies), old_movies);

  // A database that is gone is made again, also at another place.
  std::filesystem::remove(memory);
  const ProcessResult again = Run({"restore", to, "--yes", "--only", "memory.db"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(Dump(memory), old_memory);
  const ProcessResult other =
      Run({"restore", to, "--yes", "--only", "movie_suggestions.db", "--db", folder_ / "look.db"});
  ASSERT_EQ(other.exit_code, 0) << other.err;
  EXPECT_EQ(Dump(folder_ / "look.db"), old_movies);
}

TEST_F(BackupTest, RefusesBeforeAnythingIsChanged) {
  const std::string db = folder_ / "memory.db", to = folder_ / "saved";
  MakeSample(db, 50);
  const std::vector<std::string> backup = {"backup", "--system", "agentloop", "--db", db, "--to", to};
  ASSERT_EQ(Run(backup).exit_code, 0);
  const ProcessResult twice = Run(backup);
  EXPECT_EQ(twice.exit_code, 2);
  EXPECT_THAT(twice.err, HasSubstr("exists already"));
  EXPECT_EQ(Run({"backup", "--to", folder_ / "x"}).exit_code, 2);
  const ProcessResult jsonl = Run({"backup", "--source", "jsonl:rows.jsonl", "--to", folder_ / "x"});
  EXPECT_EQ(jsonl.exit_code, 2);
  EXPECT_THAT(jsonl.err, HasSubstr("sqlite"));
  EXPECT_EQ(Run({"backup", "--source", "sqlite:none.db", "--to", folder_ / "x"}).exit_code, 2);
  EXPECT_FALSE(Exists("x"));
  EXPECT_FALSE(Exists("x.partial"));
  EXPECT_EQ(Run({"restore", folder_ / "none", "--yes"}).exit_code, 2);
  const ProcessResult file = Run({"restore", to + "/manifest.json", "--yes"});
  EXPECT_EQ(file.exit_code, 2);
  EXPECT_THAT(file.err, HasSubstr("is a file, and a backup is a folder"));

  Change(db, "DELETE FROM messages WHERE message_id > 10");
  const std::string now = Dump(db);
  // One bit of the copy is another.
  {
    std::fstream file(to + "/memory.db", std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(20000);
    file.put('\x55');
  }
  const ProcessResult damaged = Run({"restore", to, "--yes"});
  EXPECT_EQ(damaged.exit_code, 1) << damaged.err;
  EXPECT_THAT(damaged.err, HasSubstr("cannot be trusted"));
  EXPECT_EQ(Dump(db), now);
  std::ofstream(to + "/manifest.json") << "{\"format\":2}";
  EXPECT_EQ(Run({"restore", to, "--yes"}).exit_code, 6);
  std::ofstream(to + "/manifest.json") << "{\"format\":1";
  EXPECT_EQ(Run({"restore", to, "--yes"}).exit_code, 1);
  EXPECT_EQ(Dump(db), now);
}

TEST_F(BackupTest, TwoNamesOfOneKindAreOneKind) {
  const ProcessResult two = Run({"backup", "--source", "postgres://me@127.0.0.1:1/a?table=t", "--source",
                                 "postgresql://me@127.0.0.1:1/b?table=t", "--to", folder_ / "saved"});
  EXPECT_EQ(two.exit_code, 2);
  EXPECT_THAT(two.err, HasSubstr("has the same name; make two backups"));
  const ProcessResult other = Run({"backup", "--source", "npy:a.npy", "--to", folder_ / "saved"});
  EXPECT_THAT(other.err, HasSubstr("this program saves sqlite, libsql, postgres, qdrant, falkordb, memu;"));
}

TEST_F(BackupTest, ADamagedDatabaseIsNotSavedAndADamagedTargetIsNamed) {
  const std::string db = folder_ / "memory.db", to = folder_ / "saved";
  MakeSample(db, 400);
  ASSERT_EQ(Run({"backup", "--source", "sqlite:" + db, "--to", to}).exit_code, 0);
  {
    std::fstream file(db, std::ios::binary | std::ios::in | std::ios::out);
    for (int page = 3; page < 20; ++page) {
      file.seekp(page * 4096);
      file << std::string(200, '\x7f');
    }
  }
  const ProcessResult backup = Run({"backup", "--source", "sqlite:" + db, "--to", folder_ / "bad"});
  EXPECT_EQ(backup.exit_code, 1) << backup.err;
  EXPECT_THAT(backup.err, HasSubstr("damaged"));
  EXPECT_FALSE(Exists("bad"));
  const ProcessResult restore = Run({"restore", to, "--yes"});
  EXPECT_THAT(restore.exit_code, AnyOf(0, 6)) << restore.err;
  if (restore.exit_code == 6) {
    EXPECT_THAT(restore.err, HasSubstr("move it away"));
  }
}

// Two tables that are equal at every moment, changed all the time by another thread.
class Writer {
 public:
  explicit Writer(const std::string& path, const char* mode) {
    EXPECT_EQ(sqlite3_open(path.c_str(), &db_), SQLITE_OK);
    sqlite3_busy_timeout(db_, 20000);
    Exec(absl::StrCat("PRAGMA journal_mode=", mode));
    Exec("CREATE TABLE a (x TEXT); CREATE TABLE b (x TEXT)");
    Exec(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO a SELECT "
        "hex(randomblob(500)) FROM n; INSERT INTO b SELECT x FROM a");
    thread_ = std::thread([this] {
      while (!stop_) {
        Exec(
            "BEGIN IMMEDIATE; INSERT INTO a VALUES (hex(randomblob(300))); INSERT INTO b SELECT x FROM a ORDER BY "
            "rowid DESC LIMIT 1; COMMIT");
        ++changes_;
      }
    });
  }
  ~Writer() {
    stop_ = true;
    thread_.join();
    sqlite3_close(db_);
  }
  int64_t changes() const { return changes_; }

 private:
  void Exec(const std::string& sql) {
    char* words = nullptr;
    EXPECT_EQ(sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, &words), SQLITE_OK) << words;
  }
  sqlite3* db_ = nullptr;
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> changes_{0};
  std::thread thread_;
};

TEST_F(BackupTest, IsOfOneMomentWhileAWriterGoesOn) {
  for (const char* const mode : {"WAL", "DELETE"}) {
    const std::string db = absl::StrCat(folder_ / "live-", mode, ".db");
    int64_t last = 0;
    Writer writer(db, mode);
    for (int i = 0; i < 5; ++i) {
      const std::string to = absl::StrCat(folder_ / "saved-", mode, i);
      const int64_t before = writer.changes();
      const ProcessResult backup = Run({"backup", "--source", "sqlite:" + db, "--to", to});
      ASSERT_EQ(backup.exit_code, 0) << mode << ": " << backup.err;
      EXPECT_GT(writer.changes(), before) << mode << ": the writer stood still";
      const std::string copy = absl::StrCat(to, "/live-", mode, ".db");
      EXPECT_THAT(Query(copy, "SELECT count(*) FROM (SELECT x FROM a EXCEPT SELECT x FROM b)"),
                  ::testing::ElementsAre("0"));
      const std::vector<std::string> rows = Query(copy, "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)");
      ASSERT_EQ(rows.size(), 1u);
      const int64_t a = std::stoll(rows[0]);
      EXPECT_EQ(rows[0], absl::StrCat(a, "|", a)) << "a moment that never was";
      EXPECT_GE(a, last);
      EXPECT_GE(a, 3000 + before);
      last = a;
    }
    // It is in use: nothing is put into its place.
    const ProcessResult restore = Run({"restore", absl::StrCat(folder_ / "saved-", mode, 0), "--yes"});
    EXPECT_EQ(restore.exit_code, 11) << restore.err;
    EXPECT_THAT(restore.err, HasSubstr("is open in process"));
  }
}

TEST_F(BackupTest, ItCanBeStoppedAndSaysWhatIsLeft) {
  const std::string db = folder_ / "memory.db", to = folder_ / "saved";
  MakeSample(db, 50);
  const std::vector<std::string> args = {REEMBED_BINARY, "backup", "--source", "sqlite:" + db, "--to", to};
  for (const auto& [signal, code] : {std::pair(SIGINT, 130), std::pair(SIGTERM, 143)}) {
    sqlite3* writer = nullptr;
    ASSERT_EQ(sqlite3_open(db.c_str(), &writer), SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(writer, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr), SQLITE_OK);
    Process process(args);
    ASSERT_TRUE(process.WaitFor("reading ")) << "it waits for the writer then";
    process.Signal(signal);
    const ProcessResult stopped = process.Wait();
    EXPECT_EQ(stopped.exit_code, code) << stopped.err;
    EXPECT_THAT(stopped.err, HasSubstr("stopped; there is no backup"));
    sqlite3_close(writer);
    EXPECT_FALSE(Exists("saved"));
  }
  EXPECT_EQ(RunProcess(args).exit_code, 0);
  EXPECT_FALSE(Exists("saved.partial"));
}

TEST_F(BackupTest, KilledAtAnyMomentABackupIsWholeOrNotThere) {
  const std::string db = folder_ / "memory.db", to = folder_ / "saved";
  MakeSample(db, 8000, 3000);
  const std::vector<std::string> args = {REEMBED_BINARY, "backup", "--source", "sqlite:" + db, "--to", to};
  const std::string bytes = ReadFile(db);
  const auto start = Clock::now();
  ASSERT_EQ(RunProcess(args).exit_code, 0);
  const auto whole_run = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);
  const uint64_t seed = std::random_device{}();
  std::mt19937_64 random(seed);
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  int killed = 0;
  for (int i = 0; i < kKills; ++i) {
    std::filesystem::remove_all(to);
    Process process(args);
    if (!EndsWithin(&process, std::chrono::microseconds(random() % whole_run.count()))) {
      process.Signal(SIGKILL);
      process.Wait();
      ++killed;
    }
    if (std::filesystem::exists(to)) {
      EXPECT_TRUE(std::filesystem::exists(to + "/manifest.json"));
      EXPECT_EQ(Run({"restore", to, "--yes", "--db", folder_ / "look.db"}).exit_code, 0);
    }
  }
  EXPECT_GT(killed, kKills / 4) << "hardly anything was tried";
  std::filesystem::remove_all(to);
  EXPECT_EQ(RunProcess(args).exit_code, 0);
  EXPECT_FALSE(Exists("saved.partial")) << "what the dead left is still there";
  EXPECT_EQ(ReadFile(db), bytes);
}

TEST_F(BackupTest, KilledAtAnyMomentARestoreLeavesTheOldOrTheNew) {
  const std::string db = folder_ / "memory.db", to = folder_ / "saved";
  MakeSample(db, 8000, 3000);
  ASSERT_EQ(Run({"backup", "--source", "sqlite:" + db, "--to", to}).exit_code, 0);
  const std::string wanted = Dump(db);
  Change(db, "UPDATE messages SET content = 'x' || content WHERE message_id % 2 = 0; CREATE TABLE later (x)");
  const std::string old = Dump(db), old_bytes = ReadFile(db);
  const std::vector<std::string> args = {REEMBED_BINARY, "restore", to, "--yes"};
  const auto start = Clock::now();
  ASSERT_EQ(RunProcess(args).exit_code, 0);
  const auto whole_run = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);
  EXPECT_EQ(Dump(db), wanted);
  const uint64_t seed = std::random_device{}();
  std::mt19937_64 random(seed);
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  int torn = 0;
  for (int i = 0; i < kKills; ++i) {
    std::filesystem::remove(db + "-journal");
    std::ofstream(db, std::ios::binary) << old_bytes;
    Process process(args);
    if (!EndsWithin(&process, std::chrono::microseconds(random() % whole_run.count()))) {
      process.Signal(SIGKILL);
      process.Wait();
    }
    if (std::filesystem::exists(db + "-journal")) ++torn;
    const std::string left = Dump(db);
    EXPECT_TRUE(left == old || left == wanted) << "neither the old nor the new, kill " << i;
  }
  EXPECT_GT(torn, 0) << "no kill came in the middle";
  EXPECT_EQ(RunProcess(args).exit_code, 0);
  EXPECT_EQ(Dump(db), wanted);
}

TEST_F(BackupTest, AFullDiskLeavesNoBackupAndTheOldWhole) {
  const std::string db = folder_ / "memory.db", to = folder_ / "saved";
  MakeSample(db, 2000, 2000);
  const auto size = static_cast<int64_t>(std::filesystem::file_size(db));
  const ProcessResult backup = RunWithFullDisk({"backup", "--source", "sqlite:" + db, "--to", to}, size / 2);
  EXPECT_EQ(backup.exit_code, 5) << backup.err;
  EXPECT_FALSE(Exists("saved"));
  EXPECT_FALSE(Exists("saved.partial"));
  ASSERT_EQ(Run({"backup", "--source", "sqlite:" + db, "--to", to}).exit_code, 0);
  Change(db, "DELETE FROM messages WHERE message_id > 20; VACUUM");
  const std::string old = Dump(db);
  const ProcessResult restore = RunWithFullDisk({"restore", to, "--yes"}, size / 2);
  EXPECT_EQ(restore.exit_code, 5) << restore.err;
  EXPECT_EQ(Dump(db), old);
  const ProcessResult made = RunWithFullDisk({"restore", to, "--yes", "--db", folder_ / "new.db"}, size / 2);
  EXPECT_EQ(made.exit_code, 5) << made.err;
  EXPECT_FALSE(Exists("new.db"));
  EXPECT_FALSE(Exists("new.db.copy"));
}

TEST_F(BackupTest, MemusTwoFilesComeBackTogether) {
  std::filesystem::create_directory(folder_ / "data");
  MakeMemu(folder_ / "data", {.items = 200, .dim = 16});
  const std::string db = folder_ / "data/memu.db", vectors = folder_ / "data/vectors.json", to = folder_ / "saved";
  const std::string old = Dump(db), old_vectors = ReadFile(vectors);
  const ProcessResult backup = Run({"backup", "--system", "memu", "--db", db, "--to", to, "--json"});
  ASSERT_EQ(backup.exit_code, 0) << backup.err;
  EXPECT_EQ(LastNumber(backup, "parts"), 2);
  EXPECT_EQ(ReadFile(to + "/vectors.json"), old_vectors);
  Change(db, "DELETE FROM memory_items");
  std::ofstream(vectors) << "{}";
  ASSERT_EQ(Run({"restore", to, "--yes"}).exit_code, 0);
  EXPECT_EQ(Dump(db), old);
  EXPECT_EQ(ReadFile(vectors), old_vectors);
  std::filesystem::create_directory(folder_ / "elsewhere");
  ASSERT_EQ(Run({"restore", to, "--yes", "--db", folder_ / "elsewhere/memu.db"}).exit_code, 0);
  EXPECT_EQ(ReadFile(folder_ / "elsewhere/vectors.json"), old_vectors);
  // A file that MemU could not read is no backup.
  std::ofstream(vectors, std::ios::binary) << old_vectors.substr(0, old_vectors.size() / 2);
  const ProcessResult torn = Run({"backup", "--system", "memu", "--db", db, "--to", folder_ / "torn"});
  EXPECT_EQ(torn.exit_code, 1) << torn.err;
  EXPECT_THAT(torn.err, HasSubstr("data/vectors.json"));
  EXPECT_FALSE(Exists("torn"));
}

}  // namespace
}  // namespace reembed
