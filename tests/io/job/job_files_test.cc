// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "io/job/reject_retry.h"
#include "tests/fakes/file_size_limit.h"
#include "tests/io/job/job_fixture.h"

// What is in the files of a job directory, and what happens when they are wrong.

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kSlotBytes = kDim * sizeof(float);

class JobFilesTest : public JobTest {
 protected:
  std::string Vectors() const { return dir_ + "/vectors.f32"; }
  std::string Ledger() const { return dir_ + "/ledger.db"; }

  void Execute(const std::string& sql) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(Ledger().c_str(), &db), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
    sqlite3_close(db);
  }

  void FlipByte(int64_t offset) {
    std::fstream file(Vectors(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(offset);
    const char byte = static_cast<char>(file.get() ^ 0x10);
    file.seekp(offset);
    file.put(byte);
  }

  // Two batches of two rows, then the marks of a crash.
  void MakeJobThatCrashed() {
    ASSERT_THAT(Open(), IsOk());
    KeepRows({{int64_t{0}, "a"}, {int64_t{1}, "b"}});
    KeepRows({{int64_t{2}, "c"}, {int64_t{3}, "d"}});
    store_.reset();
    Execute("UPDATE meta SET value = 0 WHERE key = 'clean'");
  }

  std::vector<SlotState> States() {
    std::vector<SlotState> states;
    for (const Seen& row : ReadAll(store_->Scan(0))) states.push_back(row.state);
    return states;
  }

  // Runs `body` in a process of its own, which may end in any way. True if it returned.
  template <typename Body>
  bool InChild(Body body) {
    const pid_t child = fork();
    if (child == 0) {
      body();
      _exit(::testing::Test::HasFailure() ? 1 : 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
};

TEST_F(JobFilesTest, VectorsAreThePlainMatrixThatDecodeMade) {
  ASSERT_THAT(Open(), IsOk());
  KeepRows({{int64_t{0}, "a"}, {int64_t{1}, "b"}});
  std::ifstream file(Vectors(), std::ios::binary);
  std::vector<float> matrix(2 * kDim);
  file.read(reinterpret_cast<char*>(matrix.data()), 2 * kSlotBytes);
  EXPECT_EQ(std::vector<float>(matrix.begin(), matrix.begin() + kDim), VectorOf("a"));
  EXPECT_EQ(std::vector<float>(matrix.begin() + kDim, matrix.end()), VectorOf("b"));
  EXPECT_EQ(file.peek(), EOF);
}

TEST_F(JobFilesTest, AClosedJobIsThreeFiles) {
  ASSERT_THAT(Open(), IsOk());
  KeepRows({{int64_t{0}, "a"}});
  ASSERT_THAT(store_->Close(), IsOk());
  std::vector<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(dir_)) names.push_back(file.path().filename());
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("ledger.db", "lock", "vectors.f32"));
}

TEST_F(JobFilesTest, RefusesEveryOtherIdentityByName) {
  ASSERT_THAT(Open(), IsOk());
  store_.reset();
  const std::pair<std::string, std::function<void(JobIdentity*)>> changes[] = {
      {"source `sqlite:a.db?table=t`, and not for `new`", [](JobIdentity* id) { id->source = "new"; }},
      {"selection `all`, and not for `new`", [](JobIdentity* id) { id->selection = "new"; }},
      {"recipe `text`, and not for `new`", [](JobIdentity* id) { id->recipe = "new"; }},
      {"model `model-1`, and not for `new`", [](JobIdentity* id) { id->model = "new"; }},
      {"normalization `as received`, and not for `new`", [](JobIdentity* id) { id->normalization = "new"; }},
      {"dim `8`, and not for `9`", [](JobIdentity* id) { id->dim = 9; }}};
  for (const auto& [message, change] : changes) {
    JobIdentity identity = Identity();
    change(&identity);
    EXPECT_THAT(JobStore::Open(dir_, identity),
                HasError(absl::StatusCode::kFailedPrecondition,
                         AllOf(HasSubstr(message), HasSubstr("leave the job directory out"))));
  }
  EXPECT_THAT(Open({.keep_vectors = KeepVectors::kNever}),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("keep_vectors `always`, and not for `never`")));
  EXPECT_THAT(Open(), IsOk());
}

TEST_F(JobFilesTest, RefusesAWidthThatNoModelHas) {
  JobIdentity identity = Identity();
  identity.dim = 0;
  EXPECT_THAT(JobStore::Open(dir_, identity), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("got 0")));
  EXPECT_FALSE(std::filesystem::exists(dir_));
}

