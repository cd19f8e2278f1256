// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_HDF5_CALL_H_
#define REEMBED_IO_FILE_HDF5_CALL_H_

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/mutex.h"
#include "engine/output_form.h"

namespace reembed {

// For hdf5_file.cc and hdf5_dataset.cc only.

// While it lives, this thread alone uses the HDF5 library, and the library prints nothing. Not for nesting.
class Hdf5Call {
 public:
  Hdf5Call();
  ~Hdf5Call();
  Hdf5Call(const Hdf5Call&) = delete;
  Hdf5Call& operator=(const Hdf5Call&) = delete;

  // What went wrong since the last call that succeeded: a failed system call as FileError(), the rest as `otherwise`
  // with the library's innermost words.
  absl::Status Error(absl::string_view path, absl::string_view doing, absl::StatusCode otherwise) const;

 private:
  const MutexLock lock_;
  int (*print_)(int64_t, void*) = nullptr;  // what the library did with errors before
  void* print_data_ = nullptr;
};

// An identifier of the library (hid_t), given back with the object; < 0: none. Lives inside an Hdf5Call.
class Hdf5Id {
 public:
  explicit Hdf5Id(int64_t id) : id_(id) {}
  Hdf5Id(const Hdf5Id&) = delete;
  Hdf5Id& operator=(const Hdf5Id&) = delete;
  ~Hdf5Id();

  bool ok() const { return id_ >= 0; }
  int64_t get() const { return id_; }
  int64_t Release() { return std::exchange(id_, -1); }

 private:
  int64_t id_;
};

// The type of a number in a file (hid_t), as our matrices have it; bits are unsigned bytes. h5py reads bfloat16 as
// float32. Inside an Hdf5Call.
int64_t NewHdf5Type(OutputType type);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_HDF5_CALL_H_
