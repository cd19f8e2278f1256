// SPDX-License-Identifier: Apache-2.0
// backup --system and restore find stores and secrets where the systems themselves look for them.

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/automem.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/espressobot.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

class SystemBackupTest : public ::testing::Test {
 protected:
  // The command, started in a folder of the system.
  ProcessResult RunIn(const std::string& below, std::vector<std::string> args) {
    args.insert(args.begin(), {"-C", below, REEMBED_BINARY});
    return RunClean("/usr/bin/env", folder_.path(), args, unset_);
  }

  std::string Manifest(const std::string& backup) {
    std::ifstream file(backup + "/manifest.json");
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  TempFolder folder_;
  const std::map<std::string, std::string> unset_ = {
      {"FALKORDB_HOST", ""}, {"FALKORDB_PORT", ""},     {"FALKORDB_PASSWORD", ""}, {"FALKORDB_GRAPH", ""},
      {"QDRANT_URL", ""},    {"QDRANT_HOST", ""},       {"QDRANT_PORT", ""},       {"QDRANT_API_KEY", ""},
      {"DB_HOST", ""},       {"QDRANT_COLLECTION", ""}, {"DB_NAME", ""},           {"PGPASSWORD", ""}};
};

TEST_F(SystemBackupTest, AutomemsEnvFilesNameBothStoresAndTheirSecrets) {
  FalkorServer graph({.password = "pa55word"});
  QdrantServer qdrant({.api_key = "s3cr3t"});
  const AutomemStore store = MakeAutomem(&graph, &qdrant, {.rows = 150, .dim = 48});
  const std::string uri = graph.Uri("", "memories");
  const std::string port = uri.substr(uri.rfind(':') + 1, uri.rfind('/') - uri.rfind(':') - 1);
  const std::string below = folder_ / "project/scripts";
  std::filesystem::create_directories(below);
  std::filesystem::create_directories(folder_ / ".config/automem");
  std::ofstream(folder_ / "project/.env") << "FALKORDB_HOST=127.0.0.1\nFALKORDB_PORT=" << port
                                          << "\nFALKORDB_PASSWORD=pa55word\nQDRANT_URL=" << qdrant.url() << "\n";
  std::ofstream(folder_ / ".config/automem/.env") << "QDRANT_API_KEY=s3cr3t\n";

  const std::string all = "MATCH (n) RETURN labels(n), properties(n) ORDER BY n.id, n.name, n.content";
  const std::string nodes = graph.Ask(all, "memories");
  const ProcessResult backup = RunIn(below, {"backup", "--system", "automem", "--to", folder_ / "saved", "--json"});
  ASSERT_EQ(backup.exit_code, 0) << backup.err;
  EXPECT_EQ(LastNumber(backup, "parts"), 2) << "the graph and the collection";
  EXPECT_THAT(Manifest(folder_ / "saved") + backup.out + backup.err,
              AllOf(HasSubstr("automem"), Not(HasSubstr("pa55word")), Not(HasSubstr("s3cr3t"))));
  // A collection that is also named is the same, or another one.
  const ProcessResult named =
      RunIn(below, {"backup", "--system", "automem", "--target", absl::StrCat("qdrant:", qdrant.url(), "/memories"),
                    "--to", folder_ / "named", "--json"});
  ASSERT_EQ(named.exit_code, 0) << named.err;
  EXPECT_EQ(LastNumber(named, "parts"), 2);

  graph.Run("MATCH (m:Memory) WHERE m.importance > 0.5 DETACH DELETE m", "memories");
  qdrant.Do("DELETE", "/collections/memories");
  EXPECT_NE(graph.Ask(all, "memories"), nodes);
  const ProcessResult elsewhere = RunIn(folder_.path(), {"restore", folder_ / "saved", "--yes"});
  EXPECT_NE(elsewhere.exit_code, 0) << "there is no password in this folder";
  const ProcessResult restore = RunIn(below, {"restore", folder_ / "saved", "--yes"});
  ASSERT_EQ(restore.exit_code, 0) << restore.err;
  EXPECT_EQ(graph.Ask(all, "memories"), nodes);
  EXPECT_TRUE(IsCopyOfAutomem(store, qdrant.Points("memories")));

  std::ofstream(folder_ / "project/.env")
      << "FALKORDB_HOST=127.0.0.1\nFALKORDB_PORT=" << port << "\nFALKORDB_PASSWORD=pa55word\n";
  const ProcessResult half = RunIn(below, {"backup", "--system", "automem", "--to", folder_ / "half"});
  EXPECT_EQ(half.exit_code, 2) << half.err;
  EXPECT_THAT(half.err, HasSubstr("QDRANT_URL"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "half"));
}

TEST_F(SystemBackupTest, EspressobotsVariablesNameItsServerInEveryForm) {
  PostgresServer server;
  server.Run("CREATE EXTENSION IF NOT EXISTS vector");
  MakeEspressobotTables(&server, EspressobotLayout::kSchema, {.rows = 120, .dim = 32});
  server.Run(
      "DO $$ DECLARE t text; BEGIN FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP EXECUTE "
      "format('ALTER TABLE %I OWNER TO locked', t); END LOOP; END $$");
  // Another program's, in the same schema, with a reference.
  server.Run("CREATE TABLE orders (id INT, memory INT CONSTRAINT of_memory REFERENCES memories)");
  int orders = 0;
  const std::string columns = EspressobotOtherColumns(&server);
  const auto vectors = EspressobotVectors(&server, EspressobotLayout::kSchema);
  const std::string uri = server.Uri("", "locked");
  const std::string host = uri.substr(uri.find("host=") + 5, uri.find('&', uri.find("host=")) - uri.find("host=") - 5);
  const std::string address = absl::StrReplaceAll(host, {{"%2F", "/"}, {"%2f", "/"}});
  const std::map<std::string, std::string> forms = {
      {"url", absl::StrCat("DATABASE_URL=postgresql+asyncpg://locked:pass%20word@/test?host=", host, "\n")},
      {"parts", absl::StrCat("DB_HOST=", address, "\nDB_USER=locked\nDB_PASSWORD=\"pass word\"\nDB_NAME=test\n")}};
  for (const auto& [form, variables] : forms) {
    SCOPED_TRACE(form);
    const std::string below = folder_ / form;
    std::filesystem::create_directories(below);
    std::ofstream(below + "/.env") << variables;
    const ProcessResult backup = RunIn(below, {"backup", "--system", "espressobot", "--to", "saved", "--json"});
    ASSERT_EQ(backup.exit_code, 0) << backup.err;
    EXPECT_GE(LastNumber(backup, "rows"), 120);
    EXPECT_THAT(Manifest(below + "/saved") + backup.out + backup.err, Not(HasSubstr("pass word")));
    server.Run("INSERT INTO orders SELECT 1, max(id) FROM memories WHERE id % 7 <> 0");
    ++orders;
    server.Run(
        "UPDATE memories SET content = 'spoilt', embedding = NULL WHERE id % 3 = 0; DELETE FROM memories WHERE id "
        "% 7 = 0");
    ASSERT_NE(EspressobotOtherColumns(&server), columns);
    const std::string spoilt = EspressobotOtherColumns(&server);
    const ProcessResult refused = RunIn(below, {"restore", "saved", "--yes"});
    EXPECT_EQ(refused.exit_code, 6) << refused.err;
    EXPECT_THAT(refused.err, HasSubstr("drop its constraint"));
    EXPECT_EQ(EspressobotOtherColumns(&server), spoilt);
    server.Run("ALTER TABLE orders DROP CONSTRAINT of_memory");
    const ProcessResult restore = RunIn(below, {"restore", "saved", "--yes"});
    ASSERT_EQ(restore.exit_code, 0) << restore.err;
    server.Run("ALTER TABLE orders ADD CONSTRAINT of_memory FOREIGN KEY (memory) REFERENCES memories");
    EXPECT_EQ(EspressobotOtherColumns(&server), columns);
    EXPECT_EQ(EspressobotVectors(&server, EspressobotLayout::kSchema), vectors);
    EXPECT_EQ(server.Ask("SELECT count(*) FROM orders JOIN memories ON memory = memories.id"), absl::StrCat(orders))
        << "what is not the system's stays";
  }
}

}  // namespace
}  // namespace reembed
