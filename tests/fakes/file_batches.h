// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_FILE_BATCHES_H_
#define REEMBED_TESTS_FAKES_FILE_BATCHES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/batch.h"
#include "engine/key.h"
#include "engine/vector_reader.h"
#include "engine/vector_sink.h"

namespace reembed {

// A folder of its own, removed with the object.
class FileTestFolder {
 public:
  FileTestFolder();
  FileTestFolder(const FileTestFolder&) = delete;
  FileTestFolder& operator=(const FileTestFolder&) = delete;
  ~FileTestFolder();

  // A path in it.
  std::string operator/(absl::string_view name) const;
  // Names in it, sorted.
  std::vector<std::string> Names() const;

 private:
  std::string path_;
};

std::string FileBytes(const std::string& path);
void WriteFileBytes(const std::string& path, absl::string_view bytes);

enum class FileKeys { kIntegers, kTexts };

// Made-up rows whose key and vector follow from their ordinal alone, so that any place in a file can be checked.
struct FileRowSet {
  int dim = 4;
  FileKeys keys = FileKeys::kIntegers;
  int64_t reject_every = 0;  // n: every n-th row is rejected; 0: none

  Key KeyOf(int64_t ordinal) const;
  std::vector<float> VectorOf(int64_t ordinal) const;
  bool IsRejected(int64_t ordinal) const;
  int64_t StoredRows(int64_t end) const;  // of [0, end)
  std::unique_ptr<Batch> MakeBatch(RowRange range) const;
};

// Writes the rows of `range` as one batch.
absl::Status WriteRows(const FileRowSet& rows, RowRange range, VectorSink* sink);

// Opens for `rows`, writes [0, end) in batches of `batch_rows` and finishes.
absl::Status WriteAll(const FileRowSet& rows, int64_t end, int64_t batch_rows, VectorSink* sink);

// Reads everything: OK when it is exactly the rows of [0, end) that are not rejected, in order.
absl::Status CheckReader(const FileRowSet& rows, int64_t end, VectorReader* reader);

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_FILE_BATCHES_H_
