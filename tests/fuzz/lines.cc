// SPDX-License-Identifier: Apache-2.0
// The line reader: a pipe that gives its bytes in pieces, and a file, against a split of the whole. Its buffer begins
// with few bytes as often as with many, so that lines go over its end.
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "io/file/file.h"
#include "io/file/line_reader.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/other_process.h"

namespace reembed::fuzz {
namespace {

constexpr size_t kMostBytes = 1024;  // of a text
constexpr size_t kMostPieces = 12;   // that a pipe has room for

void Check(const File& file, absl::string_view text, size_t room) {
  LineReader reader(&file, nullptr, LongLines::kRefuse, room);
  std::vector<absl::string_view> expected = absl::StrSplit(text, '\n');
  if (expected.back().empty()) expected.pop_back();
  int64_t offset = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const absl::StatusOr<std::optional<Line>> line = reader.Next();
    Require(line.ok() && line->has_value(), "every line comes");
    Require((*line)->text == expected[i] && (*line)->offset == offset && (*line)->number == static_cast<int64_t>(i) + 1,
            "a line is the next one");
    Require(std::memchr((*line)->text.data() + (*line)->text.size(), 1, kLinePadding) == nullptr, "is readable");
    offset += static_cast<int64_t>(expected[i].size()) + 1;
  }
  const absl::StatusOr<std::optional<Line>> end = reader.Next();
  Require(end.ok() && !end->has_value(), "then there is no more");
}

}  // namespace
}  // namespace reembed::fuzz

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  reembed::fuzz::AddOption("-max_len=1024", argc, argv);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  std::string text(reinterpret_cast<const char*>(data), std::min(size, kMostBytes));
  for (char& c : text) c = c == 1 ? '\n' : c;
  Saw(text.find('\n') == std::string::npos ? "one line" : "lines");
  int ends[2];
  const bool is_small = text.size() % 2 == 0;
  // A few bytes for a short text; of a long one a 32nd, or it would be system calls that are tried.
  const size_t room = is_small ? 1 + text.size() / 2 % 61 + text.size() / 32 : 2 * kMostBytes;
  // A pipe of packets: each read gives one piece, as it was written. What a small buffer has no room for would be lost.
  Require(pipe2(ends, (is_small ? 0 : O_DIRECT) | O_CLOEXEC | O_NONBLOCK) == 0, "a pipe can be made");
  Pieces pieces(text);
  size_t written = 0, count = 0;
  for (absl::string_view piece; !(piece = pieces.Next()).empty();) {
    if (++count == kMostPieces) piece = absl::string_view(text).substr(written);
    Require(write(ends[1], piece.data(), piece.size()) == static_cast<ssize_t>(piece.size()), "a pipe takes a piece");
    written += piece.size();
    if (count == kMostPieces) break;
  }
  close(ends[1]);
  Check(File(ends[0], "a pipe"), text, room);
  static Scratch scratch;
  absl::StatusOr<File> file = File::OpenToRead(scratch.Write("lines", text));
  Require(file.ok(), "a file can be opened");
  Check(*file, text, room);
  return 0;
}
