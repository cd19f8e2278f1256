#ifndef REEMBED_IO_FILE_HDF5_WRITERS_H_
#define REEMBED_IO_FILE_HDF5_WRITERS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "io/file/hdf5_library.h"

namespace reembed {

// The datasets that an HDF5 sink appends to. Not trusted by anyone before Finish() and closing the file.

enum class Hdf5Number { kFloat32, kInt64 };

// Rows of numbers, written as whole chunks past the library's conversions: [rows, width], or [rows] for width 1 of
// kInt64.
class Hdf5ChunkWriter {
 public:
  // A new dataset. `path` is for messages.
  static absl::StatusOr<Hdf5ChunkWriter> Create(const Hdf5Id& file, const std::string& path, const std::string& name,
                                                Hdf5Number number, int64_t width);
  // Goes on behind the rows of a dataset that Create() made.
  static absl::StatusOr<Hdf5ChunkWriter> Continue(const Hdf5Id& file, const std::string& path, const std::string& name,
                                                  Hdf5Number number, int64_t width);

  // Adds one row.
  absl::Status Append(const void* row);
  // Writes the last chunk, which may be a part of one.
  absl::Status Finish();

 private:
  Hdf5ChunkWriter(std::string place, Hdf5Number number, int64_t width);
  absl::Status WriteChunk();

  std::string place_;
  Hdf5Id dataset_;
  int64_t width_;
  int rank_;
  size_t row_bytes_;
  int64_t chunk_rows_;
  int64_t rows_ = 0;  // in whole chunks written
  int64_t filled_ = 0;
  std::vector<char> chunk_;  // chunk_rows_ rows, filled_ of them real
};

// Strings of variable length, written in blocks.
class Hdf5StringWriter {
 public:
  static absl::StatusOr<Hdf5StringWriter> Create(const Hdf5Id& file, const std::string& path, const std::string& name);
  static absl::StatusOr<Hdf5StringWriter> Continue(const Hdf5Id& file, const std::string& path, const std::string& name,
                                                   int64_t rows);

  // Adds one string, which holds no NUL byte; copies it.
  absl::Status Append(absl::string_view text);
  absl::Status Finish();

 private:
  explicit Hdf5StringWriter(std::string place) : place_(std::move(place)) {}

  std::string place_;
  Hdf5Id dataset_;
  int64_t rows_ = 0;            // written
  std::string texts_;           // each ended by a NUL byte
  std::vector<size_t> begins_;  // into texts_
};

// A text attribute of the file.
absl::Status WriteHdf5Attribute(const Hdf5Id& file, const std::string& path, const std::string& name,
                                const std::string& value);
absl::Status WriteHdf5Attribute(const Hdf5Id& file, const std::string& path, const std::string& name, int64_t value);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_HDF5_WRITERS_H_
