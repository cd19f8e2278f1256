// SPDX-License-Identifier: Apache-2.0
// JSON in gzip files, walked over without holding the whole.

#include "io/file/gzip.h"

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr size_t kChunkBytes = size_t{1} << 20;  // that the reader takes at a time

class GzipTest : public ::testing::Test {
 protected:
  void Write(const std::string& text) {
    std::filesystem::remove(path_);
    absl::StatusOr<GzipWriter> file = GzipWriter::Create(path_);
    ASSERT_THAT(file, IsOk());
    ASSERT_THAT(file->Append(text), IsOk());
    ASSERT_THAT(file->Close(), IsOk());
  }

  // "name=token" of each member, "name[]=token" of each element.
  absl::Status Read(std::vector<std::string>* seen) {
    return ReadGzipJson(path_, [&](absl::string_view name, absl::string_view token, bool element) {
      seen->push_back(absl::StrCat(name, element ? "[]=" : "=", token));
      return absl::OkStatus();
    });
  }

  TempFolder folder_;
  const std::string path_ = folder_ / "file.json.gz";
};

TEST_F(GzipTest, ShowsMembersAndElementsAsTheyStand) {
  Write(
      " {\"a\" : [1, -2.50,\n\"x\\\"]\" ,{\"b\":[[],{}]}, NaN ] ,\"empty\":[],\"o\":{\"k\": [1,2]},\"\\u00e4\":null,"
      "\"n\":1e5} \n");
  std::vector<std::string> seen;
  ASSERT_THAT(Read(&seen), IsOk());
  EXPECT_THAT(seen, ElementsAre("a[]=1", "a[]=-2.50", "a[]=\"x\\\"]\"", "a[]={\"b\":[[],{}]}", "a[]=NaN",
                                "o={\"k\": [1,2]}", "ä=null", "n=1e5"));
}

// Whatever stands where one piece of the text ends and the next begins.
TEST_F(GzipTest, NothingDependsOnWhereThePiecesEnd) {
  const std::vector<std::string> elements = {"12345.678e-9", "\"\\\\\\\"\\u20ac ä\"", "{\"a\":[1,{\"b\":null}]}",
                                             "true"};
  std::string rest;
  for (const std::string& element : elements) absl::StrAppend(&rest, element, ",");
  for (size_t back = 1; back <= rest.size() + 8; ++back) {
    const size_t padding = kChunkBytes - back;
    std::string text = "{\"p\":\"";
    text.append(padding - text.size() - 8, 'x');
    absl::StrAppend(&text, "\", \"e\":[", rest, "7]}");
    Write(text);
    std::vector<std::string> seen;
    ASSERT_THAT(Read(&seen), IsOk()) << back;
    ASSERT_EQ(seen.size(), elements.size() + 2) << back;
    for (size_t i = 0; i < elements.size(); ++i) ASSERT_EQ(seen[i + 1], "e[]=" + elements[i]) << back;
    ASSERT_EQ(seen.back(), "e[]=7") << back;
  }
}

TEST_F(GzipTest, WhatIsNotWholeIsDamaged) {
  const std::string text = "{\"a\":[1,2,{\"b\":3}],\"c\":\"d\"}";
  for (size_t size = 0; size < text.size(); ++size) {
    Write(text.substr(0, size));
    std::vector<std::string> seen;
    EXPECT_THAT(Read(&seen), HasError(absl::StatusCode::kDataLoss, AllOf(HasSubstr(path_), HasSubstr("is it whole?"))))
        << size;
  }
  for (const char* const wrong :
       {"[1]", "{\"a\":[1 2]}", "{\"a\":1,}", "{\"a\":[1,]}", "{\"a\":tru}", "{} x", "{a:1}"}) {
    Write(wrong);
    std::vector<std::string> seen;
    EXPECT_THAT(Read(&seen), HasError(absl::StatusCode::kDataLoss, HasSubstr("got something else"))) << wrong;
  }
  // The compressed bytes: cut short, or another bit.
  const uint64_t seed = std::random_device{}();
  std::mt19937_64 random(seed);
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::string numbers = "{\"a\":[0";
  for (int i = 0; i < 20000; ++i) absl::StrAppend(&numbers, ",", random() % 100000);
  Write(numbers + "]}");
  std::ifstream in(path_, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  for (int i = 0; i < 60; ++i) {
    std::string broken = bytes;
    if (i % 2 == 0) {
      broken.resize(random() % bytes.size());
    } else {
      // Behind the ten bytes of the head, some of which nobody looks at.
      broken[10 + random() % (bytes.size() - 10)] ^= static_cast<char>(1 << random() % 8);
    }
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << broken;
    std::vector<std::string> seen;
    EXPECT_THAT(Read(&seen), HasError(absl::StatusCode::kDataLoss, HasSubstr(path_))) << i;
  }
}

TEST_F(GzipTest, TheFirstFailureOfTheReaderEndsTheWalk) {
  Write("{\"a\":[1,2,3],\"b\":4}");
  int calls = 0;
  const absl::Status stopped = ReadGzipJson(path_, [&](absl::string_view, absl::string_view, bool) {
    return ++calls == 2 ? absl::CancelledError("enough") : absl::OkStatus();
  });
  EXPECT_THAT(stopped, HasError(absl::StatusCode::kCancelled, HasSubstr("enough")));
  EXPECT_EQ(calls, 2);
  std::filesystem::remove(path_);
  std::vector<std::string> seen;
  EXPECT_THAT(Read(&seen), HasError(absl::StatusCode::kNotFound, HasSubstr(path_)));
  Write("{}");
  EXPECT_FALSE(GzipWriter::Create(path_).ok()) << "it is there";
}

}  // namespace
}  // namespace reembed
