// SPDX-License-Identifier: Apache-2.0
// A bit that flips in what a job keeps reaches nobody: not a target that comes later, not verify, not a rollback. What
// can be bought again is, one slot at a time, and counted.

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDim = 32;
constexpr int kRows = 40;
constexpr int64_t kSlotBytes = kDim * 4;

class FlippedBitsTest : public ::testing::Test {
 protected:
  FlippedBitsTest() { WriteRows(kRows); }

  // Without one row, and another text in one.
  void WriteRows(int rows, int without = -1, int edited = -1) const {
    std::ofstream file(folder_ / "rows.jsonl");
    for (int i = 0; i < rows; ++i) {
      if (i == without) continue;
      file << R"({"id":)" << i << R"(,"text":"a note about boat )" << i << (i == edited ? " at sea" : "") << "\"}\n";
    }
  }

  ProcessResult Command(const std::vector<std::string>& args) const {
    return RunClean(REEMBED_BINARY, folder_.path(), args);
  }
  ProcessResult Run(const std::vector<std::string>& targets, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> args = {"run",
                                     "--json",
                                     "--job",
                                     folder_ / "job",
                                     "--source",
                                     "jsonl:" + (folder_ / "rows.jsonl"),
                                     "--embedder",
                                     "builtin",
                                     "--dimensions",
                                     absl::StrCat(kDim),
                                     "--keep-vectors",
                                     "always",
                                     "--batch-size",
                                     "8"};
    args.insert(args.end(), more.begin(), more.end());
    for (const std::string& to : targets) args.insert(args.end(), {"--target", to});
    return Command(args);
  }
  ProcessResult Verify(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> args = {"verify", folder_ / "job"};
    args.insert(args.end(), more.begin(), more.end());
    return Command(args);
  }

  void Flip(const std::string& file, int64_t offset) const {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(offset);
    const char byte = static_cast<char>(stream.get() ^ 0x20);
    stream.seekp(offset);
    stream.put(byte);
  }
  void FlipSlot(int64_t slot) const { Flip(folder_ / "job/vectors.f32", slot * kSlotBytes + 5); }

  TempFolder folder_;
};

// Every kind of target that can come later.
TEST_F(FlippedBitsTest, ALateTargetGetsWhatWasBoughtAgain) {
  ASSERT_EQ(Run({"npy:" + (folder_ / "first.npy")}).exit_code, 0);
  std::ofstream(folder_ / "notes.db").close();  // an empty database
  Change(folder_ / "notes.db",
         "CREATE TABLE notes (id INTEGER PRIMARY KEY, vector BLOB);"
         "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 39) INSERT INTO notes(id) SELECT i "
         "FROM n");
  int slot = 0;
  for (const std::string& target :
       {"npy:" + (folder_ / "late.npy"), "fbin:" + (folder_ / "late.fbin"), "jsonl:" + (folder_ / "late.jsonl"),
        "hdf5:" + (folder_ / "late.h5"), "faiss:" + (folder_ / "late.faiss"),
        "sqlite:" + (folder_ / "notes.db") + "?table=notes&key=id&vector=vector"}) {
    SCOPED_TRACE(target);
    FlipSlot(slot += 3);
    const ProcessResult late = Run({"npy:" + (folder_ / "first.npy"), target});
    EXPECT_EQ(late.exit_code, 0) << late.err;
    EXPECT_EQ(LastNumber(late, "texts_damaged"), 1);
    EXPECT_EQ(LastNumber(late, "texts_embedded"), 1);
    const ProcessResult verify = Verify();
    EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
    EXPECT_THAT(verify.out, HasSubstr(target.substr(0, target.find('?'))));
  }
}

TEST_F(FlippedBitsTest, VerifyNamesTheRowAndRepairsIt) {
  ASSERT_EQ(Run({"npy:" + (folder_ / "out.npy")}).exit_code, 0);
  FlipSlot(17);
  FlipSlot(30);
  const ProcessResult found = Verify();
  EXPECT_EQ(found.exit_code, 8);
  EXPECT_THAT(found.out, AllOf(HasSubstr("slot 17 is damaged: the vector of row 17"),
                               HasSubstr("slot 30 is damaged: the vector of row 30"), HasSubstr("2 problems"),
                               Not(HasSubstr("another vector"))));
  const ProcessResult repaired = Verify({"--repair", "--yes", "--json"});
  EXPECT_EQ(repaired.exit_code, 0) << repaired.out << repaired.err;
  EXPECT_THAT(repaired.out, AllOf(HasSubstr(R"("texts_repaired":2)"), HasSubstr(R"("texts_embedded":2)"),
                                  HasSubstr(R"("problems":0)")));
  EXPECT_EQ(Verify().exit_code, 0);
}

