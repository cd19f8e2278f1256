// SPDX-License-Identifier: Apache-2.0
#include "io/file/line_reader.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/file/file.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

// Lines of 0 to 200 bytes, each of its own letter; the last one without a newline.
std::vector<std::string> Lines() {
  std::vector<std::string> lines;
  for (size_t i = 0; i < 60; ++i) lines.emplace_back((i * 37) % 201, static_cast<char>('a' + i % 26));
  lines.emplace_back("the last");
  return lines;
}

class LineReaderTest : public testing::Test {
 protected:
  LineReaderTest() {
    std::ofstream out(folder_ / "lines");
    for (const std::string& line : lines_) out << line << (line == lines_.back() ? "" : "\n");
  }

  const std::vector<std::string> lines_ = Lines();
  TempFolder folder_;
};

TEST_F(LineReaderTest, EveryLineComesHoweverSmallTheBufferBegins) {
  const absl::StatusOr<File> file = File::OpenToRead(folder_ / "lines");
  ASSERT_THAT(file, IsOk());
  for (const size_t room : {1, 2, 7, 63, 64, 65, 200, 201, 1000, 100'000}) {
    SCOPED_TRACE(room);
    LineReader reader(&*file, nullptr, LongLines::kRefuse, room);
    int64_t offset = 0;
    for (size_t i = 0; i < lines_.size(); ++i) {
      const absl::StatusOr<std::optional<Line>> line = reader.Next();
      ASSERT_THAT(line, IsOk());
      ASSERT_TRUE(line->has_value());
      EXPECT_EQ((*line)->text, lines_[i]);
      EXPECT_EQ((*line)->offset, offset);
      EXPECT_EQ((*line)->number, static_cast<int64_t>(i) + 1);
      offset += static_cast<int64_t>(lines_[i].size()) + 1;
    }
    const absl::StatusOr<std::optional<Line>> end = reader.Next();
    ASSERT_THAT(end, IsOk());
    EXPECT_FALSE(end->has_value());
  }
}

TEST_F(LineReaderTest, LinesOfASmallFileThatGrowsAreReadToo) {
  const absl::StatusOr<File> file = File::OpenToRead(folder_ / "lines");
  ASSERT_THAT(file, IsOk());
  LineReader reader(&*file);
  for (size_t i = 0; i + 1 < lines_.size(); ++i) ASSERT_THAT(reader.Next(), IsOk());
  const std::string more(5000, 'z');
  std::ofstream(folder_ / "lines", std::ios::app) << "\n" << more << "\n" << more << "\n";
  std::vector<std::string> rest;
  for (;;) {
    const absl::StatusOr<std::optional<Line>> line = reader.Next();
    ASSERT_THAT(line, IsOk());
    if (!line->has_value()) break;
    rest.emplace_back((*line)->text);
  }
  EXPECT_THAT(rest, testing::ElementsAre("the last", more, more));
  const absl::StatusOr<int64_t> count = CountLines(*file);
  ASSERT_THAT(count, IsOk());
  EXPECT_EQ(*count, static_cast<int64_t>(lines_.size()) + 2);
}

}  // namespace
}  // namespace reembed
