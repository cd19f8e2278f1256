// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_vec.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/sqlite/sqlite_reader.h"
#include "io/store/sqlite/sqlite_sink.h"
#include "tests/fakes/memory_undo.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/vector_rows.h"
#include "tests/places.h"

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
    EXPECT_THAT(PrepareAndOpen(sink, {.model = kModel}, {}), IsOk());
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

// A table of vectors of 3 numbers with everything that a table may have, and a job of 4.
class Vec0WidthTest : public SqliteVecTest {
 protected:
  void SetUp() override {
    ASSERT_THAT(
        Db()->Exec("CREATE VIRTUAL TABLE v USING vec0(id INTEGER PRIMARY KEY, tenant TEXT partition key, stars "
                   "INTEGER, +note TEXT, Embedding float[3] distance_metric=cosine, small int8[2], bits bit[8])"),
        IsOk());
    for (int i = 1; i <= 3; ++i) {
      ASSERT_THAT(Db()->Exec(absl::StrCat("INSERT INTO v VALUES (", i, ", 't", i % 2, "', ", i * 10, ", 'note ", i,
                                          "', '[1,2,", i, "]', vec_int8('[", i, ",-7]'), vec_bit(x'0", i, "'))")),
                  IsOk());
    }
    before_ = Dump();
  }

  std::vector<std::string> Dump() {
    std::vector<std::string> rows = Ask(
        "SELECT id || '|' || tenant || '|' || stars || '|' || coalesce(note || '|', '') || vec_to_json(Embedding) || "
        "'|' || vec_to_json(vec_int8(small)) || '|' || vec_to_json(vec_bit(bits)) FROM v ORDER BY id");
    for (std::string& sql :
         Ask("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND (name = 'v' OR name GLOB '*reembed*')")) {
      rows.push_back(std::move(sql));
    }
    return rows;
  }

  // The sink over the rows 1 to `rows`, up to the end.
  absl::Status Fill(int rows, const std::string& parameters, std::vector<std::string>* refused = nullptr,
                    const Model& model = kModel, int64_t position = 0) {
    auto sink = MakeSqliteSink(At(parameters), model);
    if (!sink.ok()) return sink.status();
    const absl::StatusOr<int64_t> from =
        PrepareAndOpen(sink->get(), {.model = model, .undo = &undo_}, {.position = position});
    if (!from.ok()) return from.status();
    served_from_ = *from;
    VectorRows batch(kModel.dim);
    for (int i = 0; i < rows; ++i) batch.Add(i, int64_t{i + 1});
    const Batch* const written = batch.batch();
    std::vector<RefusedRow> left;
    EXPECT_THAT((*sink)->Write({&written, 1}, &left), IsOk());
    for (const RefusedRow& row : left) refused->emplace_back(row.reason.message());
    EXPECT_THAT((*sink)->Flush(), IsOk());
    return CompleteAndPublish(sink->get(), {});
  }

  absl::StatusOr<RollbackReport> RollBack() {
    const auto log = undo_.Read(kModel.dim);
    return RollBackSqlite(At("table=v&vector=Embedding"), log.get());
  }

  std::vector<std::string> before_;
  MemoryUndo undo_;
  int64_t served_from_ = -1;
};

TEST_F(Vec0WidthTest, TheTableIsMadeAnewWhenEachRowHasItsVector) {
  EXPECT_THAT(*SqliteChanges(At("table=v&vector=Embedding"), 4),
              ::testing::ElementsAre(AllOf(HasSubstr("vectors of 4 numbers (3 before)"), HasSubstr("v__reembed_4"))));
  EXPECT_THAT(*SqliteChanges(At("table=v&vector=Embedding"), 3), ::testing::IsEmpty());
  const absl::Status early = Fill(2, "table=v&vector=Embedding");
  EXPECT_THAT(early, HasError(absl::StatusCode::kFailedPrecondition,
                              AllOf(HasSubstr("1 row has no vector of 4 numbers of this model, the first is 3"),
                                    HasSubstr("v__reembed_4"), HasSubstr("retry-rejects"))));
  std::vector<std::string> now = Dump();
  now.pop_back();
  EXPECT_EQ(now, before_) << "but for the table beside";
  // The application goes on with its own columns.
  ASSERT_THAT(Db()->Exec("UPDATE v SET stars = 99 WHERE id = 2"), IsOk());
  ASSERT_THAT(Fill(3, "table=v&vector=Embedding"), IsOk());
  EXPECT_THAT(Dump(), ::testing::ElementsAre(
                          "1|t1|10|note 1|[0.000000,0.500000,0.000000,0.500000]|[1,-7]|[1,0,0,0,0,0,0,0]",
                          "2|t0|99|note 2|[1.000000,1.500000,1.000000,1.500000]|[2,-7]|[0,1,0,0,0,0,0,0]",
                          "3|t1|30|note 3|[2.000000,2.500000,2.000000,2.500000]|[3,-7]|[1,1,0,0,0,0,0,0]",
                          AllOf(HasSubstr("Embedding float[4] distance_metric=cosine"), HasSubstr("int8[2]"))));
  EXPECT_EQ(Ask("SELECT id FROM v WHERE embedding MATCH '[2,2.5,2,2.5]' AND k = 1 AND tenant = 't1'"),
            std::vector<std::string>{"3"});
  // Once more, as after a crash behind the commit.
  EXPECT_THAT(Fill(3, "table=v&vector=Embedding"), IsOk());
}

