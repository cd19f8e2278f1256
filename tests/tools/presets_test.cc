// SPDX-License-Identifier: Apache-2.0
#include "tools/presets.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"
#include "tools/database_url.h"
#include "tools/registry.h"
#include "tools/resolve_preset.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

absl::StatusOr<SystemPreset> Parse(const std::string& number) {
  return ParseSystemPreset(
      absl::StrCat("name = \"p\"\n[model]\ndimensions = ", number,
                   "\n[[stream]]\nname = \"s\"\ntable = \"t\"\nkey = \"id\"\n", "text = \"x\"\nvector = \"v\"\n"),
      "p.toml");
}

TEST(PresetsTest, ANumberThatIsNoCountIsRefusedWithItsLine) {
  for (const char* const number : {"-4", "4294967300", "2147483648"}) {
    EXPECT_THAT(Parse(number), HasError(absl::StatusCode::kInvalidArgument,
                                        AllOf(HasSubstr("p.toml: line 3: `dimensions`"), HasSubstr(number))));
  }
  const absl::StatusOr<SystemPreset> good = Parse("2147483647");
  ASSERT_THAT(good, IsOk());
  EXPECT_EQ(good->dim, 2147483647);
}

TEST(PresetsTest, MistakesInStreamsAreNamedWithTheirLine) {
  const auto error = [](const std::string& stream) {
    return ParseSystemPreset("name = \"p\"\n[[stream]]\n" + stream, "p.toml").status();
  };
  EXPECT_THAT(error("text = \"x\"\n"), HasError(absl::StatusCode::kInvalidArgument,
                                                AllOf(HasSubstr("p.toml: line 2"), HasSubstr("`source` or `table`"))));
  EXPECT_THAT(error("source = \"{db}\"\nsouce = \"x\"\n"),
              HasError(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("line 4"), HasSubstr("did you mean"))));
  EXPECT_THAT(error("source = \"{db}\"\ndatabase = \"mysql\"\n"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("no kind called `mysql`")));
  EXPECT_THAT(error("kind = \"mysql\"\ntable = \"t\"\ntext = \"x\"\n"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("none called `mysql`")));
  EXPECT_THAT(error("source = \"{db}\"\nkind = \"sqlite\"\n"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("`kind` goes with no `source`")));
  EXPECT_THAT(error("source = \"{db}\"\n[[stream]]\nname = \"b\"\nsource = \"{db}\"\n"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("line 2: [[stream]]: name")));
  EXPECT_THAT(
      error("name = \"a\"\ndatabase = \"postgres\"\nsource = \"{db}\"\n[[stream]]\nname = \"a\"\nsource = \"{db}\"\n"),
      HasError(absl::StatusCode::kInvalidArgument, HasSubstr("line 6: [[stream]]: name")));
  EXPECT_THAT(error("name = \"a\"\ndatabase = \"postgres\"\nsource = \"{db}\"\n[[stream]]\nname = \"a\"\n"
                    "database = [\"sqlite\", \"libsql\"]\nsource = \"{db}\"\n"),
              IsOk());
}

// Where the rows of all streams of a preset are, as a line each, with this database.
class PlacesTest : public ::testing::Test {
 protected:
  PlacesTest() {
    const std::string file = folder_ / "variables";
    std::ofstream(file) << "QDRANT_URL=http://q.example/\n";
    EXPECT_THAT(environment_.AddFile(file), IsOk());
  }

  std::vector<std::string> Places(absl::StatusOr<SystemPreset> preset, CommandOptions options) {
    if (!preset.ok()) return {preset.status().ToString()};
    options.streams = {"all"};
    std::vector<std::string> notes, lines;
    const absl::StatusOr<PresetDatabase> database = FindDatabase(*preset, options, environment_, &notes);
    if (!database.ok()) return {database.status().ToString()};
    absl::Status named = TakeNamedTargets(database->location, environment_, &options, &*preset, &notes);
    if (!named.ok()) return {named.ToString()};
    const auto streams = ChooseStreams(*preset, options, database->location, &notes);
    if (!streams.ok()) return {streams.status().ToString()};
    for (const PresetStream* const stream : *streams) {
      const auto places = PlacesOf(*preset, *stream, options, environment_, database->location);
      lines.push_back(
          absl::StrCat(stream->name, " ", places.ok() ? places->source.ToString() : places.status().ToString()));
    }
    return lines;
  }

  absl::StatusOr<SystemPreset> Now(const std::string& system) {
    return FindSystem(absl::StrCat(REEMBED_SOURCE_DIR, "/data/systems/", system, ".toml"), environment_);
  }
  absl::StatusOr<SystemPreset> Former(const std::string& system) {
    return FindSystem(absl::StrCat(REEMBED_SOURCE_DIR, "/tests/tools/former_presets/", system, ".toml"), environment_);
  }

