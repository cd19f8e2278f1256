// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/local_stores.h"

#include <sqlite3.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "engine/key.h"
#include "engine/location.h"
#include "engine/number/json_text.h"
#include "gtest/gtest.h"
#include "tests/crash/crash_store.h"
#include "tests/fakes/agentloop.h"
#include "tests/places.h"
#include "tools/registry.h"

namespace reembed {
namespace {

constexpr char kColumns[] = "table=t&key=k&text=body&vector=v&model_column=model";

std::string SqliteDump(const std::string& path, const std::string& columns) {
  std::string dump;
  for (const std::string& row : Query(path, absl::StrCat("SELECT ", columns, " FROM t ORDER BY k"))) {
    absl::StrAppend(&dump, row, "\n");
  }
  return dump;
}

// Rows of a table, filled in place; often with a file beside it, and always with some old vectors.
class SqliteInPlace final : public CrashStore {
 public:
  void Make(const std::string& folder, const ExpectedTable& table, std::mt19937_64* random) override {
    path_ = folder + "/rows.db";
    before_ = MakeSqliteRows(path_, table, true, random);
    file_ = (*random)() % 2 == 0 ? absl::StrCat("fbin:", folder, "/beside.fbin") : "";
  }
  std::vector<std::string> Args() const override {
    std::vector<std::string> args = {"--source", absl::StrCat("sqlite:", path_, "?", kColumns), "--all", "--yes"};
    if (!file_.empty()) args.insert(args.end(), {"--target", file_});
    return args;
  }
  int targets() const override { return file_.empty() ? 1 : 2; }
  void Check(const ExpectedTable& table, JobState state, bool all, Findings* findings) override {
    std::map<std::string, std::string> stored;
    for (const std::string& row : Query(path_, "SELECT k, hex(v) FROM t WHERE v IS NOT NULL")) {
      const size_t bar = row.find('|');
      std::string bytes;
      for (size_t i = bar + 1; i < row.size(); i += 2) {
        bytes.push_back(static_cast<char>(std::stoi(row.substr(i, 2), nullptr, 16)));
      }
      stored[row.substr(0, bar)] = std::move(bytes);
    }
    CheckVectors("rows.db", stored, before_, table, state, all, findings);
    if (file_.empty() || state == JobState::kKilled) return;
    CheckVectors(file_, ReadTarget(file_, table.dim, findings), {}, table, state, all, findings);
  }
  std::string Others() override { return SqliteDump(path_, "quote(k), quote(body), quote(other)"); }
  std::string Dump() override {
    return SqliteDump(path_, "quote(k), quote(body), quote(other), quote(v), quote(model)");
  }
  std::string BackupSource() const override { return absl::StrCat("sqlite:", path_, "?table=t"); }
  void Spoil() override { Change(path_, "UPDATE t SET other = 'spoilt', v = NULL WHERE rowid % 2 = 0"); }

 private:
  std::string path_, file_;
  std::map<std::string, std::string> before_;
};

// Rows of one file, added to a table of another.
class SqliteTableStore : public CrashStore {
 public:
  void Make(const std::string& folder, const ExpectedTable& table, std::mt19937_64* random) override {
    source_ = absl::StrCat("sqlite:", folder, "/rows.db?table=t&key=k&text=body");
    MakeSqliteRows(folder + "/rows.db", table, false, random);
    target_ = absl::StrCat("sqlite:", folder, "/out.db?table=out&mode=upsert");
  }
  std::vector<std::string> Args() const override { return {"--source", source_, "--target", target_}; }
  void Check(const ExpectedTable& table, JobState state, bool all, Findings* findings) override {
    if (state == JobState::kKilled) return;
    CheckVectors(target_, ReadTarget(target_, table.dim, findings), {}, table, state, all, findings);
  }

 protected:
  std::string source_, target_;
};

// A vec0 table of the extension sqlite-vec.
class Vec0Store final : public SqliteTableStore {
 public:
  void Make(const std::string& folder, const ExpectedTable& table, std::mt19937_64* random) override {
    SqliteTableStore::Make(folder, table, random);
    const std::string library = REEMBED_NPM_DIR "/node_modules/sqlite-vec-linux-x64/vec0.so";
    target_ = absl::StrCat(target_, "&extension=", library);
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open((folder + "/out.db").c_str(), &db), SQLITE_OK);
    sqlite3_enable_load_extension(db, 1);
    ASSERT_EQ(sqlite3_load_extension(db, library.c_str(), nullptr, nullptr), SQLITE_OK) << library;
    const std::string sql =
        absl::StrCat("CREATE VIRTUAL TABLE out USING vec0(id ", table.number_keys ? "INTEGER" : "TEXT",
                     " PRIMARY KEY, embedding float[", table.dim, "])");
    EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
    sqlite3_close(db);
  }
};

// One to three files of one kind each; from a table or from JSON lines.
class FileStore final : public CrashStore {
 public:
  // `kind`: empty for any.
  explicit FileStore(std::string kind) : kind_(std::move(kind)) {}

