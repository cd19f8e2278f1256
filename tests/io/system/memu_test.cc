// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "engine/number/json_text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/file/vectors_json.h"
#include "io/system/memu_rows.h"
#include "io/system/memu_sink.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/vector_rows.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kOneEntry[] = R"({"user_id":"u","agent_id":"a","vector":[1,2],"text":"t"})";

class MemuFileTest : public ::testing::Test {
 protected:
  std::string Path() const { return folder_ / "vectors.json"; }
  void Write(const std::string& text) const { std::ofstream(Path(), std::ios::binary) << text; }
  std::string Read() const {
    std::ostringstream text;
    text << std::ifstream(Path(), std::ios::binary).rdbuf();
    return text.str();
  }
  Location At(const std::string& collection, const SqliteFile& db, const std::string& more = "&text=summary") const {
    return *ParseLocation(
        absl::StrCat("memu:", Path(), "?db=", db.path(), "&table=memory_items&key=id&collection=", collection, more));
  }
  TempFolder folder_;
};

TEST_F(MemuFileTest, RemembersPlacesAndTakesTheLastOfTwo) {
  Write(absl::StrCat(R"({"items": {"a\u00e4": )", kOneEntry,
                     R"(, "b": {"agent_id": "x", "extra": {"k": [true]}, "vector": [], "user_id": null}, "a\u00e4": )",
                     R"({"user_id":"v","agent_id":"a","vector":[NaN, 1],"text":null}}, "empty": {}})"));
  const auto file = VectorsJson::Open(Path());
  ASSERT_THAT(file, IsOk());
  ASSERT_EQ((*file)->collections().size(), 2u);
  const VectorsJson::Collection* const items = (*file)->Find("items");
  ASSERT_NE(items, nullptr);
  ASSERT_EQ(items->entries.size(), 2u);
  EXPECT_EQ(items->entries[0].key, "\"a\\u00e4\"");
  const VectorsJson::Entry* const last = items->Find("a\xC3\xA4");
  ASSERT_NE(last, nullptr);
  EXPECT_EQ(last->user_id, "\"v\"");
  EXPECT_EQ(last->dim, -1) << "NaN is no number to search with";
  EXPECT_EQ(last->text, "null");
  EXPECT_EQ(items->Find("b")->dim, 0);
  EXPECT_EQ(items->Find("b")->text, "");
  EXPECT_EQ((*file)->Find("Items"), nullptr);
}

// A mapped file that is cut short ends the process that reads it.
TEST_F(MemuFileTest, SurvivesThatTheFileIsCutShort) {
  std::string entries;
  for (int i = 0; i < 2000; ++i) absl::StrAppend(&entries, i == 0 ? "" : ",", "\"", i, "\":", kOneEntry);
  Write(absl::StrCat(R"({"items": {)", entries, "}}"));
  const auto file = VectorsJson::Open(Path());
  ASSERT_THAT(file, IsOk());
  EXPECT_FALSE((*file)->HasChanged());
  std::filesystem::resize_file(Path(), 1);
  for (const VectorsJson::Entry& entry : (*file)->Find("items")->entries) ASSERT_EQ(entry.value, kOneEntry);
  EXPECT_TRUE((*file)->HasChanged());
  std::vector<std::string> names;
  for (const auto& in_folder : std::filesystem::directory_iterator(folder_.path())) {
    names.push_back(in_folder.path().filename());
  }
  EXPECT_EQ(names, (std::vector<std::string>{"vectors.json"}));
}

TEST_F(MemuFileTest, RefusesWhatMemuWouldForgetEverythingOver) {
  for (const char* const bad :
       {"", "{", "[]", "{}x", R"({"items": []})", R"({"items": {"a": 1}})", R"({"items": {"a": {}}})",
        R"({"items": {"a": {"user_id":"u","agent_id":"a","text":"t"}}})",
        R"({"items": {"a": {"user_id":"u","vector":[],"text":"t"}}})", R"({"items": {"a": {"user_id":"u",}}})",
        R"({"items": {"a": {"user_id":"u","agent_id":"a","vector":[1,],"text":"t"}}})"}) {
    Write(bad);
    EXPECT_THAT(VectorsJson::Open(Path()), HasError(absl::StatusCode::kDataLoss, HasSubstr(Path()))) << bad;
  }
  Write(R"({"items": {"abc": {"user_id":"u","vector":[],"text":"t"}}})");
  EXPECT_THAT(VectorsJson::Open(Path()),
              HasError(absl::StatusCode::kDataLoss, AllOf(HasSubstr("byte "), HasSubstr("abc has no `agent_id`"))));
}

TEST_F(MemuFileTest, AsciiJsonAsPython) {
  std::string out;
  AppendAsciiJsonString("a\"\\/\b\f\n\r\t\x01\x7F\xC3\xA9\xE4\xBC\x9A\xF0\x9F\x98\x80" + std::string(1, '\0'), &out);
  EXPECT_EQ(out, R"("a\"\\/\b\f\n\r\t\u0001\u007f\u00e9\u4f1a\ud83d\ude00\u0000")");
}

