// SPDX-License-Identifier: Apache-2.0
#include "io/store/falkordb/falkordb_source.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/key_shares.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FalkorSourceTest : public ::testing::Test {
 protected:
  void SetUp() override { server_.DropGraph(); }
  void TearDown() override { server_.Command({"GRAPH.CONFIG", "SET", "RESULTSET_SIZE", "-1"}); }

  std::unique_ptr<Source> Open(const std::string& parameters, const Selection& selection = {}) {
    auto source = OpenFalkorSource(server_.At(parameters), selection, {.patience = absl::Seconds(10)});
    EXPECT_THAT(source, IsOk());
    return source.ok() ? *std::move(source) : nullptr;
  }

  std::string ErrorOf(const std::string& parameters, const std::string& graph = "g") {
    return OpenFalkorSource(server_.At(parameters, graph), {}, {.patience = absl::ZeroDuration()}).status().ToString();
  }

  // "key=text" of the rows to come; NULL for none.
  static std::vector<std::string> Rest(Source* source) {
    std::vector<std::string> rows;
    while (true) {
      const auto row = source->Next();
      EXPECT_THAT(row, IsOk());
      if (!row.ok() || !row->has_value()) return rows;
      rows.push_back(absl::StrCat(KeyText((*row)->key), "=", (*row)->text.value_or("NULL")));
    }
  }

  void MakeNodes(int rows) {
    for (int i = 0; i < rows; i += 5000) {
      server_.Run(
          absl::StrCat("UNWIND range(", i, ",", std::min(i + 5000, rows) - 1,
                       ") AS i CREATE (:Memory {id: 'key-' + i, number: i - 100, content: CASE i % 5 WHEN 0 THEN "
                       "NULL WHEN 1 THEN '' ELSE 'text ' + i END})"));
    }
    server_.Run("CREATE (:Other {id: 'key-5', content: 'not asked for'})");
  }

  std::vector<std::string> Expected(const std::string& key) {
    return absl::StrSplit(server_.Ask(absl::StrCat("MATCH (n:Memory) WITH n ORDER BY n.", key, " RETURN n.", key,
                                                   " + '=' + coalesce(n.content, 'NULL')")),
                          '\n');
  }

  FalkorServer& server_ = TestFalkor();
};

TEST_F(FalkorSourceTest, GivesEveryNodeOnceInKeyOrder) {
  MakeNodes(25000);
  for (const bool indexed : {false, true}) {
    if (indexed) server_.Run("CREATE INDEX FOR (n:Memory) ON (n.id)");
    for (const std::string key : {"id", "number"}) {
      const auto source = Open(absl::StrCat("label=Memory&text=content&key=", key));
      EXPECT_EQ(*source->CountRows(), 25000);
      EXPECT_TRUE(Rest(source.get()) == Expected(key)) << key << " " << indexed;
    }
  }
}

TEST_F(FalkorSourceTest, APropertyThatIsNoStringSaysWhatItIs) {
  server_.Run(
      "CREATE (:Memory {id: 1, content: 7}), (:Memory {id: 2, content: 1.5}), (:Memory {id: 3, content: ['x']}), "
      "(:Memory "
      "{id: 4, content: true}), (:Memory {id: 5}), (:Memory {id: 6, content: 'text'}), (:Memory {id: 7, content: "
      "vecf32([1, 2])})");
  const auto source = Open("label=Memory&text=content&key=id");
  for (const absl::string_view what : {"a number", "a number", "a list", "a truth value", "", "", "a vector"}) {
    const auto row = source->Next();
    ASSERT_TRUE(row.ok() && row->has_value());
    const std::string expected = absl::StrCat("expected `content` to be a string, got ", what);
    EXPECT_EQ((*row)->problem, what.empty() ? "" : expected);
  }
}

// An index of the server compares texts in a way of its own, and tells nobody.
TEST_F(FalkorSourceTest, AnIndexDoesNotLoseKeysOfMixedCaseOrWithBlanks) {
  for (const std::string key : {"'aB' + i % 64 + 'Cd' + i", "'Key-' + i", "'key-' + i", "'ABC' + i",
                                "CASE i % 4 WHEN 0 THEN 'x' + i WHEN 1 THEN 'X' + i WHEN 2 THEN 'x' + (i - 2) + ' ' "
                                "ELSE '\xc3\xa4' + i END"}) {
    SCOPED_TRACE(key);
    server_.DropGraph();
    server_.Run(absl::StrCat("UNWIND range(0, 4999) AS i CREATE (:Memory {id: ", key, ", content: 'c'})"));
    const std::vector<std::string> expected = Expected("id");
    server_.Run("CREATE INDEX FOR (n:Memory) ON (n.id)");
    const auto source = Open("label=Memory&text=content&key=id");
    EXPECT_EQ(source->CountRows().value_or(-1), 5000);
    EXPECT_TRUE(Rest(source.get()) == expected);
    for (size_t i = 0; i < expected.size(); i += 617) {
      const std::string id = expected[i].substr(0, expected[i].find('='));
      EXPECT_TRUE(source->Find(absl::string_view(id))->has_value()) << id;
    }
    const std::string middle = expected[2500].substr(0, expected[2500].find('='));
    EXPECT_EQ(Open("label=Memory&text=content&key=id", {.resume_from = middle})->CountRows().value_or(-1), 2500);
  }
}