  void Make(const std::string& folder, const ExpectedTable& table, std::mt19937_64* random) override {
    if ((*random)() % 2 == 0) {
      MakeSqliteRows(folder + "/rows.db", table, false, random);
      source_ = absl::StrCat("sqlite:", folder, "/rows.db?table=t&key=k&text=body");
    } else {
      MakeLines(folder + "/rows.jsonl", table);
      source_ = absl::StrCat("jsonl:", folder, "/rows.jsonl?key=id&text=text");
    }
    std::vector<std::string> kinds = {"npy", "fbin", "jsonl", "hdf5", "faiss"};
    std::shuffle(kinds.begin(), kinds.end(), *random);
    kinds.resize(1 + (*random)() % 3);
    if (!kind_.empty()) kinds = {kind_};
    targets_.clear();
    for (const std::string& kind : kinds) {
      targets_.push_back(
          absl::StrCat(kind, ":", folder, "/out.", kind, kind == "faiss" ? "?factory=Flat&metric=l2" : ""));
    }
  }
  std::vector<std::string> Args() const override {
    std::vector<std::string> args = {"--source", source_};
    for (const std::string& target : targets_) args.insert(args.end(), {"--target", target});
    return args;
  }
  int targets() const override { return static_cast<int>(targets_.size()); }
  void Check(const ExpectedTable& table, JobState state, bool all, Findings* findings) override {
    for (const std::string& target : targets_) {
      const auto location = ParseLocation(target);
      if (state == JobState::kFinished) {
        CheckVectors(target, ReadTarget(target, table.dim, findings), {}, table, state, all, findings);
        continue;
      }
      // A file that has its name is complete at any moment. Where it is made again, with more rows, it and what goes
      // with it change their names one after the other.
      if (all || !std::filesystem::exists(location->path)) continue;
      CheckVectors(target, ReadTarget(target, table.dim, findings), {}, table, JobState::kFinished, false, findings);
    }
  }

 private:
  static void MakeLines(const std::string& path, const ExpectedTable& table) {
    std::ofstream file(path);
    for (const ExpectedRow& row : table.rows) {
      std::string text;
      AppendJsonString(row.text, &text);
      file << "{\"id\":" << (table.number_keys ? row.key : absl::StrCat("\"", row.key, "\"")) << ",\"text\":" << text
           << "}\n";
    }
  }

  const std::string kind_;
  std::string source_;
  std::vector<std::string> targets_;
};

}  // namespace

std::map<std::string, std::string> ReadTarget(const std::string& uri, int dim, Findings* findings) {
  std::map<std::string, std::string> stored;
  const auto location = ParseLocation(uri);
  auto reader = location.ok() ? OpenReader(StoreOf(*location), dim) : location.status();
  if (!reader.ok()) {
    findings->Lose(absl::StrCat("cannot be read: ", reader.status().ToString()));
    return stored;
  }
  while (true) {
    const auto row = (*reader)->Next();
    if (!row.ok()) findings->Mistake(row.status().ToString());
    if (!row.ok() || !row->has_value()) return stored;
    const absl::Span<const float> vector = (*row)->vector;
    const std::string bytes(reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float));
    if (!stored.emplace(KeyText((*row)->key), bytes).second) {
      findings->Doubt(absl::StrCat(uri, ": row ", KeyText((*row)->key), " is there twice"));
    }
  }
}

std::map<std::string, std::string> MakeSqliteRows(const std::string& path, const ExpectedTable& table, bool old_vectors,
                                                  std::mt19937_64* random) {
  std::map<std::string, std::string> old;
  sqlite3* db = nullptr;
  EXPECT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  const auto run = [&](const std::string& sql) {
    EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
  };
  if ((*random)() % 2 == 0) run("PRAGMA journal_mode=WAL");
  run(absl::StrCat("CREATE TABLE t(k ", table.number_keys ? "INTEGER" : "TEXT", " PRIMARY KEY, body TEXT, v BLOB, ",
                   "model TEXT, other TEXT); BEGIN"));
  sqlite3_stmt* insert = nullptr;
  sqlite3_prepare_v2(db, "INSERT INTO t VALUES (?1, ?2, ?3, ?4, 'other of ' || ?1)", -1, &insert, nullptr);
  for (const ExpectedRow& row : table.rows) {
    sqlite3_bind_text(insert, 1, row.key.data(), static_cast<int>(row.key.size()), SQLITE_TRANSIENT);
    sqlite3_bind_text(insert, 2, row.text.data(), static_cast<int>(row.text.size()), SQLITE_TRANSIENT);
    if (row.text.empty() && (*random)() % 2 == 0) sqlite3_bind_null(insert, 2);
    sqlite3_bind_null(insert, 3);
    sqlite3_bind_null(insert, 4);
    if (old_vectors && (*random)() % 3 == 0) {
      const std::string bytes = ExpectedBytes(absl::StrCat("old ", row.key), 3);
      sqlite3_bind_blob(insert, 3, bytes.data(), static_cast<int>(bytes.size()), SQLITE_TRANSIENT);
      sqlite3_bind_text(insert, 4, "old", -1, SQLITE_STATIC);
      old[row.key] = bytes;
    }
    EXPECT_EQ(sqlite3_step(insert), SQLITE_DONE) << sqlite3_errmsg(db);
    sqlite3_reset(insert);
  }
  sqlite3_finalize(insert);
  run("COMMIT");
  sqlite3_close(db);
  return old;
}

std::vector<std::string> LocalStores() {
  return {"sqlite", "sqlite_table", "vec0", "files", "npy", "fbin", "jsonl", "hdf5", "faiss"};
}

std::unique_ptr<CrashStore> MakeLocalStore(const std::string& name) {
  if (name == "sqlite") return std::make_unique<SqliteInPlace>();
  if (name == "sqlite_table") return std::make_unique<SqliteTableStore>();
  if (name == "vec0") return std::make_unique<Vec0Store>();
  return std::make_unique<FileStore>(name == "files" ? "" : name);
}

}  // namespace reembed
