// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_BODY_WAIT_H_
#define REEMBED_IO_EMBED_BODY_WAIT_H_

#include <string>

#include "absl/strings/string_view.h"

namespace reembed {

// The field of an error's body that says how long to wait, as text that ParseWait() reads: `retry_after`,
// `retry_after_ms` and their like, `estimated_time` (Hugging Face, while a model loads), and the headers that
// OpenRouter passes on in error.metadata.headers. Beside the error's words or inside `error`, `detail` or `metadata`.
// Empty: none.
std::string WaitInBody(absl::string_view body);

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_BODY_WAIT_H_