TEST_F(JobFilesTest, RefusesANewerFormat) {
  ASSERT_THAT(Open(), IsOk());
  store_.reset();
  Execute("PRAGMA user_version = 3");
  const auto message = AllOf(HasSubstr("format 3"), HasSubstr("newer reembed"));
  EXPECT_THAT(Open(), HasError(absl::StatusCode::kFailedPrecondition, message));
  EXPECT_THAT(JobReader::Open(dir_), HasError(absl::StatusCode::kFailedPrecondition, message));
}

TEST_F(JobFilesTest, RefusesADatabaseOfSomeoneElse) {
  std::filesystem::create_directory(dir_);
  Execute("CREATE TABLE notes(text)");
  EXPECT_THAT(Open(), HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("not a ledger")));
}

TEST_F(JobFilesTest, RefusesAFileThatIsNoDatabase) {
  std::filesystem::create_directory(dir_);
  std::ofstream(Ledger()) << std::string(5000, 'x');
  EXPECT_THAT(Open(), HasError(absl::StatusCode::kDataLoss, HasSubstr("ledger.db")));
}

TEST_F(JobFilesTest, RefusesAFileInPlaceOfTheDirectory) {
  std::ofstream(dir_) << "x";
  EXPECT_THAT(Open(), HasError(absl::StatusCode::kAlreadyExists, HasSubstr("job directory")));
}

TEST_F(JobFilesTest, TwoRunsNeverMeet) {
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(JobStore::Open(dir_, Identity()),
              HasError(absl::StatusCode::kAborted, AllOf(HasSubstr(absl::StrCat("process ", getpid(), " on host ")),
                                                         ContainsRegex("started (just now|[0-9]+[a-z0-9]* ago)"))));
  ASSERT_THAT(store_->Close(), IsOk());
  EXPECT_THAT(JobStore::Open(dir_, Identity()), IsOk());
}

TEST_F(JobFilesTest, ADeadOwnerNeverBlocks) {
  ASSERT_THAT(Open(), IsOk());
  ASSERT_THAT(store_->Close(), IsOk());
  EXPECT_FALSE(InChild([&] {
    if (Open().ok()) raise(SIGKILL);
  }));
  EXPECT_TRUE(std::filesystem::exists(dir_ + "/lock"));
  EXPECT_THAT(Open(), IsOk());
  EXPECT_TRUE(store_->recovery().unclean_end);
}

// A moment later it is in WAL mode, and nothing is in it.
TEST_F(JobFilesTest, AFileThatARunHadOnlyBegunToMakeHoldsNoJob) {
  for (const char* const sql : {"PRAGMA journal_mode = DELETE", "PRAGMA journal_mode = WAL"}) {
    const std::string dir = absl::StrCat(root_, "/begun", strlen(sql));
    std::filesystem::create_directory(dir);
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open((dir + "/ledger.db").c_str(), &db), SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(db, sql, nullptr, nullptr, nullptr), SQLITE_OK);
    sqlite3_close(db);
    std::ofstream(dir + "/ledger.db", std::ios::app).flush();
    EXPECT_THAT(JobReader::Open(dir), HasError(absl::StatusCode::kNotFound, HasSubstr("holds no job"))) << sql;
  }
  EXPECT_THAT(JobReader::Open(root_ + "/none"), HasError(absl::StatusCode::kNotFound, HasSubstr("no job directory")));
}

