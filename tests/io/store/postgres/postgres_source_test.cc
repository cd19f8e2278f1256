// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_source.h"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/postgres/postgres_reader.h"
#include "tests/fakes/key_shares.h"
#include "tests/fakes/own_memory.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class PostgresSourceTest : public ::testing::Test {
 protected:
  void SetUp() override { server_.Run("DROP TABLE IF EXISTS m CASCADE"); }

  std::unique_ptr<Source> Open(const std::string& parameters, Selection selection = {}) {
    selection.patience = absl::Seconds(10);
    auto source = OpenPostgresSource(server_.At(parameters), selection);
    EXPECT_THAT(source, IsOk());
    return source.ok() ? *std::move(source) : nullptr;
  }

  // "key=text" of the rows to come; NULL for NULL.
  static std::vector<std::string> Rest(Source* source) {
    std::vector<std::string> rows;
    while (true) {
      const auto row = source->Next();
      EXPECT_THAT(row, IsOk());
      if (!row.ok() || !row->has_value()) return rows;
      rows.push_back(absl::StrCat(KeyText((*row)->key), "=", (*row)->text.value_or("NULL")));
    }
  }

  PostgresServer& server_ = TestPostgres();
};

TEST_F(PostgresSourceTest, GivesEveryRowOnceInKeyOrderWhateverItsText) {
  server_.Run(
      "CREATE TABLE m (id bigint PRIMARY KEY, c text); INSERT INTO m SELECT i * 3 - 30000, CASE i % 5 WHEN 0 THEN NULL "
      "WHEN 1 THEN '' WHEN 2 THEN repeat('long ', i) WHEN 3 THEN E'\\U0001F600 \\\\ \\t' ELSE 'text ' || i END FROM "
      "generate_series(1, 20000) i");
  const std::string expected =
      server_.Ask("SELECT string_agg(id || '=' || coalesce(c, 'NULL'), ';' ORDER BY id) FROM m");
  const auto source = Open("table=m&text=c");
  EXPECT_EQ(*source->CountRows(), 20000);
  // Not EXPECT_EQ: nobody wants to read 200 MB.
  EXPECT_TRUE(absl::StrJoin(Rest(source.get()), ";") == expected);
}

TEST_F(PostgresSourceTest, GoesOnBehindAnyKeyInTheDatabasesOwnOrder) {
  // en-US order is neither that of bytes nor that of this program.
  const bool icu = server_.Ask("SELECT count(*) FROM pg_collation WHERE collname = 'en-x-icu'") == "1";
  for (const std::string& type :
       {std::string("text"), std::string(icu ? "text COLLATE \"en-x-icu\"" : "text"), std::string("uuid")}) {
    SCOPED_TRACE(type);
    server_.Run(absl::StrCat("DROP TABLE IF EXISTS m; CREATE TABLE m (id ", type,
                             " PRIMARY KEY, c text); INSERT INTO m SELECT ",
                             type == "uuid" ? "gen_random_uuid()" : "chr(64 + i % 58) || '-' || md5(i::text)",
                             ", i FROM generate_series(1, 3000) i"));
    const auto source = Open("table=m&text=c");
    const std::vector<std::string> all = Rest(source.get());
    ASSERT_EQ(all.size(), 3000u);
    for (const size_t place : {size_t{0}, size_t{63}, size_t{64}, size_t{1777}, size_t{2999}}) {
      const std::string key = all[place].substr(0, all[place].find('='));
      ASSERT_THAT(source->SeekAfter(absl::string_view(key)), IsOk());
      EXPECT_EQ(Rest(source.get()), std::vector<std::string>(all.begin() + place + 1, all.end()));
    }
    // A row that has gone is still a place in the order.
    const std::string gone = all[1500].substr(0, all[1500].find('='));
    server_.Run(absl::StrCat("DELETE FROM m WHERE id = '", gone, "'"));
    ASSERT_THAT(source->SeekAfter(absl::string_view(gone)), IsOk());
    EXPECT_EQ(Rest(source.get()), std::vector<std::string>(all.begin() + 1501, all.end()));
  }
}

