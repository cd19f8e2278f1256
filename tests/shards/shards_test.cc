// SPDX-License-Identifier: Apache-2.0
// A job in shares is the job: the same rows, the same vectors, each bought and written once.

#include <hdf5.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/job/lock_owner.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/stalling_model.h"
#include "tests/fakes/temp_folder.h"
#include "tests/shards/shard_job.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string BytesOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << path;
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

// Rows with gaps between their keys, texts that come twice, and some that are rejected.
void FillTable(SqliteFile* file, const std::string& key, int rows = 2000) {
  file->Run(absl::StrCat("CREATE TABLE notes (id ", key == "i" ? "INTEGER" : "TEXT", " PRIMARY KEY, body TEXT);",
                         "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ", rows,
                         ") INSERT INTO notes SELECT ", key == "i" ? "i * i" : key,
                         ", 'note number ' || (i % 1500) || ' of many' FROM n"));
}

std::vector<std::string> InPlace(const SqliteFile& file) {
  return {"--source", absl::StrCat("sqlite:", file.path(), "?table=notes&text=body&vector=embedding")};
}

constexpr char kVectors[] = "SELECT id, hex(embedding) FROM notes ORDER BY id";

class ShardsTest : public ::testing::Test {
 protected:
  // Lines of JSON with keys of their own.
  std::string WriteLines(int rows) {
    const std::string path = folder_ / "rows.jsonl";
    std::ofstream out(path);
    for (int i = 0; i < rows; ++i) {
      out << R"({"id":")" << i << R"(-key","text":"line )" << i % 700 << std::string(static_cast<size_t>(i % 90), 'x')
          << "\"}\n";
      if (i % 500 == 250) out << "not a line of JSON\n\n";
    }
    return path;
  }

  const TempFolder folder_;
};

TEST_F(ShardsTest, ATableIsFilledAsByOneMachine) {
  for (const std::string key : {"i", "'key ' || (i * 7919 % 2003)"}) {
    SCOPED_TRACE(key);
    SqliteFile whole, shared;
    FillTable(&whole, key);
    FillTable(&shared, key);
    const std::string one = folder_ / absl::StrCat("one", key.size()), parent = folder_ / absl::StrCat("n", key.size());
    const ProcessResult done = RunProcess(RunCommandOf(InPlace(whole), one));
    ASSERT_EQ(done.exit_code, 0) << done.err;
    RunAllShards(RunCommandOf(InPlace(shared), parent), 5);
    EXPECT_EQ(shared.Ask(kVectors), whole.Ask(kVectors));
    EXPECT_EQ(shared.Ask("SELECT count(*) FROM notes WHERE embedding IS NULL"), "0");
    const std::vector<std::string> keys = LedgerKeys(parent, 5);
    EXPECT_EQ(keys.size(), 2000u);
    EXPECT_EQ(std::set<std::string>(keys.begin(), keys.end()).size(), keys.size()) << "a row is in two shares";
    const ProcessResult verified = Reembed({"verify", parent});
    EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
    const ProcessResult status = Reembed({"status", parent, "--json"});
    EXPECT_THAT(status.out, AllOf(HasSubstr(R"("shards_complete":5)"), HasSubstr(R"("rows_with_vector":2000)"),
                                  HasSubstr(R"("published":true)"), HasSubstr(R"("run_again":"")")));
  }
}

TEST_F(ShardsTest, SharesOfATableAreEven) {
  SqliteFile file;
  FillTable(&file, "i");
  // A dense stretch far behind, and one row further yet.
  file.Run(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000) INSERT INTO notes SELECT "
      "1000000000000 + i, 'dense ' || i FROM n; INSERT INTO notes VALUES (4000000000000000000, 'last')");
  const std::string parent = folder_ / "even";
  RunAllShards(RunCommandOf(InPlace(file), parent), 8);
  for (int i = 0; i < 8; ++i) {
    const std::string folder = absl::StrCat(parent, "/shard-000", i, "-of-0008");
    const ProcessResult status = Reembed({"status", folder, "--json"});
    const size_t at = status.out.rfind("\"rows_selected\":");
    ASSERT_NE(at, std::string::npos);
    const int rows = std::stoi(status.out.substr(at + 16));
    EXPECT_GT(rows, 900) << folder;
    EXPECT_LT(rows, 1100) << folder;
  }
}

