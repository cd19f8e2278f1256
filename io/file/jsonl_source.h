#ifndef REEMBED_IO_FILE_JSONL_SOURCE_H_
#define REEMBED_IO_FILE_JSONL_SOURCE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/source.h"

namespace reembed {

// One JSON object a line, in file order; blank lines are passed over. Parameters:
//   key   member with the row's key, an integer or a string. Default `id`; if the first line has none, the key is the
//         line number, from 1. When named, the first line must have it.
//   text  member with the text. Default `text`. Absent, null or no string: the row has no text.
// A text that is not UTF-8 (broken bytes, lone surrogates) is shown as it is, so that its row alone is refused.
// `-`, a pipe or a device is read once, as it comes: it cannot be counted or searched, and SeekAfter() goes only to
// where it is.
// Errors: kNotFound, kInvalidArgument (parameters, no such key in the first line), kDataLoss (a line that is no JSON
// object or has no key, by number and byte), kFailedPrecondition (what a pipe cannot do).
absl::StatusOr<std::unique_ptr<Source>> OpenJsonlSource(const Location& location);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_JSONL_SOURCE_H_