// The first moments of a job's file, before it is in WAL mode.
TEST_F(JobFilesTest, AReaderUndoesWhatARunLeftThatWasKilledWhileItMadeTheFile) {
  ASSERT_THAT(Open(), IsOk());
  KeepRows({{int64_t{0}, "a"}});
  store_.reset();
  Execute("PRAGMA journal_mode = DELETE");
  InChild([&] {
    sqlite3* db = nullptr;
    sqlite3_open(Ledger().c_str(), &db);
    sqlite3_exec(db,
                 "PRAGMA cache_size = 1; BEGIN; DELETE FROM meta; CREATE TABLE filler (a);"
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
                 "INSERT INTO filler SELECT hex(randomblob(100)) FROM n",
                 nullptr, nullptr, nullptr);
    kill(getpid(), SIGKILL);
  });
  ASSERT_EQ(access((Ledger() + "-journal").c_str(), F_OK), 0) << "the test left no journal";
  EXPECT_THAT(JobReader::Open(dir_), IsOk());
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(States(), ElementsAre(SlotState::kKept));
}

// As of somebody who has removed the ledger alone to begin anew.
TEST_F(JobFilesTest, ALogWithoutItsLedgerIsNotTakenForThatOfTheNext) {
  InChild([&] {
    ASSERT_THAT(Open(), IsOk());
    KeepRows({{int64_t{0}, "a"}});
    kill(getpid(), SIGKILL);
  });
  ASSERT_EQ(access((Ledger() + "-wal").c_str(), F_OK), 0) << "the test left no log";
  std::filesystem::remove(Ledger());
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(store_->rows(), 0);
}

TEST_F(JobFilesTest, AFlippedByteIsFoundAfterACrashAndItsSlotBoughtAgain) {
  MakeJobThatCrashed();
  FlipByte(2 * kSlotBytes + 5);
  ASSERT_THAT(Open(), IsOk());
  EXPECT_TRUE(store_->recovery().unclean_end);
  EXPECT_EQ(store_->recovery().damaged_texts, 1);
  EXPECT_THAT(States(), ElementsAre(SlotState::kKept, SlotState::kKept, SlotState::kFree, SlotState::kKept));
  EXPECT_EQ(KeepRows({{int64_t{4}, "c"}})->VectorOfRow(0), VectorOf("c"));
  EXPECT_EQ(KeepRows({{int64_t{5}, "d"}})->VectorOfRow(0), VectorOf("d"));
  ASSERT_THAT(Open({.check = JobOptions::Check::kEverything}), IsOk());
  EXPECT_EQ(store_->recovery().damaged_texts, 0);
  EXPECT_THAT(States(), ::testing::Each(SlotState::kKept));
}

TEST_F(JobFilesTest, ATornTailIsFoundAlsoWithoutACrash) {
  ASSERT_THAT(Open(), IsOk());
  KeepRows({{int64_t{0}, "a"}, {int64_t{1}, "b"}});
  KeepRows({{int64_t{2}, "c"}, {int64_t{3}, "d"}});
  store_.reset();
  std::filesystem::resize_file(Vectors(), 4 * kSlotBytes - 1);
  ASSERT_THAT(Open(), IsOk());
  EXPECT_FALSE(store_->recovery().unclean_end);
  EXPECT_EQ(store_->recovery().damaged_texts, 1);
  EXPECT_THAT(States(), ElementsAre(SlotState::kKept, SlotState::kKept, SlotState::kKept, SlotState::kFree));
}

TEST_F(JobFilesTest, OldDamageIsFoundOnRequest) {
  ASSERT_THAT(Open(), IsOk());
  KeepRows({{int64_t{0}, "a"}});
  ASSERT_THAT(Open(), IsOk());
  store_.reset();
  FlipByte(3);
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(store_->recovery().damaged_texts, 0);
  const auto reader = JobReader::Open(dir_);
  ASSERT_THAT(reader, IsOk());
  EXPECT_THAT((*reader)->CheckVectors()->damaged, ElementsAre(SlotRange{0, 1}));
  ASSERT_THAT(Open({.check = JobOptions::Check::kEverything}), IsOk());
  EXPECT_EQ(store_->recovery().damaged_texts, 1);
}

TEST_F(JobFilesTest, VectorsThatAreGoneAreNotBoughtAgainInSilence) {
  ASSERT_THAT(Open(), IsOk());
  KeepRows({{int64_t{0}, "a"}});
  store_.reset();
  std::filesystem::remove(Vectors());
  EXPECT_THAT(Open(), HasError(absl::StatusCode::kDataLoss, HasSubstr("is gone")));
  EXPECT_FALSE(std::filesystem::exists(Vectors()));
}

