// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_SYSTEM_MEASURE_H_
#define REEMBED_TESTS_FAKES_SYSTEM_MEASURE_H_

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace reembed {

// How many rows the database of a system's test has: REEMBED_TEST_ROWS, else `usual`.
inline int64_t TestRows(int64_t usual) {
  const char* const asked = std::getenv("REEMBED_TEST_ROWS");
  return asked == nullptr ? usual : std::strtoll(asked, nullptr, 10);
}

// How many lines differ between two dumps of what a run must leave alone.
inline int64_t ChangedLines(absl::string_view before, absl::string_view after) {
  if (before == after) return 0;
  const std::vector<absl::string_view> old_lines = absl::StrSplit(before, '\n');
  const std::vector<absl::string_view> new_lines = absl::StrSplit(after, '\n');
  const size_t shorter = std::min(old_lines.size(), new_lines.size());
  int64_t changed = static_cast<int64_t>(std::max(old_lines.size(), new_lines.size()) - shorter);
  for (size_t i = 0; i < shorter; ++i) changed += old_lines[i] == new_lines[i] ? 0 : 1;
  return changed;
}

// One line on standard output for the table "Systems at 20,000 rows" of tests/README.md. `changed`: other columns,
// payload keys, entries of the full text index. `again`: requests of a second run.
inline void PrintMeasure(absl::string_view system, int64_t needed, int64_t right, int64_t changed, int64_t again) {
  std::cout << "measure " << system << ": rows that needed a vector / have the right one / else changed: " << needed
            << " / " << right << " / " << changed << "; requests of a second run: " << again << std::endl;
}

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_SYSTEM_MEASURE_H_
