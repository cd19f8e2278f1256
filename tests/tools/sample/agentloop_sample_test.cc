// SPDX-License-Identifier: Apache-2.0
#include "tools/sample/agentloop_sample.h"

#include <filesystem>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/sqlite/sqlite_source.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/status_matchers.h"
#include "tests/places.h"
#include "tools/presets.h"
#include "tools/resolve_preset.h"
#include "tools/sample/agentloop_phrases.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

using OddRows = AgentloopSampleOptions::OddRows;
using Schema = AgentloopSampleOptions::Schema;

int Number(SqliteFile* file, const std::string& sql) { return std::stoi(file->Ask(sql)); }

TEST(AgentloopSampleTest, HasTheSystemsSchema) {
  SqliteFile file;
  ASSERT_THAT(MakeAgentloopSample(file.path(), {.rows = 50}), IsOk());
  EXPECT_EQ(file.Ask("SELECT group_concat(name) FROM pragma_table_info('messages')"),
            "'message_id,session_id,chunk_index,role,content,tokens,timestamp,metadata,embedding,embedding_model'");
  EXPECT_EQ(file.Ask("SELECT group_concat(name) FROM pragma_table_info('sessions')"),
            "'session_id,user_id,created_at,last_active'");
  EXPECT_EQ(file.Ask("SELECT group_concat(name) FROM pragma_table_info('messages_fts')"),
            "'content,session_id,metadata,role'");
  EXPECT_EQ(file.Ask("SELECT name FROM sqlite_schema WHERE type = 'index' AND name LIKE 'idx%' ORDER BY 1"),
            "'idx_session_chunk'\n'idx_timestamp'");
  EXPECT_EQ(file.Ask("SELECT count(*) FROM messages"), "50");
  EXPECT_EQ(file.Ask("PRAGMA integrity_check"), "'ok'");
}

TEST(AgentloopSampleTest, OldSchemaLacksTheVectorColumns) {
  SqliteFile file;
  ASSERT_THAT(MakeAgentloopSample(file.path(), {.rows = 10, .schema = Schema::kBeforeEmbeddings}), IsOk());
  EXPECT_EQ(file.Ask("SELECT count(*) FROM pragma_table_info('messages') WHERE name LIKE 'embedding%'"), "0");
}

TEST(AgentloopSampleTest, SameSeedSameRows) {
  SqliteFile a, b, c;
  ASSERT_THAT(MakeAgentloopSample(a.path(), {.rows = 300, .seed = 7}), IsOk());
  ASSERT_THAT(MakeAgentloopSample(b.path(), {.rows = 300, .seed = 7}), IsOk());
  ASSERT_THAT(MakeAgentloopSample(c.path(), {.rows = 300, .seed = 8}), IsOk());
  EXPECT_EQ(a.Ask("SELECT * FROM messages"), b.Ask("SELECT * FROM messages"));
  EXPECT_NE(a.Ask("SELECT * FROM messages"), c.Ask("SELECT * FROM messages"));
}

TEST(AgentloopSampleTest, TextsHaveTheLengthThatWasAskedFor) {
  SqliteFile small, large;
  ASSERT_THAT(MakeAgentloopSample(small.path(), {.rows = 2000}), IsOk());
  ASSERT_THAT(MakeAgentloopSample(large.path(), {.rows = 2000, .text_bytes = 600}), IsOk());
  const std::string average =
      "SELECT CAST(avg(length(CAST(content AS BLOB))) AS INTEGER) FROM messages WHERE role IN ('user', 'assistant')";
  EXPECT_GT(Number(&small, average), 80);
  EXPECT_LT(Number(&small, average), 250);
  EXPECT_GT(Number(&large, average), 540);
  EXPECT_LT(Number(&large, average), 660);
}

TEST(AgentloopSampleTest, OddRowsAreThereWhenAskedFor) {
  SqliteFile plain, odd;
  ASSERT_THAT(MakeAgentloopSample(plain.path(), {.rows = 3000}), IsOk());
  ASSERT_THAT(MakeAgentloopSample(odd.path(), {.rows = 3000, .odd_rows = OddRows::kSome}), IsOk());
  for (const std::string kind : {"content IS NULL", "content = ''", "content = 'Thanks, that helps a lot!'",
                                 "length(content) > 50000", "content GLOB '*[^ -~]*'"}) {
    SCOPED_TRACE(kind);
    EXPECT_EQ(Number(&plain, "SELECT count(*) FROM messages WHERE " + kind), 0);
    EXPECT_GT(Number(&odd, "SELECT count(*) FROM messages WHERE role IN ('user', 'assistant') AND " + kind), 0);
  }
}

TEST(AgentloopSampleTest, TextsAreVariedAndCanBeSearched) {
  SqliteFile file;
  ASSERT_THAT(MakeAgentloopSample(file.path(), {.rows = 5000}), IsOk());
  EXPECT_GT(Number(&file, "SELECT count(DISTINCT content) FROM messages WHERE role IN ('user', 'assistant')"), 4000);
  EXPECT_EQ(Number(&file, "SELECT count(DISTINCT substr(metadata, 1, 16)) > 15 FROM messages"), 1);
  EXPECT_EQ(Number(&file, "SELECT count(*) FROM messages_fts"), 5000);
  EXPECT_GT(Number(&file, "SELECT count(*) FROM messages_fts WHERE messages_fts MATCH 'derailleur'"), 0);
  EXPECT_EQ(Number(&file, "SELECT count(*) FROM messages WHERE content LIKE '%$_%'"),
            Number(&file, "SELECT count(*) FROM messages WHERE content LIKE '%$ %'"));
}

TEST(AgentloopSampleTest, LeavesWhatIsThereAlone) {
  SqliteFile file;
  file.Run("CREATE TABLE precious (a)");
  EXPECT_THAT(MakeAgentloopSample(file.path(), {}), HasError(absl::StatusCode::kAlreadyExists, HasSubstr(file.path())));
  EXPECT_EQ(file.Ask("SELECT name FROM sqlite_schema"), "'precious'");
}

// The preset and the sample must agree, or --system agentloop would not find what it names.
TEST(AgentloopPresetTest, FitsTheSystemsTables) {
  const Environment environment;
  const absl::StatusOr<SystemPreset> preset =
      FindSystem(REEMBED_SOURCE_DIR "/data/systems/agentloop.toml", environment);
  ASSERT_THAT(preset, IsOk());
  SqliteFile file;
  ASSERT_THAT(MakeAgentloopSample(file.path(), {.rows = 1000}), IsOk());
  const absl::StatusOr<StreamPlaces> places =
      PlacesOf(*preset, preset->streams.front(), {}, environment, {.scheme = "sqlite", .path = file.path()});
  ASSERT_THAT(places, IsOk());
  const Location& location = places->source;
  const auto source = OpenSqliteSource(location, {});
  ASSERT_THAT(source, IsOk());
  EXPECT_EQ(*(*source)->CountRows(),
            Number(&file, "SELECT count(*) FROM messages WHERE role = 'user' OR role = 'assistant'"));
  EXPECT_EQ(preset->dim, 512);
}

}  // namespace
}  // namespace reembed
