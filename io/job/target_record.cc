#include "io/job/target_record.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "io/file/file.h"

namespace reembed {
namespace {

std::string PathOf(const std::string& dir) { return absl::StrCat(dir, "/targets"); }

absl::Status WriteError(const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat(path, ": could not be written"));
}

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
  const std::string path = PathOf(dir), partial = path + ".partial";
  const int fd = open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return WriteError(partial);
  const bool written = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && fdatasync(fd) == 0;
  const absl::Status failed = written ? absl::OkStatus() : WriteError(partial);
  close(fd);
  if (!failed.ok()) return failed;
  return RenameDurably(partial, path);
}

}  // namespace reembed
