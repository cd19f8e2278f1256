// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_FORMAT_H_
#define REEMBED_TOOLS_FORMAT_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/counted.h"

// How numbers look to people (see also counted.h), and JSON lines to programs.
namespace reembed {

std::string BytesText(int64_t bytes);               // 1536000 -> "1.5 MB"
std::string DurationText(absl::Duration duration);  // "0.8 s", "12 s", "3:05", "2:03:04"
std::string MoneyText(double usd);                  // "$0.0012", "$12.34"

// One JSON object in one line, fields in the order they were added.
class JsonLine {
 public:
  explicit JsonLine(absl::string_view message_type);
  JsonLine& Add(absl::string_view name, absl::string_view text);
  JsonLine& Add(absl::string_view name, const char* text) { return Add(name, absl::string_view(text)); }
  JsonLine& Add(absl::string_view name, int64_t number);
  JsonLine& Add(absl::string_view name, int number) { return Add(name, int64_t{number}); }
  JsonLine& Add(absl::string_view name, double number);  // not finite: null
  JsonLine& AddRaw(absl::string_view name, absl::string_view json);
  std::string ToString() const { return text_ + "}"; }

 private:
  std::string text_;
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_FORMAT_H_