  TempFolder folder_;
  Environment environment_;
};

// By these places earlier jobs are found again, so they are those of version 0.2, which were written down then.
TEST_F(PlacesTest, TheRowsOfEachSystemAreWhereTheyWere) {
  EXPECT_THAT(
      Places(Now("agentloop"), {.db = "/x/m.db"}),
      ElementsAre(" sqlite:/x/m.db?encoding=f32&key=message_id&model_column=embedding_model&table=messages&text="
                  "content&vector=embedding&where=role IN ('user', 'assistant')"));
  EXPECT_THAT(
      Places(Now("mcp-memory"), {.db = "libsql://h.turso.io?tls=0", .recipe = "regenerate", .updated_at = "now-iso"}),
      Contains("memories libsql://h.turso.io?encoding=json&key=rowid&table=memories&template={(title, content, "
               "memory_type, tags)|join:\" \"|trim:js}&tls=0&updated_column=updated_at&vector=embedding"));
  const std::vector<std::string> memu = Places(Now("memu"), {.db = "/x/memu.db"});
  EXPECT_EQ(memu.size(), 8u);
  EXPECT_EQ(memu.front(),
            "items memu:/x/vectors.json?collection=items&db=/x/memu.db&key=id&table=memory_items&text=summary");
  EXPECT_EQ(memu.back(),
            "file_segments sqlite:/x/memu.db?encoding=json-python&key=rowid&table=memu_file_segments&text=text&vector="
            "embedding");
  EXPECT_THAT(Places(Now("memu"), {.db = "postgres://me@h:5433/d"}),
              Contains("resources postgres://me@h:5433/d?key=id&table=resources&template={caption|trim}&triggers=auto&"
                       "vector=embedding&where=btrim(coalesce(caption, ''), E' \\t\\n\\r') <> ''"));
  EXPECT_THAT(
      Places(Now("espressobot"), {.db = "postgres://me@h/d?schema=s"}),
      Contains("memories postgres://me@h/d?encoding=json&key=id&needed=status %3D 'active'&schema=s&table=memories&"
               "template={content|collapse|cut:30000:\"...\"}&triggers=auto&vector=embedding"));
  EXPECT_THAT(Places(Now("automem"), {.db = "falkordb://h:6379/memories"}),
              ElementsAre(" automem://h:6379/memories?key=id&label=Memory&points=qdrant:http://q.example:6333/"
                          "memories%3Fon_width%3Dside&text=content"));
}

TEST_F(PlacesTest, PresetsFromBeforeStillLoadWithANote) {
  for (const char* const system : {"agentloop", "automem", "espressobot", "memu"}) {
    SCOPED_TRACE(system);
    ASSERT_THAT(Former(system), IsOk());
    EXPECT_THAT(Former(system)->notes, Contains(HasSubstr("as before version 0.3")));
    EXPECT_THAT(Now(system)->notes, Not(Contains(HasSubstr("before version"))));
    for (const char* const db : {"/x/m.db", "libsql://h.turso.io", "postgres://me@h/d?schema=s", "falkordb://u@h/g"}) {
      const bool memu_elsewhere = system == std::string("memu") && absl::StartsWith(db, "libsql");
      if (memu_elsewhere) continue;  // which said that vectors.json lies beside a server
      const std::vector<std::string> now = Places(Now(system), {.db = db});
      if (absl::StrContains(now.front(), "expected")) continue;  // which has its own words
      EXPECT_EQ(Places(Former(system), {.db = db}), now) << db;
    }
  }
  EXPECT_EQ(Places(Former("memu"), {.db = "/x/m.db", .targets = {"memu:/y/v.json"}}),
            Places(Now("memu"), {.db = "/x/m.db", .targets = {"memu:/y/v.json"}}));
}

TEST_F(PlacesTest, ATargetOfTheSameSchemeTakesThePlaceOfTheSystemsOwn) {
  EXPECT_THAT(Places(Now("automem"), {.db = "falkordb://h/g", .targets = {"qdrant:http://other:1/c?keep_old=no"}}),
              ElementsAre(HasSubstr("points=qdrant:http://other:1/c%3Fkeep_old%3Dno%26on_width%3Dside&")));
  EXPECT_THAT(Places(Now("memu"), {.db = "/x/m.db", .targets = {"memu:/y/v.json"}}),
              ElementsAre(HasSubstr("items memu:/y/v.json?"), HasSubstr("categories memu:/y/v.json?"),
                          HasSubstr("resources memu:/y/v.json?")));
  EXPECT_THAT(Places(Now("memu"), {.db = "postgres://h/d", .targets = {"memu:/y/v.json"}}),
              ElementsAre(HasSubstr("keeps its vectors in the rows")));
  // One of another kind is one more.
  EXPECT_EQ(Places(Now("memu"), {.db = "/x/m.db", .targets = {"npy:/y/{stream}.npy"}}).size(), 8u);
}

