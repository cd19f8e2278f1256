// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_NUMBER_JSON_WRITER_H_
#define REEMBED_ENGINE_NUMBER_JSON_WRITER_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace reembed {

// Writes one JSON object without blanks, members in the order in which they are added. Texts are valid UTF-8.
class JsonWriter {
 public:
  JsonWriter& Add(absl::string_view name, absl::string_view text);
  JsonWriter& Add(absl::string_view name, const char* text) { return Add(name, absl::string_view(text)); }
  JsonWriter& Add(absl::string_view name, int64_t number);
  JsonWriter& Add(absl::string_view name, int number) { return Add(name, int64_t{number}); }
  JsonWriter& Add(absl::string_view name, double number);  // ten digits; not finite: null
  JsonWriter& AddRaw(absl::string_view name, absl::string_view json);

  std::string ToString() const { return "{" + members_ + "}"; }

 private:
  std::string members_;
};

// What it is made of, for objects that begin in another way: appends a member to *object, which is open, with a comma
// if it has one already; and ten digits of a number, or null of what is not finite.
void AppendJsonMember(absl::string_view name, absl::string_view json, std::string* object);
std::string JsonNumber(double number);

// An array of what is JSON already.
std::string JsonArray(absl::Span<const std::string> elements);

}  // namespace reembed

#endif  // REEMBED_ENGINE_NUMBER_JSON_WRITER_H_
