// SPDX-License-Identifier: Apache-2.0
#include "io/file/jsonl_source.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/number/json_text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/file/line_reader.h"
#include "tests/fakes/file_batches.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class JsonlSourceTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Source>> TryOpen(absl::string_view bytes,
                                                  std::map<std::string, std::string> parameters = {}) {
    WriteFileBytes(path_, bytes);
    return OpenJsonlSource({.scheme = "jsonl", .path = path_, .parameters = std::move(parameters)});
  }

  std::unique_ptr<Source> Open(absl::string_view bytes, std::map<std::string, std::string> parameters = {}) {
    auto source = TryOpen(bytes, std::move(parameters));
    EXPECT_THAT(source, IsOk());
    return std::move(*source);
  }

  static std::string RowText(const absl::StatusOr<std::optional<RowView>>& row) {
    if (!row.ok()) return row.status().ToString();
    if (!row->has_value()) return "end";
    if (!(*row)->problem.empty()) return absl::StrCat(KeyJson((*row)->key), ": ", (*row)->problem);
    return absl::StrCat(KeyJson((*row)->key), "=", (*row)->text.value_or("null"));
  }

  // Every row, joined.
  static std::string AllRows(Source* source) {
    std::string all;
    while (true) {
      const auto row = source->Next();
      if (!row.ok() || !row->has_value()) return absl::StrCat(all, RowText(row));
      absl::StrAppend(&all, RowText(row), "|");
    }
  }

  FileTestFolder folder_;
  const std::string path_ = folder_ / "in.jsonl";
};

TEST_F(JsonlSourceTest, ReadsKeysAndTextsInFileOrder) {
  const auto source = Open(R"({"id":3,"text":"three"}
{"text":"a\n\"\u00e9\ud83d\ude00","extra":{"text":"no","n":[1,{"id":2}]},"id":"k-1"}

{"id":-9223372036854775808,"text":""})");
  EXPECT_EQ(AllRows(source.get()), "3=three|\"k-1\"=a\n\"\xC3\xA9\xF0\x9F\x98\x80|-9223372036854775808=|end");
  const auto rows = source->CountRows();
  ASSERT_THAT(rows, IsOk());
  EXPECT_EQ(*rows, 3);
}

TEST_F(JsonlSourceTest, RowWithoutTextSaysWhatItHas) {
  const auto source = Open(R"({"id":1}
{"id":2,"text":null}
{"id":3,"text":7}
{"id":4,"text":["x"]}
{"id":5,"text":{"x":"y"}}
{"id":6,"text":true}
{"id":7,"text":"x"}
)");
  EXPECT_EQ(AllRows(source.get()),
            "1: the row has no member `text`|2=null|3: expected `text` to be a string, got a number|"
            "4: expected `text` to be a string, got a list|5: expected `text` to be a string, got an object|"
            "6: expected `text` to be a string, got a truth value|7=x|end");
}

TEST_F(JsonlSourceTest, MembersBelowOthersAreNamedByPaths) {
  const auto source = Open(
      R"({"n":{"a":{"n":1}},"meta":{"id":1,"body":"one","more":{"body":"deep"}}}
{"meta":{"body":"two","id":2}}
{"meta.body":"by that name","meta":{"body":"three","id":3}}
{"meta":{"body":"four","id":4},"meta.body":"by that name, too"}
{"meta":7}
{"meta":{"body":"\u00e9","id":"k"},"body":"no","id":9}
)",
      {{"key", "meta.id"}, {"text", "meta.body"}});
  EXPECT_EQ(AllRows(source.get()),
            "1=one|2=two|3=by that name|4=by that name, too|"
            "\"line 5\": line 5 at byte 227: expected `meta.id` to be a 64-bit integer or a string, got none|"
            "\"k\"=\xC3\xA9|end");
  EXPECT_EQ(AllRows(Open(R"({"id":1,"meta":{"more":{"body":"deep"}}})", {{"text", "meta.more.body"}}).get()),
            "1=deep|end");
}

TEST_F(JsonlSourceTest, AMemberThatNoLineHasIsRefusedWithTheNearestName) {
  const std::string lines = "{\"id\":1,\"body\":\"a\",\"meta\":{\"note\":\"x\"}}\n{\"id\":2}\n";
  EXPECT_THAT(TryOpen(lines, {{"text", "bdy"}}),
              HasError(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("no line has a member `bdy` for text="), HasSubstr("did you mean `body`?"))));
  EXPECT_THAT(TryOpen(lines, {{"text", "meta.not"}}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("did you mean `meta.note`?")));
  EXPECT_THAT(TryOpen(lines, {{"text", "conversation"}}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("there are: id, body, meta, meta.note")));
  EXPECT_THAT(TryOpen(lines, {{"text", "body"}, {"key", "idd"}}),
              HasError(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("`idd` for key="), HasSubstr("did you mean `id`?"))));
  // One line that has it is enough.
  EXPECT_EQ(AllRows(Open(lines + "{\"id\":3,\"text\":\"c\"}\n").get()),
            "1: the row has no member `text`|2: the row has no member `text`|3=c|end");
}

