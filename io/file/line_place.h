// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_LINE_PLACE_H_
#define REEMBED_IO_FILE_LINE_PLACE_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/key.h"
#include "io/file/file.h"

// Where shares of a file of lines end and begin.
namespace reembed {

// Where a line begins, as an end of a KeyRange: "BYTE:NUMBER:PRINT".
struct LinePlace {
  int64_t offset = 0;
  int64_t number = 0;  // of the line; 0: nobody has counted
  uint64_t print = 0;  // of the line, so that another file is not taken for this one

  Key AsKey() const;
  static std::optional<LinePlace> Of(const Key& key);  // nullopt: it is none
};

// Of the line at `offset`, or of nothing where it has no end yet, and may grow. Errors here and below: of the file
// system.
absl::StatusOr<uint64_t> PrintOfLine(const File& file, int64_t offset);

// Whether what was cut there is there still. Errors: kFailedPrecondition (it is not).
absl::Status CheckPlace(const File& file, const LinePlace& place);

// Newlines in [offset, end).
absl::StatusOr<int64_t> CountLinesBefore(const File& file, int64_t offset, int64_t end);

// The first line that begins at `wanted` or behind it, and not before `after`; the end of the file: there is none. Its
// number is counted if that of `after` is known; its print is not taken.
absl::StatusOr<LinePlace> LineAtOrBehind(const File& file, const LinePlace& after, int64_t wanted);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_LINE_PLACE_H_