TEST_F(PostgresSourceTest, FindsRowsByKeyInAnyOrder) {
  server_.Run(
      "CREATE TABLE m (id int PRIMARY KEY, c text); INSERT INTO m SELECT i, 'text ' || i FROM "
      "generate_series(2, 4000, 2) i");
  const auto source = Open("table=m&text=c&where=id < 3000");
  const auto expect = [&](int id) {
    const auto row = source->Find(int64_t{id});
    ASSERT_THAT(row, IsOk());
    ASSERT_EQ(row->has_value(), id % 2 == 0 && id > 0 && id < 3000) << id;
    if (row->has_value()) {
      EXPECT_EQ(*(*row)->text, absl::StrCat("text ", id));
      EXPECT_EQ(KeyText((*row)->key), absl::StrCat(id));
    }
  };
  for (int id = -1; id < 4100; ++id) expect(id);
  for (int id = 4100; id > 0; id -= 7) expect(id);
  for (int i = 0; i < 500; ++i) expect(i * 7919 % 4001);
  EXPECT_FALSE(source->Find("no number")->has_value());
  EXPECT_FALSE(source->Find(int64_t{1} << 40)->has_value());
}

TEST_F(PostgresSourceTest, SelectsRowsWithoutAVectorOfTheWidth) {
  for (const auto& [type, two, three, odd] :
       std::vector<std::tuple<std::string, std::string, std::string, std::string>>{
           {"vector", "'[1,2]'", "'[1,2,3]'", "NULL"},
           {"vector(2)", "'[1,2]'", "NULL", "NULL"},
           {"halfvec", "'[1,2]'", "'[1,2,3]'", "NULL"},
           {"text", "'[1,2]'", "' [1, 2, 3] '", "'1,2'"},
           {"jsonb", "'[1, 2]'", "'[]'", "'null'"},
           {"bytea", "'\\x0000000000000000'", "'\\x00000000'", "'\\x0000000000'"}}) {
    SCOPED_TRACE(type);
    server_.Run(absl::StrCat("DROP TABLE IF EXISTS m; CREATE TABLE m (id int PRIMARY KEY, c text, v ", type,
                             ", model text); INSERT INTO m VALUES (1, 'a', ", two, ", 'x'), (2, 'b', ", three,
                             ", 'z'), (3, 'c', ", odd, ", NULL), (4, 'd', NULL, NULL), (5, 'e', ", two,
                             ", 'y'), (6, 'f', NULL, NULL)"));
    const std::string parameters = "table=m&text=c&vector=v&model_column=model&where=id <> 6 OR NULL";
    const Selection selection{.rows = Selection::Rows::kWithoutVector, .dim = 2};
    const auto source = Open(parameters, selection);
    EXPECT_THAT(Rest(source.get()), ElementsAre("2=b", "3=c", "4=d"));
    EXPECT_EQ(*source->CountRows(), 3);
    EXPECT_TRUE(source->Find(int64_t{1})->has_value()) << "whatever the selection says of its vector";
    const auto survey = SurveyPostgres(server_.At(parameters), selection);
    ASSERT_THAT(survey, IsOk());
    EXPECT_EQ(survey->rows_selected, 5);
    EXPECT_EQ(survey->rows_with_vector, 2);
    std::map<std::string, int64_t> models;
    for (const auto& model : survey->models) models[model.model] = model.rows;
    EXPECT_EQ(models["x"], 1);
    EXPECT_EQ(models["y"], 1);
    EXPECT_EQ(models.size(), 2u) << "what is no vector of the planned width counts for no model";
    EXPECT_THAT(Rest(Open(parameters, {.rows = Selection::Rows::kWithVector, .dim = 2}).get()),
                ElementsAre("1=a", "5=e"));
    int64_t something = 0;
    for (const auto& width : survey->widths) something += width.rows;
    EXPECT_EQ(something + survey->rows_null, 5);
  }
  const Selection later{.where = "c > 'a'", .resume_from = "3"};
  EXPECT_THAT(Rest(Open("table=m&text=c", later).get()), ElementsAre("3=c", "4=d", "5=e", "6=f"));
  EXPECT_EQ(*Open("table=m&text=c", later)->CountRows(), 4);
  const Selection unmade{.rows = Selection::Rows::kWithoutVector, .dim = 2};
  EXPECT_EQ(Rest(Open("table=m&text=c&vector=not_there", unmade).get()).size(), 6u);
}

