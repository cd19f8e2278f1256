// SPDX-License-Identifier: Apache-2.0
#include "engine/counted.h"

#include "gtest/gtest.h"

namespace reembed {
namespace {

TEST(CountedTest, OneIsSingularAndNothingElse) {
  EXPECT_EQ(Counted(1, "memory", "memories"), "1 memory");
  EXPECT_EQ(Counted(0, "row has", "rows have"), "0 rows have");
  EXPECT_EQ(Counted(21, "row", "rows"), "21 rows");
  EXPECT_EQ(Counted(1234567, "row", "rows"), "1,234,567 rows");
}

}  // namespace
}  // namespace reembed
