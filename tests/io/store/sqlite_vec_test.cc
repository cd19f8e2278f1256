#include "io/store/sqlite_vec.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/sqlite_reader.h"
#include "io/store/sqlite_sink.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/vector_rows.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// sqlite-vec itself, from npm.
constexpr char kVec0[] = REEMBED_NPM_DIR "/node_modules/sqlite-vec-linux-x64/vec0.so";
const Model kModel{.name = "m", .dim = 4};

class SqliteVecTest : public ::testing::Test {
 protected:
  Location At(const std::string& parameters) const {
    return *ParseLocation(absl::StrCat("sqlite:", path_, "?extension=", kVec0, "&", parameters));
  }

  // A connection of another program that has the extension.
  std::unique_ptr<SqliteDb> Db() {
    auto db = SqliteDb::Open(path_, SqliteAccess::kCreate);
    EXPECT_THAT(db, IsOk());
    EXPECT_THAT((*db)->LoadExtension(kVec0), IsOk());
    return *std::move(db);
  }

  std::vector<std::string> Ask(const std::string& sql) {
    const auto db = Db();
    auto statement = db->Prepare(sql);
    EXPECT_THAT(statement, IsOk());
    std::vector<std::string> rows;
    while (*statement->Step()) rows.emplace_back(statement->Text(0));
    return rows;
  }

  static std::vector<std::string> Write(VectorSink* sink, const VectorRows& rows) {
    EXPECT_THAT(sink->Open({.model = kModel}, {}), IsOk());
    const Batch* const batch = rows.batch();
    std::vector<RefusedRow> refused;
    EXPECT_THAT(sink->Write({&batch, 1}, &refused), IsOk());
    std::vector<std::string> shown;
    for (const RefusedRow& row : refused) shown.emplace_back(row.reason.message());
    return shown;
  }

  TempFolder folder_;
  std::string path_ = folder_ / "docs.db";
};

TEST_F(SqliteVecTest, RowsAreAddedAndChangedAndFoundByTheExtensionsOwnSearch) {
  ASSERT_THAT(Db()->Exec("CREATE VIRTUAL TABLE v USING vec0(id INTEGER PRIMARY KEY, embedding float[4], tenant TEXT "
                         "partition key, +note TEXT)"),
              IsOk());
  ASSERT_THAT(Db()->Exec("INSERT INTO v (id, embedding, tenant, note) VALUES (2, '[9,9,9,9]', 'ann', 'kept')"), IsOk());
  VectorRows rows(kModel.dim);
  for (int i = 0; i < 50; ++i) rows.Add(i, int64_t{i + 1});
  auto sink = MakeSqliteSink(At("table=v&mode=upsert&set.tenant='ann'"), kModel);
  ASSERT_THAT(sink, IsOk());
  EXPECT_THAT(Write(sink->get(), rows), ::testing::IsEmpty());
  EXPECT_EQ(Ask("SELECT count(*) || ' ' || max(note) || ' ' || max(tenant) FROM v"),
            std::vector<std::string>{"50 kept ann"});
  // [n, n + 0.5, ...] of ordinal n; that of key 31 is n = 30.
  EXPECT_EQ(Ask("SELECT id FROM v WHERE embedding MATCH '[30,30.5,30,30.5]' AND k = 1"),
            std::vector<std::string>{"31"});
  EXPECT_EQ(Ask("SELECT vec_to_json(embedding) FROM v WHERE id = 2"),
            std::vector<std::string>{"[1.000000,1.500000,1.000000,1.500000]"});
  // Again, as after a crash; and what is not there is refused where nothing is to be added.
  EXPECT_THAT(Write(sink->get(), rows), ::testing::IsEmpty());
  EXPECT_EQ(Ask("SELECT count(*) FROM v"), std::vector<std::string>{"50"});
  auto update = MakeSqliteSink(At("table=v&vector=embedding"), kModel);
  ASSERT_THAT(update, IsOk());
  rows.Add(50, int64_t{4711});
  EXPECT_THAT(Write(update->get(), rows), ::testing::ElementsAre(HasSubstr("row 4711: is gone")));

  auto reader = OpenSqliteReader(At("table=v&mode=upsert"), {.dim = 4});
  ASSERT_THAT(reader, IsOk());
  int64_t read = 0;
  for (auto row = (*reader)->Next(); row.ok() && row->has_value(); row = (*reader)->Next()) {
    EXPECT_EQ(std::get<int64_t>((*row)->key), ++read);
    EXPECT_EQ((*row)->vector[1], static_cast<float>(read) - 0.5f);
  }
  EXPECT_EQ(read, 50);
}

