// SPDX-License-Identifier: Apache-2.0
// The same command again: a place has one name, however it is written, whether it is there yet or not.

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/memu.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class SameCommandTest : public ::testing::Test {
 protected:
  SameCommandTest() {
    fs::create_directories(here_ + "/sub");
    fs::create_directory_symlink(here_, folder_ / "link");
    AddRows(0, 20);
  }

  void AddRows(int begin, int end) {
    std::ofstream file(here_ + "/rows.jsonl", std::ios::app);
    for (int i = begin; i < end; ++i) file << R"({"id":)" << i << R"(,"text":"a note about boat )" << i << "\"}\n";
  }

  // In here_, with nothing but paths of that folder.
  ProcessResult Command(const std::string& words, const std::string& folder = "") {
    return RunClean("/usr/bin/env", folder_.path(),
                    {"-C", folder.empty() ? here_ : folder, "/bin/sh", "-c", absl::StrCat(REEMBED_BINARY, " ", words)});
  }
  ProcessResult Run(const std::string& target, const std::string& more = "--job job") {
    return Command(absl::StrCat("run --source jsonl:rows.jsonl --embedder builtin --dimensions 32 --json ", more,
                                " --target '", target, "'"));
  }

  static std::string Bytes(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    return bytes.str();
  }

  std::vector<std::string> Targets(const std::string& job) {
    return Query(job + "/ledger.db", "SELECT name FROM sinks ORDER BY name");
  }

  TempFolder folder_;
  const std::string here_ = folder_ / "here";
};

TEST_F(SameCommandTest, BareNamesOfEveryKindOfFile) {
  for (const std::string kind : {"npy", "fbin", "hdf5", "jsonl", "faiss"}) {
    SCOPED_TRACE(kind);
    const std::string target = absl::StrCat(kind, ":out.", kind), job = absl::StrCat("--job job-", kind);
    ASSERT_EQ(Run(target, job).exit_code, 0);
    const ProcessResult again = Run(target, job);
    EXPECT_EQ(again.exit_code, 0) << again.err;
    EXPECT_EQ(LastNumber(again, "texts_embedded"), 0);
    EXPECT_THAT(Targets(absl::StrCat(here_, "/job-", kind)),
                ElementsAre(absl::StrCat(kind, ":", here_, "/out.", kind)));
  }
  AddRows(20, 30);
  for (const std::string kind : {"npy", "fbin", "hdf5", "jsonl", "faiss"}) {
    SCOPED_TRACE(kind);
    const std::string target = absl::StrCat(kind, ":out.", kind), job = absl::StrCat("--job job-", kind);
    const ProcessResult more = Run(target, job);
    EXPECT_EQ(more.exit_code, 0) << more.err;
    EXPECT_EQ(LastNumber(more, "texts_embedded"), 10);
    const ProcessResult verify = Command(absl::StrCat("verify ../job-", kind), folder_ / "here/sub");
    EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
    EXPECT_FALSE(fs::exists(absl::StrCat(here_, "/out.", kind, ".previous")));
  }
}

TEST_F(SameCommandTest, OnePlaceHasOneNameHoweverItIsWritten) {
  for (const std::string& written :
       {std::string("npy:sub/r.npy"), std::string("npy:./sub/r.npy"), std::string("npy:sub/../sub/./r.npy"),
        std::string("npy:new/../sub/r.npy"), std::string("npy:../link/sub/r.npy"), std::string("npy:sub//r.npy"),
        "npy:" + here_ + "/sub/r.npy", std::string("npy:~/here/sub/r.npy")}) {
    const ProcessResult run = Run(written);
    EXPECT_EQ(run.exit_code, 0) << written << ": " << run.err;
    EXPECT_THAT(Targets(here_ + "/job"), ElementsAre("npy:" + here_ + "/sub/r.npy")) << written;
  }
  for (const std::string folder : {"npy:sub/", "npy:new.npy/", "npy:sub", "hdf5:sub", "faiss:sub", "jsonl:sub/"}) {
    const ProcessResult run = Run(folder, "--job other");
    EXPECT_EQ(run.exit_code, 2) << folder << run.err;
    EXPECT_THAT(run.err, HasSubstr("folder")) << folder;
    EXPECT_FALSE(fs::exists(here_ + "/other")) << folder;
  }
}

