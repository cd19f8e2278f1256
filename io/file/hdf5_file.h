// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_HDF5_FILE_H_
#define REEMBED_IO_FILE_HDF5_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/output_form.h"

namespace reembed {

// HDF5 as far as tables of rows need it. All calls to the HDF5 library are made in hdf5_file.cc and hdf5_dataset.cc,
// under one lock for the process, because the state of the library is global and not every build of it guards it.
// Errors carry what the library says at its innermost: a full disk is kResourceExhausted and other failed system calls
// as in FileError(); a file that cannot be understood is kDataLoss.

class Hdf5TextHeap;

// What the elements of a dataset are.
enum class Hdf5Kind { kFloats, kIntegers, kTexts, kOther };

// "floats", "integers", "strings", "something else"
absl::string_view NameOf(Hdf5Kind kind);

// The strings of some rows.
class Hdf5TextBlock {
 public:
  int64_t size() const { return static_cast<int64_t>(ends_.size()); }
  size_t bytes() const { return bytes_.size(); }
  // Valid while the block stays where it is.
  absl::string_view operator[](int64_t text) const {
    const size_t begin = text == 0 ? 0 : ends_[text - 1];
    return absl::string_view(bytes_).substr(begin, ends_[text] - begin);
  }
  void Add(absl::string_view text) {
    bytes_.append(text.data(), text.size());
    ends_.push_back(bytes_.size());
  }

 private:
  std::string bytes_;
  std::vector<size_t> ends_;
};

// An open dataset of one dimension (rows) or two (rows, columns). It must go before its file is closed.
// Used by one thread at a time.
class Hdf5Dataset {
 public:
  // A single string may be so long; a file with a longer one is damaged, or holds no texts.
  static constexpr size_t kMaxTextBytes = size_t{64} << 20;
  // Wider rows are no vectors.
  static constexpr int64_t kMaxColumns = int64_t{1} << 20;
  // A chunk is in memory as a whole; a file with larger ones is refused.
  static constexpr int64_t kMaxChunkBytes = int64_t{256} << 20;
  // Strings that were never written are empty ones, but not more of them: such a number of rows is damaged.
  static constexpr int64_t kMaxUnwrittenRows = int64_t{1} << 24;

  struct Shape {
    Hdf5Kind kind = Hdf5Kind::kOther;
    int dimensions = 1;
    int64_t rows = 0;
    int64_t columns = 1;
    int64_t chunk_rows = 0;            // 0: the dataset is not in chunks
    bool is_uint64 = false;            // integers that may be beyond int64
    std::optional<OutputType> output;  // the type of its numbers, if it is one of ours
    // Of such numbers, in chunks of whole rows, not packed, and free to grow: WriteChunk() will do.
    bool takes_chunks = false;
  };

  // Takes over `id`, the hid_t of the dataset `name` of the file at `path`; an external link may have led to another
  // file. For Hdf5File. Errors: kDataLoss (a shape that cannot be; fewer bytes in the file than the rows take);
  // kInvalidArgument (its rows lie in other datasets or files; a filter that the library does not have).
  static absl::StatusOr<std::unique_ptr<Hdf5Dataset>> Take(int64_t id, const std::string& path,
                                                           const std::string& name);

  ~Hdf5Dataset();
  Hdf5Dataset(const Hdf5Dataset&) = delete;
  Hdf5Dataset& operator=(const Hdf5Dataset&) = delete;

  const Shape& shape() const { return shape_; }
  // "<path>: dataset `<name>`"
  const std::string& name() const { return name_; }

  // Fills `to`, [n, columns] row-major, from row `first`. Other widths of numbers are converted; an unsigned
  // integer beyond int64 comes out negative. Errors: kDataLoss.
  absl::Status Read(int64_t first, absl::Span<float> to) const;
  absl::Status Read(int64_t first, absl::Span<int64_t> to) const;
  // The same as bytes, as they lie in the file. Precondition: shape().output.
  absl::Status ReadBytes(int64_t first, int64_t rows, char* to) const;