TEST_F(SqliteVecTest, WhatItCannotTakeIsSaidBeforeAnythingIsBought) {
  ASSERT_THAT(Db()->Exec("CREATE VIRTUAL TABLE v USING vec0(embedding float[3], small int8[4], bits bit[8])"), IsOk());
  ASSERT_THAT(Db()->Exec("CREATE VIRTUAL TABLE words USING fts5(body, embedding)"), IsOk());
  const auto refusal = [&](const std::string& parameters) {
    return std::string(MakeSqliteSink(At(parameters), kModel).status().message());
  };
  EXPECT_THAT(refusal("table=v&vector=embedding"), AllOf(HasSubstr("float[3]"), HasSubstr("--dimensions 3")));
  EXPECT_THAT(refusal("table=v&vector=small"), HasSubstr("int8[4]"));
  EXPECT_THAT(refusal("table=v&mode=upsert&vector=none"), HasSubstr("takes no new ones"));
  EXPECT_THAT(refusal("table=v&vector=embedding&encoding=json"), HasSubstr("leave encoding= out"));
  EXPECT_THAT(refusal("table=new&mode=upsert"), HasSubstr("CREATE VIRTUAL TABLE new USING vec0"));
  EXPECT_THAT(refusal("table=words&mode=upsert"), HasSubstr("none of vec0"));
  const auto no_library =
      ParseLocation(absl::StrCat("sqlite:", path_, "?table=v&vector=embedding&extension=/nowhere/vec0.so"));
  ASSERT_THAT(no_library, IsOk());
  EXPECT_THAT(MakeSqliteSink(*no_library, kModel),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("/nowhere/vec0.so cannot be loaded")));
  const auto server = ParseLocation("libsql://host?table=v&extension=x.so");
  ASSERT_THAT(server, IsOk());
  EXPECT_THAT(ParseSqliteLocation(*server), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("extension")));
}

// Who searches in a partition does not find rows whose partition is NULL.
TEST_F(SqliteVecTest, AKeyThatIsThereTwiceIsSaidBeforeAnythingIsBought) {
  ASSERT_THAT(Db()->Exec("CREATE VIRTUAL TABLE docs USING vec0(pk text not null primary key, embedding float[4])"),
              IsOk());
  ASSERT_THAT(Db()->Exec("INSERT INTO docs(pk, embedding) VALUES ('a', '[1,2,3,4]'), ('b', '[1,2,3,4]')"), IsOk());
  const auto open = [&] { return MakeSqliteSink(At("table=docs&key=pk&mode=upsert"), kModel).status(); };
  EXPECT_THAT(open(), IsOk());
  ASSERT_THAT(Db()->Exec("INSERT INTO docs(pk, embedding) VALUES ('a', '[5,6,7,8]')"), IsOk());
  EXPECT_THAT(open(), HasError(absl::StatusCode::kFailedPrecondition,
                               AllOf(HasSubstr("2 rows have the key a"), HasSubstr("name a key that is unique"))));
}

TEST_F(SqliteVecTest, ANewRowGoesIntoThePartitionThatIsSaid) {
  ASSERT_THAT(Db()->Exec("CREATE TABLE notes (id INTEGER PRIMARY KEY, tenant TEXT, kind INTEGER)"), IsOk());
  ASSERT_THAT(Db()->Exec("INSERT INTO notes VALUES (1, 'ann', 7), (2, 'bob', 8), (3, NULL, 9), (4, 'ann', 10)"),
              IsOk());
  ASSERT_THAT(
      Db()->Exec("CREATE VIRTUAL TABLE v USING vec0(id INTEGER PRIMARY KEY, tenant TEXT partition key, embedding "
                 "float[4], kind INTEGER)"),
      IsOk());
  VectorRows rows(kModel.dim);
  for (int i = 0; i < 4; ++i) rows.Add(i, int64_t{i + 1});
  // Of an empty table it is known before anything is bought.
  EXPECT_THAT(MakeSqliteSink(At("table=v&mode=upsert"), kModel),
              HasError(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("column `tenant` needs a value"), HasSubstr("&set.tenant=SQL"))));
  ASSERT_THAT(Db()->Exec("INSERT INTO v (id, tenant, embedding, kind) VALUES (4, 'ann', '[9,9,9,9]', 5)"), IsOk());
  auto plain = MakeSqliteSink(At("table=v&mode=upsert"), kModel);
  ASSERT_THAT(plain, IsOk());
  EXPECT_THAT(Write(plain->get(), rows), ::testing::ElementsAre(AllOf(HasSubstr("row 1"), HasSubstr("set.tenant=SQL")),
                                                                HasSubstr("row 2"), HasSubstr("row 3")));
  EXPECT_EQ(Ask("SELECT id || tenant || kind || vec_to_json(embedding) FROM v"),
            std::vector<std::string>{"4ann5[3.000000,3.500000,3.000000,3.500000]"});
  plain->reset();

  auto sink = MakeSqliteSink(At("table=v&mode=upsert&set.tenant=(SELECT tenant FROM notes WHERE id = ?1)&set.kind="
                                "(SELECT n.kind FROM notes n WHERE n.id = ?1)"),
                             kModel);
  ASSERT_THAT(sink, IsOk());
  EXPECT_THAT(Write(sink->get(), rows),
              ::testing::ElementsAre(AllOf(HasSubstr("row 3"), HasSubstr("partition is NULL"))));
  EXPECT_EQ(Ask("SELECT id || tenant || kind FROM v ORDER BY id"),
            (std::vector<std::string>{"1ann7", "2bob8", "4ann5"}));
  EXPECT_EQ(Ask("SELECT id FROM v WHERE embedding MATCH '[1,1.5,1,1.5]' AND k = 5 AND tenant = 'bob'"),
            std::vector<std::string>{"2"});
}

