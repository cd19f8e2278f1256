// SPDX-License-Identifier: Apache-2.0
// The text of a .env file.
#include "tools/environment.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const auto variables = ParseEnvText(text);
  Saw(variables.status());
  if (!variables.ok()) return 0;
  for (const auto& [name, value] : *variables) {
    Require(!name.empty() && name.find('=') == std::string::npos, "a variable has a name");
    std::string line = absl::StrCat("export ", name, "=\"");
    for (const char c : value) {
      if (c == '"' || c == '\\') line.push_back('\\');
      line += c == '\n' ? "\\n" : std::string(1, c);
    }
    const auto again = ParseEnvText(line + "\"");
    Require(again.ok() && again->size() == 1 && again->begin()->second == value, "a value in quotes is read again");
  }
  return 0;
}