TEST_F(ShardsTest, FilesAreMergedToTheSameBytes) {
  const std::string lines = WriteLines(3000);
  const auto command = [&](const std::string& to, const std::string& job) {
    fs::create_directories(folder_ / to);
    std::vector<std::string> place = {"--source", "jsonl:" + lines};
    for (const char* const target :
         {"fbin:rows.fbin", "npy:rows.npy", "jsonl:out.jsonl", "hdf5:rows.h5", "faiss:rows.faiss?factory=Flat"}) {
      place.push_back("--target");
      place.push_back(absl::StrReplaceAll(target, {{":", absl::StrCat(":", folder_ / to, "/")}}));
    }
    return RunCommandOf(place, folder_ / job);
  };
  const ProcessResult done = RunProcess(command("one", "job-one"));
  ASSERT_EQ(done.exit_code, 3) << done.err;  // lines that are none
  const std::vector<std::string> shared = command("all", "job-all");
  std::vector<std::unique_ptr<Process>> running;
  for (int i = 0; i < 4; ++i) {
    running.push_back(std::make_unique<Process>(With(shared, {"--shard", absl::StrCat(i, "/4")})));
  }
  for (auto& process : running) {
    const ProcessResult share = process->Wait();
    EXPECT_THAT(share.exit_code, ::testing::AnyOf(0, 3)) << share.err;
  }
  const ProcessResult merged = Reembed({"merge", folder_ / "job-all"});
  ASSERT_EQ(merged.exit_code, 0) << merged.out << merged.err;
  for (const char* const file : {"rows.fbin", "rows.fbin.keys.jsonl", "rows.npy", "rows.npy.keys.jsonl", "out.jsonl"}) {
    EXPECT_EQ(BytesOf(absl::StrCat(folder_ / "all", "/", file)), BytesOf(absl::StrCat(folder_ / "one", "/", file)))
        << file;
  }
  const ProcessResult verified = Reembed({"verify", folder_ / "job-all"});
  EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
  // The lines that are none have the numbers that they have in the file.
  const std::string one = Reembed({"status", folder_ / "job-one", "--rejects", "100", "--json"}).out;
  for (const int line : {252, 754, 1256, 1758, 2260, 2762}) {
    EXPECT_THAT(one, HasSubstr(absl::StrCat("\"line ", line, "\"")));
  }
  std::string rejects;
  for (int i = 0; i < 4; ++i) {
    rejects += Reembed({"status", absl::StrCat(folder_ / "job-all", "/shard-000", i, "-of-0004"), "--rejects", "100",
                        "--json"})
                   .out;
  }
  for (const int line : {252, 754, 1256, 1758, 2260, 2762}) {
    EXPECT_THAT(rejects, HasSubstr(absl::StrCat("\"line ", line, "\"")));
  }
  // The same command again: what is merged stays, and what is missing is made.
  fs::remove(folder_ / "all/rows.npy");
  fs::remove(folder_ / "all/rows.npy.keys.jsonl");
  const auto made = fs::last_write_time(folder_ / "all/rows.fbin");
  const ProcessResult again = Reembed({"merge", folder_ / "job-all"});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("rows of 4 shards, merged before"));
  EXPECT_EQ(fs::last_write_time(folder_ / "all/rows.fbin"), made);
  EXPECT_EQ(BytesOf(folder_ / "all/rows.npy"), BytesOf(folder_ / "one/rows.npy"));
  // A merged file that somebody changed is found.
  std::fstream file(folder_ / "all/rows.fbin", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(1000);
  file.put('!');
  file.close();
  EXPECT_EQ(Reembed({"verify", folder_ / "job-all"}).exit_code, 8);
  // And not replaced.
  const ProcessResult refused = Reembed({"merge", folder_ / "job-all"});
  EXPECT_EQ(refused.exit_code, 2) << refused.out;
  EXPECT_THAT(refused.err, HasSubstr("rows.fbin exists already"));
}