  // The strings of at most `rows` rows from `first`, and of at least one; fewer when they are long. Strings of variable
  // length are read from the file. Precondition: they are flushed.
  // Errors, of the first: kDataLoss (damaged), kOutOfRange (longer than kMaxTextBytes).
  absl::StatusOr<Hdf5TextBlock> ReadTexts(int64_t first, int64_t rows) const;

  // Makes it `rows` rows long and writes the bytes of one chunk, [chunk_rows, columns], around every conversion of the
  // library: `chunk` is whole even where it reaches beyond `rows`. `first` is a multiple of chunk_rows.
  absl::Status WriteChunk(int64_t rows, int64_t first, absl::Span<const char> chunk);

  // Adds rows at the end.
  absl::Status Append(absl::Span<const int64_t> values);
  absl::Status Append(absl::Span<const std::string> texts);

  // The same for two dimensions: [n, columns], row-major.
  absl::Status AppendMatrix(absl::Span<const float> values);
  absl::Status AppendMatrix(absl::Span<const int64_t> values);

 private:
  Hdf5Dataset(int64_t id, std::string file, std::string name);
  absl::Status Measure();
  absl::Status CheckStorage(int64_t type, int64_t properties) const;
  absl::Status OpenHeap();
  absl::Status ReadNumbers(Hdf5Kind kind, int64_t first, size_t numbers, void* to) const;
  absl::Status AppendRows(Hdf5Kind kind, size_t rows, const void* values);
  absl::Status DamagedError(absl::string_view what) const;

  const int64_t id_;
  const std::string file_;  // where it lies
  const std::string name_;
  Shape shape_;
  std::unique_ptr<Hdf5TextHeap> heap_;  // for strings of variable length
};

// An open HDF5 file. Used by one thread at a time.
class Hdf5File {
 public:
  enum class Access { kRead, kWrite };

  // Errors: kNotFound, kPermissionDenied, kDataLoss (no HDF5 file, or a damaged one).
  static absl::StatusOr<std::unique_ptr<Hdf5File>> Open(const std::string& path, Access access);
  // Replaces what is at `path`.
  static absl::StatusOr<std::unique_ptr<Hdf5File>> Create(const std::string& path);

  // Closes without telling of errors. A file that cannot be written (full disk) stays open until the process ends.
  ~Hdf5File();
  Hdf5File(const Hdf5File&) = delete;
  Hdf5File& operator=(const Hdf5File&) = delete;

  const std::string& path() const { return path_; }

  // Errors: kNotFound (none of this name: the message tells which there are), kDataLoss.
  absl::StatusOr<std::unique_ptr<Hdf5Dataset>> Dataset(const std::string& name) const;
  // The same, but null if there is none.
  absl::StatusOr<std::unique_ptr<Hdf5Dataset>> DatasetOrNull(const std::string& name) const;

  // New datasets of no rows that may grow. `columns` 0: of one dimension.
  absl::StatusOr<std::unique_ptr<Hdf5Dataset>> AddDataset(const std::string& name, Hdf5Kind kind, int64_t chunk_rows,
                                                          int64_t columns);
  // Likewise, of numbers of this type: for WriteChunk().
  absl::StatusOr<std::unique_ptr<Hdf5Dataset>> AddMatrix(const std::string& name, OutputType type, int64_t chunk_rows,
                                                         int64_t columns);

  absl::Status SetAttribute(const std::string& name, const std::string& value);
  absl::Status SetAttribute(const std::string& name, int64_t value);

  // Hands everything to the system.
  absl::Status Flush();

 private:
  Hdf5File(int64_t id, std::string path) : id_(id), path_(std::move(path)) {}
  std::vector<std::string> DatasetNames() const;
  // `fills`: what is not written is written as zeros.
  absl::StatusOr<std::unique_ptr<Hdf5Dataset>> Add(const std::string& name, absl::FunctionRef<int64_t()> new_type,
                                                   bool fills, int64_t chunk_rows, int64_t columns);

  const int64_t id_;
  const std::string path_;
};

}  // namespace reembed

#endif  // REEMBED_IO_FILE_HDF5_FILE_H_