TEST_F(JobFilesTest, DamagedTablesAreRefused) {
  const std::string damages[] = {"UPDATE texts SET slot = 9000000000 WHERE slot = 3",
                                 "UPDATE texts SET hash = x'00' WHERE slot = 1",
                                 "DELETE FROM texts WHERE slot = 1",
                                 "UPDATE kept SET slot_end = 900 WHERE slot_begin = 0",
                                 "UPDATE kept SET slot_end = 3 WHERE slot_begin = 0",
                                 "UPDATE kept SET slot_begin = -1 WHERE slot_begin = 0",
                                 "INSERT INTO rejected_texts VALUES(99, 3, '')"};
  for (const std::string& damage : damages) {
    SCOPED_TRACE(damage);
    std::filesystem::remove_all(dir_);
    MakeJobThatCrashed();
    Execute(damage);
    EXPECT_THAT(Open(), HasError(absl::StatusCode::kDataLoss, HasSubstr("ledger.db")));
  }
}

TEST_F(JobFilesTest, AMissingRowStopsTheScan) {
  MakeJobThatCrashed();
  Execute("DELETE FROM rows WHERE ordinal = 1");
  ASSERT_THAT(Open(), IsOk());
  const auto cursor = store_->Scan(0);
  ASSERT_THAT(cursor, IsOk());
  // Also for whoever asks again: the row in front of it is not shown as if it were whole.
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT((*cursor)->Next(), HasError(absl::StatusCode::kDataLoss, HasSubstr("ordinal 1")));
  }
}

TEST_F(JobFilesTest, ASlotThatNoTextHasStopsTheScan) {
  for (const char* const slot : {"4", "70", "1000000000000", "9223372036854775807"}) {
    SCOPED_TRACE(slot);
    std::filesystem::remove_all(dir_);
    MakeJobThatCrashed();
    Execute(absl::StrCat("UPDATE rows SET slot = ", slot, " WHERE ordinal = 1"));
    ASSERT_THAT(Open(), IsOk());
    const auto cursor = store_->Scan(0);
    ASSERT_THAT(cursor, IsOk());
    EXPECT_THAT((*cursor)->Next(), HasError(absl::StatusCode::kDataLoss, HasSubstr("ledger.db")));
    const auto reader = JobReader::Open(dir_);
    ASSERT_THAT(reader, IsOk());
    const auto read = (*reader)->Scan(0);
    ASSERT_THAT(read, IsOk());
    EXPECT_THAT((*read)->Next(), HasError(absl::StatusCode::kDataLoss, HasSubstr("ledger.db")));
  }
}

TEST_F(JobFilesTest, ATargetCannotHaveMoreRowsThanTheJob) {
  for (const char* const position : {"5", "9000000000000000000", "-1"}) {
    SCOPED_TRACE(position);
    std::filesystem::remove_all(dir_);
    MakeJobThatCrashed();
    Execute(absl::StrCat("INSERT INTO sinks VALUES('fbin:a', 4), ('fbin:b', ", position, ")"));
    ASSERT_THAT(Open(), IsOk());
    const auto good = store_->Position("fbin:a");
    ASSERT_THAT(good, IsOk());
    EXPECT_EQ(good->position, 4);
    EXPECT_THAT(store_->Position("fbin:b"),
                HasError(absl::StatusCode::kDataLoss, AllOf(HasSubstr("ledger.db"), HasSubstr("fbin:b"))));
  }
}

