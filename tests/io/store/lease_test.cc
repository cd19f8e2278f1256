// SPDX-License-Identifier: Apache-2.0
#include "io/store/lease.h"

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/job/lock_owner.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// What a store has of one lease, in memory. The time that is left of somebody else's goes by with each look at it.
struct Record {
  std::mutex mutex;
  std::string owner;
  std::string last;  // who has not given it back
  absl::Duration left;
  absl::Duration step = absl::Seconds(20);
};

class FakeStore final : public LeaseStore {
 public:
  explicit FakeStore(Record* record) : record_(record) {}

  absl::StatusOr<Taken> Take(absl::string_view owner, absl::string_view from) override {
    const std::lock_guard<std::mutex> lock(record_->mutex);
    const bool free = record_->owner.empty() || record_->owner == owner || record_->owner == from;
    if (!free && record_->left > absl::ZeroDuration()) {
      Taken taken{.owner = record_->owner, .time_left = record_->left};
      record_->left -= record_->step;
      return taken;
    }
    Taken taken{.is_ours = true, .owner = record_->last};
    record_->owner = record_->last = std::string(owner);
    record_->left = kLeaseTime;
    return taken;
  }

  absl::StatusOr<bool> Renew(absl::string_view owner) override {
    const std::lock_guard<std::mutex> lock(record_->mutex);
    return record_->owner == owner;
  }

  absl::Status GiveBack(absl::string_view owner) override {
    const std::lock_guard<std::mutex> lock(record_->mutex);
    if (record_->owner == owner) record_->owner = record_->last = "";
    return absl::OkStatus();
  }

 private:
  Record* const record_;
};

class LeaseTest : public ::testing::Test {
 protected:
  static LockOwner Owner(const std::string& job) { return {.host = "here", .pid = "12", .started = 1, .job = job}; }

  absl::StatusOr<std::unique_ptr<TargetLock>> Take(const std::string& job) {
    return TakeLease("graph: Note.v", {job, [this](const std::string& note) { notes_.push_back(note); }},
                     std::make_unique<FakeStore>(&record_));
  }
  // Somebody has it who is not there any more, or is.
  void LeaveTo(const std::string& job) {
    record_.owner = record_.last = LockOwnerText(Owner(job));
    record_.left = kLeaseTime;
  }

  Record record_;
  std::vector<std::string> notes_;
};

TEST_F(LeaseTest, NobodyHasIt) {
  auto lock = Take("/jobs/a");
  ASSERT_THAT(lock, IsOk());
  EXPECT_THAT((*lock)->EnsureHeld(), IsOk());
  EXPECT_TRUE((*lock)->unbroken());
  EXPECT_THAT(notes_, IsEmpty());
  lock->reset();
  EXPECT_EQ(record_.owner, "");
  EXPECT_EQ(record_.last, "");
}

TEST_F(LeaseTest, OfAJobThatIsThereItIsRefused) {
  LeaveTo("/jobs/other");
  record_.step = -absl::Seconds(1);  // it is renewed
  EXPECT_THAT(Take("/jobs/a"),
              HasError(absl::StatusCode::kAborted, AllOf(HasSubstr("graph: Note.v"), HasSubstr("/jobs/other"))));
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("at most 30s")));
  EXPECT_EQ(record_.owner, LockOwnerText(Owner("/jobs/other")));
}

TEST_F(LeaseTest, OfAJobThatMayBeDeadItIsTakenWhenItsTimeIsUp) {
  LeaveTo("/jobs/other");
  auto lock = Take("/jobs/a");
  ASSERT_THAT(lock, IsOk());
  EXPECT_THAT(notes_, SizeIs(1));
  EXPECT_THAT((*lock)->EnsureHeld(), IsOk());
  EXPECT_FALSE((*lock)->unbroken());  // the other may only be slow
}

TEST_F(LeaseTest, ItsOwnOfAKilledRunIsTakenAtOnce) {
  LeaveTo("/jobs/a");
  record_.step = absl::ZeroDuration();  // its time never is up
  auto lock = Take("/jobs/a");
  ASSERT_THAT(lock, IsOk());
  EXPECT_THAT(notes_, IsEmpty());
  EXPECT_TRUE((*lock)->unbroken());
}

}  // namespace
}  // namespace reembed