TEST_F(SqliteVecTest, WhatIsSetMustBeAnotherColumnAndSql) {
  ASSERT_THAT(Db()->Exec("CREATE VIRTUAL TABLE v USING vec0(id INTEGER PRIMARY KEY, embedding float[4], +note TEXT)"),
              IsOk());
  const auto refusal = [&](const std::string& parameters) {
    return std::string(MakeSqliteSink(At(parameters), kModel).status().message());
  };
  EXPECT_THAT(refusal("table=v&mode=upsert&set.note=(SELECT"), HasSubstr("set.note="));
  EXPECT_THAT(refusal("table=v&mode=upsert&set.note=?1 || ?2"), HasSubstr("no parameter but ?1"));
  EXPECT_THAT(refusal("table=v&mode=upsert&set.embedding='x'"), HasSubstr("filled anyway"));
  EXPECT_THAT(refusal("table=v&mode=upsert&set.id=1"), HasSubstr("filled anyway"));
  EXPECT_THAT(refusal("table=v&mode=upsert&set.not=1"), HasSubstr("did you mean `note`?"));
  EXPECT_THAT(refusal("table=v&vector=embedding&set.note=1"), HasSubstr("needs mode=upsert"));
}

// Both vectors of a row are there or the row is not: vec0 has no NULL among vectors.
TEST_F(SqliteVecTest, ASecondVectorColumnKeepsItsVectorsAndNewRowsNeedBoth) {
  ASSERT_THAT(Db()->Exec("CREATE VIRTUAL TABLE v USING vec0(id INTEGER PRIMARY KEY, small float[2], embedding float[4] "
                         "distance_metric=cosine)"),
              IsOk());
  EXPECT_THAT(MakeSqliteSink(At("table=v&mode=upsert"), kModel),
              HasError(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("column `small` needs a value"), HasSubstr("&set.small=SQL"))));
  ASSERT_THAT(Db()->Exec("INSERT INTO v VALUES (1, '[7,8]', '[9,9,9,9]')"), IsOk());
  VectorRows rows(kModel.dim);
  for (int i = 0; i < 2; ++i) rows.Add(i, int64_t{i + 1});
  auto sink = MakeSqliteSink(At("table=v&mode=upsert"), kModel);
  ASSERT_THAT(sink, IsOk());
  EXPECT_THAT(Write(sink->get(), rows), ::testing::ElementsAre(AllOf(HasSubstr("row 2"), HasSubstr("small"))));
  EXPECT_EQ(Ask("SELECT id || vec_to_json(small) || vec_to_json(embedding) FROM v"),
            std::vector<std::string>{"1[7.000000,8.000000][0.000000,0.500000,0.000000,0.500000]"});
  // What one run cannot know another column can be copied from.
  sink = MakeSqliteSink(At("table=v&mode=upsert&set.small=vec_slice(vec_f32('[1,2,3,4]'), 0, 2)"), kModel);
  ASSERT_THAT(sink, IsOk());
  EXPECT_THAT(Write(sink->get(), rows), ::testing::IsEmpty());
  EXPECT_EQ(Ask("SELECT vec_to_json(small) FROM v WHERE id = 2"), std::vector<std::string>{"[1.000000,2.000000]"});
}

// Its metadata has no default: rows that are there get their vectors, new ones are refused one by one.
TEST_F(SqliteVecTest, ARowThatItRefusesIsRefusedAlone) {
  ASSERT_THAT(Db()->Exec("CREATE VIRTUAL TABLE v USING vec0(id INTEGER PRIMARY KEY, embedding float[4], kind INTEGER)"),
              IsOk());
  EXPECT_THAT(MakeSqliteSink(At("table=v&mode=upsert"), kModel),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("column `kind` needs a value")));
  ASSERT_THAT(Db()->Exec("INSERT INTO v VALUES (1, '[9,9,9,9]', 3), (3, '[9,9,9,9]', 3)"), IsOk());
  VectorRows rows(kModel.dim);
  for (int i = 0; i < 4; ++i) rows.Add(i, int64_t{i + 1});
  auto sink = MakeSqliteSink(At("table=v&mode=upsert"), kModel);
  ASSERT_THAT(sink, IsOk());
  EXPECT_THAT(Write(sink->get(), rows),
              ::testing::ElementsAre(AllOf(HasSubstr("row 2"), HasSubstr("kind")), HasSubstr("row 4")));
  EXPECT_EQ(Ask("SELECT count(*) FROM v WHERE vec_to_json(embedding) NOT LIKE '%9.%'"), std::vector<std::string>{"2"});
}

}  // namespace
}  // namespace reembed