TEST_F(JsonlSourceTest, MembersCanBeNamed) {
  const auto source =
      Open("{\"uid\":\"a\",\"body\":\"b\",\"id\":1,\"text\":\"t\"}\n", {{"key", "uid"}, {"text", "body"}});
  EXPECT_EQ(AllRows(source.get()), "\"a\"=b|end");
}

TEST_F(JsonlSourceTest, LineNumbersAreKeysWhenTheFirstLineHasNoId) {
  const auto source = Open("\xEF\xBB\xBF{\"text\":\"a\"}\r\n\r\n{\"text\":\"b\"}\r\n");
  EXPECT_EQ(AllRows(source.get()), "1=a|3=b|end");
}

TEST_F(JsonlSourceTest, AMarkAloneInTheFirstLineIsNoRow) {
  for (const std::string rest : {"", "\n", "\r\n{\"id\":1,\"text\":\"a\"}\n"}) {
    const auto source = Open("\xEF\xBB\xBF" + rest);
    EXPECT_EQ(AllRows(source.get()), rest.size() > 2 ? "1=a|end" : "end");
    EXPECT_EQ(*source->CountRows(), rest.size() > 2 ? 1 : 0);
  }
}

TEST_F(JsonlSourceTest, NamedKeyMustBeInSomeLine) {
  EXPECT_THAT(TryOpen("{\"text\":\"a\"}\n", {{"key", "uid"}}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("`uid`")));
  EXPECT_THAT(TryOpen("{}\n", {{"ky", "uid"}}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("did you mean `key`")));
  EXPECT_EQ(AllRows(Open("{\"text\":\"a\"}\n{\"text\":\"b\",\"uid\":7}\n", {{"key", "uid"}}).get()),
            "\"line 1\": line 1 at byte 0: expected `uid` to be a 64-bit integer or a string, got none|7=b|end");
}

TEST_F(JsonlSourceTest, EmptyFileHasNoRows) {
  EXPECT_EQ(AllRows(Open("").get()), "end");
  EXPECT_EQ(AllRows(Open("\n \n").get()), "end");
}

TEST_F(JsonlSourceTest, MalformedLineIsARowOfItsOwnNamedByNumberAndByte) {
  for (const std::string bad :
       {"{\"id\":2,\"text\":\"b\"", "{\"id\":2,\"text\":\"b\"} x", "[2]", "{\"id\":2,\"text\":\"b\"x}", "{\"id\" 2}",
        "{\"id\":2,\"text\":\"\\q\"}", "{\"id\":2,\"text\":\"\\u12g4\"}", "{\"id\":2.5,\"text\":\"b\"}",
        "{\"id\":9223372036854775808}", "{\"id\":null}", "{\"text\":\"b\"}", "{\"id\":{}}", "{\"id\":\"\\ud800\"}",
        "{\"id\":2,\"text\":\"tab\there\"}", "2", "null", "{\"id\":2}{\"id\":3}", "{\"id\":\"\xFF\"}",
        "{\"id\":1.0,\"text\":\"b\"}"}) {
    SCOPED_TRACE(bad);
    const std::string bytes = absl::StrCat("{\"id\":1,\"text\":\"a\"}\n", bad, "\n{\"id\":3,\"text\":\"c\"}\n");
    const auto source = Open(bytes);
    EXPECT_EQ(RowText(source->Next()), "1=a");
    EXPECT_THAT(RowText(source->Next()), ::testing::StartsWith("\"line 2\": line 2 at byte 20: expected "));
    EXPECT_EQ(RowText(source->Next()), "3=c");
    EXPECT_EQ(*source->CountRows(), 3);
    // It is found again, and gone on behind.
    EXPECT_THAT(RowText(source->Find(KeyView("line 2"))), HasSubstr("line 2 at byte 20"));
    ASSERT_THAT(source->SeekAfter(KeyView("line 2")), IsOk());
    EXPECT_EQ(AllRows(source.get()), "3=c|end");

    const auto strict = OpenJsonlSource({.scheme = "jsonl", .path = path_}, {.strict = true});
    ASSERT_THAT(strict, IsOk());
    EXPECT_EQ(RowText((*strict)->Next()), "1=a");
    EXPECT_THAT((*strict)->Next(),
                HasError(absl::StatusCode::kDataLoss, AllOf(HasSubstr(path_), HasSubstr("line 2 at byte 20"))));
  }
}