// The file is made where the link leads, and the link stays.
TEST_F(SameCommandTest, ALinkThatLeadsNowhereYet) {
  fs::create_symlink("sub/real.npy", here_ + "/r.npy");
  ASSERT_EQ(Run("npy:r.npy").exit_code, 0);
  EXPECT_TRUE(fs::is_symlink(here_ + "/r.npy"));
  EXPECT_TRUE(fs::is_regular_file(here_ + "/sub/real.npy"));
  ASSERT_EQ(Run("npy:r.npy").exit_code, 0);
  EXPECT_THAT(Targets(here_ + "/job"), ElementsAre("npy:" + here_ + "/sub/real.npy"));
}

TEST_F(SameCommandTest, RetryRejectsGoesOnWithABareName) {
  std::ofstream(here_ + "/rows.jsonl", std::ios::app) << R"({"id":900,"text":""})"
                                                      << "\n";
  ASSERT_EQ(Run("jsonl:out.jsonl").exit_code, 3);
  ASSERT_EQ(Run("jsonl:out.jsonl").exit_code, 3);
  const ProcessResult retry = Command("retry-rejects ../job --json", folder_.path() + "/here/sub");
  EXPECT_EQ(retry.exit_code, 3) << retry.err;
  EXPECT_EQ(Run("jsonl:out.jsonl").exit_code, 3);
}

// What a job of an older version has written down under a relative path goes on under the whole one.
TEST_F(SameCommandTest, JobsOfOlderVersionsGoOn) {
  std::ofstream(here_ + "/rows.jsonl", std::ios::app) << R"({"id":900,"text":""})"
                                                      << "\n";
  ASSERT_EQ(Run("npy:out.npy").exit_code, 3);
  const std::string ledger = here_ + "/job/ledger.db";
  Change(ledger, "UPDATE sinks SET name = 'npy:out.npy'; INSERT INTO rejects VALUES (3, 'npy:out.npy', 3, 'refused')");
  ASSERT_EQ(Run("npy:out.npy").exit_code, 3);
  EXPECT_THAT(Targets(here_ + "/job"), ElementsAre("npy:" + here_ + "/out.npy"));
  EXPECT_THAT(Query(ledger, "SELECT sink FROM rejects WHERE ordinal = 3"), ElementsAre("npy:" + here_ + "/out.npy"));
  // Another place whose name ends so is another place.
  fs::remove(here_ + "/job/targets");
  Change(ledger, "UPDATE sinks SET name = 'npy:t.npy'; DELETE FROM rejects WHERE ordinal = 3");
  const ProcessResult other = Run("npy:out.npy");
  EXPECT_EQ(other.exit_code, 2) << other.err;
  EXPECT_THAT(other.err, HasSubstr("was not made by this job"));
}

// A second job comes to a place of the first: it is refused before anything is asked of the embedder.
TEST_F(SameCommandTest, AnotherJobLeavesEveryFileAlone) {
  for (const std::string kind : {"npy", "fbin", "hdf5", "jsonl", "faiss"}) {
    SCOPED_TRACE(kind);
    const std::string target = absl::StrCat(kind, ":out.", kind), path = absl::StrCat(here_, "/out.", kind);
    ASSERT_EQ(Run(target, "--job first").exit_code, 0);
    const std::string before = Bytes(path);
    for (const char* const verb : {"run", "plan"}) {
      const ProcessResult other = Command(
          absl::StrCat(verb, " --source jsonl:rows.jsonl --api-base http://127.0.0.1:9 --model builtin-lexical-1 ",
                       "--dimensions 32 --job second --target ", target));
      EXPECT_EQ(other.exit_code, 2) << verb << other.out << other.err;
      EXPECT_THAT(other.err, HasSubstr(path + " exists already and was not made by this job"));
      EXPECT_FALSE(fs::exists(here_ + "/second"));
    }
    EXPECT_TRUE(Bytes(path) == before);
    EXPECT_FALSE(fs::exists(path + ".previous"));

    // What the second job has put there meanwhile is not the first one's any more.
    for (const char* const end : {"", ".keys.jsonl", ".json"}) fs::remove(path + end);
    ASSERT_EQ(Run(target, "--job second --limit 5").exit_code, 0);
    const std::string second = Bytes(path);
    EXPECT_THAT(Command("status first").out, HasSubstr("changed since, or made by another job"));
    const ProcessResult first = Run(target, "--job first");
    EXPECT_EQ(first.exit_code, 2) << first.err;
    EXPECT_THAT(first.err, HasSubstr("is not as this job left it"));
    EXPECT_TRUE(Bytes(path) == second);
    // Once it is moved away the first writes its own again, and buys nothing.
    for (const char* const end : {"", ".keys.jsonl", ".json"}) fs::remove(path + end);
    EXPECT_THAT(Command("status first").out, HasSubstr("gone"));
    const ProcessResult again = Run(target, "--job first");
    EXPECT_EQ(again.exit_code, 0) << again.err;
    EXPECT_EQ(LastNumber(again, "texts_embedded"), 0);
    EXPECT_EQ(Command("verify first").exit_code, 0);
    for (const auto& entry : fs::directory_iterator(here_)) {
      if (absl::StartsWith(entry.path().filename().string(), "out.")) fs::remove(entry.path());
    }
    fs::remove_all(here_ + "/first");
    fs::remove_all(here_ + "/second");
  }
}

