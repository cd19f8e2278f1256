#include "io/file/jsonl_source.h"

#include <fcntl.h>
#include <unistd.h>

#include <random>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "engine/json_text.h"
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

TEST_F(JsonlSourceTest, RowWithoutTextHasNone) {
  const auto source = Open(R"({"id":1}
{"id":2,"text":null}
{"id":3,"text":7}
{"id":4,"text":["x"]}
)");
  EXPECT_EQ(AllRows(source.get()), "1=null|2=null|3=null|4=null|end");
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

TEST_F(JsonlSourceTest, NamedKeyMustBeInTheFirstLine) {
  EXPECT_THAT(TryOpen("{\"text\":\"a\"}\n", {{"key", "uid"}}),
              HasError(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("line 1"), HasSubstr("`uid`"))));
  EXPECT_THAT(TryOpen("{}\n", {{"ky", "uid"}}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("did you mean `key`")));
}

TEST_F(JsonlSourceTest, EmptyFileHasNoRows) {
  EXPECT_EQ(AllRows(Open("").get()), "end");
  EXPECT_EQ(AllRows(Open("\n \n").get()), "end");
}

TEST_F(JsonlSourceTest, MalformedLineIsNamedByNumberAndByte) {
  for (const std::string bad :
       {"{\"id\":2,\"text\":\"b\"", "{\"id\":2,\"text\":\"b\"} x", "[2]", "{\"id\":2,\"text\":\"b\"x}", "{\"id\" 2}",
        "{\"id\":2,\"text\":\"\\q\"}", "{\"id\":2,\"text\":\"\\u12g4\"}", "{\"id\":2.5,\"text\":\"b\"}",
        "{\"id\":9223372036854775808}", "{\"id\":null}", "{\"text\":\"b\"}", "{\"id\":{}}", "{\"id\":\"\\ud800\"}",
        "{\"id\":2,\"text\":\"tab\there\"}", "2", "null", "{\"id\":2}{\"id\":3}", "{\"id\":\"\xFF\"}"}) {
    SCOPED_TRACE(bad);
    const auto source = Open(absl::StrCat("{\"id\":1,\"text\":\"a\"}\n", bad, "\n{\"id\":3}\n"));
    EXPECT_EQ(RowText(source->Next()), "1=a");
    EXPECT_THAT(source->Next(),
                HasError(absl::StatusCode::kDataLoss, AllOf(HasSubstr(path_), HasSubstr("line 2 at byte 20"))));
  }
}

TEST_F(JsonlSourceTest, TornLastLineIsAnError) {
  const auto source = Open("{\"id\":1,\"text\":\"a\"}\n{\"id\":2,\"te");
  EXPECT_EQ(RowText(source->Next()), "1=a");
  EXPECT_THAT(source->Next(), HasError(absl::StatusCode::kDataLoss, HasSubstr("line 2")));
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

TEST_F(JsonlSourceTest, LongLinesFitAndTooLongOnesAreRefused) {
  const std::string large(10 << 20, 'x');
  const auto source = Open(absl::StrCat("{\"id\":1,\"text\":\"", large, "\"}\n{\"id\":2,\"text\":\"b\"}\n"));
  EXPECT_EQ(RowText(source->Next()).size(), large.size() + 2);
  EXPECT_EQ(RowText(source->Next()), "2=b");
  EXPECT_THAT(TryOpen(std::string(kMaxLineBytes + 1, ' ')),
              HasError(absl::StatusCode::kDataLoss, HasSubstr("line 1 at byte 0: expected at most")));
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
      if (!row.ok()) ++errors;
      if (!row.ok() || !row->has_value()) break;
      ++rows;
    }
  }
  EXPECT_GT(rows, 1000);
  EXPECT_GT(errors, 1000);
}

}  // namespace
}  // namespace reembed