TEST_F(PlacesTest, ASystemWithoutADatabaseHasItsRowsWhereItsVariablesSay) {
  const auto preset = [&] {
    return ParseSystemPreset(R"(
name = "points"
[[stream]]
source = "qdrant:{QDRANT_URL:6333}/{T_COLLECTION}?text=data"
target = "qdrant:{QDRANT_URL:6333}/{T_COLLECTION}"
user = "user_id"
agent = "agent_id"
)",
                             "points.toml");
  };
  EXPECT_THAT(Places(preset(), {}), ElementsAre(AllOf(HasSubstr("keeps its vectors is not known: set T_COLLECTION"),
                                                      HasSubstr("--target qdrant:"))));
  const std::string file = folder_ / "more";
  std::ofstream(file) << "T_COLLECTION=mem0\n";
  ASSERT_THAT(environment_.AddFile(file), IsOk());
  EXPECT_THAT(Places(preset(), {}), ElementsAre(" qdrant:http://q.example:6333/mem0?text=data"));
  EXPECT_THAT(Places(preset(), {.db = "/x/m.db"}), ElementsAre(HasSubstr("has no database of its own")));
  const SystemPreset points = *preset();
  const StoreKind& kind = reembed::KindOf({.scheme = "qdrant"});
  EXPECT_EQ(*OwnerCondition(points, points.streams[0], {.user = "a\"n"}, kind),
            R"({"must":[{"key":"user_id","match":{"value":"a\"n"}}]})");
  EXPECT_EQ(
      *OwnerCondition(points, points.streams[0], {.user = "a", .agent = "b"}, kind),
      R"({"must":[{"must":[{"key":"user_id","match":{"value":"a"}}]},{"must":[{"key":"agent_id","match":{"value":"b"}}]}]})");
  // In the words of other kinds; jobs from before are found by those of SQL.
  EXPECT_EQ(
      *OwnerCondition(points, points.streams[0], {.user = "o'n", .agent = "b"}, reembed::KindOf({.scheme = "sqlite"})),
      R"(("user_id" = 'o''n' AND "agent_id" = 'b'))");
  EXPECT_THAT(*OwnerCondition(points, points.streams[0], {.user = "o'n"}, reembed::KindOf({.scheme = "falkordb"})),
              HasSubstr("n.`user_id` = "));
}

TEST_F(PlacesTest, ADatabaseThatNoStreamIsForIsNamedWithWhatIsExpected) {
  EXPECT_THAT(Places(Now("automem"), {.db = "/x/m.db"}), ElementsAre(HasSubstr("expected a graph, for example")));
  const auto preset = ParseSystemPreset(
      "name = \"p\"\n[[stream]]\ndatabase = \"postgres\"\nsource = \"{db}?table=t&text=c\"\n", "p.toml");
  EXPECT_THAT(Places(preset, {.db = "/x/m.db"}), ElementsAre(HasSubstr("expected postgres://USER@HOST/DATABASE")));
}

TEST_F(PlacesTest, ProgramsNameDatabasesInTheirOwnWords) {
  const auto argument = [&](const std::string& text) { return ParseDatabase(text, environment_)->ToString(); };
  const auto variable = [&](const std::string& text) { return ParseDatabaseVariable(text, environment_)->ToString(); };
  EXPECT_EQ(argument("/x/m.db"), "sqlite:/x/m.db");
  EXPECT_EQ(argument("file:///x/m%20n.db?mode=ro"), "sqlite:/x/m n.db");
  EXPECT_EQ(argument("https://h.turso.io"), "libsql:https://h.turso.io");
  EXPECT_EQ(argument("sqlite:/x/m.db"), "sqlite:/x/m.db");
  EXPECT_EQ(argument("qdrant:http://h:6333/c"), "qdrant:http://h:6333/c");
  EXPECT_EQ(variable("sqlite+aiosqlite:////x/m.db?timeout=3"), "sqlite:/x/m.db");
  EXPECT_EQ(variable("postgresql+asyncpg://me@h/d?pgbouncer=true&schema=s"), "postgresql://me@h/d?schema=s");
  const absl::StatusOr<Location> with_password = ParseDatabaseVariable("postgres://me:p%40ss@h/d", environment_);
  ASSERT_THAT(with_password, IsOk());
  EXPECT_EQ(with_password->ToString(), "postgres://me@h/d");
  EXPECT_EQ(with_password->secret, "p@ss");
  EXPECT_THAT(ParseDatabase("postgres://me:pa55word@h/d", environment_),
              HasError(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("password"), Not(HasSubstr("pa55word")))));
}

}  // namespace
}  // namespace reembed
