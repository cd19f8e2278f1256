// SPDX-License-Identifier: Apache-2.0
// Rows that are edited, come and go while a run goes on: when it is done no row has the vector of a text that it no
// longer has.

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/fault_fixture.h"
#include "tests/end_to_end/rollback_cases.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/process.h"
#include "tests/fakes/stalling_model.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AnyOf;

// Compares each row's text with the one that its vector is made from, and the vector in each target with it.
void ExpectSound(const std::string& job) {
  const ProcessResult verified = RunProcess({REEMBED_BINARY, "verify", job});
  EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
}

int64_t Number(const ProcessResult& run, const std::string& name) { return std::stoll(Summary(run, name)); }

void ExpectSum(const ProcessResult& run) {
  EXPECT_EQ(Number(run, "rows_selected"), Number(run, "rows_embedded") + Number(run, "rows_skipped") +
                                              Number(run, "rows_rejected") + Number(run, "rows_gone"))
      << run.out;
}

class BusyWriterTest : public ::testing::TestWithParam<std::string> {
 protected:
  const TempFolder folder_;
};

TEST_P(BusyWriterTest, ARowThatIsEditedAfterItWasReadHasTheVectorOfItsNewText) {
  const std::unique_ptr<RollbackCase> store = MakeRollbackCase(GetParam(), folder_);
  StallingModel model("first", /*stalls_from=*/6);
  std::vector<std::string> command = model.Command(store->Args(), folder_ / "job");
  command.push_back("--json");
  Process process(command, StallingModel::Key());
  model.WaitForStalled();  // the first rows are read, and some are written
  store->EditTexts(/*back=*/false);
  model.Release();
  const ProcessResult run = process.Wait();
  ASSERT_THAT(run.exit_code, AnyOf(0, 3)) << run.err;
  // A store that shows its rows in another order may give some of the three only after they were edited.
  EXPECT_GE(Number(run, "rows_changed"), 1) << run.out;
  ExpectSum(run);
  ExpectSound(folder_ / "job");
}

INSTANTIATE_TEST_SUITE_P(Stores, BusyWriterTest,
                         ::testing::Values("agentloop", "libsql", "mcp_memory", "memu", "postgres", "postgres_wide",
                                           "falkordb", "automem", "espressobot"),
                         [](const auto& info) { return info.param; });

class BusyTableTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(db_).close();
    Change(db_, "CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT, v BLOB)");
    Change(
        db_,
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 600) INSERT INTO notes (id, body) "
        "SELECT i, 'note ' || i FROM n");
  }
  const TempFolder folder_;
  const std::string db_ = folder_ / "notes.db";
};

TEST_F(BusyTableTest, FilesAndIndexesAreBuiltAgainAndRowsThatCameAreTaken) {
  StallingModel model("first", /*stalls_from=*/6);
  std::vector<std::string> place = {"--json", "--source",
                                    absl::StrCat("sqlite:", db_, "?table=notes&key=id&text=body")};
  for (const char* const target : {"npy:o.npy", "jsonl:o.jsonl", "hdf5:o.h5", "faiss:o.faiss"}) {
    const std::string uri = target;
    place.insert(place.end(), {"--target", absl::StrCat(uri.substr(0, uri.find(':') + 1), folder_.path(), "/",
                                                        uri.substr(uri.find(':') + 1))});
  }
  Process process(model.Command(place, folder_ / "job"), StallingModel::Key());
  model.WaitForStalled();
  Change(db_, "UPDATE notes SET body = body || '!' WHERE id < 4");
  Change(db_, "INSERT INTO notes (id, body) VALUES (700, 'new at the end')");
  model.Release();
  const ProcessResult run = process.Wait();
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(Number(run, "rows_selected"), 601);
  EXPECT_EQ(Number(run, "rows_changed"), 3);
  ExpectSum(run);
  ExpectSound(folder_ / "job");
}

TEST_F(BusyTableTest, ARowThatGoesIsCountedAndDoesNotComeBack) {
  // The same table, named in two ways. A target may add rows to another table; here one that is not there was deleted.
  const std::string rows = absl::StrCat("sqlite:", db_, "?table=notes&key=id&text=body");
  const std::vector<std::vector<std::string>> ways = {
      {"--source", rows + "&vector=v"},
      {"--source", rows, "--target", absl::StrCat("sqlite:", db_, "?table=notes&key=id&vector=v&mode=upsert")}};
  int left = 600;
  for (size_t way = 0; way < ways.size(); ++way) {
    StallingModel model("first", /*stalls_from=*/6);
    std::vector<std::string> place = ways[way];
    place.insert(place.end(), {"--json", "--all", "--yes"});
    Process process(model.Command(place, folder_ / absl::StrCat("job-", way)), StallingModel::Key());
    model.WaitForStalled();
    left -= 10;
    Change(db_, absl::StrCat("DELETE FROM notes WHERE id > ", left));
    model.Release();
    const ProcessResult run = process.Wait();
    ASSERT_THAT(run.exit_code, AnyOf(0, 3)) << run.err;
    ExpectSum(run);
    EXPECT_EQ(Query(db_, "SELECT count(*) || ' ' || count(v) FROM notes").front(), absl::StrCat(left, " ", left));
  }
}

// A text that is too long is one that the job does not take, not one that has changed: it was tried three times a run,
// and files were written as often.
TEST_F(BusyTableTest, RowsThatAreRejectedUnseenHaveNotChanged) {
  Change(db_, "UPDATE notes SET body = 'a very long note ' || id WHERE id % 100 = 0");
  Change(db_, "UPDATE notes SET body = NULL WHERE id % 100 = 50");
  StallingModel model("first");
  const std::vector<std::string> command = model.Command(
      {"--json", "--max-text", "15", "--source", absl::StrCat("sqlite:", db_, "?table=notes&key=id&text=body"),
       "--target", "npy:" + (folder_ / "o.npy")},
      folder_ / "job");
  for (const int64_t embedded : {588, 0}) {
    const ProcessResult run = RunProcess(command, StallingModel::Key());
    ASSERT_EQ(run.exit_code, 3) << run.err;
    EXPECT_EQ(Number(run, "rows_embedded"), embedded) << run.out;
    EXPECT_EQ(Number(run, "rows_rejected"), 12) << run.out;
    EXPECT_EQ(Number(run, "rows_changed"), 0) << run.out;
    ExpectSum(run);
  }
  // One that was too long, and is not any more, is taken.
  Change(db_, "UPDATE notes SET body = 'short' WHERE id = 100");
  const ProcessResult run = RunProcess(command, StallingModel::Key());
  EXPECT_EQ(Number(run, "rows_embedded"), 1) << run.out;
  EXPECT_EQ(Number(run, "rows_rejected"), 11) << run.out;
}

TEST_F(BusyTableTest, NoLookIsTakenWhereNoneIsWanted) {
  StallingModel model("first", /*stalls_from=*/6);
  Process process(model.Command({"--json", "--max-passes", "0", "--source",
                                 absl::StrCat("sqlite:", db_, "?table=notes&key=id&text=body&vector=v")},
                                folder_ / "job"),
                  StallingModel::Key());
  model.WaitForStalled();
  Change(db_, "UPDATE notes SET body = body || '!' WHERE id < 4");
  model.Release();
  const ProcessResult run = process.Wait();
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(Number(run, "rows_changed"), 0);
  EXPECT_EQ(RunProcess({REEMBED_BINARY, "verify", folder_ / "job"}).exit_code, 8);
}

}  // namespace
}  // namespace reembed