TEST_F(JobFilesTest, RejectsThatACrashCutOffAreCompleted) {
  ASSERT_THAT(Open(), IsOk());
  KeepRows({{int64_t{0}, "a"}, {int64_t{1}, "b"}, {int64_t{2}, "a"}});
  store_.reset();
  Execute(
      "DELETE FROM kept; INSERT INTO rejected_texts VALUES(0, 3, 'too long');"
      "UPDATE meta SET value = 0 WHERE key = 'clean'");
  ASSERT_THAT(Open(), IsOk());
  const auto rejects = store_->ListRejects(10);
  ASSERT_THAT(rejects, IsOk());
  ASSERT_THAT(*rejects, SizeIs(2));
  EXPECT_EQ((*rejects)[1].ordinal, 2);
  EXPECT_THAT((*rejects)[1].reason, HasError(absl::StatusCode::kInvalidArgument, "too long"));
  EXPECT_EQ((*rejects)[1].attempts, 1);
  // Again it is the run that was killed that has tried it.
  store_.reset();
  ASSERT_THAT(TakeBackRejects(dir_), IsOk());
  Execute("INSERT INTO rejected_texts VALUES(0, 3, 'too long'); UPDATE meta SET value = 0 WHERE key = 'clean'");
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(store_->ListRejects(10)->at(1).attempts, 2);
}

TEST_F(JobFilesTest, AttemptsAreTheRunsThatTriedInVain) {
  const auto attempts = [this] {
    std::vector<int64_t> all;
    const auto rejects = store_->ListRejects(10);
    EXPECT_THAT(rejects, IsOk());
    for (const RejectedRow& row : *rejects) all.push_back(row.attempts);
    return all;
  };
  const auto reject = [this](int64_t ordinal) {
    store_->Reject(ordinal, ordinal, absl::InvalidArgumentError("no text"));
    const RefusedRow refused[] = {{.ordinal = ordinal, .reason = absl::NotFoundError("gone")}};
    store_->Refuse("sink a", refused);
  };
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(store_->Reject(int64_t{0}, std::nullopt, absl::InvalidArgumentError("no text")), 0);
  reject(0);
  EXPECT_THAT(attempts(), ElementsAre(1, 1)) << "a run counts once";
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(attempts(), ElementsAre(1, 1)) << "a run that does not try it does not count";
  store_.reset();
  ASSERT_THAT(TakeBackRejects(dir_), IsOk());
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(attempts(), IsEmpty());
  reject(0);
  EXPECT_THAT(attempts(), ElementsAre(2, 2));
  // A program of before writes its rejects beside the table, or has none at all.
  store_.reset();
  Execute("DROP TABLE attempts");
  {
    const auto reader = JobReader::Open(dir_);
    ASSERT_THAT(reader, IsOk());
    EXPECT_EQ((*reader)->ListRejects(10)->front().attempts, 1);
  }
  ASSERT_THAT(TakeBackRejects(dir_), IsOk());
  ASSERT_THAT(Open(), IsOk());
  reject(0);
  EXPECT_THAT(attempts(), ElementsAre(2, 2));
}