TEST_F(JsonlSourceTest, BrokenLinesAreNumberedWhereLineNumbersAreKeys) {
  EXPECT_THAT(AllRows(Open("{\"text\":\"a\"}\n{\"text\n{\"text\":\"c\"}\n").get()),
              AllOf(HasSubstr("1=a|2: line 2 at byte 13: expected a JSON object"), HasSubstr("|3=c|end")));
}

// Mended, the line is a row that nobody knows yet.
TEST_F(JsonlSourceTest, ALineThatWasBrokenIsReadWhenItIsMended) {
  const auto source = Open("{\"id\":1,\"text\":\"a\"}\n{\"id\":2,\"text\":\"b\"}\n{\"id\":3,\"text\":\"c\"}\n");
  ASSERT_THAT(source->SeekAfter(KeyView("line 2")), IsOk());
  EXPECT_EQ(AllRows(source.get()), "2=b|3=c|end");
}

TEST_F(JsonlSourceTest, TornLastLineIsARowOfItsOwn) {
  const auto source = Open("{\"id\":1,\"text\":\"a\"}\n{\"id\":2,\"te");
  EXPECT_EQ(RowText(source->Next()), "1=a");
  EXPECT_THAT(RowText(source->Next()), ::testing::StartsWith("\"line 2\": line 2 at byte 20"));
  EXPECT_EQ(RowText(source->Next()), "end");
}

TEST_F(JsonlSourceTest, ABrokenFirstLineDecidesNothing) {
  EXPECT_THAT(AllRows(Open("{broken\n{\"id\":7,\"text\":\"a\"}\n").get()),
              AllOf(HasSubstr("\"line 1\": line 1 at byte 0"), HasSubstr("|7=a|end")));
  EXPECT_THAT(TryOpen("{\n  \"id\": 1,\n  \"text\": \"a\"\n}\n"),
              HasError(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("line 1 at byte 0"), HasSubstr("jq -c"))));
  EXPECT_THAT(TryOpen("id,text\n1,a\n"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("line 1 at byte 0")));
}

TEST_F(JsonlSourceTest, WhatIsSomethingElseIsNamed) {
  const std::string utf16("\xff\xfe{\0\"\0i\0d\0\"\0:\0001\0}\0\n\0", 20);
  const std::vector<std::pair<std::string, std::string>> others = {
      {"[{\"id\":1,\"text\":\"a\"}]", "JSON array"},
      {"\n  [\n{\"id\":1}]", "JSON array"},
      {utf16, "UTF-16"},
      {utf16.substr(2), "UTF-16"},
      {std::string("\xfe\xff\0{\0\"", 6), "UTF-16"},
      {std::string("\xff\xfe\0\0{\0\0\0", 8), "UTF-32"},
      {"BZh91AY", "bzip2"},
      {std::string("\xfd\x37zXZ\0", 6), "xz"},
      {"PK\x03\x04", "ZIP"},
      {"PAR1\x15\x04", "Parquet"},
      {std::string("SQLite format 3\0", 16), "sqlite:"},
  };
  for (const auto& [bytes, name] : others) {
    EXPECT_THAT(TryOpen(bytes), HasError(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(path_), HasSubstr(name))))
        << name;
  }
}

// Packed by the programs themselves.
class PackedJsonlTest : public JsonlSourceTest {
 protected:
  static std::string Lines(int from, int to) {
    std::string lines;
    for (int i = from; i < to; ++i) absl::StrAppend(&lines, "{\"id\":", i, ",\"text\":\"text number ", i, "\"}\n");
    return lines;
  }

  std::string Pack(const std::string& program, const std::string& text) {
    WriteFileBytes(folder_ / "plain", text);
    const std::string packed = folder_ / "packed";
    EXPECT_EQ(std::system(absl::StrCat(program, " -c ", folder_ / "plain", " > ", packed).c_str()), 0);
    return FileBytes(packed);
  }
};

