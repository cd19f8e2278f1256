// SPDX-License-Identifier: Apache-2.0
#include "io/file/vectors_json_backup.h"

#include <unistd.h>

#include <cerrno>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/status_macros.h"
#include "io/file/file.h"
#include "io/file/open_elsewhere.h"
#include "io/file/vectors_json.h"

namespace reembed {
namespace {

constexpr int kAttempts = 5;

absl::Status Copy(const std::string& from, const std::string& to) {
  ABSL_ASSIGN_OR_RETURN(const File file, File::OpenToRead(from));
  ABSL_ASSIGN_OR_RETURN(const int64_t bytes, file.Size());
  return CopyDurably(from, to, bytes);
}

absl::StatusOr<RowCounts> CountEntries(const std::string& path) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<VectorsJson> file, VectorsJson::Open(path));
  RowCounts counts;
  for (const VectorsJson::Collection& collection : file->collections()) {
    counts.emplace_back(collection.name, static_cast<int64_t>(collection.entries.size()));
  }
  return counts;
}

}  // namespace

absl::StatusOr<RowCounts> BackUpVectorsJson(const std::string& from, const std::string& to) {
  for (int attempt = 1;; ++attempt) {
    absl::Status status = Copy(from, to);
    if (status.ok()) {
      absl::StatusOr<RowCounts> counts = CountEntries(to);
      if (counts.ok()) return counts;
      status = absl::Status(counts.status().code(), absl::StrReplaceAll(counts.status().message(), {{to, from}}));
    }
    // Its writer may have been in the middle of it.
    if (!absl::IsDataLoss(status) || attempt == kAttempts) return status;
  }
}

absl::Status RestoreVectorsJson(const std::string& from, const std::string& to) {
  ABSL_RETURN_IF_ERROR(CheckNotOpenElsewhere(to));
  ABSL_RETURN_IF_ERROR(CountEntries(from).status());
  return Copy(from, to);
}

}  // namespace reembed