TEST_F(ShardsTest, LineNumbersAreKeysInEveryShare) {
  const std::string path = folder_ / "plain.jsonl";
  std::ofstream out(path);
  for (int i = 0; i < 1000; ++i) out << R"({"text":"text )" << i << "\"}\n";
  out.close();
  const auto place = [&](const std::string& name) {
    return std::vector<std::string>{"--source", "jsonl:" + path,
                                    "--target", "fbin:" + (folder_ / name) + ".fbin",
                                    "--target", "faiss:" + (folder_ / name) + ".faiss?factory=Flat"};
  };
  const std::vector<std::string> one = place("one"), all = place("all");
  ASSERT_EQ(RunProcess(RunCommandOf(one, folder_ / "one")).exit_code, 0);
  RunAllShards(RunCommandOf(all, folder_ / "all"), 3);
  ASSERT_EQ(Reembed({"merge", folder_ / "all"}).exit_code, 0);
  EXPECT_EQ(BytesOf(folder_ / "all.fbin"), BytesOf(folder_ / "one.fbin"));
  EXPECT_EQ(BytesOf(folder_ / "all.fbin.keys.jsonl"), BytesOf(folder_ / "one.fbin.keys.jsonl"));
  EXPECT_EQ(BytesOf(folder_ / "all.faiss"), BytesOf(folder_ / "one.faiss"));
  // Lines that are appended are the last share's; another file is found out.
  out.open(path, std::ios::app);
  out << R"({"text":"one more"})"
      << "\n";
  out.close();
  const ProcessResult more = RunProcess(With(RunCommandOf(all, folder_ / "all"), {"--shard", "2/3"}));
  EXPECT_EQ(more.exit_code, 0) << more.err;
  EXPECT_EQ(LedgerKeys(folder_ / "all", 3).size(), 1001u);
  out.open(path, std::ios::trunc);
  for (int i = 0; i < 1000; ++i) out << R"({"text":"other text )" << i * 3 << "\"}\n";
  out.close();
  const ProcessResult other = RunProcess(With(RunCommandOf(all, folder_ / "all"), {"--shard", "1/3"}));
  EXPECT_EQ(other.exit_code, 6) << other.err;
  EXPECT_THAT(other.err, HasSubstr("plan the shards again"));
}

