#include "tools/progress.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ProgressView View() {
  return {.rows = 12'345,
          .rows_expected = 1'234'567,
          .rows_rejected = 12,
          .rows_per_second = 832,
          .left = absl::Minutes(24),
          .client = {.requests_retried = 3, .tokens = 9'876'543}};
}

TEST(ProgressLineTest, SaysAllWhereThereIsRoom) {
  EXPECT_EQ(ProgressLine(View(), 200),
            "12,345 of 1,234,567 rows, 1.0 %, 832 rows/s, 24:00 left, 9,876,543 tokens, 3 retries, 12 rejected");
}

TEST(ProgressLineTest, LeavesOutWhatDoesNotFit) {
  EXPECT_EQ(ProgressLine(View(), 79),
            "12,345 of 1,234,567 rows, 1.0 %, 832 rows/s, 24:00 left, 3 retries, 12 rejected");
  EXPECT_EQ(ProgressLine(View(), 50), "12,345 of 1,234,567 rows, 1.0 %, 24:00 left");
  EXPECT_EQ(ProgressLine(View(), 24), "12,345 of 1,234,567 rows");
}

TEST(ProgressLineTest, IsNeverLongerThanTheWindow) {
  ProgressView view = View();
  view.client.quota_wait = absl::Seconds(40);
  for (size_t columns = 0; columns < 150; ++columns) EXPECT_LE(ProgressLine(view, columns).size(), columns);
}

TEST(ProgressLineTest, SaysThatItWaitsForQuota) {
  ProgressView view = View();
  view.client.quota_wait = absl::Seconds(42);
  EXPECT_THAT(ProgressLine(view, 79), HasSubstr("waiting for quota, 42 s"));
  view.client.quota_wait = absl::Milliseconds(300);  // how a quota is kept all the time
  EXPECT_THAT(ProgressLine(view, 79), Not(HasSubstr("waiting")));
}

TEST(ProgressLineTest, DoesWithoutAnExpectedNumberOfRows) {
  EXPECT_EQ(ProgressLine({.rows = 5, .rows_per_second = 2.5}, 79), "5 rows, 2 rows/s");
}

TEST(RowsPerSecondOfQuotaTest, IsTheNarrowerOfWhatIsKnown) {
  EXPECT_EQ(RowsPerSecondOfQuota({}, 0, 100), 0);
  EXPECT_EQ(RowsPerSecondOfQuota({.requests_per_minute = 60}, 0, 100), 100);
  // The first ask for the model, not for rows; then what requests really bring.
  EXPECT_EQ(RowsPerSecondOfQuota({.requests = 12, .in_the_air = 2, .requests_per_minute = 60}, 100, 100), 100);
  EXPECT_EQ(RowsPerSecondOfQuota({.requests = 102, .in_the_air = 2, .requests_per_minute = 60}, 5000, 100), 50);
  // Of tokens nothing is known before the first reply.
  EXPECT_EQ(RowsPerSecondOfQuota({.tokens_per_minute = 6000}, 0, 100), 0);
  const ClientStats both = {.requests = 100, .tokens = 5000, .requests_per_minute = 60, .tokens_per_minute = 6000};
  EXPECT_EQ(RowsPerSecondOfQuota(both, 500, 100), 5);
}

}  // namespace
}  // namespace reembed
