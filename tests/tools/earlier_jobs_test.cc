// SPDX-License-Identifier: Apache-2.0
#include "tools/earlier_jobs.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "io/job/job_store.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int kDim = 2;

Location At(const std::string& uri) { return *ParseLocation(uri); }

// Two places are the same, or are not.
TEST(PlaceOfTest, OnePlaceHasOneNameHoweverItIsWorded) {
  TempFolder folder;
  const std::string file = folder / "notes.db";
  std::ofstream(file).put('x');
  std::filesystem::create_symlink(file, folder / "link.db");
  const std::pair<std::string, std::string> same[] = {
      {absl::StrCat("sqlite:", file, "?table=notes&vector=v"),
       absl::StrCat("sqlite:", folder / "./x/../notes.db", "?table=NOTES&key=id&vector=V&text=body")},
      {absl::StrCat("sqlite:", file, "?table=notes&vector=v"),
       absl::StrCat("sqlite:", folder / "link.db", "?table=notes&vector=v")},
      {"postgres://ann@db/app?table=notes&vector=v", "postgresql://bob@DB:5432/app?table=notes&schema=public&vector=v"},
      {"postgres://127.0.0.1/app?table=notes&vector=v", "postgres:///app?table=notes&vector=v"},
      {"postgres:///app?table=notes&vector=v", "postgres:///app?host=/var/run/postgresql&table=notes&vector=v"},
      {"qdrant:http://host:6333/c", "qdrant:host:6333/c?mode=update"},
      {"libsql://h.io?table=a&vector=v", "libsql:https://h.io/?table=A&vector=v"},
      {"falkordb://localhost:6379/g?label=L&vector=v", "falkordb://127.0.0.1/g?label=L&key=id&vector=v"},
      {absl::StrCat("npy:", folder / "a.npy"), absl::StrCat("npy:", folder / "x/../a.npy")}};
  for (const auto& [a, b] : same) EXPECT_TRUE(PlaceOf(At(a)) == PlaceOf(At(b))) << a << " " << b;
  const std::pair<std::string, std::string> different[] = {
      {"sqlite:/a.db?table=t&vector=v", "sqlite:/b.db?table=t&vector=v"},
      {"sqlite:/a.db?table=t&vector=v", "sqlite:/a.db?table=u&vector=v"},
      {"sqlite:/a.db?table=t&vector=v", "sqlite:/a.db?table=t&vector=w"},
      {"postgres:///a?table=t&vector=v", "postgres:///b?table=t&vector=v"},
      {"postgres://h:1/a?table=t&vector=v", "postgres://h:2/a?table=t&vector=v"},
      {"postgres:///a?table=t&vector=v", "postgres:///a?table=T&vector=v"},
      {"postgres:///a?table=t&vector=v", "postgres:///a?table=t&schema=s&vector=v"},
      {"qdrant:http://h/a", "qdrant:http://h/b"},
      {"qdrant:http://h/a?vector=x", "qdrant:http://h/a?vector=y"},
      {"npy:/a.npy", "fbin:/a.npy"}};
  for (const auto& [a, b] : different) EXPECT_FALSE(PlaceOf(At(a)) == PlaceOf(At(b))) << a << " " << b;
  EXPECT_EQ(PlaceOf(At("-")), std::nullopt);
}

