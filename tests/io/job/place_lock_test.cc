// SPDX-License-Identifier: Apache-2.0
#include "io/job/place_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

class PlaceLockTest : public ::testing::Test {
 protected:
  void Write(const std::string& text) { std::ofstream(PlaceLockPath(place_), std::ios::binary) << text; }
  std::string Read() const {
    std::ostringstream text;
    text << std::ifstream(PlaceLockPath(place_), std::ios::binary).rdbuf();
    return text.str();
  }
  absl::Status Acquire() { return PlaceLock::Acquire(place_, "/jobs/a").status(); }

  const TempFolder folder_;
  const std::string place_ = folder_ / "x.npy";
};

TEST_F(PlaceLockTest, SaysWhoHoldsItAndWhoLeftSomething) {
  absl::StatusOr<std::unique_ptr<PlaceLock>> lock = PlaceLock::Acquire(place_, "/jobs/a");
  ASSERT_TRUE(lock.ok()) << lock.status();
  EXPECT_EQ(PlaceLock::OwnerOf(place_).job, "/jobs/a");
  EXPECT_EQ(PlaceLock::OwnerOf(place_).left_by, "");
  ASSERT_TRUE((*lock)->Claim().ok());
  EXPECT_EQ(PlaceLock::OwnerOf(place_).left_by, "/jobs/a");
  EXPECT_EQ(Acquire().code(), absl::StatusCode::kAborted);
  lock->reset();
  EXPECT_EQ(PlaceLock::OwnerOf(place_).left_by, "/jobs/a");
}

// Between locking the file and writing its name into it, a sibling has it alone, and is nobody.
TEST_F(PlaceLockTest, ASiblingThatHasNotSaidItsNameIsWaitedFor) {
  const std::string path = PlaceLockPath(place_);
  for (const std::string before : {"", "a dead owner's"}) {
    if (!before.empty()) {
      ASSERT_TRUE(PlaceLock::AcquireAt(path, place_, "/jobs/dead").value()->Claim().ok());
    }
    const int sibling = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    ASSERT_EQ(flock(sibling, LOCK_EX), 0);
    // However late it is: what is right does not depend on it.
    std::thread writes([sibling] {
      absl::SleepFor(absl::Milliseconds(30));
      close(sibling);
    });
    const absl::StatusOr<std::unique_ptr<PlaceLock>> lock = PlaceLock::AcquireSharedAt(path, place_, "/jobs/a");
    EXPECT_TRUE(lock.ok()) << before << lock.status();
    writes.join();
  }
}

// What a full disk, or a power cut, leaves of its text is still a lock, and names nobody.
TEST_F(PlaceLockTest, WhatIsLeftOfItsTextBlocksNobody) {
  {
    absl::StatusOr<std::unique_ptr<PlaceLock>> lock = PlaceLock::Acquire(place_, "/jobs/b");
    ASSERT_TRUE(lock.ok() && (*lock)->Claim().ok());
  }
  const std::string whole = Read();
  ASSERT_GT(whole.size(), 20u);
  for (size_t size = 0; size < whole.size(); ++size) {
    Write(whole.substr(0, size));
    EXPECT_NE(PlaceLock::OwnerOf(place_).left_by, "/jobs/") << size;
    EXPECT_TRUE(Acquire().ok()) << size << " bytes: " << Acquire();
    Write(std::string(size, '\0'));
    EXPECT_EQ(PlaceLock::OwnerOf(place_).left_by, "") << size;
    EXPECT_TRUE(Acquire().ok()) << size << " zeros: " << Acquire();
  }
}

TEST_F(PlaceLockTest, WhatIsNoneIsNotTouched) {
  for (const std::string text : {"host\n12\n1700000000\n", "reembed", "my notes\n"}) {
    Write(text);
    const bool is_none = text != "reembed";  // may be the beginning of one
    EXPECT_EQ(Acquire().code(), is_none ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kOk) << text;
    if (!is_none) continue;
    EXPECT_EQ(Read(), text);
  }
}

}  // namespace
}  // namespace reembed
