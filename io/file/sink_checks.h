// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_SINK_CHECKS_H_
#define REEMBED_IO_FILE_SINK_CHECKS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/batch.h"
#include "engine/embedding_client.h"
#include "engine/location.h"

namespace reembed {

// What every file sink checks when it is made: no parameters but `known`, a sensible width, a folder to write to.
// Errors: kInvalidArgument, kNotFound, kPermissionDenied.
absl::Status CheckFileTarget(const Location& location, const Model& model,
                             absl::Span<const absl::string_view> known = {});

// The parameters of files whose vectors may take less room, see engine/output_form.h. `dim` is whoever's makes the
// sink.
inline constexpr absl::string_view kOutputParameters[] = {"type", "dim", "scale"};

// Sees that rows come in ascending order, each once: in a file, a row is its place.
class AscendingRows {
 public:
  // kInternal if `row` comes too late.
  absl::Status Check(absl::string_view path, const BatchRow& row);

 private:
  int64_t last_ = -1;
};

}  // namespace reembed

#endif  // REEMBED_IO_FILE_SINK_CHECKS_H_
