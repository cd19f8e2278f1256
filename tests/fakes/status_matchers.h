// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_STATUS_MATCHERS_H_
#define REEMBED_TESTS_FAKES_STATUS_MATCHERS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace reembed {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// EXPECT_THAT(status_or_statusor, IsOk())
MATCHER(IsOk, "is OK") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).ok();
}

// EXPECT_THAT(status_or_statusor, HasError(absl::StatusCode::kNotFound, HasSubstr("no such table")))
MATCHER_P2(HasError, code, message, "has the given code, and a matching message") {
  const absl::Status& status = StatusOf(arg);
  *result_listener << status.ToString();
  return status.code() == code &&
         ::testing::Matches(::testing::SafeMatcherCast<const std::string&>(message))(std::string(status.message()));
}

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_STATUS_MATCHERS_H_