TEST_F(ShardsTest, RowsOfAnHdf5FileAreShared) {
  const std::string path = folder_ / "rows.h5";
  std::vector<std::string> texts;
  std::vector<const char*> pointers;
  std::vector<int64_t> keys;
  for (int i = 0; i < 1000; ++i) {
    texts.push_back(absl::StrCat("text ", i % 800));
    keys.push_back(5000 - i);
  }
  for (const std::string& text : texts) pointers.push_back(text.c_str());
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  const hsize_t rows = texts.size();
  const hid_t space = H5Screate_simple(1, &rows, nullptr);
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, H5T_VARIABLE);
  H5Tset_cset(type, H5T_CSET_UTF8);
  const hid_t text = H5Dcreate2(file, "texts", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  ASSERT_GE(H5Dwrite(text, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, pointers.data()), 0);
  const hid_t key = H5Dcreate2(file, "ids", H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  ASSERT_GE(H5Dwrite(key, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, keys.data()), 0);
  H5Dclose(text);
  H5Dclose(key);
  H5Tclose(type);
  H5Sclose(space);
  H5Fclose(file);
  for (const std::string query : {"", "?keys=ids"}) {
    SCOPED_TRACE(query);
    const std::string one = folder_ / absl::StrCat("one", query.size()),
                      all = folder_ / absl::StrCat("n", query.size());
    const auto place = [&](const std::string& to) {
      return std::vector<std::string>{"--source", "hdf5:" + path + query, "--target", "fbin:" + to + ".fbin"};
    };
    ASSERT_EQ(RunProcess(RunCommandOf(place(one), one)).exit_code, 0);
    RunAllShards(RunCommandOf(place(all), all), 3);
    ASSERT_EQ(Reembed({"merge", all}).exit_code, 0);
    EXPECT_EQ(BytesOf(all + ".fbin"), BytesOf(one + ".fbin"));
    EXPECT_EQ(BytesOf(all + ".fbin.keys.jsonl"), BytesOf(one + ".fbin.keys.jsonl"));
    EXPECT_EQ(Reembed({"verify", all}).exit_code, 0);
  }
}

TEST_F(ShardsTest, NoRowIsInTwoSharesWhateverComesAndGoesMeanwhile) {
  const uint64_t seed = 16;
  std::mt19937_64 random(seed);
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  SqliteFile file;
  FillTable(&file, "i");
  file.Run("PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 60000");
  const std::string parent = folder_ / "busy";
  const std::vector<std::string> command = RunCommandOf(InPlace(file), parent);
  std::vector<std::unique_ptr<Process>> running;
  for (int i = 0; i < 4; ++i) {
    running.push_back(std::make_unique<Process>(With(command, {"--shard", absl::StrCat(i, "/4")})));
  }
  for (int i = 0; i < 1000; ++i) {
    const uint64_t key = random() % 5000000;
    if (random() % 2 == 0) {
      file.Run(absl::StrCat("INSERT OR IGNORE INTO notes (id, body) VALUES (", key, ", 'came ", i, "')"));
    } else {
      file.Run(absl::StrCat("DELETE FROM notes WHERE id = (SELECT id FROM notes WHERE id >= ", key, " LIMIT 1)"));
    }
  }
  for (auto& process : running) {
    const ProcessResult done = process->Wait();
    // Rows that came behind the last look, or went, are told.
    EXPECT_THAT(done.exit_code, ::testing::AnyOf(0, 3, 5)) << done.err;
  }
  RunAllShards(command, 4, /*rows_went=*/true);
  const std::vector<std::string> keys = LedgerKeys(parent, 4);
  const std::set<std::string> distinct(keys.begin(), keys.end());
  EXPECT_EQ(distinct.size(), keys.size()) << "a row is in two shares";
  EXPECT_EQ(file.Ask("SELECT count(*) FROM notes WHERE embedding IS NULL"), "0");
  std::istringstream there(file.Ask("SELECT id FROM notes"));
  for (std::string key; there >> key;) EXPECT_TRUE(distinct.contains(key)) << key << " is in no share";
  // To the bit what one machine makes of the rows as they are now.
  const std::string shared = file.Ask(kVectors);
  ASSERT_EQ(RunProcess(With(RunCommandOf(InPlace(file), folder_ / "whole"), {"--all"})).exit_code, 0);
  EXPECT_EQ(file.Ask(kVectors), shared);
}

TEST_F(ShardsTest, TheSecondWorkerOnAShareIsTurnedAwayAndAKilledOneGoesOn) {
  SqliteFile file, whole;
  FillTable(&file, "i", 600);
  FillTable(&whole, "i", 600);
  const std::string parent = folder_ / "two";
  {
    StallingModel model("m", /*stalls_from=*/4);
    Process first(With(model.Command(InPlace(file), parent), {"--shard", "0/2"}), StallingModel::Key());
    model.WaitForStalled();
    const ProcessResult second =
        RunProcess(With(model.Command(InPlace(file), parent), {"--shard", "0/2"}), StallingModel::Key());
    EXPECT_EQ(second.exit_code, 11) << second.err;
    EXPECT_THAT(second.err, AllOf(HasSubstr("process "), HasSubstr("on host ")));
    // Nor does a job of another kind come to the column.
    StallingModel other("other");
    const ProcessResult foreign = RunProcess(other.Command(InPlace(file), folder_ / "foreign"), StallingModel::Key());
    EXPECT_EQ(foreign.exit_code, 11) << foreign.err;
    EXPECT_THAT(foreign.err, HasSubstr("is being written by process"));
    EXPECT_THAT(Reembed({"status", parent, "--json"}).out, HasSubstr(R"("state":"running")"));
    first.Signal(SIGKILL);
    EXPECT_EQ(first.Wait().signal, SIGKILL);
  }
  const std::string status = Reembed({"status", parent, "--json"}).out;
  EXPECT_THAT(status, AllOf(HasSubstr(R"("state":"stopped")"), HasSubstr(R"("run_again":"0-1")")));
  EXPECT_EQ(Reembed({"verify", parent}).exit_code, 8);
  EXPECT_EQ(Reembed({"publish", parent}).exit_code, 6);
  EXPECT_EQ(Reembed({"merge", parent}).exit_code, 6);
  StallingModel model("m");
  for (const char* const shard : {"1/2", "0/2"}) {
    const ProcessResult done =
        RunProcess(With(model.Command(InPlace(file), parent), {"--shard", shard}), StallingModel::Key());
    EXPECT_EQ(done.exit_code, 0) << done.err;
  }
  ASSERT_EQ(RunProcess(model.Command(InPlace(whole), folder_ / "whole"), StallingModel::Key()).exit_code, 0);
  EXPECT_EQ(file.Ask(kVectors), whole.Ask(kVectors));
  const ProcessResult verified = Reembed({"verify", parent});
  EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
}

// A container that is started again has the same host, and its processes the same numbers.
TEST_F(ShardsTest, AnotherProcessWithTheSameNumberIsNotTheWorker) {
  SqliteFile file;
  FillTable(&file, "i", 40);
  const std::string parent = folder_ / "number";
  ASSERT_EQ(RunProcess(With(RunCommandOf(InPlace(file), parent), {"--shard", "0/2"})).exit_code, 0);
  fs::remove(parent + "/shard-0000-of-0002/complete");
  Process other({"/bin/sh", "-c", "echo $$; exec sleep 1000"});
  ASSERT_TRUE(other.WaitFor("\n"));
  LockOwner owner = ThisProcess();
  owner.pid = other.out().substr(0, other.out().find('\n'));
  const auto run_again = [&] {
    std::ofstream(parent + "/shard-0000-of-0002/lock") << LockOwnerText(owner);
    return Reembed({"status", parent, "--json"}).out;
  };
  EXPECT_THAT(run_again(), HasSubstr(R"("run_again":"1")"));
  owner.started -= 3600;
  EXPECT_THAT(run_again(), HasSubstr(R"("run_again":"0-1")"));
  other.Signal(SIGKILL);
  other.Wait();
}

TEST_F(ShardsTest, AnotherPlanIsRefusedByName) {
  SqliteFile file;
  FillTable(&file, "i", 100);
  const std::string parent = folder_ / "plan";
  const ProcessResult planned = Reembed({"plan", "--embedder", "builtin", "--dimensions", "32", "--shards", "3",
                                         "--out", parent, "--source", InPlace(file)[1]});
  ASSERT_EQ(planned.exit_code, 0) << planned.err;
  EXPECT_THAT(planned.out, HasSubstr("--shard 0/3"));
  EXPECT_THAT(Reembed({"status", parent}).out,
              AllOf(HasSubstr("3 stopped or not begun"), HasSubstr("of about 100"), HasSubstr("run again 0-2")));
  const std::vector<std::string> command = RunCommandOf(InPlace(file), parent);
  const auto expect = [&](const std::vector<std::string>& more, const std::string& planned_word,
                          const std::string& asked_word) {
    const ProcessResult refused = RunProcess(With(command, more));
    EXPECT_EQ(refused.exit_code, 2) << refused.err;
    EXPECT_THAT(refused.err, AllOf(HasSubstr("planned"), HasSubstr(planned_word), HasSubstr(asked_word)));
  };
  expect({"--shard", "0/4"}, "shards: 3", "4");
  expect({"--shard", "0/3", "--where", "id > 5"}, "the condition ``", "` where id > 5`");
  expect({"--shard", "0/3", "--target", "fbin:" + (folder_ / "x.fbin")}, "target sqlite:", "x.fbin");
  expect({"--shard", "0/3", "--normalize", "unit"}, "as-received", "unit");
  for (const auto& [shard, words] : std::map<std::string, std::string>{{"3/3", "from 0 to 2, got 3"},
                                                                       {"-1/3", "from 0 to 2, got -1"},
                                                                       {"0/0", "got 0"},
                                                                       {"x", "expected I/N"},
                                                                       {"/3", "no scheduler has set"},
                                                                       {"auto", "no scheduler has set"}}) {
    const ProcessResult refused = RunProcess(With(command, {"--shard=" + shard}));
    EXPECT_EQ(refused.exit_code, 2) << shard << refused.err;
    EXPECT_THAT(refused.err, HasSubstr(words));
  }
  // Who forgets --shard does not get the whole job, in the folder of all.
  const ProcessResult whole = RunProcess(command);
  EXPECT_EQ(whole.exit_code, 2) << whole.err;
  EXPECT_THAT(whole.err, HasSubstr("say which one with --shard I/3"));
  EXPECT_FALSE(fs::exists(parent + "/ledger.db"));
  EXPECT_FALSE(fs::exists(parent + "/shard-0000-of-0003"));
  EXPECT_EQ(file.Ask("SELECT count(*) FROM pragma_table_info('notes')"), "2") << "the target was touched";
}

TEST_F(ShardsTest, SharesWhosePlanIsGoneAreNotTakenForThoseOfAnother) {
  SqliteFile file;
  FillTable(&file, "i", 40);
  const std::string parent = folder_ / "gone";
  const std::vector<std::string> command = RunCommandOf(InPlace(file), parent);
  ASSERT_EQ(RunProcess(With(command, {"--shard", "1/2"})).exit_code, 0);
  fs::remove(parent + "/shards.toml");
  const ProcessResult other = RunProcess(With(command, {"--shard", "0/2"}));
  EXPECT_EQ(other.exit_code, 2) << other.err;
  EXPECT_THAT(other.err,
              AllOf(HasSubstr("shards.toml: is not there, but shard-0001-of-0002 is"), HasSubstr("put that back")));
  EXPECT_FALSE(fs::exists(parent + "/shards.toml"));
  // Another number of shares has folders of its own.
  RunAllShards(command, 3);
  EXPECT_EQ(file.Ask("SELECT count(*) FROM notes WHERE embedding IS NULL"), "0");
}

// More shares than rows: those without one are complete as well.
TEST_F(ShardsTest, EmptySharesComeToTheirEnd) {
  const std::string path = folder_ / "few.jsonl";
  for (const int rows : {0, 3}) {
    std::ofstream out(path, std::ios::trunc);
    for (int i = 0; i < rows; ++i) out << R"({"text":"text )" << i << "\"}\n";
    out.close();
    const std::string to = folder_ / absl::StrCat("few", rows);
    RunAllShards(RunCommandOf({"--source", "jsonl:" + path, "--target", "fbin:" + to + ".fbin"}, to), 5);
    EXPECT_THAT(Reembed({"status", to, "--json"}).out,
                AllOf(HasSubstr(R"("shards_complete":5)"), HasSubstr(R"("run_again":"")")));
    const ProcessResult merged = Reembed({"merge", to});
    EXPECT_EQ(merged.exit_code, 0) << merged.err;
    EXPECT_EQ(BytesOf(to + ".fbin").size(), 8 + static_cast<size_t>(rows) * 32 * sizeof(float));
  }
}

