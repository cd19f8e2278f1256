// SPDX-License-Identifier: Apache-2.0
// Templates of texts, with the values of one row behind a line.
#include <string>
#include <vector>

#include "engine/text/text_template.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t line = input.find('\n');
  const absl::string_view value = line == absl::string_view::npos ? "a value" : input.substr(line + 1);
  absl::StatusOr<TextTemplate> parsed = TextTemplate::Parse(input.substr(0, line));
  Saw(parsed.status());
  if (!parsed.ok()) return 0;
  std::vector<std::optional<absl::string_view>> values(parsed->fields().size(), value);
  std::string text, again;
  parsed->Render(values, &text);
  parsed->Render(values, &again);
  Require(text == again, "the same row has the same text");
  for (size_t i = 0; i < values.size(); i += 2) values[i] = std::nullopt;
  parsed->Render(values, &text);
  return 0;
}