class EarlierJobsTest : public ::testing::Test {
 protected:
  // A job of three rows, the second without a text, that has given its first `position` rows to `target`.
  void MakeJob(const std::string& dir, const std::string& target, int64_t position, absl::Time ended,
               const std::string& model = "m", KeepVectors keep = KeepVectors::kAlways) {
    auto store = JobStore::Open(
        dir,
        {.source = "s", .selection = "all rows", .recipe = "r", .model = model, .normalization = "unit", .dim = kDim},
        {.keep_vectors = keep});
    ASSERT_THAT(store, IsOk());
    Batch batch({}, kDim);
    Enrol(store->get(), &batch, "one", "text one");
    (*store)->Reject("two", std::nullopt, absl::InvalidArgumentError("the text is empty"));
    Enrol(store->get(), &batch, "three", "text three");
    for (int i = 0; i < 2 * kDim; ++i) batch.vectors()[i] = static_cast<float>(i + 1);
    (*store)->Persist(&batch, Done([](absl::Status status) { EXPECT_THAT(status, IsOk()); }));
    (*store)->SavePosition(target, position);
    ASSERT_THAT((*store)->RecordReceipt({.run = 1, .started = ended, .ended = ended, .outcome = "done"}), IsOk());
    ASSERT_THAT((*store)->Close(), IsOk());
  }

  static void Enrol(JobStore* store, Batch* batch, KeyView key, absl::string_view text) {
    const Enrolment enrolment = store->Enrol(key, HashText(text));
    batch->AddRowWithText(enrolment.ordinal, key, enrolment.slot, text, 1);
  }

  static std::vector<std::string> KeysOf(const EarlierJob& job) {
    auto rows = WrittenRows::Open(job);
    EXPECT_THAT(rows, IsOk());
    std::vector<std::string> keys;
    for (auto row = (*rows)->Next(); row.ok() && row->has_value(); row = (*rows)->Next()) {
      keys.push_back(KeyText((*row)->key));
    }
    return keys;
  }

  TempFolder folder_;
  const std::string jobs_ = folder_ / "jobs";
  const std::string target_ = absl::StrCat("sqlite:", folder_ / "a.db", "?key=id&table=t&vector=v");
  const absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
};

TEST_F(EarlierJobsTest, FindsWhoWroteToThePlaceAndWhat) {
  MakeJob(jobs_ + "/first", target_, 3, now_, "old model");
  MakeJob(jobs_ + "/second/messages", target_, 1, now_ + absl::Hours(1), "new model");  // a stream of a job
  MakeJob(jobs_ + "/other", absl::StrCat("sqlite:", folder_ / "a.db", "?key=id&table=t&vector=w"), 3, now_);
  const EarlierJobs found =
      FindEarlierJobs(At(absl::StrCat("sqlite:", folder_ / "./a.db", "?table=T&vector=v&text=body")), {jobs_}, "");
  EXPECT_THAT(found.unreadable, IsEmpty());
  ASSERT_THAT(found.jobs, SizeIs(2));
  EXPECT_EQ(found.jobs[0].identity.model, "new model");
  EXPECT_EQ(found.jobs[0].ended, now_ + absl::Hours(1));
  EXPECT_EQ(found.jobs[1].identity.model, "old model");
  EXPECT_EQ(found.jobs[1].identity.dim, kDim);
  EXPECT_EQ(found.jobs[1].target, target_);
  EXPECT_EQ(found.jobs[1].rows, 3);
  EXPECT_EQ(found.jobs[1].position, 3);
  EXPECT_EQ(found.jobs[1].rolled_back, std::nullopt);
  // What was rejected, and what the target has not got yet, is not written.
  EXPECT_THAT(KeysOf(found.jobs[0]), ElementsAre("one"));
  EXPECT_THAT(KeysOf(found.jobs[1]), ElementsAre("one", "three"));
}

TEST_F(EarlierJobsTest, TellsTheTextAndTheVectorOfARow) {
  MakeJob(jobs_ + "/first", target_, 3, now_);
  const EarlierJobs found = FindEarlierJobs(At(target_), {jobs_}, "");
  ASSERT_THAT(found.jobs, SizeIs(1));
  auto rows = WrittenRows::Open(found.jobs[0]);
  ASSERT_THAT(rows, IsOk());
  ASSERT_THAT((*rows)->Next(), IsOk());
  const auto row = (*rows)->Next();
  ASSERT_TRUE(row.ok() && row->has_value());
  EXPECT_EQ((*row)->hash, HashText("text three"));
  std::vector<float> vector(kDim);
  EXPECT_THAT((*rows)->ReadVector(**row, absl::MakeSpan(vector)), IsOk());
  EXPECT_THAT(vector, ElementsAre(3, 4));
}

