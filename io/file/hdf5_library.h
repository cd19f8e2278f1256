#ifndef REEMBED_IO_FILE_HDF5_LIBRARY_H_
#define REEMBED_IO_FILE_HDF5_LIBRARY_H_

#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace reembed {

// Held around every HDF5 call. The library's state is global and it is usually built without threads, so this is the
// one lock of the process that belongs to nobody. May be taken again by its holder. While it is held the library prints
// nothing; its error stack becomes a Status instead.
class Hdf5Lock {
 public:
  Hdf5Lock();

 private:
  const std::unique_lock<std::recursive_mutex> lock_;
};

// An HDF5 identifier (hid_t), closed with the object.
class Hdf5Id {
 public:
  Hdf5Id() = default;  // none
  // Takes over `id`, which may be a failed one.
  Hdf5Id(int64_t id, int (*close)(int64_t)) : id_(id), close_(close) {}
  Hdf5Id(Hdf5Id&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Hdf5Id& operator=(Hdf5Id&& other) noexcept;
  ~Hdf5Id() { Close(); }

  bool ok() const { return id_ >= 0; }
  int64_t get() const { return id_; }
  // False if the library could not close it, and so perhaps not write it.
  [[nodiscard]] bool CloseNow() { return Close() >= 0; }

 private:
  int Close();

  int64_t id_ = -1;
  int (*close_)(int64_t) = nullptr;
};

// The library's last failure as "<path>: could not <doing>: <its innermost words>"; call it under the same Hdf5Lock.
// kResourceExhausted when the disk is full, otherwise kDataLoss.
absl::Status Hdf5Error(absl::string_view path, absl::string_view doing);

// Errors: kNotFound, kPermissionDenied, kDataLoss (no HDF5 file, or a damaged one).
absl::StatusOr<Hdf5Id> OpenHdf5ToRead(const std::string& path);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_HDF5_LIBRARY_H_