TEST_F(PackedJsonlTest, IsReadAsItsText) {
  constexpr int kRows = 60000;  // more than one buffer of anybody
  for (const std::string program : {"gzip", "zstd -q"}) {
    SCOPED_TRACE(program);
    // Two behind each other, as logs are rotated.
    const std::string packed =
        absl::StrCat(Pack(program, Lines(0, 1000)), Pack(program, ""), Pack(program, Lines(1000, kRows)));
    const auto source = Open(packed);
    EXPECT_EQ(*source->CountRows(), kRows);
    for (int i = 0; i < kRows; ++i) ASSERT_EQ(RowText(source->Next()), absl::StrCat(i, "=text number ", i));
    EXPECT_EQ(RowText(source->Next()), "end");
    for (const int i : {5, 50000, 49999, 3, kRows - 1, 0}) {
      EXPECT_EQ(RowText(source->Find(KeyView(int64_t{i}))), absl::StrCat(i, "=text number ", i));
      ASSERT_THAT(source->SeekAfter(KeyView(int64_t{i})), IsOk());
      EXPECT_EQ(RowText(source->Next()), i + 1 == kRows ? "end" : absl::StrCat(i + 1, "=text number ", i + 1));
    }
    EXPECT_EQ(RowText(source->Find(KeyView("absent"))), "end");
  }
}

TEST_F(PackedJsonlTest, DamageIsAnErrorBehindTheRowsThatAreSound) {
  for (const std::string program : {"gzip", "zstd -q"}) {
    SCOPED_TRACE(program);
    const std::string packed = Pack(program, Lines(0, 60000));
    for (const std::string& damaged : {packed.substr(0, packed.size() / 2), packed.substr(0, packed.size() - 1),
                                       absl::StrCat(packed.substr(0, packed.size() / 2), "xxxxxxxxxxxxxxxxxxxxxxxx",
                                                    packed.substr(packed.size() / 2 + 24))}) {
      const auto source = TryOpen(damaged);
      absl::Status status = source.status();
      for (int i = 0; status.ok(); ++i) {
        const auto row = (*source)->Next();
        status = row.status();
        if (!row.ok()) break;
        ASSERT_TRUE(row->has_value()) << "row " << i;
        ASSERT_EQ(RowText(row), absl::StrCat(i, "=text number ", i));
      }
      EXPECT_THAT(status, HasError(absl::StatusCode::kDataLoss,
                                   AllOf(HasSubstr(path_), HasSubstr("damaged or cut short behind byte"))));
    }
  }
}

TEST_F(PackedJsonlTest, WhatIsWrongWithItsTextIsNamed) {
  EXPECT_THAT(TryOpen(Pack("gzip", "[{\"id\":1}]")),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("JSON array")));
  EXPECT_EQ(AllRows(Open(Pack("zstd -q", "")).get()), "end");
}

TEST_F(JsonlSourceTest, TextThatIsNotUtf8SpoilsItsRowOnly) {
  const auto source = Open(
      "{\"id\":1,\"text\":\"a\xFF\"}\n{\"id\":2,\"text\":\"x\\ud800y\"}\n"
      "{\"id\":\"\xC3\xA9\",\"other\":\"\xFF\",\"text\":\"\xC3\xA9\"}\n{\"id\":4,\"text\":\"d\"}\n");
  const auto first = source->Next();
  ASSERT_TRUE(first.ok() && first->has_value());
  EXPECT_EQ((*first)->text, "a\xFF");
  const auto second = source->Next();
  ASSERT_TRUE(second.ok() && second->has_value());
  EXPECT_FALSE(IsValidUtf8(*(*second)->text));
  EXPECT_EQ(RowText(source->Next()), "\"\xC3\xA9\"=\xC3\xA9");
  EXPECT_EQ(RowText(source->Next()), "4=d");
}

TEST_F(JsonlSourceTest, SeekAndFindGoForwardAndOnceAround) {
  std::string bytes;
  for (int i = 0; i < 50000; ++i) absl::StrAppend(&bytes, "{\"id\":\"k", i, "\",\"text\":\"text number ", i, "\"}\n");
  const auto source = Open(bytes);
  for (const int i : {5, 40000, 39999, 3, 3, 49999, 0}) {
    const std::string key = absl::StrCat("k", i);
    EXPECT_EQ(RowText(source->Find(KeyView(key))), absl::StrCat("\"", key, "\"=text number ", i));
    ASSERT_THAT(source->SeekAfter(KeyView(key)), IsOk());
    const std::string next = i == 49999 ? "end" : absl::StrCat("\"k", i + 1, "\"=text number ", i + 1);
    EXPECT_EQ(RowText(source->Next()), next);
  }
  EXPECT_EQ(RowText(source->Find(KeyView("absent"))), "end");
  EXPECT_THAT(source->SeekAfter(KeyView("absent")), HasError(absl::StatusCode::kNotFound, HasSubstr("absent")));
}