TEST_F(JobFilesTest, AFullDiskStopsTheRunAndLosesNothing) {
  ASSERT_THAT(Open(), IsOk());
  KeepRows({{int64_t{0}, "a"}, {int64_t{1}, "b"}});
  // Many rows for the slots before, so that the vectors are what does not fit.
  for (int64_t i = 2; i < 40'000; ++i) store_->Enrol(i, HashText(absl::StrCat(i)));
  ASSERT_THAT(store_->Sync(), IsOk());
  {
    const FileSizeLimit limit(40'000 * kSlotBytes);
    const auto flight = Enrol({{"x", "c"}, {"y", "d"}});
    Send(flight.get());
    EXPECT_THAT(flight->Answer(), HasError(absl::StatusCode::kResourceExhausted,
                                           AllOf(HasSubstr("vectors.f32"), HasSubstr("more bytes"))));
    EXPECT_THAT(flight->VectorOfRow(0), IsEmpty());
  }
  // Room again, but nothing is tried again blindly, and nothing more is bought.
  const auto later = Enrol({{"z", "new"}});
  EXPECT_THAT(later->batch.texts(), IsEmpty());
  Send(later.get());
  EXPECT_THAT(later->Answer(), HasError(absl::StatusCode::kResourceExhausted, HasSubstr("vectors.f32")));
  EXPECT_THAT(store_->Sync(), HasError(absl::StatusCode::kResourceExhausted, HasSubstr("vectors.f32")));
  EXPECT_THAT(store_->Close(), HasError(absl::StatusCode::kResourceExhausted, HasSubstr("vectors.f32")));
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(store_->rows(), 40'000);
  EXPECT_EQ(KeepRows({{"q", "b"}})->VectorOfRow(0), VectorOf("b"));
  EXPECT_EQ(KeepRows({{"x", "c"}})->VectorOfRow(0), VectorOf("c"));
}

TEST_F(JobFilesTest, AFullDiskUnderTheLedgerAcknowledgesNothing) {
  ASSERT_THAT(Open(), IsOk());
  KeepRows({{int64_t{0}, "a"}});
  {
    const FileSizeLimit limit(200'000);
    const auto flight = Enrol({{std::string(300'000, 'k'), "b"}});
    Send(flight.get());
    EXPECT_THAT(flight->Answer(), HasError(absl::StatusCode::kResourceExhausted,
                                           AllOf(HasSubstr("ledger.db"), HasSubstr("bytes are needed"))));
  }
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(store_->rows(), 1);
  EXPECT_EQ(store_->recovery().damaged_texts, 0);
  EXPECT_EQ(KeepRows({{int64_t{1}, "b"}})->VectorOfRow(0), VectorOf("b"));
}

// What this process has open as `path` is `device` from now on. False: it has not.
bool PutInPlaceOf(const std::string& path, const char* device) {
  const int other = open(device, O_RDWR | O_CLOEXEC);
  const std::string wanted = std::filesystem::canonical(path).string();
  int replaced = 0;
  std::error_code ignored;
  for (int fd = 0; fd < 256; ++fd) {
    const std::string name = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), ignored).string();
    if (name == wanted && dup2(other, fd) == fd) ++replaced;
  }
  close(other);
  return replaced > 0;
}

// Linux's own devices stand for disks that fail: /dev/full refuses every write, and /dev/null takes every write but
// cannot make it durable.
TEST_F(JobFilesTest, AVectorThatCannotBeMadeDurableIsNotKept) {
  const std::pair<const char*, absl::StatusCode> devices[] = {{"/dev/full", absl::StatusCode::kResourceExhausted},
                                                              {"/dev/null", absl::StatusCode::kInternal}};
  for (const auto& [device, code] : devices) {
    SCOPED_TRACE(device);
    std::filesystem::remove_all(dir_);
    ASSERT_THAT(Open(), IsOk());
    ASSERT_TRUE(PutInPlaceOf(Vectors(), device));
    const auto flight = Enrol({{int64_t{0}, "a"}});
    Send(flight.get());
    EXPECT_THAT(flight->Answer(), HasError(code, HasSubstr("vectors.f32")));
    EXPECT_THAT(flight->VectorOfRow(0), IsEmpty());
    EXPECT_THAT(store_->Sync(), HasError(code, HasSubstr("vectors.f32")));
    store_.reset();
    EXPECT_EQ((*JobReader::Open(dir_))->Stats()->kept_texts, 0);
  }
}

TEST_F(JobFilesTest, AReaderSeesAJobWhileItRuns) {
  ASSERT_THAT(Open(), IsOk());
  KeepRows({{int64_t{0}, "a"}, {int64_t{1}, "b"}});
  const auto reader = JobReader::Open(dir_);
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ((*reader)->identity().model, "model-1");
  KeepRows({{int64_t{2}, "c"}});
  EXPECT_THAT(ReadAll((*reader)->Scan(1)), ElementsAre(Seen{1, "1", 1, SlotState::kKept}));
  std::vector<float> vector(kDim);
  EXPECT_THAT((*reader)->ReadVector(1, absl::MakeSpan(vector)), IsOk());
  EXPECT_EQ(vector, VectorOf("b"));
  EXPECT_THAT((*reader)->ReadVector(2, absl::MakeSpan(vector)), HasError(absl::StatusCode::kNotFound, HasSubstr("2")));
  EXPECT_EQ((*reader)->CheckVectors()->texts, 2);
  EXPECT_THAT((*reader)->CheckVectors()->damaged, IsEmpty());
}

TEST_F(JobFilesTest, AReaderMakesNothing) {
  EXPECT_THAT(JobReader::Open(dir_), HasError(absl::StatusCode::kNotFound, HasSubstr("no job directory")));
  EXPECT_FALSE(std::filesystem::exists(dir_));
}

}  // namespace
}  // namespace reembed
