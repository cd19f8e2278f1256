// SPDX-License-Identifier: Apache-2.0
#include "engine/locked_sink.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ListingSink final : public VectorSink {
 public:
  explicit ListingSink(std::vector<std::string>* calls) : calls_(calls) {}
  RowOrder row_order() const override { return RowOrder::kAscending; }
  absl::StatusOr<int64_t> Open(const SinkContext&, const SinkPosition& last) override {
    calls_->push_back("open");
    return last.position;
  }
  absl::Status Write(absl::Span<const Batch* const>, std::vector<RefusedRow>*) override { return List("write"); }
  absl::Status Flush() override { return List("flush"); }
  absl::Status Finish() override { return List("finish"); }

 private:
  absl::Status List(const char* call) {
    calls_->push_back(call);
    return absl::OkStatus();
  }
  std::vector<std::string>* const calls_;
};

class FakeLock final : public TargetLock {
 public:
  absl::Status Keep() override {
    ++kept;
    return status;
  }
  bool unbroken() const override { return true; }
  int kept = 0;
  absl::Status status;
};

TEST(LockedSinkTest, EveryCallKeepsTheLockFirst) {
  std::vector<std::string> calls;
  FakeLock lock;
  LockedSink sink(std::make_unique<ListingSink>(&calls), &lock);
  EXPECT_EQ(sink.row_order(), RowOrder::kAscending);
  EXPECT_EQ(sink.Open({}, {.position = 7}).value(), 7);
  EXPECT_THAT(sink.Write({}, nullptr), IsOk());
  EXPECT_THAT(sink.Flush(), IsOk());
  EXPECT_EQ(lock.kept, 3);
  EXPECT_THAT(sink.Finish(), IsOk());
  EXPECT_EQ(lock.kept, 5);  // also at the end, so that it says whether it was held until then
  EXPECT_THAT(calls, ElementsAre("open", "write", "flush", "finish"));
}

TEST(LockedSinkTest, WithoutTheLockNothingIsChanged) {
  std::vector<std::string> calls;
  FakeLock lock;
  lock.status = absl::AbortedError("another job has it");
  LockedSink sink(std::make_unique<ListingSink>(&calls), &lock);
  EXPECT_THAT(sink.Open({}, {}), HasError(absl::StatusCode::kAborted, "another job has it"));
  EXPECT_THAT(sink.Write({}, nullptr), HasError(absl::StatusCode::kAborted, "another job has it"));
  EXPECT_THAT(sink.Flush(), HasError(absl::StatusCode::kAborted, "another job has it"));
  EXPECT_THAT(sink.Finish(), HasError(absl::StatusCode::kAborted, "another job has it"));
  EXPECT_THAT(calls, IsEmpty());
}

}  // namespace
}  // namespace reembed