TEST_F(FalkorSourceTest, SharesThatMeetAreTheWhole) {
  const std::vector<std::pair<std::string, std::vector<Key>>> kinds = {
      {"i", {int64_t{70}, int64_t{400}}}, {"'aB' + i % 64 + 'Cd' + i", {std::string("aB2"), std::string("aB4")}}};
  for (const auto& [key, cuts] : kinds) {
    SCOPED_TRACE(key);
    server_.DropGraph();
    server_.Run(absl::StrCat("UNWIND range(0, 999) AS i CREATE (n:Memory {id: ", key,
                             ", content: 'c' + i}) SET n.v = CASE WHEN i % 4 < 2 THEN vecf32([1.0, 2.0]) END"));
    server_.Run("CREATE INDEX FOR (n:Memory) ON (n.id)");
    const Location at = server_.At("label=Memory&text=content&key=id&vector=v");
    for (const Selection::Rows rows : {Selection::Rows::kAll, Selection::Rows::kWithoutVector}) {
      const auto selection = [&](const KeyRange& range) {
        return Selection{.rows = rows, .dim = 2, .where = "n.content <> 'c7'", .range = range};
      };
      ExpectSharesAreTheWhole(
          cuts, [&](const KeyRange& range) { return OpenFalkorSource(at, selection(range), {}); },
          [&](const KeyRange& range) { return SurveyFalkor(at, selection(range), {}); });
    }
  }
}

TEST_F(FalkorSourceTest, IsNotFooledByAServerThatCutsAnswers) {
  MakeNodes(3000);
  const std::vector<std::string> expected = Expected("id");
  for (const char* const size : {"5", "1"}) {
    server_.Command({"GRAPH.CONFIG", "SET", "RESULTSET_SIZE", size});
    EXPECT_TRUE(Rest(Open("label=Memory&text=content&key=id").get()) == expected) << size;
  }
  server_.Command({"GRAPH.CONFIG", "SET", "RESULTSET_SIZE", "0"});
  EXPECT_THAT(ErrorOf("label=Memory&text=content&key=id"), HasSubstr("RESULTSET_SIZE"));
}

TEST_F(FalkorSourceTest, GoesOnBehindAnyKeyAndFindsAny) {
  MakeNodes(5000);
  const auto source = Open("label=Memory&text=content&key=id");
  const std::vector<std::string> all = Rest(source.get());
  for (const size_t place : {size_t{0}, size_t{63}, size_t{64}, size_t{2048}, size_t{3333}, size_t{4999}}) {
    const std::string key = all[place].substr(0, all[place].find('='));
    ASSERT_THAT(source->SeekAfter(absl::string_view(key)), IsOk());
    EXPECT_EQ(Rest(source.get()), std::vector<std::string>(all.begin() + place + 1, all.end()));
    const auto found = source->Find(absl::string_view(key));
    ASSERT_THAT(found, IsOk());
    ASSERT_TRUE(found->has_value());
    EXPECT_EQ(absl::StrCat(KeyText((*found)->key), "=", (*found)->text.value_or("NULL")), all[place]);
  }
  server_.Run("MATCH (n:Memory {id: 'key-7'}) DELETE n");
  EXPECT_FALSE(source->Find("key-7")->has_value());
  EXPECT_FALSE(source->Find("nothing")->has_value());
  EXPECT_FALSE(source->Find(int64_t{7})->has_value());
  ASSERT_THAT(source->SeekAfter("key-7"), IsOk()) << "gone, and still a place in the order";
  EXPECT_EQ((*source->Next())->key, KeyView("key-70"));
  EXPECT_EQ(Rest(Open("label=Memory&text=content&key=id", {.resume_from = "key-998"}).get()).size(), 2u);
}

TEST_F(FalkorSourceTest, TakesOddKeysAndTexts) {
  server_.Run(
      "CREATE (:`La bel` {`the id`: \"quo\\\"te\", c: 'a \"b\" \\\\ \xf0\x9f\x98\x80'}), (:`La bel` {`the id`: "
      "'back\\\\slash', c: 7}), (:`La bel` {`the id`: '$x \xc3\xa4 {}', c: ['x']}), (:`La bel` {`the id`: \"'\", c: "
      "'\t\n'})");
  const auto source = Open("label=La bel&text=c&key=the id");
  EXPECT_THAT(Rest(source.get()),
              ElementsAre("$x \xc3\xa4 {}=NULL", "'=\t\n", "back\\slash=NULL", "quo\"te=a \"b\" \\ \xf0\x9f\x98\x80"));
  for (const char* const key : {"quo\"te", "back\\slash", "'", "$x \xc3\xa4 {}"}) {
    EXPECT_TRUE(source->Find(key)->has_value()) << key;
    EXPECT_THAT(source->SeekAfter(key), IsOk());
    EXPECT_THAT(source->Next(), IsOk());
  }
  EXPECT_FALSE(source->Find(absl::string_view("a\0b", 3))->has_value());
}

