// SPDX-License-Identifier: Apache-2.0
#include "io/job/target_record.h"

#include <fstream>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "io/file/own_file.h"

namespace reembed {
namespace {

std::string PathOf(const std::string& dir) { return absl::StrCat(dir, "/targets"); }

}  // namespace

absl::StatusOr<TargetRecords> ReadTargetRecords(const std::string& dir) {
  TargetRecords records;
  std::ifstream file(PathOf(dir));
  for (std::string line; std::getline(file, line);) {
    // The name last: whatever is in it, there are three tabs before it.
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits('\t', 3));
    TargetRecord record;
    if (fields.size() != 4 || !absl::SimpleAtoi(fields[0], &record.finished_rows) ||
        !absl::SimpleAtoi(fields[1], &record.expected_rows)) {
      return absl::DataLossError(absl::StrCat(PathOf(dir), ": expected rows, rows, mark and name on each line, got ",
                                              "something else; remove this file, and targets are looked at anew"));
    }
    record.mark = fields[2];
    records[fields[3]] = record;
  }
  return records;
}

absl::Status WriteTargetRecords(const std::string& dir, const TargetRecords& records) {
  std::string text;
  for (const auto& [name, record] : records) {
    absl::StrAppend(&text, record.finished_rows, "\t", record.expected_rows, "\t", record.mark, "\t", name, "\n");
  }
  return ReplaceOwnFile(PathOf(dir), text);
}

}  // namespace reembed