// A file that goes with the target, or one that another job is writing, is as good as the target.
TEST_F(SameCommandTest, FilesBesideTheTargetAreAnothersToo) {
  for (const auto& [target, file] :
       {std::pair("npy:o.npy", "o.npy.keys.jsonl"), std::pair("fbin:o.fbin", "o.fbin.keys.jsonl"),
        std::pair("faiss:o.faiss", "o.faiss.json"), std::pair("faiss:o.faiss", "o.faiss.keys.jsonl"),
        std::pair("npy:o.npy", "o.npy.partial"), std::pair("hdf5:o.h5", "o.h5.partial"),
        std::pair("jsonl:o.jsonl", "o.jsonl.partial"), std::pair("faiss:o.faiss", "o.faiss.partial")}) {
    std::ofstream(here_ + "/" + file) << "mine";
    const ProcessResult run = Run(target, "--job other");
    EXPECT_EQ(run.exit_code, 2) << file << run.err;
    EXPECT_THAT(run.err, HasSubstr(here_ + "/" + file + " exists already")) << file;
    EXPECT_EQ(Bytes(here_ + "/" + file), "mine");
    EXPECT_FALSE(fs::exists(here_ + "/other"));
    fs::remove(here_ + "/" + file);
  }
}

// The job may ask for its own index in another form.
TEST_F(SameCommandTest, TheSameJobMayAskForAnotherIndex) {
  ASSERT_EQ(Run("faiss:o.faiss?factory=Flat").exit_code, 0);
  ASSERT_EQ(Run("faiss:o.faiss?factory=HNSW16").exit_code, 0);
  const ProcessResult status = Command("status job");
  EXPECT_THAT(status.out, HasSubstr("factory=HNSW16: complete"));
  EXPECT_THAT(status.out, Not(HasSubstr("factory=Flat")));
}

// What the summary and status say of targets after a run that failed in the middle.
TEST_F(SameCommandTest, OnlyWhatIsCompleteIsCalledSo) {
  AddRows(20, 400);
  const std::string run =
      absl::StrCat(REEMBED_BINARY,
                   " run --source jsonl:rows.jsonl --embedder builtin --dimensions 1024 --batch-size 8 "
                   "--concurrency 1 --job job --target npy:out.npy --target hdf5:out.h5");
  const auto shell = [&](const std::string& words) {
    return RunClean("/usr/bin/env", folder_.path(), {"-C", here_, "/bin/bash", "-c", words});
  };
  const ProcessResult full = shell("ulimit -f 800; " + run);
  ASSERT_EQ(full.exit_code, 5) << full.err;
  EXPECT_THAT(full.out, Not(HasSubstr("complete"))) << full.out;
  EXPECT_THAT(full.out, testing::ContainsRegex("target npy:[^\n]*: (partial, [0-9]+ of 400 rows|not begun)"));
  EXPECT_FALSE(fs::exists(here_ + "/out.npy"));
  EXPECT_THAT(Command("status job").out, Not(HasSubstr("complete")));
  EXPECT_THAT(Command("status job --json").out, Not(HasSubstr(R"("state":"complete")")));
  const ProcessResult done = shell(run + " --json");
  ASSERT_EQ(done.exit_code, 0) << done.err;
  EXPECT_THAT(done.out, HasSubstr(R"(out.npy","state":"complete","rows":400,"of":400)"));
  EXPECT_THAT(Command("status job").out, HasSubstr("out.npy: complete"));
}

// The index that is there stays, with its keys, and is what search and status speak of.
TEST_F(SameCommandTest, AFullDiskLeavesTheIndexWhole) {
  std::ofstream(here_ + "/rows.jsonl").close();
  const auto add = [&](int begin, int end) {
    std::ofstream file(here_ + "/rows.jsonl", std::ios::app);
    for (int i = begin; i < end; ++i) file << R"({"id":"key )" << i << R"(","text":"a note )" << i << "\"}\n";
  };
  add(0, 300);
  ASSERT_EQ(Run("faiss:o.faiss").exit_code, 0);
  const std::string before = Bytes(here_ + "/o.faiss");
  add(300, 900);
  const ProcessResult full = RunClean(
      "/usr/bin/env", folder_.path(),
      {"-C", here_, "/bin/bash", "-c",
       absl::StrCat(
           "ulimit -f ", before.size() / 1024 + 60, "; ", REEMBED_BINARY,
           " run --source jsonl:rows.jsonl --embedder builtin --dimensions 32 --job job --target faiss:o.faiss")});
  EXPECT_EQ(full.exit_code, 5) << full.err;
  EXPECT_THAT(full.out, HasSubstr("partial, 300 of 900 rows"));
  EXPECT_TRUE(Bytes(here_ + "/o.faiss") == before);
  EXPECT_THAT(Command("status job").out, HasSubstr("partial, 300 of 900 rows"));
  EXPECT_THAT(Command("search --index o.faiss 'note 17'").out, HasSubstr("key 17"));
  ASSERT_EQ(Run("faiss:o.faiss").exit_code, 0);
  EXPECT_THAT(Command("status job").out, HasSubstr("complete"));
}