TEST_F(JsonlSourceTest, LongLinesFitAndTooLongOnesAreRejectedAlone) {
  const std::string large(10 << 20, 'x');
  const auto source = Open(absl::StrCat("{\"id\":1,\"text\":\"", large, "\"}\n{\"id\":2,\"text\":\"b\"}\n"));
  EXPECT_EQ(RowText(source->Next()).size(), large.size() + 2);
  EXPECT_EQ(RowText(source->Next()), "2=b");
  EXPECT_THAT(TryOpen(std::string(kMaxLineBytes + 1, ' ')),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("line 1 at byte 0: the line is longer than")));
  const std::string longest(kMaxLineBytes - std::string("{\"id\":2,\"text\":\"\"}").size(), 'x');
  for (const bool too_long : {false, true}) {
    const auto between = Open(absl::StrCat("{\"id\":1,\"text\":\"a\"}\n{\"id\":2,\"text\":\"", longest,
                                           too_long ? "x" : "", "\"}\n{\"id\":3,\"text\":\"c\"}"));
    EXPECT_EQ(RowText(between->Next()), "1=a");
    const auto row = between->Next();
    ASSERT_TRUE(row.ok() && row->has_value());
    EXPECT_EQ((*row)->text.has_value(), !too_long);
    EXPECT_EQ(KeyText((*row)->key), too_long ? "line 2" : "2");
    EXPECT_EQ(RowText(between->Next()), "3=c");
  }
}

// A pipe under the name that the system gives it.
class JsonlPipeTest : public JsonlSourceTest {
 protected:
  void SetUp() override { ASSERT_EQ(pipe(ends_), 0); }
  void TearDown() override {
    close(ends_[0]);
    if (ends_[1] >= 0) close(ends_[1]);
  }

  std::unique_ptr<Source> OpenPipe(absl::string_view bytes) {
    EXPECT_EQ(write(ends_[1], bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    close(ends_[1]);
    ends_[1] = -1;
    auto source = OpenJsonlSource({.scheme = "jsonl", .path = absl::StrCat("/dev/fd/", ends_[0])});
    EXPECT_THAT(source, IsOk());
    return std::move(*source);
  }

  int ends_[2] = {-1, -1};
};

TEST_F(JsonlPipeTest, IsReadOnceAsItComes) {
  const auto source = OpenPipe("{\"id\":1,\"text\":\"a\"}\n{\"id\":2,\"text\":\"b\"}\n");
  EXPECT_THAT(source->CountRows(), HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("counted")));
  EXPECT_EQ(RowText(source->Next()), "1=a");
  ASSERT_THAT(source->SeekAfter(KeyView(int64_t{1})), IsOk());
  EXPECT_THAT(source->SeekAfter(KeyView(int64_t{2})), HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("2")));
  EXPECT_THAT(source->Find(KeyView(int64_t{1})),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("searched")));
  EXPECT_EQ(AllRows(source.get()), "2=b|end");
}

TEST_F(JsonlPipeTest, ThatNoRowHadTheTextIsSaidAtItsEnd) {
  const auto source = OpenPipe("{\"id\":1,\"txt\":\"a\"}\n{\"id\":2,\"txt\":\"b\"}\n");
  EXPECT_EQ(RowText(source->Next()), "1: the row has no member `text`");
  EXPECT_EQ(RowText(source->Next()), "2: the row has no member `text`");
  EXPECT_THAT(source->Next(), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("did you mean `txt`?")));
}

TEST_F(JsonlPipeTest, PackedLinesAreNamed) {
  EXPECT_EQ(write(ends_[1], "\x1f\x8b\x08\n", 4), 4);
  close(ends_[1]);
  ends_[1] = -1;
  EXPECT_THAT(OpenJsonlSource({.scheme = "jsonl", .path = absl::StrCat("/dev/fd/", ends_[0])}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("gunzip -c")));
}

TEST_F(JsonlSourceTest, SurvivesMutations) {
  const std::string sound =
      "{\"id\":1,\"text\":\"a\\u00e9\\n\",\"n\":[1,2,{\"x\":null}]}\n{\"id\":\"k\",\"text\":\"\xC3\xA9\"}\n";
  int rows = 0;
  int errors = 0;
  for (uint32_t seed = 1; seed <= 20000; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    std::string bytes = sound;
    for (uint32_t i = 0; i <= random() % 4; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    const auto source = TryOpen(bytes);
    if (!source.ok()) {
      ++errors;
      continue;
    }
    for (int i = 0; i < 10; ++i) {
      const auto row = (*source)->Next();
      if (!row.ok() || !row->has_value()) break;
      ++((*row)->problem.empty() ? rows : errors);
    }
  }
  EXPECT_GT(rows, 1000);
  EXPECT_GT(errors, 1000);
}

}  // namespace
}  // namespace reembed
