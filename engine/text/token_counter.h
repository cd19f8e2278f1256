// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_TEXT_TOKEN_COUNTER_H_
#define REEMBED_ENGINE_TEXT_TOKEN_COUNTER_H_

#include <cstdint>

#include "absl/functional/any_invocable.h"
#include "absl/strings/string_view.h"

namespace reembed {

// Model tokens of one text; an estimate when the tokenizer is not known. Called by the reading stage only.
using TokenCounter = absl::AnyInvocable<int64_t(absl::string_view) const>;

}  // namespace reembed

#endif  // REEMBED_ENGINE_TEXT_TOKEN_COUNTER_H_