TEST_F(FlippedBitsTest, ARepairWritesWhatATargetLacksOrHoldsOtherwise) {
  std::ofstream(folder_ / "notes.db").close();  // an empty database
  Change(folder_ / "notes.db",
         "CREATE TABLE notes (id INTEGER PRIMARY KEY, vector BLOB);"
         "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 39) INSERT INTO notes(id) SELECT i "
         "FROM n");
  ASSERT_EQ(Run({"sqlite:" + (folder_ / "notes.db") + "?table=notes&key=id&vector=vector"}).exit_code, 0);
  Change(folder_ / "notes.db", "UPDATE notes SET vector = zeroblob(128) WHERE id = 5");
  Change(folder_ / "notes.db", "UPDATE notes SET vector = NULL WHERE id = 6");
  EXPECT_EQ(Verify().exit_code, 8);
  const ProcessResult repaired = Verify({"--repair", "--yes", "--json"});
  EXPECT_EQ(repaired.exit_code, 0) << repaired.out << repaired.err;
  EXPECT_THAT(repaired.out, HasSubstr(R"("texts_embedded":0)"));
}

// A text that is not there any more cannot be bought again.
TEST_F(FlippedBitsTest, ARowThatIsGoneIsRejectedAndOneThatIsEditedGetsTheVectorOfItsNewText) {
  ASSERT_EQ(Run({"npy:" + (folder_ / "out.npy")}).exit_code, 0);
  FlipSlot(11);
  FlipSlot(12);
  WriteRows(kRows, /*without=*/11, /*edited=*/12);
  const ProcessResult late = Run({"npy:" + (folder_ / "out.npy"), "fbin:" + (folder_ / "late.fbin")});
  EXPECT_EQ(late.exit_code, 3) << late.err;
  EXPECT_THAT(late.out, HasSubstr(R"("rejected_keys":[11])"));
  EXPECT_EQ(LastNumber(late, "texts_embedded"), 1);
  const ProcessResult status = Command({"status", folder_ / "job"});
  EXPECT_THAT(status.out, HasSubstr("gone from the source"));
  const ProcessResult verify = Verify();
  EXPECT_EQ(verify.exit_code, 0) << verify.out;
}

TEST_F(FlippedBitsTest, ASampleIsBoughtAgainAndCompared) {
  ASSERT_EQ(Run({"npy:" + (folder_ / "out.npy")}).exit_code, 0);
  const ProcessResult sample = Verify({"--sample", "10", "--json"});
  EXPECT_EQ(sample.exit_code, 0) << sample.err;
  EXPECT_EQ(LastNumber(sample, "rows_resampled"), 10);
  EXPECT_EQ(LastNumber(sample, "rows_identical"), 10);
  EXPECT_THAT(sample.out, HasSubstr(R"("least_cosine":0.999)"));
}

// A flipped bit in the log of old vectors: verify names the row, and a rollback leaves it alone.
TEST_F(FlippedBitsTest, AnOldVectorThatIsDamagedIsNotPutBack) {
  const std::string db = folder_ / "notes.db";
  std::ofstream(db).close();  // an empty database
  Change(db,
         "CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT, vector BLOB);"
         "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30) "
         "INSERT INTO notes SELECT i, 'a note about boat ' || i, zeroblob(124) || x'0000803f' FROM n");
  const std::vector<std::string> run = {"run",
                                        "--json",
                                        "--yes",
                                        "--all",
                                        "--job",
                                        folder_ / "job",
                                        "--source",
                                        "sqlite:" + db + "?table=notes&key=id&text=body&vector=vector",
                                        "--embedder",
                                        "builtin",
                                        "--dimensions",
                                        "32",
                                        "--keep-vectors",
                                        "always"};
  const std::vector<std::string> before = Query(db, "SELECT hex(vector) FROM notes ORDER BY id");
  ASSERT_EQ(Command(run).exit_code, 0);
  ASSERT_EQ(Verify().exit_code, 0) << Verify().out;
  Change(folder_ / "job/undo.db",
         "UPDATE old_rows SET content = substr(content, 1, length(content) - 1) || x'3e' WHERE key = 12");
  const ProcessResult verify = Verify();
  EXPECT_EQ(verify.exit_code, 8);
  EXPECT_THAT(verify.out, AllOf(HasSubstr("undo.db"), HasSubstr("row 12 is damaged")));
  const ProcessResult rollback = Command({"rollback", folder_ / "job", "--yes"});
  EXPECT_EQ(rollback.exit_code, 3) << rollback.err;
  EXPECT_THAT(rollback.out, AllOf(HasSubstr("29 rows put back"), HasSubstr("row 12: its old contents")));
  EXPECT_THAT(Query(db, "SELECT count(*) FROM notes WHERE vector = zeroblob(124) || x'0000803f'"), ElementsAre("29"));
}

}  // namespace
}  // namespace reembed
