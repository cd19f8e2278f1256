// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_FLAT_JSON_H_
#define REEMBED_INDEX_FLAT_JSON_H_

#include <cstdint>
#include <map>
#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace reembed {

using FlatJsonValue = std::variant<int64_t, bool, std::string, double>;
using FlatJson = std::map<std::string, FlatJsonValue>;

// Reads one JSON object whose members are texts, numbers, `true` or `false`: all that the files beside an index hold.
// A number without a point and an exponent is an int64_t, others are a double. Blanks are allowed where RFC 8259 allows
// them. Errors: kInvalidArgument (anything else; the message says at which byte).
absl::StatusOr<FlatJson> ParseFlatJson(absl::string_view json);

}  // namespace reembed

#endif  // REEMBED_INDEX_FLAT_JSON_H_
