// SPDX-License-Identifier: Apache-2.0
#include "tools/exit_code.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace reembed {
namespace {

TEST(OutcomeWordTest, NoCodeIsShownAsSuch) {
  for (int code = 0; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "x");
    const std::string name = absl::StatusCodeToString(status.code());
    for (const std::string& word : std::vector<std::string>{std::string(OutcomeWord(status)), OutcomeWord(name),
                                                            std::string(RejectWord(status.code(), false)),
                                                            std::string(RejectWord(status.code(), true))}) {
      EXPECT_NE(word, name);
      EXPECT_FALSE(word.empty());
      EXPECT_EQ(word.find('_'), std::string::npos) << word;
    }
  }
}

TEST(OutcomeWordTest, WhatEarlierVersionsWroteIsUnderstood) {
  EXPECT_EQ(OutcomeWord(std::string("DATA_LOSS")), "failed");
  EXPECT_EQ(OutcomeWord(std::string("UNAVAILABLE")), "temporary failure");
  EXPECT_EQ(OutcomeWord(std::string("CANCELLED")), "stopped");
  EXPECT_EQ(OutcomeWord(std::string("spend cap")), "spend cap");
  EXPECT_EQ(OutcomeWord(std::string("done")), "done");
}

}  // namespace
}  // namespace reembed