// Of an older version that was killed before the file got its name.
TEST_F(SameCommandTest, APartialFileOfAnOlderJobIsNotComplete) {
  ASSERT_EQ(Run("npy:out.npy").exit_code, 0);
  fs::rename(here_ + "/out.npy", here_ + "/out.npy.partial");
  fs::remove(here_ + "/job/targets");
  EXPECT_THAT(Command("status job").out, HasSubstr("out.npy: partial, 20 of 20 rows"));
  ASSERT_EQ(Run("npy:out.npy").exit_code, 0);
  EXPECT_THAT(Command("status job").out, HasSubstr("out.npy: complete"));
}

// As a kill leaves it that comes before the ledger has a table.
TEST_F(SameCommandTest, ARunThatWasKilledBeforeItHadAJobIsNoHindrance) {
  fs::create_directory(here_ + "/job");
  std::ofstream(here_ + "/job/ledger.db").close();
  const ProcessResult run = Run("npy:out.npy");
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(Command("status job").out, HasSubstr("out.npy: complete"));
}

// Likewise one that comes just behind its claim of a place: the ledger has no position yet.
TEST_F(SameCommandTest, ARunThatWasKilledBehindItsClaimGoesOn) {
  for (const std::string& kind :
       {std::string("npy"), std::string("hdf5"), std::string("jsonl"), std::string("faiss")}) {
    const std::string target = absl::StrCat(kind, ":", here_, "/out.", kind), job = "job-" + kind;
    ASSERT_EQ(Run(target, absl::StrCat("--limit 1 --job ", job)).exit_code, 0);
    for (const char* const end : {"", ".keys.jsonl", ".json"}) fs::remove(absl::StrCat(here_, "/out.", kind, end));
    Change(absl::StrCat(here_, "/", job, "/ledger.db"), "DELETE FROM sinks");
    std::ofstream(absl::StrCat(here_, "/", job, "/targets")) << "-1\t20\t\t" << target << "\n";
    std::ofstream(absl::StrCat(here_, "/out.", kind, ".partial")).close();
    const ProcessResult run = Run(target, "--job " + job);
    EXPECT_EQ(run.exit_code, 0) << kind << run.err;
    EXPECT_EQ(Command("verify " + job).exit_code, 0) << kind;
  }
}