TEST_F(Vec0WidthTest, VectorsOfAnotherJobsModelAreNeverPutInPlace) {
  const Model other{.name = "other", .dim = 4};
  ASSERT_FALSE(Fill(2, "table=v&vector=Embedding", nullptr, other).ok());
  // Two rows of the other model wait; of this one there is the first alone.
  EXPECT_THAT(Fill(1, "table=v&vector=Embedding"),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("2 rows have no vector of 4 numbers")));
  EXPECT_EQ(Ask("SELECT model || count(*) FROM v__reembed_4"), std::vector<std::string>{"m1"});
  // The other comes back, and thinks that two rows are there.
  EXPECT_FALSE(Fill(2, "table=v&vector=Embedding", nullptr, other, /*position=*/2).ok());
  EXPECT_EQ(served_from_, 0);
  // And what comes while the last of its rows are written.
  ASSERT_THAT(Db()->Exec("UPDATE v__reembed_4 SET model = 'm' WHERE key = 1"), IsOk());
  ASSERT_THAT(Fill(3, "table=v&vector=Embedding", nullptr, other), IsOk());
  EXPECT_EQ(Ask("SELECT count(*) FROM v WHERE vec_length(Embedding) = 4"), std::vector<std::string>{"3"});
}

TEST_F(Vec0WidthTest, ATableOfThatNameThatIsSomebodysStays) {
  ASSERT_THAT(Db()->Exec("CREATE TABLE v__reembed_4 (key PRIMARY KEY, mine)"), IsOk());
  ASSERT_THAT(Db()->Exec("INSERT INTO v__reembed_4 VALUES (1, 'precious')"), IsOk());
  const auto refused = HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("there is a table `v__reembed_4`"));
  EXPECT_THAT(SqliteChanges(At("table=v&vector=Embedding"), 4), refused) << "plan says it";
  EXPECT_THAT(MakeSqliteSink(At("table=v&vector=Embedding"), kModel), refused);
  EXPECT_EQ(undo_.rows(), 0u);
  const auto back = RollBack();
  ASSERT_THAT(back, IsOk());
  EXPECT_EQ(Ask("SELECT mine FROM v__reembed_4"), std::vector<std::string>{"precious"});
  std::vector<std::string> now = Dump();
  now.pop_back();
  EXPECT_EQ(now, before_);
}

TEST_F(Vec0WidthTest, NewRowsComeWithThePartitionThatIsSaid) {
  std::vector<std::string> refused;
  ASSERT_THAT(Fill(4,
                   "table=v&vector=Embedding&mode=upsert&set.tenant='new'&set.stars=5&set.small=vec_int8('[1,1]')&"
                   "set.bits=vec_bit(x'ff')",
                   &refused),
              IsOk());
  EXPECT_THAT(refused, ::testing::IsEmpty());
  EXPECT_EQ(Dump()[3], "4|new|5|[3.000000,3.500000,3.000000,3.500000]|[1,1]|[1,1,1,1,1,1,1,1]");
  const auto back = RollBack();
  ASSERT_THAT(back, IsOk());
  EXPECT_EQ(back->rows_left, 0);
  EXPECT_EQ(Dump(), before_) << "the new row goes";
}

TEST_F(Vec0WidthTest, ARowWithoutAPlaceIsRefusedAlone) {
  std::vector<std::string> refused;
  ASSERT_THAT(Fill(4, "table=v&vector=Embedding", &refused), IsOk());
  EXPECT_THAT(refused, ::testing::ElementsAre(HasSubstr("row 4: is gone from the target")));
  EXPECT_EQ(Ask("SELECT count(*) FROM v"), std::vector<std::string>{"3"});
}

TEST_F(Vec0WidthTest, ARollbackBringsTheOldWidthBackWholeOrNotAtAll) {
  ASSERT_FALSE(Fill(2, "table=v&vector=Embedding").ok());
  auto back = RollBack();
  ASSERT_THAT(back, IsOk());
  EXPECT_EQ(back->rows_unchanged, 2);
  EXPECT_THAT(back->notes, ::testing::ElementsAre(HasSubstr("took away the table v__reembed_4")));
  EXPECT_EQ(Dump(), before_) << "before it was put in place";

  ASSERT_THAT(Fill(3, "table=v&vector=Embedding"), IsOk());
  const std::vector<std::string> filled = Dump();
  ASSERT_THAT(Db()->Exec("UPDATE v SET Embedding = '[8,8,8,8]' WHERE id = 2"), IsOk());
  const std::vector<std::string> changed = Dump();
  back = RollBack();
  ASSERT_THAT(back, IsOk());
  EXPECT_EQ(back->rows_restored, 0);
  EXPECT_EQ(back->rows_left, 1);
  EXPECT_EQ(Dump(), changed) << "one vector is somebody else's";

  ASSERT_THAT(Db()->Exec("UPDATE v SET Embedding = '[1,1.5,1,1.5]', stars = 7 WHERE id = 2"), IsOk());
  ASSERT_THAT(Db()->Exec("DELETE FROM v WHERE id = 1"), IsOk());
  back = RollBack();
  ASSERT_THAT(back, IsOk());
  EXPECT_EQ(back->rows_restored, 2);
  EXPECT_EQ(back->rows_gone, 1);
  EXPECT_EQ(back->rows_left, 0);
  EXPECT_THAT(Dump(), ::testing::ElementsAre(AllOf(HasSubstr("2|t0|7|note 2|[1.000000,2.000000,2.000000]")), before_[2],
                                             before_[3]));
}

}  // namespace
}  // namespace reembed