TEST_F(MemuFileTest, SinkKeepsEveryOtherByteAndSeesTheServiceWrite) {
  SqliteFile db;
  db.Run(
      "CREATE TABLE memory_items (id TEXT PRIMARY KEY, user_id TEXT, agent_id TEXT, summary TEXT); INSERT INTO "
      "memory_items VALUES ('a', 'u', 'g', 'one'), ('b', 'u', 'g', 'two')");
  // Not as MemU prints it: what is not ours stays as it stands.
  const std::string odd = R"({ "user_id":"x" , "agent_id":"y", "vector":[0.10], "text":null, "more":1 })";
  Write(absl::StrCat(R"({"zz": {"k": )", odd, R"(}, "items": {"gone": )", odd, R"(, "a": )", kOneEntry, "}}"));
  const Location at = At("items", db);
  const Model model{.name = "m", .dim = 2};
  VectorRows rows(2);
  rows.Add(0, "a");
  rows.Add(1, "b");
  const Batch* const batch = rows.batch();
  std::vector<RefusedRow> refused;

  auto clobbered = MakeMemuSink(at, model, at);
  ASSERT_THAT(clobbered, IsOk());
  ASSERT_THAT((*clobbered)->Open({.model = model}, {}), IsOk());
  ASSERT_THAT((*clobbered)->Write({&batch, 1}, &refused), IsOk());
  const std::string meanwhile = Read() + "\n";
  Write(meanwhile);
  EXPECT_THAT((*clobbered)->Complete(), HasError(absl::StatusCode::kAborted, HasSubstr("stop MemU")));
  EXPECT_EQ(Read(), meanwhile);

  auto sink = MakeMemuSink(at, model, at);
  ASSERT_THAT(sink, IsOk());
  ASSERT_THAT((*sink)->Open({.model = model}, {}), IsOk());
  auto second = MakeMemuSink(at, model, at);
  ASSERT_THAT(second, IsOk());
  EXPECT_THAT((*second)->Open({.model = model}, {}), HasError(absl::StatusCode::kAborted, HasSubstr("in use")));
  ASSERT_THAT((*sink)->Write({&batch, 1}, &refused), IsOk());
  ASSERT_THAT((*sink)->Complete(), IsOk());
  EXPECT_THAT(refused, ::testing::IsEmpty());
  const std::string now = Read();
  EXPECT_EQ(now.find(absl::StrCat("{\n  \"zz\": {\n    \"k\": ", odd, "\n  },\n  \"items\": {\n    \"gone\": ", odd,
                                  ",\n    \"a\": {\n      \"user_id\": \"u\",\n      \"agent_id\": \"g\",\n      "
                                  "\"vector\": [\n        ")),
            0u)
      << now;
  EXPECT_THAT(now, HasSubstr("\"text\": \"two\"\n    }\n  }\n}"));
  auto reader = OpenMemuReader(at, 2);
  ASSERT_THAT(reader, IsOk());
  for (const char* const id : {"b", "a"}) {
    const auto found = (*reader)->Find(absl::string_view(id));
    ASSERT_THAT(found, IsOk());
    ASSERT_TRUE(found->has_value());
    const int row = id[0] - 'a';
    EXPECT_EQ(std::vector<float>((*found)->vector.begin(), (*found)->vector.end()),
              std::vector<float>(batch->rows()[row].vector, batch->rows()[row].vector + 2));
  }
  EXPECT_THAT((*reader)->Find(absl::string_view("gone")), HasError(absl::StatusCode::kDataLoss, HasSubstr("gone")));
}

// As tests/io/store/sink_width_test.cc has it of stores.
TEST_F(MemuFileTest, AnotherWidthAndARowThatIsGoneAreRefusedInTheWordsOfAllTargets) {
  SqliteFile db;
  db.Run(
      "CREATE TABLE memory_items (id TEXT PRIMARY KEY, user_id TEXT, agent_id TEXT, summary TEXT); INSERT INTO "
      "memory_items VALUES ('a', 'u', 'g', 'one')");
  Write("{}");
  const Model model{.name = "m", .dim = 4};
  const Location at = At("items", db);
  const auto sink = MakeMemuSink(at, model, at);
  ASSERT_THAT(sink, IsOk());
  const auto refused = HasError(
      absl::StatusCode::kFailedPrecondition,
      ::testing::Eq(absl::StrCat(Path(), ": collection `items`: expected vectors of 4 numbers, got such of 3")));
  EXPECT_THAT((*sink)->Open({.model = {.name = "m", .dim = 3}}, {}), refused);
  ASSERT_THAT((*sink)->Open({.model = model}, {}), IsOk());
  VectorRows right(4), wrong(3);
  right.Add(0, "a");
  right.Add(1, "b");
  wrong.Add(2, "c");
  std::vector<RefusedRow> rows;
  const std::vector<const Batch*> batches = {right.batch(), wrong.batch()};
  EXPECT_THAT((*sink)->Write(batches, &rows), refused);
  EXPECT_THAT((*sink)->Write({&batches[0], 1}, &rows), IsOk());
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].reason,
            absl::NotFoundError(absl::StrCat(Path(), ": collection `items`: row b: is gone from ", db.path())));
}

TEST_F(MemuFileTest, CaptionsComeFromTheFile) {
  SqliteFile db;
  db.Run(
      "CREATE TABLE memory_items (id TEXT PRIMARY KEY, user_id TEXT, agent_id TEXT, url TEXT, caption TEXT); INSERT "
      "INTO "
      "memory_items VALUES ('a', 'u', 'g', 'http://x', NULL), ('b', 'u', 'g', 'http://y', NULL), ('c', 'u', 'g', 'z', "
      "' own ')");
  Write(R"({"resources": {"a": {"user_id":"u","agent_id":"g","vector":[],"text":"\u3000a caption "},)"
        R"("b": {"user_id":"u","agent_id":"g","vector":[],"text":"http://y"}}})");
  auto source = OpenMemuSource(At("resources", db, "&template={caption|trim}"), {.dim = 2});
  ASSERT_THAT(source, IsOk());
  std::string seen;
  while (true) {
    const auto row = (*source)->Next();
    ASSERT_THAT(row, IsOk());
    if (!row->has_value()) break;
    absl::StrAppend(&seen, KeyText((*row)->key), "=", (*row)->text.value_or("NULL"), ";");
  }
  EXPECT_EQ(seen, "a=a caption;c=own;");
}

}  // namespace
}  // namespace reembed
