// SPDX-License-Identifier: Apache-2.0
#include "engine/locked_sink.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/status_macros.h"
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
  absl::Status Complete() override { return List("complete"); }
  absl::StatusOr<bool> Prepare(const SinkContext&) override {
    ABSL_RETURN_IF_ERROR(List("prepare"));
    return true;
  }
  absl::Status Publish(const SinkContext&) override { return List("publish"); }

 private:
  absl::Status List(const char* call) {
    calls_->push_back(call);
    return absl::OkStatus();
  }
  std::vector<std::string>* const calls_;
};

class FakeLock final : public TargetLock {
 public:
  absl::Status EnsureHeld() override {
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
  EXPECT_TRUE(sink.Prepare({}).value());
  EXPECT_EQ(sink.Open({}, {.position = 7}).value(), 7);
  EXPECT_THAT(sink.Write({}, nullptr), IsOk());
  EXPECT_THAT(sink.Flush(), IsOk());
  EXPECT_EQ(lock.kept, 4);
  EXPECT_THAT(sink.Complete(), IsOk());
  EXPECT_EQ(lock.kept, 6);  // also at the end, so that it says whether it was held until then
  EXPECT_THAT(sink.Publish({}), IsOk());
  EXPECT_EQ(lock.kept, 8);
  EXPECT_THAT(calls, ElementsAre("prepare", "open", "write", "flush", "complete", "publish"));
}

TEST(LockedSinkTest, WithoutTheLockNothingIsChanged) {
  std::vector<std::string> calls;
  FakeLock lock;
  lock.status = absl::AbortedError("another job has it");
  LockedSink sink(std::make_unique<ListingSink>(&calls), &lock);
  EXPECT_THAT(sink.Prepare({}), HasError(absl::StatusCode::kAborted, "another job has it"));
  EXPECT_THAT(sink.Open({}, {}), HasError(absl::StatusCode::kAborted, "another job has it"));
  EXPECT_THAT(sink.Write({}, nullptr), HasError(absl::StatusCode::kAborted, "another job has it"));
  EXPECT_THAT(sink.Flush(), HasError(absl::StatusCode::kAborted, "another job has it"));
  EXPECT_THAT(sink.Complete(), HasError(absl::StatusCode::kAborted, "another job has it"));
  EXPECT_THAT(sink.Publish({}), HasError(absl::StatusCode::kAborted, "another job has it"));
  EXPECT_THAT(calls, IsEmpty());
}

}  // namespace
}  // namespace reembed