TEST_F(ShardsTest, TheIndexComesFromTheScheduler) {
  SqliteFile file;
  FillTable(&file, "i", 300);
  const std::vector<std::string> command = RunCommandOf(InPlace(file), folder_ / "env");
  for (const auto& [shard, environment] : std::vector<std::pair<std::string, std::map<std::string, std::string>>>{
           {"/3", {{"JOB_COMPLETION_INDEX", "0"}, {"SLURM_ARRAY_TASK_ID", "7"}}},
           {"/3", {{"SLURM_ARRAY_TASK_ID", "1"}, {"SLURM_ARRAY_TASK_COUNT", "1"}}},
           {"auto", {{"SLURM_ARRAY_TASK_ID", "2"}, {"SLURM_ARRAY_TASK_COUNT", "3"}}}}) {
    const ProcessResult done = RunProcess(With(command, {"--shard", shard}), environment);
    EXPECT_EQ(done.exit_code, 0) << done.err;
  }
  EXPECT_EQ(LedgerKeys(folder_ / "env", 3).size(), 300u);
}

TEST_F(ShardsTest, TargetsArePreparedOnceAndPublishedByTheLast) {
  SqliteFile file;
  FillTable(&file, "i", 300);
  const std::string parent = folder_ / "steps";
  const std::vector<std::string> command = RunCommandOf(InPlace(file), parent);
  const auto run = [&](const std::string& shard) {
    const ProcessResult done = RunProcess(With(command, {"--shard", shard}));
    EXPECT_EQ(done.exit_code, 0) << done.err;
    return done.err;
  };
  EXPECT_THAT(run("2/3"), HasSubstr("still to come: 0-1"));
  EXPECT_EQ(BytesOf(parent + "/prepared"), "shard-0002-of-0003\n");
  EXPECT_FALSE(fs::exists(parent + "/published"));
  EXPECT_THAT(run("0/3"), HasSubstr("still to come: 1"));
  EXPECT_EQ(BytesOf(parent + "/prepared"), "shard-0002-of-0003\n");
  EXPECT_FALSE(fs::exists(parent + "/published"));
  EXPECT_THAT(run("1/3"), HasSubstr("all 3 shards are complete"));
  EXPECT_TRUE(fs::exists(parent + "/published"));
  fs::remove(parent + "/published");
  EXPECT_EQ(Reembed({"verify", parent}).exit_code, 8);
  EXPECT_EQ(Reembed({"publish", parent}).exit_code, 0);
  EXPECT_EQ(Reembed({"verify", parent}).exit_code, 0);
  // A rollback of the whole takes away what was made, and the same commands write it again without buying.
  const std::string before = file.Ask(kVectors);
  const ProcessResult back = Reembed({"rollback", parent, "--yes"});
  EXPECT_EQ(back.exit_code, 0) << back.out << back.err;
  EXPECT_EQ(file.Ask("SELECT count(*) FROM pragma_table_info('notes')"), "2") << back.out;
  for (const char* const shard : {"0/3", "1/3", "2/3"}) EXPECT_THAT(run(shard), Not(HasSubstr("error")));
  EXPECT_EQ(file.Ask(kVectors), before);
}

