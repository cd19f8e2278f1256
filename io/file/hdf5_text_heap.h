// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_HDF5_TEXT_HEAP_H_
#define REEMBED_IO_FILE_HDF5_TEXT_HEAP_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "io/file/file.h"

namespace reembed {

// Where an HDF5 file has a string of variable length: what an element of such a dataset is on the disk.
struct Hdf5TextPlace {
  static constexpr size_t kBytes = 16;

  // From its bytes in the file.
  static Hdf5TextPlace Parse(const char* bytes);

  uint32_t bytes = 0;       // length of the string
  uint64_t collection = 0;  // address; 0: an empty string
  uint32_t object = 0;      // number in the collection
};

// The strings of variable length of an HDF5 file (its global heaps). The library reads them too, but trusts every
// length in the file, to the point of reading and writing beyond its buffers (seen with 1.10.8).
// Format: HDF5 File Format Specification 3.0, III.E "Global Heap". Used by one thread.
class Hdf5TextHeap {
 public:
  // Addresses in the file count from `base`.
  Hdf5TextHeap(File file, int64_t base, size_t max_bytes)
      : file_(std::move(file)), base_(base), max_bytes_(max_bytes) {}

  // Valid until the next call. Errors: kDataLoss; kOutOfRange (it is longer than `max_bytes`, or lies beside one that
  // is).
  absl::StatusOr<absl::string_view> At(const Hdf5TextPlace& place);

 private:
  absl::Status Load(uint64_t address);

  const File file_;
  const int64_t base_;
  const size_t max_bytes_;
  uint64_t address_ = 0;    // of collection_; 0: none
  std::string collection_;  // bytes of the collection that was read last
};

}  // namespace reembed

#endif  // REEMBED_IO_FILE_HDF5_TEXT_HEAP_H_
