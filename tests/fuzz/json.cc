// SPDX-License-Identifier: Apache-2.0
// The scanner that walks over JSON without a tree, and strings that are printed and read.
#include <simdjson.h>

#include <optional>
#include <string>

#include "engine/number/json_reader.h"
#include "engine/number/json_scanner.h"
#include "engine/number/json_text.h"
#include "engine/number/json_value.h"
#include "tests/fuzz/fuzz.h"

namespace reembed::fuzz {
namespace {

bool Scan(absl::string_view text, JsonScanner::Numbers numbers, absl::string_view* token) {
  JsonScanner scanner(text, numbers);
  const bool good = scanner.TakeValue(token) && scanner.AtEnd();
  Require(scanner.position() <= text.size(), "the scanner stays inside the text");
  return good;
}

void CheckStrings(absl::string_view text) {
  std::string printed, ascii, space;
  AppendJsonString(text, &printed);
  AppendAsciiJsonString(text, &ascii);
  Require(JsonString(printed, &space) == text, "a string is read as it was printed");
  Require(JsonString(ascii, &space) == text, "a string in ASCII is read as it was printed");
  absl::string_view token;
  Require(Scan(printed, JsonScanner::Numbers::kStrict, &token) && token == printed, "a printed string is a value");
}

}  // namespace
}  // namespace reembed::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  absl::string_view token, loose;
  const bool strict = Scan(text, JsonScanner::Numbers::kStrict, &token);
  Require(!strict || Scan(text, JsonScanner::Numbers::kPython, &loose), "Python's words are more, not others");
  Saw(strict ? JsonKindName(token) : "no JSON");
  if (strict) {
    std::string space;
    (void)JsonString(token, &space);
    (void)JsonInteger(token);
    (void)JsonFloat(token);
    (void)JsonKey(token, &space);
  }
  size_t position = 0;
  const std::optional<JsonObject> object = JsonObject::Parse(text, &position);
  Require(position <= size, "the reader stays inside the text");
  Require(object.has_value() == (strict && token.front() == '{' && IsValidUtf8(text)), "what is an object is read");
  Require(JsonElements(text).has_value() == (strict && token.front() == '['), "what is an array is read");
  if (object.has_value()) {
    for (const auto& [name, value] : object->members()) {
      Require(!object->Raw(name).empty() && !value.empty(), "a member is found by its name");
    }
  }
  if (IsValidUtf8(text)) {
    CheckStrings(text);
    // What another parser takes is JSON for us, but for how deep it may be.
    static auto* const parser = new simdjson::dom::parser;
    const simdjson::error_code error = parser->parse(data, size).error();
    if (error == simdjson::SUCCESS) Require(strict, "what simdjson takes is JSON");
  }
  JsonScanner scanner(text);
  size_t elements = 0;
  bool all_numbers = false;
  if (scanner.Take('[') && scanner.TakeRestOfArray(&elements, &all_numbers)) {
    Require(elements <= size, "an array has fewer elements than bytes");
  }
  return 0;
}
