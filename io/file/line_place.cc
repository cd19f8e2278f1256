// SPDX-License-Identifier: Apache-2.0
#include "io/file/line_place.h"

#include <algorithm>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/ledger.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

absl::StatusOr<LinePlace> BeginOfLineAt(const File& file, int64_t offset) {
  std::vector<char> block(size_t{64} << 10);
  while (offset > 0) {
    const auto bytes = std::min<int64_t>(offset, static_cast<int64_t>(block.size()));
    ABSL_ASSIGN_OR_RETURN(const size_t read,
                          file.ReadAt(offset - bytes, absl::MakeSpan(block.data(), static_cast<size_t>(bytes))));
    const size_t newline = absl::string_view(block.data(), read).rfind('\n');
    if (newline != absl::string_view::npos) {
      return LinePlace{.offset = offset - bytes + static_cast<int64_t>(newline) + 1};
    }
    offset -= bytes;
  }
  return LinePlace{};
}

absl::StatusOr<LinePlace> OffsetBehindNewline(const File& file, int64_t offset) {
  std::vector<char> block(size_t{64} << 10);
  int64_t begin = offset;
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const size_t read, file.ReadAt(offset, absl::MakeSpan(block.data(), block.size())));
    const absl::string_view bytes(block.data(), read);
    if (const size_t newline = bytes.find('\n'); newline != absl::string_view::npos) {
      return LinePlace{.offset = offset + static_cast<int64_t>(newline) + 1};
    }
    offset += static_cast<int64_t>(read);
    // A last line that may still grow is not cut off from what will be behind it.
    if (read == 0) return BeginOfLineAt(file, begin);
  }
}

}  // namespace

Key LinePlace::AsKey() const { return absl::StrCat(offset, ":", number, ":", absl::Hex(print)); }

std::optional<LinePlace> LinePlace::Of(const Key& key) {
  const auto* const text = std::get_if<std::string>(&key);
  if (text == nullptr) return std::nullopt;
  const std::vector<absl::string_view> parts = absl::StrSplit(*text, ':');
  LinePlace place;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &place.offset) || !absl::SimpleAtoi(parts[1], &place.number) ||
      !absl::SimpleHexAtoi(parts[2], &place.print) || place.offset < 0) {
    return std::nullopt;
  }
  return place;
}

absl::StatusOr<uint64_t> PrintOfLine(const File& file, int64_t offset) {
  char bytes[256];
  ABSL_ASSIGN_OR_RETURN(const size_t read, file.ReadAt(offset, absl::MakeSpan(bytes)));
  absl::string_view line(bytes, read);
  const size_t end = line.find('\n');
  if (end == absl::string_view::npos && read < sizeof(bytes)) return uint64_t{0};
  return HashText(line.substr(0, end)).lo;
}

absl::Status CheckPlace(const File& file, const LinePlace& place) {
  char before = '\n';
  if (place.offset > 0) {
    ABSL_ASSIGN_OR_RETURN(const size_t read, file.ReadAt(place.offset - 1, absl::MakeSpan(&before, 1)));
    if (read == 0) before = 0;
  }
  ABSL_ASSIGN_OR_RETURN(const uint64_t print, PrintOfLine(file, place.offset));
  if (before == '\n' && (place.print == 0 || print == place.print)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(file.path(), ": at byte ", place.offset,
                   ", where one share ends and the next begins, the line is another than when the shares were planned; "
                   "lines may be appended, but not changed: plan the shards again, in another folder"));
}

absl::StatusOr<int64_t> CountLinesBefore(const File& file, int64_t offset, int64_t end) {
  std::vector<char> block(size_t{1} << 20);
  int64_t lines = 0;
  while (offset < end) {
    const auto most = static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(block.size()), end - offset));
    ABSL_ASSIGN_OR_RETURN(const size_t read, file.ReadAt(offset, absl::MakeSpan(block.data(), most)));
    if (read == 0) break;
    lines += std::count(block.data(), block.data() + read, '\n');
    offset += static_cast<int64_t>(read);
  }
  return lines;
}

absl::StatusOr<LinePlace> LineAtOrBehind(const File& file, const LinePlace& after, int64_t wanted) {
  if (wanted <= after.offset) return after;
  ABSL_ASSIGN_OR_RETURN(LinePlace place, OffsetBehindNewline(file, wanted - 1));
  if (after.number > 0) {
    ABSL_ASSIGN_OR_RETURN(const int64_t lines, CountLinesBefore(file, after.offset, place.offset));
    place.number = after.number + lines;
  }
  return place;
}

}  // namespace reembed
