// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_BODY_FIELDS_H_
#define REEMBED_IO_EMBED_BODY_FIELDS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "io/embed/dialect.h"

namespace reembed {

// One more field of each request's body, for what an API wants and we do not know of.
struct BodyField {
  std::string name;
  std::string json;  // its value
};

// `name=value`: the value as JSON if it is that, else as a string. Errors: kInvalidArgument.
absl::StatusOr<BodyField> ParseBodyField(absl::string_view text);

// Puts them into the body, or into what stands for each text where the API has its fields there (WireForm).
// Errors: kInvalidArgument (a field that the body has already, or that is given twice).
absl::Status AddBodyFields(absl::Span<const BodyField> fields, WireForm* wire);

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_BODY_FIELDS_H_
