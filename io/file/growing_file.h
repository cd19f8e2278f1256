// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_GROWING_FILE_H_
#define REEMBED_IO_FILE_GROWING_FILE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/vector_sink.h"
#include "io/file/file.h"

namespace reembed {

// Whether a file can be made at `path`: its folder is there, and `path` is not a folder. Changes nothing.
absl::Status CheckTargetPath(const std::string& path);

// The refusal to replace a file that nothing shows to be ours.
absl::Status ForeignFileError(absl::string_view path);

// The name under which the file `path` grows.
std::string PartialPath(absl::string_view path);

// One of the files that grow together.
struct GrowingFile {
  std::string path;    // its name when complete
  std::string header;  // what a new one starts with
  // Bytes that the header and the first `rows` rows take in `file`; nullopt: it does not hold so many, or is of
  // another kind or width.
  std::function<absl::StatusOr<std::optional<int64_t>>(const File& file, int64_t rows)> measure;
};

// Files that are complete or absent. Each grows as PATH.partial and gets its name in Finish(); row i of each belongs to
// row i of the others. After a crash they go on exactly behind the rows that the last Flush() made safe.
// A re-run goes on with a copy, so that the complete file stays until a longer one takes its place. When they start
// over, Finish() keeps what has the name by then (MoveToPrevious), unless that is the outdated one of this very job, or
// has no rows.
// After an error every further call gives the same error: nothing is known of what is on the disk, and the next run
// goes on from what was safe. Used by one thread.
class GrowingFiles {
 public:
  // The first file is the target that the user named, the others go with it.
  explicit GrowingFiles(std::vector<GrowingFile> files);

  // As VectorSink::Open.
  // Errors: kInvalidArgument (there is such a file, and nothing shows that it is ours).
  absl::StatusOr<int64_t> Open(const SinkPosition& last);

  // Precondition: nothing is changed yet; may be repeated. Copies what a re-run goes on with.
  absl::Status BeginWriting();

  // Adds bytes at the end of a file: small ones through a buffer, pieces straight from where they lie.
  absl::Status Append(size_t file, absl::string_view bytes);
  absl::Status AppendPieces(size_t file, absl::Span<const absl::string_view> pieces);

  // Replaces the header, which keeps its length. Nothing happens to a complete file.
  absl::Status SetHeader(size_t file, absl::string_view header);

  absl::Status Flush();
  absl::Status Finish();

 private:
  struct Growing {
    GrowingFile file;
    File partial;             // none while the complete file is all there is
    int64_t bytes = 0;        // content, `buffer` included
    std::string buffer;       // the end of it, not yet written
    bool is_durable = false;  // nothing was written since the last sync
  };

  absl::Status CheckOurs() const;
  absl::StatusOr<bool> ContinuePartial(Growing* growing, int64_t rows);
  absl::StatusOr<bool> ContinueComplete(Growing* growing, int64_t rows);
  absl::Status StartOver();
  absl::Status Drain(Growing* growing);
  absl::Status Remember(absl::Status status);

  std::vector<Growing> files_;
  bool started_over_ = false;
  bool keeps_previous_ = true;  // of what has the name by then
  absl::Status failure_;
};

}  // namespace reembed

#endif  // REEMBED_IO_FILE_GROWING_FILE_H_
