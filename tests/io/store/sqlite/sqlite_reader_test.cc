// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_reader.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kOne[] = "x'0000803f'";
constexpr char kTwo[] = "x'00000040'";

std::string Show(const StoredVector& stored) {
  return absl::StrCat(KeyText(stored.key), ":", absl::StrJoin(stored.vector, ","));
}

std::unique_ptr<VectorReader> Open(const SqliteFile& file, const std::string& parameters, int dim = 0) {
  auto reader = OpenSqliteReader(file.At(parameters), {.dim = dim});
  EXPECT_THAT(reader, IsOk());
  return reader.ok() ? *std::move(reader) : nullptr;
}

TEST(SqliteReaderTest, ReadsVectorsInKeyOrder) {
  SqliteFile file;
  file.Run(absl::StrCat("CREATE TABLE m (id TEXT PRIMARY KEY, v, role); INSERT INTO m VALUES ('b', ", kTwo,
                        ", 'u'), ('a', ", kOne, ", 'u'), ('c', NULL, 'u'), ('d', ", kOne, ", 'tool'), ('e', ", kTwo,
                        ", 'u')"));
  const auto reader = Open(file, "table=m&vector=v&where=role='u'");
  EXPECT_EQ(reader->dim(), 1);
  EXPECT_EQ(reader->rows(), 3);
  EXPECT_EQ(Show(**reader->Next()), "a:1");
  EXPECT_EQ(Show(**reader->Next()), "b:2");
  EXPECT_EQ(Show(**reader->Next()), "e:2");
  EXPECT_FALSE(reader->Next()->has_value());
}

TEST(SqliteReaderTest, GoesOnBehindAFoundRow) {
  SqliteFile file;
  file.Run(absl::StrCat("CREATE TABLE m (id INTEGER PRIMARY KEY, v); INSERT INTO m VALUES (1, ", kOne, "), (2, ", kTwo,
                        "), (3, NULL), (4, ", kOne, ")"));
  const auto reader = Open(file, "table=m&vector=v");
  EXPECT_EQ(Show(**reader->Find(int64_t{2})), "2:2");
  EXPECT_EQ(Show(**reader->Next()), "4:1");
  EXPECT_FALSE(reader->Find(int64_t{3})->has_value());
  EXPECT_EQ(Show(**reader->Next()), "4:1");
  EXPECT_FALSE(reader->Find(int64_t{99})->has_value());
  EXPECT_EQ(Show(**reader->Find(int64_t{1})), "1:1");
  EXPECT_EQ(Show(**reader->Next()), "2:2");
}

TEST(SqliteReaderTest, NamesTheRowOfAnotherWidthAndCanGoOn) {
  SqliteFile file;
  file.Run(absl::StrCat("CREATE TABLE m (id INTEGER PRIMARY KEY, v); INSERT INTO m VALUES (1, ", kOne,
                        "), (2, x'00000000000000'), (3, '[]'), (4, ", kTwo, ")"));
  const auto reader = Open(file, "table=m&vector=v");
  EXPECT_EQ(reader->rows(), 4);
  EXPECT_EQ(Show(**reader->Next()), "1:1");
  EXPECT_THAT(reader->Next(), HasError(absl::StatusCode::kDataLoss,
                                       AllOf(HasSubstr("row 2: expected a vector of 1"), HasSubstr("7 bytes"))));
  EXPECT_THAT(reader->Next(),
              HasError(absl::StatusCode::kDataLoss,
                       HasSubstr("row 3: expected a vector of 1 numbers, got a value that is no blob")));
  EXPECT_EQ(Show(**reader->Next()), "4:2");
  EXPECT_THAT(reader->Find(int64_t{3}), HasError(absl::StatusCode::kDataLoss, HasSubstr("row 3")));
  EXPECT_EQ(Show(**reader->Next()), "4:2");
}

TEST(SqliteReaderTest, ReadsManyPages) {
  SqliteFile file;
  file.Run(
      absl::StrCat("CREATE TABLE m (id INTEGER PRIMARY KEY, v); WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i "
                   "+ 1 FROM n WHERE "
                   "i < 5000) INSERT INTO m SELECT i, CASE WHEN i % 3 THEN ",
                   kOne, " ELSE ", kTwo, " END FROM n"));
  const auto reader = Open(file, "table=m&vector=v");
  for (int i = 1; i <= 5000; ++i) {
    const auto stored = reader->Next();
    ASSERT_THAT(stored, IsOk());
    ASSERT_TRUE(stored->has_value());
    ASSERT_EQ(Show(**stored), absl::StrCat(i, i % 3 != 0 ? ":1" : ":2"));
  }
  EXPECT_FALSE(reader->Next()->has_value());
}

TEST(SqliteReaderTest, RefusesATableWithoutVectors) {
  SqliteFile file;
  file.Run("CREATE TABLE m (id INTEGER PRIMARY KEY, v); INSERT INTO m VALUES (1, NULL)");
  EXPECT_THAT(OpenSqliteReader(file.At("table=m&vector=v")),
              HasError(absl::StatusCode::kNotFound, HasSubstr("no vector in `v`")));
  EXPECT_THAT(OpenSqliteReader(file.At("table=m")),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("&vector=")));
  EXPECT_THAT(OpenSqliteReader(file.At("table=m&vector=vv")),
              HasError(absl::StatusCode::kNotFound, HasSubstr("did you mean `v`")));
  EXPECT_EQ(Open(file, "table=m&vector=v", 4)->rows(), 0);
}

}  // namespace
}  // namespace reembed
