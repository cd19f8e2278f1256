// SPDX-License-Identifier: Apache-2.0
#include "tools/reject_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/file/file.h"
#include "io/file/own_file.h"
#include "tools/exit_code.h"
#include "tools/output.h"
#include "tools/setting_flags.h"

namespace reembed {
namespace {

constexpr int64_t kRowsAtATime = 1024;

absl::Status WriteRejects(std::vector<RejectedRow> rejects, JobStore* store, const File& file) {
  int64_t written = 0;
  while (!rejects.empty()) {
    std::string lines;
    for (const RejectedRow& row : rejects) absl::StrAppend(&lines, RejectJson(row).ToString(), "\n");
    ABSL_RETURN_IF_ERROR(file.WriteAt(written, lines));
    written += static_cast<int64_t>(lines.size());
    const RejectedRow last = std::move(rejects.back());
    ABSL_ASSIGN_OR_RETURN(rejects, store->ListRejects(kRowsAtATime, &last));
  }
  return absl::OkStatus();
}

}  // namespace

JsonLine RejectJson(const RejectedRow& row) {
  JsonLine line("reject");
  line.AddRaw("key", KeyJson(ViewOf(row.key)))
      .Add("code", RejectWord(row.reason.code(), !row.sink.empty()))
      .Add("reason", MessageWithFlag(row.reason))
      .Add("attempts", row.attempts)
      .Add("target", row.sink);
  return line;
}

absl::Status WriteRejectFile(const std::string& dir, JobStore* store) {
  const std::string path = absl::StrCat(dir, "/", kRejectFile);
  ABSL_ASSIGN_OR_RETURN(std::vector<RejectedRow> first, store->ListRejects(kRowsAtATime));
  if (!first.empty()) {
    return ReplaceOwnFile(path, [&](const File& file) { return WriteRejects(std::move(first), store, file); });
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return FileError(path, "remove", errno);
  return absl::OkStatus();
}

}  // namespace reembed