TEST_F(PostgresSourceTest, SharesThatMeetAreTheWhole) {
  const std::vector<std::pair<std::string, std::vector<Key>>> kinds = {
      {"int", {int64_t{7}, int64_t{40}}}, {"text", {std::string("14"), std::string("4"), std::string("51")}}};
  for (const auto& [type, cuts] : kinds) {
    SCOPED_TRACE(type);
    server_.Run(absl::StrCat("DROP TABLE IF EXISTS m; CREATE TABLE m (id ", type,
                             " PRIMARY KEY, c text, v vector(2)); ", "INSERT INTO m SELECT i::", type,
                             ", 't' || i, CASE WHEN i % 4 < 2 THEN '[1,2]'::vector ",
                             "END FROM generate_series(1, 100) AS i"));
    const Location at = server_.At("table=m&text=c&vector=v");
    for (const Selection::Rows rows : {Selection::Rows::kAll, Selection::Rows::kWithoutVector}) {
      const auto selection = [&](const KeyRange& range) {
        return Selection{.rows = rows, .dim = 2, .where = "c <> 't7'", .range = range, .patience = absl::Seconds(10)};
      };
      ExpectSharesAreTheWhole(
          cuts, [&](const KeyRange& range) { return OpenPostgresSource(at, selection(range)); },
          [&](const KeyRange& range) { return SurveyPostgres(at, selection(range)); });
    }
  }
  EXPECT_THAT(OpenPostgresSource(server_.At("table=m&text=c"), {.range = {.from = std::string("a\0b", 3)}}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("ends no range of keys")));
}

TEST_F(PostgresSourceTest, AnArrayOfOtherThingsThanNumbersIsNoVector) {
  for (const char* const type : {"text", "json", "jsonb"}) {
    SCOPED_TRACE(type);
    server_.Run(absl::StrCat("DROP TABLE IF EXISTS m; CREATE TABLE m (id int PRIMARY KEY, c text, v ", type,
                             "); INSERT INTO m VALUES (1, 'a', '[1, 2e-05]'), (2, 'b', '[null, null]'), (3, 'c', "
                             "'[\"1\", 2]'), (4, 'd', '[1, true]')"));
    const auto source = Open("table=m&text=c&vector=v", {.rows = Selection::Rows::kWithoutVector, .dim = 2});
    EXPECT_THAT(Rest(source.get()), ElementsAre("2=b", "3=c", "4=d"));
  }
}

TEST_F(PostgresSourceTest, MakesATextOfSeveralColumns) {
  server_.Run(
      "CREATE TABLE m (id int PRIMARY KEY, a text, b varchar(9), n int); INSERT INTO m VALUES (1, ' x  y ', 'B', 7), "
      "(2, NULL, 'B', NULL), (3, NULL, NULL, NULL), (4, E'\\u00e4\\t|', '', -1)");
  const std::string made = "table=m&template={(a|collapse, b, n, missing?)|join:\" + \"}";
  const auto source = Open(made);
  EXPECT_THAT(Rest(source.get()), ElementsAre("1=x y + B + 7", "2=B", "3=", "4=\xC3\xA4 | + -1"));
  const auto row = source->Find(int64_t{4});
  ASSERT_THAT(row, IsOk());
  EXPECT_EQ((*row)->text, "\xC3\xA4 | + -1");
  EXPECT_THAT(OpenPostgresSource(server_.At("table=m&template={missing}"), {}),
              HasError(absl::StatusCode::kNotFound, HasSubstr("no column `missing` for template=")));
  EXPECT_THAT(OpenPostgresSource(server_.At("table=m&template={a|tirm}"), {}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("did you mean `trim`?")));
  EXPECT_THAT(OpenPostgresSource(server_.At("table=m&template={a}&text=b"), {}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("add either &text=")));
}

