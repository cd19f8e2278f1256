// SPDX-License-Identifier: Apache-2.0
#include "io/file/line_reader.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

// Room for all of a small file and a byte more, so that a first read finds its end; `most` of a larger one, and of what
// has no size of its own. A file that grows meanwhile is read in more than one piece.
size_t RoomFor(const File& file, size_t most) {
  constexpr int64_t kLeast = 64;
  const int64_t size = file.IsRegular() ? file.Size().value_or(0) : std::numeric_limits<int64_t>::max() - 1;
  return static_cast<size_t>(std::min<int64_t>(std::max(kLeast, size + 1), static_cast<int64_t>(most)));
}

// Counts newlines until `lines` are found or the file ends; *end is the offset behind the last one.
absl::StatusOr<int64_t> ScanLines(const File& file, int64_t lines, int64_t* end) {
  constexpr size_t kBlockBytes = size_t{1} << 20;
  const size_t block_bytes = RoomFor(file, kBlockBytes);
  const auto block = std::unique_ptr<char[]>(new char[block_bytes]);
  int64_t found = 0;
  *end = 0;
  for (int64_t offset = 0; found < lines;) {
    ABSL_ASSIGN_OR_RETURN(const size_t read, file.ReadAt(offset, absl::MakeSpan(block.get(), block_bytes)));
    if (read == 0) break;
    const char* const stop = block.get() + read;
    for (const char* p = block.get(); found < lines; ++p) {
      p = static_cast<const char*>(std::memchr(p, '\n', static_cast<size_t>(stop - p)));
      if (p == nullptr) break;
      ++found;
      *end = offset + (p + 1 - block.get());
    }
    offset += static_cast<int64_t>(read);
  }
  return found;
}

}  // namespace

LineReader::LineReader(const File* file, Unpacker* unpacker, LongLines long_lines, size_t room)
    : file_(file),
      unpacker_(unpacker),
      long_lines_(long_lines),
      regular_(file->IsRegular()),
      capacity_(unpacker == nullptr ? RoomFor(*file, room) : room),
      buffer_(new char[capacity_ + kLinePadding]) {}

void LineReader::SeekTo(int64_t offset, int64_t number) {
  const int64_t buffer_offset = offset_ - static_cast<int64_t>(begin_);
  if (offset >= buffer_offset && offset <= buffer_offset + static_cast<int64_t>(end_)) {
    begin_ = static_cast<size_t>(offset - buffer_offset);
  } else {
    begin_ = end_ = 0;
    at_end_ = false;
  }
  offset_ = offset;
  number_ = number;
}

absl::StatusOr<size_t> LineReader::Read(int64_t offset, char* to, size_t bytes) const {
  if (unpacker_ != nullptr) return unpacker_->ReadAt(offset, absl::MakeSpan(to, bytes));
  if (regular_) return file_->ReadAt(offset, absl::MakeSpan(to, bytes));
  while (true) {
    const ssize_t read_bytes = read(file_->fd(), to, bytes);
    if (read_bytes >= 0) return static_cast<size_t>(read_bytes);
    if (errno != EINTR) return FileError(file_->path(), "read", errno);
  }
}

// Makes room behind what is left of the buffer and reads more.
absl::Status LineReader::Refill() {
  const size_t left = end_ - begin_;
  if (left == capacity_) {
    capacity_ = std::min(capacity_ * 2, kMaxLineBytes + 1);
    auto larger = std::unique_ptr<char[]>(new char[capacity_ + kLinePadding]);
    std::memcpy(larger.get(), buffer_.get() + begin_, left);
    buffer_ = std::move(larger);
  } else if (begin_ > 0) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, left);
  }
  begin_ = 0;
  end_ = left;
  ABSL_ASSIGN_OR_RETURN(const size_t read,
                        Read(offset_ + static_cast<int64_t>(left), buffer_.get() + left, capacity_ - left));
  at_end_ = read == 0;
  end_ += read;
  // What lies behind the text is looked at by the parser, so it must be something.
  std::memset(buffer_.get() + end_, 0, kLinePadding);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Line>> LineReader::Next() {
  size_t searched = 0;  // from begin_ on
  const int64_t first_byte = offset_;
  size_t dropped = 0;  // of the line, as it is too long anyway
  while (true) {
    const char* const text = buffer_.get() + begin_;
    const size_t available = end_ - begin_;
    const void* const newline = std::memchr(text + searched, '\n', available - searched);
    if (newline == nullptr && !at_end_) {
      searched = available;
      if (available > kMaxLineBytes) {
        if (long_lines_ == LongLines::kRefuse) break;
        begin_ = end_;
        offset_ += static_cast<int64_t>(available);
        dropped += available;
        searched = 0;
      }
      ABSL_RETURN_IF_ERROR(Refill());
      continue;
    }
    if (newline == nullptr && available == 0 && dropped == 0) {
      at_end_ = false;  // a file may grow
      return std::nullopt;
    }
    const size_t length =
        newline == nullptr ? available : static_cast<size_t>(static_cast<const char*>(newline) - text);
    const bool too_long = dropped + length > kMaxLineBytes;
    if (too_long && long_lines_ == LongLines::kRefuse) break;
    const Line line = {
        .text = {text, too_long ? 0 : length}, .number = number_, .offset = first_byte, .too_long = too_long};
    const size_t taken = length + (newline == nullptr ? 0 : 1);
    begin_ += taken;
    offset_ += static_cast<int64_t>(taken);
    ++number_;
    return line;
  }
  return absl::DataLossError(absl::StrCat(file_->path(), ": line ", number_, " at byte ", first_byte,
                                          ": expected at most ", kMaxLineBytes, " bytes, got more"));
}

absl::StatusOr<std::optional<int64_t>> OffsetBehindLines(const File& file, int64_t lines) {
  int64_t end = 0;
  ABSL_ASSIGN_OR_RETURN(const int64_t found, ScanLines(file, lines, &end));
  if (found < lines) return std::nullopt;
  return end;
}

absl::StatusOr<int64_t> CountLines(const File& file) {
  int64_t end = 0;
  return ScanLines(file, std::numeric_limits<int64_t>::max(), &end);
}

}  // namespace reembed
