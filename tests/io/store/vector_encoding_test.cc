// SPDX-License-Identifier: Apache-2.0
#include "io/store/vector_encoding.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

std::string Encoded(VectorEncoding encoding, const std::vector<float>& vector) {
  std::string scratch = "left over";
  return std::string(EncodeVector(encoding, vector, &scratch));
}

TEST(VectorEncodingTest, Names) {
  EXPECT_EQ(*ParseVectorEncoding(""), VectorEncoding::kF32);
  EXPECT_EQ(*ParseVectorEncoding("json"), VectorEncoding::kJsonJs);
  EXPECT_EQ(*ParseVectorEncoding("json-python"), VectorEncoding::kJsonPython);
  EXPECT_THAT(ParseVectorEncoding("f64"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("json-python")));
}

TEST(VectorEncodingTest, TextOfBothLanguages) {
  const std::vector<float> vector = {1, -0.0f, std::ldexp(1.0f, -25), 0.1f};
  EXPECT_EQ(Encoded(VectorEncoding::kJsonJs, vector), "[1,0,2.9802322387695312e-8,0.10000000149011612]");
  EXPECT_EQ(Encoded(VectorEncoding::kJsonPython, vector), "[1.0, -0.0, 2.9802322387695312e-08, 0.10000000149011612]");
}

TEST(VectorEncodingTest, EveryFloatComesBack) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, 0.03f);
  for (const VectorEncoding encoding : {VectorEncoding::kF32, VectorEncoding::kJsonJs, VectorEncoding::kJsonPython}) {
    std::vector<float> vector(1536), back(1536);
    for (float& x : vector) x = normal(random);
    const std::string cell = Encoded(encoding, vector);
    ASSERT_TRUE(DecodeVector(encoding, cell, absl::MakeSpan(back)));
    EXPECT_EQ(vector, back);
    EXPECT_EQ(EncodedDim(encoding, cell), 1536);
    EXPECT_FALSE(DecodeVector(encoding, cell, absl::MakeSpan(back).subspan(1)));
  }
}

// Every cell that memory systems have been seen to hold, and what we and SQLite make of it.
TEST(VectorEncodingTest, WhatIsNotFiniteIsNoVector) {
  const float infinite = std::numeric_limits<float>::infinity();
  for (const float odd : {std::nanf(""), infinite, -infinite}) {
    std::vector<float> back(3);
    EXPECT_FALSE(DecodeVector(VectorEncoding::kF32, Encoded(VectorEncoding::kF32, {1, odd, 2}), absl::MakeSpan(back)));
  }
}

TEST(VectorEncodingTest, OddCellsAreNamedAndNeverAnError) {
  struct Case {
    const char* sql;
    const char* wanted;  // of EncodedDimSql
    bool is_two;         // of HasVectorSql, for 2 numbers
  };
  SqliteFile file;
  file.Run("CREATE TABLE m (v)");
  const std::string dim = EncodedDimSql(VectorEncoding::kJsonJs, "v");
  const std::string has = HasVectorSql(VectorEncoding::kJsonJs, "v", 2);
  for (const Case& c : {Case{"NULL", "NULL", false}, Case{"''", "NULL", false}, Case{"'  '", "NULL", false},
                        Case{"'[]'", "NULL", false}, Case{"'null'", "NULL", false}, Case{"'[1,2]'", "2", true},
                        Case{"' [ 0.5 , 1e-07 ] '", "2", true}, Case{"'[1,2,3]'", "3", false},
                        Case{"'[1,2'", "-1", false}, Case{"'hello'", "-1", false}, Case{"'{\"a\":1}'", "-1", false},
                        Case{"'[1,null]'", "-1", false}, Case{"'[1,\"2\"]'", "-1", false}, Case{"'NaN'", "-1", false},
                        Case{"x'0000803f00000040'", "-1", false}, Case{"17", "-1", false}}) {
    file.Run(absl::StrCat("DELETE FROM m; INSERT INTO m VALUES (", c.sql, ")"));
    EXPECT_EQ(file.Ask(absl::StrCat("SELECT ", dim, " FROM m")), c.wanted) << c.sql;
    EXPECT_EQ(file.Ask(absl::StrCat("SELECT ", has, " FROM m")), c.is_two ? "1" : "0") << c.sql;
  }
  for (const auto& [cell, wanted] : {std::pair<const char*, int64_t>{"", 0},
                                     {"[]", 0},
                                     {"null", 0},
                                     {"[1, 2]", 2},
                                     {"[1,null]", -1},
                                     {"[1,2", -1},
                                     {"[1,2]x", -1},
                                     {"{}", -1}}) {
    EXPECT_EQ(EncodedDim(VectorEncoding::kJsonJs, cell), wanted) << cell;
  }
  std::vector<float> two(2);
  for (const char* const cell : {"[1,null]", "[1,2,]", "[1 2]", "[1,2] x", "[1,1e39]", "[1,inf]", "1,2", ""}) {
    EXPECT_FALSE(DecodeVector(VectorEncoding::kJsonJs, cell, absl::MakeSpan(two))) << cell;
  }
}

}  // namespace
}  // namespace reembed