TEST_F(ShardsTest, RejectedRowsAreTriedAgainInAllShares) {
  SqliteFile file;
  FillTable(&file, "i", 300);
  file.Run("UPDATE notes SET body = '' WHERE id IN (9, 40000)");
  const std::string parent = folder_ / "rejects";
  for (const char* const shard : {"0/2", "1/2"}) {
    EXPECT_EQ(RunProcess(With(RunCommandOf(InPlace(file), parent), {"--shard", shard})).exit_code, 3);
  }
  EXPECT_THAT(Reembed({"status", parent, "--json"}).out, HasSubstr(R"("rows_rejected":2)"));
  file.Run("UPDATE notes SET body = 'mended ' || id WHERE body = ''");
  const ProcessResult retried = Reembed({"retry-rejects", parent, "--yes"});
  EXPECT_EQ(retried.exit_code, 0) << retried.out << retried.err;
  EXPECT_EQ(file.Ask("SELECT count(*) FROM notes WHERE embedding IS NULL"), "0");
  EXPECT_EQ(Reembed({"verify", parent}).exit_code, 0);
}

TEST_F(ShardsTest, WhatHasNoSharesIsRefusedBeforeAnythingIsMade) {
  SqliteFile file;
  FillTable(&file, "i", 10);
  file.Run("CREATE VIEW seen AS SELECT id, body FROM notes");
  const std::string lines = WriteLines(10);
  ASSERT_EQ(RunProcess({"/bin/gzip", "-k", lines}).exit_code, 0);
  const std::string fbin = "fbin:" + (folder_ / "x.fbin");
  struct Case {
    std::vector<std::string> place;
    int exit_code;
    std::string words;
  };
  for (const Case& refused : std::vector<Case>{
           {{"--source", "-", "--target", fbin}, 2, "standard input"},
           {{"--source", "jsonl:" + lines + ".gz", "--target", fbin}, 6, "unpack it"},
           {{"--source", "sqlite:" + file.path() + "?table=seen&key=id&text=body", "--target", fbin}, 6, "is a view"},
           {{"--source", "jsonl:" + lines, "--target", "-"}, 2, "standard output"},
           {{"--source", "jsonl:" + lines, "--target", fbin, "--force-recreate"}, 2, "--force-recreate: not with"},
           {{"--source", "jsonl:" + lines, "--target", fbin, "--max-spend", "+5"}, 2, "name the sum"}}) {
    const std::string parent = folder_ / "refused";
    const ProcessResult result = RunProcess(With(RunCommandOf(refused.place, parent), {"--shard", "0/2"}));
    EXPECT_EQ(result.exit_code, refused.exit_code) << result.err;
    EXPECT_THAT(result.err, HasSubstr(refused.words));
    EXPECT_FALSE(fs::exists(parent + "/shards.toml"));
    fs::remove_all(parent);
  }
  // A job without shares is no parent, and a parent no job.
  ASSERT_EQ(RunProcess(RunCommandOf(InPlace(file), folder_ / "plain")).exit_code, 0);
  const ProcessResult plain = RunProcess(With(RunCommandOf(InPlace(file), folder_ / "plain"), {"--shard", "0/2"}));
  EXPECT_EQ(plain.exit_code, 2);
  EXPECT_THAT(plain.err, HasSubstr("holds a job without shards"));
}

