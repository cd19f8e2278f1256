// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_JSONL_SOURCE_H_
#define REEMBED_IO_FILE_JSONL_SOURCE_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/key.h"
#include "engine/location.h"
#include "engine/selection.h"
#include "engine/source.h"

namespace reembed {

struct JsonlOptions {
  bool strict = false;  // a line that is broken or has no key is an error, and not a row that is rejected
  KeyRange range;       // ends as CutJsonl() gives them; lines that are appended are behind the last
};

// One JSON object a line, in file order; blank lines are passed over. What gzip or zstd packed is unpacked. Parameters:
//   key   member with the row's key, an integer or a string. Default `id`; if the first object has none, the key is the
//         line number, from 1.
//   text  member with the text. Default `text`. null: the row has no text; absent or no string: neither, and it says
//   so.
// `a.b` names the member `b` of the member `a`, where there is no member of that very name.
// A line that is no object or has no key is a row without a text, whose key is `line N` (N, where line numbers are
// keys). A text that is not UTF-8 (broken bytes, lone surrogates) is shown as it is, so that its row alone is refused.
// Opening reads on until a line has the text, and one the key if it is named.
// `-`, a pipe or a device is read once, as it comes: it cannot be counted or searched, SeekAfter() goes only to where
// it is, and that no line has the text is known behind the last. Errors: kNotFound, kInvalidArgument (parameters; no
// line has the member: names the nearest; no line is an object; what is known to be something else), kDataLoss (damaged
// packing, a line that is too long; with `strict` what is wrong with a line, by number and byte), kFailedPrecondition
// (what a pipe cannot do; the file is not the one any more that was cut).
absl::StatusOr<std::unique_ptr<Source>> OpenJsonlSource(const Location& location, const JsonlOptions& options = {});

// StoreKind::cut: by bytes, at the beginnings of lines. Their numbers are counted only where they are keys. Errors:
// kFailedPrecondition (a pipe, or a packed file, into which nobody can seek).
absl::StatusOr<std::vector<Key>> CutJsonl(const Location& location, int shares);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_JSONL_SOURCE_H_