TEST_F(SameCommandTest, TheNewestJobIsMeantWhereNoneIsNamed) {
  EXPECT_EQ(Command("status").exit_code, 2);
  ASSERT_EQ(Run("npy:a.npy", "").exit_code, 0);
  std::ofstream(here_ + "/rows.jsonl", std::ios::app) << R"({"id":900,"text":""})"
                                                      << "\n";
  ASSERT_EQ(Run("npy:b.npy", "--normalize unit").exit_code, 3);
  std::vector<std::string> jobs;
  for (const auto& entry : fs::directory_iterator(folder_ / "state/reembed/jobs")) jobs.push_back(entry.path());
  ASSERT_EQ(jobs.size(), 2u);
  if (Query(jobs[0] + "/ledger.db", "SELECT count(*) FROM rows") == std::vector<std::string>{"21"}) {
    std::swap(jobs[0], jobs[1]);
  }
  for (const char* const command : {"status", "verify"}) {
    const ProcessResult newest = Command(command);
    EXPECT_EQ(newest.exit_code, 0) << command << newest.out << newest.err;
    EXPECT_THAT(newest.err, HasSubstr("the newest job: " + jobs[1]));
    EXPECT_THAT(newest.out, Not(HasSubstr("a.npy")));
    const ProcessResult both = Command(absl::StrCat(command, " ", jobs[0], " ", jobs[1]));
    EXPECT_EQ(both.exit_code, 0) << both.err;
    EXPECT_THAT(both.out, HasSubstr("a.npy"));
    EXPECT_THAT(both.out, HasSubstr("b.npy"));
  }
  EXPECT_THAT(Command("status --all").out, HasSubstr("a.npy"));
  for (const char* const command : {"rollback", "retry-rejects"}) {
    for (const char* const yes : {"", " --yes"}) {
      const ProcessResult asked = Command(absl::StrCat(command, yes));
      EXPECT_EQ(asked.exit_code, 2) << command << yes << asked.out;
      EXPECT_THAT(asked.err, HasSubstr(absl::StrCat("reembed ", command, " ", jobs[1])));
    }
  }
  EXPECT_EQ(Query(jobs[1] + "/ledger.db", "SELECT count(*) FROM rejects"), std::vector<std::string>{"1"});
  EXPECT_EQ(Command(absl::StrCat("retry-rejects ", jobs[0], " ", jobs[1])).exit_code, 3);
}

// What a target cannot hold is known before the first text is bought, also by plan.
TEST_F(SameCommandTest, NothingIsBoughtForAnIndexThatCannotBe) {
  std::ofstream(here_ + "/negative.jsonl") << R"({"id":-1,"text":"a"})"
                                           << "\n";
  for (const char* const verb : {"plan", "run"}) {
    const std::string api = " --api-base http://127.0.0.1:9 --model m --dimensions 32 --job other";
    const ProcessResult few =
        Command(absl::StrCat(verb, " --source jsonl:rows.jsonl --target 'faiss:o.faiss?factory=IVF64,Flat'", api));
    EXPECT_EQ(few.exit_code, 2) << few.err;
    EXPECT_THAT(few.err, HasSubstr("at least 64 rows"));
    const ProcessResult key = Command(absl::StrCat(verb, " --source jsonl:negative.jsonl --target faiss:o.faiss", api));
    EXPECT_EQ(key.exit_code, 2) << key.err;
    EXPECT_THAT(key.err, HasSubstr("row -1"));
    EXPECT_FALSE(fs::exists(here_ + "/other"));
  }
}

// Also the database that MemU's place has as a parameter, and what was overwritten.
TEST_F(SameCommandTest, MemuFromAnotherFolderAndOfAnOlderVersion) {
  MakeMemu(here_, {.items = 400, .dim = 32});
  const auto run = [&](const std::string& folder, const std::string& before) {
    return Command(absl::StrCat("run --source 'memu:", before, "vectors.json?collection=items&db=", before,
                                "memu.db&table=memory_items&text=summary' --embedder builtin --dimensions 32 --json"),
                   folder);
  };
  const ProcessResult first = run(here_, "");
  ASSERT_THAT(first.exit_code, ::testing::AnyOf(0, 3)) << first.err;
  const size_t at = first.out.rfind("\"job\":\"") + 7;
  const std::string job = first.out.substr(at, first.out.find('"', at) - at);
  EXPECT_GT(LastNumber(first, "texts_embedded"), 0);
  const ProcessResult second = run(here_ + "/sub", "../");
  EXPECT_EQ(second.exit_code, first.exit_code) << second.err;
  EXPECT_THAT(second.out, HasSubstr(job));
  EXPECT_EQ(LastNumber(second, "texts_embedded"), 0);

  const std::string path = "db=" + here_ + "/memu.db", name = "'" + path + "', 'db=memu.db')";
  Change(job + "/ledger.db", absl::StrCat("UPDATE sinks SET name = replace(name, ", name,
                                          "; UPDATE meta SET value = replace(value, ", name, " WHERE key = 'source'"));
  Change(job + "/undo.db", "UPDATE targets SET name = replace(name, " + name);
  const ProcessResult third = run(here_, "");
  EXPECT_EQ(third.exit_code, first.exit_code) << third.err;
  EXPECT_EQ(LastNumber(third, "texts_embedded"), 0);
  EXPECT_THAT(Targets(job), ElementsAre(HasSubstr(path)));
  EXPECT_EQ(Command("rollback --yes " + job, here_ + "/sub").exit_code, 0);
}

}  // namespace
}  // namespace reembed
