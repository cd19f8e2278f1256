// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_NUMBER_JSON_READER_H_
#define REEMBED_ENGINE_NUMBER_JSON_READER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "engine/number/json_scanner.h"

// JSON by its names and in its order: the one reader of small documents, of our own files and of parts of others that a
// JsonScanner has found. Answers of servers are simdjson's (io), as DECISIONS.md says.
namespace reembed {

// Takes the object that comes next and calls `take` with each member: its name without quotes and escapes, and its
// value as it stands, for json_value.h. False: it is something else, or `take` was false, which ends the walk.
bool ForEachMember(JsonScanner* scanner, absl::FunctionRef<bool(absl::string_view name, absl::string_view value)> take);

// The same of an array.
bool ForEachElement(JsonScanner* scanner, absl::FunctionRef<bool(absl::string_view value)> take);

// One object whose members are found by name; of a repeated name the first. The text is borrowed.
class JsonObject {
 public:
  // nullopt: `text` is not UTF-8, or anything but one object. *position (may be null): where it went wrong.
  static std::optional<JsonObject> Parse(absl::string_view text, size_t* position = nullptr);

  // As it stands; empty: there is none.
  absl::string_view Raw(absl::string_view name) const;

  // False: there is none, or it is of another kind; *value is as it was. A text with a lone surrogate is none.
  bool Take(absl::string_view name, std::string* value) const;
  bool Take(absl::string_view name, int64_t* value) const;

  // Names and values as they stand, in the order of the text.
  const std::vector<std::pair<std::string, absl::string_view>>& members() const { return members_; }

 private:
  std::vector<std::pair<std::string, absl::string_view>> members_;
};

// The elements as they stand. nullopt: `array` is no array, or has something behind it.
std::optional<std::vector<absl::string_view>> JsonElements(absl::string_view array);

}  // namespace reembed

#endif  // REEMBED_ENGINE_NUMBER_JSON_READER_H_