TEST_F(PostgresSourceTest, NumbersAsTextInBytes) {
  server_.Run(
      "CREATE TABLE m (id int PRIMARY KEY, c text, v bytea); INSERT INTO m VALUES (1, 'a', '[1, 2]'), (2, 'b', "
      "'1.5,-2'), "
      "(3, 'c', ' 1 , 2 '), (4, 'd', '[]'), (5, 'e', 'x'), (6, 'f', '1,2,3'), (7, 'g', NULL), (8, 'h', ''), (9, 'i', "
      "'1,,')");
  const std::string all = "table=m&text=c&vector=v&encoding=json";
  const auto source = Open(all, {.rows = Selection::Rows::kWithoutVector, .dim = 2});
  EXPECT_THAT(Rest(source.get()), ElementsAre("4=d", "5=e", "6=f", "7=g", "8=h", "9=i"));
  const auto reader = OpenPostgresReader(server_.At(all), {.dim = 2});
  ASSERT_THAT(reader, IsOk());
  const auto bare = (*reader)->Find(int64_t{2});
  ASSERT_THAT(bare, IsOk());
  EXPECT_THAT((*bare)->vector, ElementsAre(1.5f, -2.0f));
  const auto spaced = (*reader)->Find(int64_t{3});
  ASSERT_THAT(spaced, IsOk());
  EXPECT_THAT((*spaced)->vector, ElementsAre(1, 2));
}

TEST_F(PostgresSourceTest, CountsTheRowsWhoseReadersFail) {
  server_.Run(
      "CREATE TABLE m (id int PRIMARY KEY, c text, v vector(2), state text); INSERT INTO m VALUES (1, 'a', '[1,2]', "
      "'on'), (2, 'b', NULL, 'on'), (3, 'c', NULL, 'off'), (4, 'd', NULL, NULL)");
  const auto survey = [&](const std::string& more) {
    return SurveyPostgres(server_.At("table=m&text=c" + more), {.dim = 2});
  };
  EXPECT_EQ(survey("&vector=v")->rows_needed, 0);
  EXPECT_EQ(survey("&vector=v&needed=state %3D 'on'")->rows_needed, 1);
  EXPECT_EQ(survey("&vector=new&needed=state %3D 'on'")->rows_needed, 2) << "a column that is still to be made";
  EXPECT_EQ(survey("&vector=v&needed=coalesce(to_jsonb(m) ->> 'none', 'on') %3D 'on'")->rows_needed, 3);
  EXPECT_THAT(survey("&vector=v&needed=nonsense"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("nonsense")));
}

TEST_F(PostgresSourceTest, GoesOnAfterTheServerWasRestarted) {
  server_.Run(
      "CREATE TABLE m (id int PRIMARY KEY, c text); INSERT INTO m SELECT i, repeat('x', 5000) FROM "
      "generate_series(1, 2000) i");
  const auto source = Open("table=m&text=c");
  int64_t rows = 0;
  for (; rows < 1000; ++rows) ASSERT_THAT(source->Next(), IsOk());
  server_.Stop();
  server_.Start();
  for (; rows < 2000; ++rows) {
    const auto row = source->Next();
    ASSERT_THAT(row, IsOk());
    ASSERT_TRUE(row->has_value());
    ASSERT_EQ(KeyText((*row)->key), absl::StrCat(rows + 1));
  }
  EXPECT_FALSE(source->Next()->has_value());
}

