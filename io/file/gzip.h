// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_GZIP_H_
#define REEMBED_IO_FILE_GZIP_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct gzFile_s;

namespace reembed {

// Writes a gzip file piece by piece. Memory: that of the compressor. Errors name the file.
class GzipWriter {
 public:
  // The file must not be there.
  static absl::StatusOr<GzipWriter> Create(const std::string& path);
  GzipWriter(GzipWriter&& other) noexcept : path_(std::move(other.path_)), file_(std::exchange(other.file_, nullptr)) {}
  ~GzipWriter();

  // Errors: kResourceExhausted (disk full), kInternal.
  absl::Status Append(absl::string_view bytes);
  // Ends the file, which is not whole before.
  absl::Status Close();

 private:
  GzipWriter(std::string path, gzFile_s* file) : path_(std::move(path)), file_(file) {}
  absl::Status Error() const;

  std::string path_;
  gzFile_s* file_;
};

// Walks over the JSON object in a gzip file, however long it is: arrays that are members of it come one element after
// the other, every other member as a whole. `element`: of an array. The tokens are JSON as it stands in the file and
// live until `take` returns; its first failure ends the walk and is returned.
// Memory: some megabytes, and the longest element or member.
// Errors: kNotFound; kDataLoss (no gzip, damaged or cut short, or no JSON object: says where).
absl::Status ReadGzipJson(
    const std::string& path,
    absl::FunctionRef<absl::Status(absl::string_view member, absl::string_view token, bool element)> take);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_GZIP_H_