TEST_F(FalkorSourceTest, SelectsNodesAndSurveys) {
  server_.Run(
      "CREATE (:M {id: 1, c: 'a', v: vecf32([1.0, 2.0])}), (:M {id: 2, c: 'b'}), (:M {id: 3, c: 'c', v: 'no vector'}), "
      "(:M {id: 4, c: 'd'})");
  const Selection selection{.rows = Selection::Rows::kWithoutVector, .dim = 2};
  const std::string parameters = "label=M&text=c&key=id&vector=v&where=n.id < 4 OR null";
  EXPECT_THAT(Rest(Open(parameters, selection).get()), ElementsAre("2=b", "3=c"));
  auto survey = SurveyFalkor(server_.At(parameters), selection);
  ASSERT_THAT(survey, IsOk());
  EXPECT_EQ(survey->rows_selected, 3);
  EXPECT_EQ(survey->rows_with_vector, 1);
  EXPECT_EQ(survey->rows_null, 1);
  EXPECT_THAT(Rest(Open(parameters, {.rows = Selection::Rows::kWithVector, .dim = 2}).get()), ElementsAre("1=a"));
  server_.Run("MATCH (n:M) WHERE n.id IN [1, 3] SET n.model = 'm' + n.id");
  survey = SurveyFalkor(server_.At(parameters + "&model_property=model"), selection);
  ASSERT_THAT(survey, IsOk());
  ASSERT_EQ(survey->models.size(), 1u);
  EXPECT_EQ(survey->models[0].model, "m1");
  EXPECT_EQ(survey->models[0].rows, 1);
  survey = SurveyFalkor(server_.At(parameters + "&model_property=other"), selection);
  ASSERT_THAT(survey, IsOk());
  ASSERT_EQ(survey->models.size(), 1u);
  EXPECT_EQ(survey->models[0].model, "");
  server_.Run("CREATE (:M {id: 0, c: 'e', v: vecf32([1.0, 2.0, 3.0])})");
  survey = SurveyFalkor(server_.At(parameters), selection);
  ASSERT_THAT(survey, IsOk());
  EXPECT_EQ(survey->rows_with_vector, 1);
  EXPECT_EQ(survey->widths.size(), 3u);
}

TEST_F(FalkorSourceTest, NamesWhatIsWrong) {
  server_.Run("CREATE (:Memory {id: 'a', content: 'x', other: 1}), (:Memory {id: 'b', content: 'x', other: 1})");
  EXPECT_THAT(ErrorOf("label=Memory&text=content&key=id", "gg"), HasSubstr("did you mean `g`"));
  EXPECT_THAT(ErrorOf("label=Memoryy&text=content&key=id"), HasSubstr("did you mean `Memory`"));
  EXPECT_THAT(ErrorOf("label=Memory&text=contend&key=id"), HasSubstr("did you mean `content`"));
  EXPECT_THAT(ErrorOf("label=Memory&text=content&key=ids"), HasSubstr("did you mean `id`"));
  EXPECT_THAT(ErrorOf("label=Memory&text=content&key=other"), HasSubstr("2 nodes `Memory` have the key 1"));
  EXPECT_THAT(ErrorOf("label=Memory&text=content&key=id&where=n.id >"), HasSubstr("in where="));
  EXPECT_THAT(ErrorOf("label=Mem`ory&text=content&key=id"), HasSubstr("backtick"));
  server_.Run("CREATE (:Memory {content: 'no key'})");
  EXPECT_THAT(ErrorOf("label=Memory&text=content&key=id"), HasSubstr("1 node `Memory` has no `id`"));
  server_.Run("CREATE (:Memory {id: 7})");
  EXPECT_THAT(ErrorOf("label=Memory&text=content&key=id&where=n.id IS NOT NULL"), HasSubstr("a text in 2 nodes"));
}

TEST_F(FalkorSourceTest, NamesAServerThatIsNotThereOrNotFalkor) {
  const std::string parameters = "label=M&text=c&key=id";
  FalkorServer plain({.module = false, .password = "pass word"});
  EXPECT_THAT(OpenFalkorSource(plain.At(parameters), {}).status().ToString(), HasSubstr("FALKORDB_PASSWORD"));
  EXPECT_EQ(OpenFalkorSource(plain.At(parameters), {}, {.password = "wrong"}).status().code(),
            absl::StatusCode::kUnauthenticated);
  EXPECT_THAT(OpenFalkorSource(plain.At(parameters), {}, {.password = "pass word"}).status().ToString(),
              HasSubstr("not FalkorDB"));
  plain.Stop();
  EXPECT_THAT(OpenFalkorSource(plain.At(parameters), {}).status().ToString(), HasSubstr("is the server running"));
}

TEST_F(FalkorSourceTest, GoesOnThroughARestart) {
  MakeNodes(3000);
  const auto source = Open("label=Memory&text=content&key=id");
  EXPECT_THAT(source->Next(), IsOk());
  server_.Stop();
  server_.Start();
  EXPECT_EQ(Rest(source.get()).size(), 2999u);
}

}  // namespace
}  // namespace reembed
