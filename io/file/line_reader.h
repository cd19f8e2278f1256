// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_LINE_READER_H_
#define REEMBED_IO_FILE_LINE_READER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "io/file/file.h"
#include "io/file/unpacker.h"

namespace reembed {

// A line is at most so long.
inline constexpr size_t kMaxLineBytes = size_t{64} << 20;
// Readable bytes behind every line, as simdjson wants them.
inline constexpr size_t kLinePadding = 64;
// What a reader reads at once, until a line is longer.
inline constexpr size_t kLineRoom = size_t{256} << 10;

// One line without its newline; the text lives until the reader's next call.
struct Line {
  absl::string_view text;
  int64_t number = 0;     // from 1
  int64_t offset = 0;     // of its first byte in the file
  bool too_long = false;  // longer than kMaxLineBytes: `text` is empty, and the line is behind
};

// What becomes of a line that is longer than kMaxLineBytes: an error, or a Line that says so.
enum class LongLines { kRefuse, kPassOver };

// The lines of a file, a pipe or a terminal, through one buffer that grows with the longest line. A last line without a
// newline is a line. Several readers may share a regular file.
class LineReader {
 public:
  // `file` and `unpacker` are borrowed. With one, the lines and their offsets are those of its text. The buffer begins
  // with `room` bytes (at least one), or with fewer where the whole file has fewer.
  explicit LineReader(const File* file, Unpacker* unpacker = nullptr, LongLines long_lines = LongLines::kRefuse,
                      size_t room = kLineRoom);

  // The next line; nullopt at the end. Errors: kDataLoss (a line longer than kMaxLineBytes, unless it is passed over).
  absl::StatusOr<std::optional<Line>> Next();

  // The next Next() gives the line that begins at `offset` and calls it `number`. Regular files only.
  void SeekTo(int64_t offset, int64_t number);

  // Where the next line begins.
  int64_t offset() const { return offset_; }
  int64_t number() const { return number_; }

 private:
  absl::StatusOr<size_t> Read(int64_t offset, char* to, size_t bytes) const;
  absl::Status Refill();

  const File* const file_;
  Unpacker* const unpacker_;
  const LongLines long_lines_;
  const bool regular_;
  size_t capacity_;
  std::unique_ptr<char[]> buffer_;  // capacity_ + kLinePadding bytes
  size_t begin_ = 0;                // the next line
  size_t end_ = 0;                  // of what was read
  bool at_end_ = false;             // nothing lies behind end_
  int64_t offset_ = 0;              // of begin_ in the file
  int64_t number_ = 1;
};

// Where the first `lines` lines of `file` end; nullopt if it has fewer. A last line without a newline does not count.
absl::StatusOr<std::optional<int64_t>> OffsetBehindLines(const File& file, int64_t lines);

// Lines that end in a newline.
absl::StatusOr<int64_t> CountLines(const File& file);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_LINE_READER_H_