TEST_F(EarlierJobsTest, WhatATargetRefusedIsNotWritten) {
  MakeJob(jobs_ + "/first", target_, 3, now_);
  {
    auto store = JobStore::Open(
        jobs_ + "/first",
        {.source = "s", .selection = "all rows", .recipe = "r", .model = "m", .normalization = "unit", .dim = kDim});
    ASSERT_THAT(store, IsOk());
    (*store)->Refuse(target_, {{.ordinal = 0, .reason = absl::NotFoundError("the row is gone")}});
    (*store)->Refuse("npy:/elsewhere.npy", {{.ordinal = 2, .reason = absl::InternalError("no")}});
    ASSERT_THAT((*store)->Close(), IsOk());
  }
  const EarlierJobs found = FindEarlierJobs(At(target_), {jobs_}, "");
  ASSERT_THAT(found.jobs, SizeIs(1));
  EXPECT_THAT(KeysOf(found.jobs[0]), ElementsAre("three"));
}

TEST_F(EarlierJobsTest, LooksWhereItIsToldAndLeavesOneOut) {
  MakeJob(jobs_ + "/first", target_, 3, now_);
  MakeJob(folder_ / "elsewhere/mine/stream", target_, 3, now_);
  MakeJob(folder_ / "given", target_, 3, now_);
  const auto directories = [&](std::vector<std::string> folders, const std::string& except) {
    std::vector<std::string> names;
    for (const EarlierJob& job : FindEarlierJobs(At(target_), folders, except).jobs) names.push_back(job.directory);
    return names;
  };
  const std::string root = std::filesystem::canonical(folder_.path());
  EXPECT_THAT(directories({jobs_}, ""), ElementsAre(root + "/jobs/first"));
  EXPECT_THAT(directories({jobs_, folder_ / "given"}, ""), ElementsAre(root + "/given", root + "/jobs/first"));
  EXPECT_THAT(directories({folder_ / "elsewhere", folder_ / "given"}, folder_ / "elsewhere/mine"),
              ElementsAre(root + "/given"));
  EXPECT_THAT(directories({jobs_, jobs_ + "/first"}, ""), SizeIs(1));
  EXPECT_THAT(directories({folder_ / "absent"}, ""), IsEmpty());
}

TEST_F(EarlierJobsTest, AJobThatCannotBeReadIsNamedAndHidesNoOther) {
  MakeJob(jobs_ + "/first", target_, 3, now_);
  std::filesystem::create_directories(jobs_ + "/broken");
  std::ofstream(jobs_ + "/broken/ledger.db") << "this is no database, but long enough to be taken for one by a reader "
                                                "that looks at its first hundred bytes only, as SQLite does it";
  const EarlierJobs found = FindEarlierJobs(At(target_), {jobs_}, "");
  EXPECT_THAT(found.jobs, SizeIs(1));
  EXPECT_THAT(found.unreadable, ElementsAre(HasSubstr("broken/ledger.db")));
}

TEST_F(EarlierJobsTest, AJobThatKeepsNoVectorsKnowsItsRowsOnly) {
  MakeJob(jobs_ + "/first", target_, 3, now_, "m", KeepVectors::kNever);
  const EarlierJobs found = FindEarlierJobs(At(target_), {jobs_}, "");
  ASSERT_THAT(found.jobs, SizeIs(1));
  EXPECT_EQ(found.jobs[0].keep_vectors, KeepVectors::kNever);
  auto rows = WrittenRows::Open(found.jobs[0]);
  ASSERT_THAT(rows, IsOk());
  const auto row = (*rows)->Next();
  ASSERT_TRUE(row.ok() && row->has_value());
  EXPECT_EQ((*row)->hash, TextHash());
}

}  // namespace
}  // namespace reembed