TEST_F(ShardsTest, WithoutASharedQuotaEachTakesItsPart) {
  SqliteFile file;
  FillTable(&file, "i", 40);
  StallingModel model("text-embedding-3-small");
  const ProcessResult done =
      RunProcess(With(model.Command(InPlace(file), folder_ / "rate"),
                      {"--shard", "0/4", "--rpm", "4000", "--tpm", "1000000", "--max-spend", "8"}),
                 StallingModel::Key());
  EXPECT_EQ(done.exit_code, 0) << done.err;
  EXPECT_THAT(done.err,
              AllOf(HasSubstr("each of 4 shards takes its part of the limits: 1000 requests and 250000 tokens"),
                    HasSubstr("at most 1/4 of --max-spend 8")));
  const std::string described = BytesOf(folder_ / "rate/shard-0000-of-0004/job.toml");
  EXPECT_THAT(described, AllOf(HasSubstr("rpm = 4000"), HasSubstr("max-spend = '8'"), HasSubstr("shard = '0/4'")));
}

TEST_F(ShardsTest, AllTogetherSpendNoMoreThanTheCap) {
  SqliteFile file;
  FillTable(&file, "i");
  StallingModel model("text-embedding-3-small");
  const std::string parent = folder_ / "cap";
  for (const char* const shard : {"0/2", "1/2"}) {
    const ProcessResult capped = RunProcess(
        With(model.Command(InPlace(file), parent), {"--shard", shard, "--max-spend", "0.0001"}), StallingModel::Key());
    EXPECT_EQ(capped.exit_code, 7) << capped.err;
  }
  const std::string status = Reembed({"status", parent, "--json"}).out;
  const size_t at = status.rfind("\"cost_usd\":");
  ASSERT_NE(at, std::string::npos) << status;
  const double spent = std::stod(status.substr(at + 11));
  EXPECT_GT(spent, 0.00005) << "one share alone has spent all that was spent";
  EXPECT_LE(spent, 0.0001);
  // Another cap goes on, and is of all shares, too.
  for (const char* const shard : {"0/2", "1/2"}) {
    const ProcessResult done = RunProcess(
        With(model.Command(InPlace(file), parent), {"--shard", shard, "--max-spend", "1"}), StallingModel::Key());
    EXPECT_EQ(done.exit_code, 0) << done.err;
  }
  EXPECT_EQ(file.Ask("SELECT count(*) FROM notes WHERE embedding IS NULL"), "0");
}

}  // namespace
}  // namespace reembed