TEST_F(PostgresSourceTest, SaysWhatIsWrong) {
  using absl::StatusCode;
  server_.Run(
      "CREATE TABLE m (id int PRIMARY KEY, c text, n int UNIQUE, b bytea); INSERT INTO m VALUES (1, 'a'); CREATE VIEW "
      "twice AS SELECT * FROM m UNION ALL SELECT * FROM m; CREATE VIEW once AS SELECT * FROM m");
  const auto error = [&](const std::string& parameters, Selection selection = {}) {
    return OpenPostgresSource(server_.At(parameters), selection);
  };
  EXPECT_THAT(error("table=m"), HasError(StatusCode::kInvalidArgument, HasSubstr("&text=COLUMN")));
  EXPECT_THAT(error("table=m&text=cc"), HasError(StatusCode::kNotFound, HasSubstr("did you mean `c`?")));
  EXPECT_THAT(error("table=m&text=b"), HasError(StatusCode::kInvalidArgument, HasSubstr("bytea")));
  EXPECT_THAT(error("table=m&text=c&key=n"), HasError(StatusCode::kFailedPrecondition, HasSubstr("is NULL")));
  EXPECT_THAT(error("table=m&text=c&where=nope = 1"), HasError(StatusCode::kInvalidArgument, HasSubstr("where=nope")));
  EXPECT_THAT(error("table=m&text=c", {.where = "1"}), HasError(StatusCode::kInvalidArgument, HasSubstr("boolean")));
  EXPECT_THAT(error("table=m&text=c", {.resume_from = "x"}), HasError(StatusCode::kInvalidArgument, HasSubstr("`x`")));
  EXPECT_THAT(error("table=twice&text=c"), HasError(StatusCode::kInvalidArgument, HasSubstr("key=")));
  EXPECT_THAT(error("table=twice&text=c&key=id"), HasError(StatusCode::kFailedPrecondition, HasSubstr("several rows")));
  EXPECT_THAT(Rest(Open("table=once&text=c&key=id").get()), ElementsAre("1=a"));
  EXPECT_THAT(OpenPostgresReader(server_.At("table=m&vector=b")),
              HasError(StatusCode::kNotFound, HasSubstr("run the job first")));
}

TEST_F(PostgresSourceTest, TheReaderTakesNoMoreMemoryForMoreRows) {
  if (!kMemoryIsOurs) GTEST_SKIP() << "measured without sanitizers";
  int64_t kib[2];
  for (const int times : {1, 10}) {
    server_.Run(
        absl::StrCat("DROP TABLE IF EXISTS m; CREATE TABLE m (id text PRIMARY KEY, v vector(64)); INSERT INTO m "
                     "SELECT 'the key of row ' || i, array_fill(i, ARRAY[64])::vector FROM generate_series(1, ",
                     times * 10000, ") i"));
    const auto read = [this] {
      const auto reader = OpenPostgresReader(server_.At("table=m&vector=v"));
      ASSERT_THAT(reader, IsOk());
      int64_t rows = 0;
      for (auto row = (*reader)->Next(); row.ok() && row->has_value(); row = (*reader)->Next()) ++rows;
      EXPECT_EQ(rows, (*reader)->rows());
    };
    // Twice: what libraries keep for good is none of it.
    PeakKib(read);
    kib[times == 10] = PeakKib(read);
  }
  EXPECT_LE(kib[1], kib[0] * 1.1 + 256) << kib[0];
}

TEST_F(PostgresSourceTest, TheReaderRefusesWhatIsNoVectorOfTheWidth) {
  server_.Run(
      "CREATE TABLE m (id int PRIMARY KEY, v text); INSERT INTO m VALUES (1, '[1,2]'), (2, '[1,2,3]'), (3, "
      "'[1,x]'), (4, NULL), (5, '[5,6]')");
  auto reader = OpenPostgresReader(server_.At("table=m&vector=v"));
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ((*reader)->rows(), 4);
  EXPECT_EQ((*reader)->dim(), 2);
  EXPECT_THAT((*(*reader)->Next())->vector, ElementsAre(1, 2));
  EXPECT_THAT((*reader)->Next(), HasError(absl::StatusCode::kDataLoss, HasSubstr("row 2: expected a vector of 2")));
  EXPECT_THAT((*reader)->Next(), HasError(absl::StatusCode::kDataLoss, HasSubstr("row 3")));
  EXPECT_THAT((*(*reader)->Next())->vector, ElementsAre(5, 6));
  EXPECT_FALSE((*reader)->Next()->has_value());
  EXPECT_FALSE((*reader)->Find(int64_t{4})->has_value());
  EXPECT_THAT((*(*reader)->Find(int64_t{1}))->vector, ElementsAre(1, 2));
}

}  // namespace
}  // namespace reembed
