#include "io/file/hdf5_library.h"

#include <hdf5.h>

#include <charconv>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "io/file/file.h"

namespace reembed {
namespace {

static_assert(std::is_same_v<hid_t, int64_t> && std::is_same_v<herr_t, int>);

std::recursive_mutex& LibraryMutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

herr_t TakeInnermost(unsigned n, const H5E_error2_t* error, void* words) {
  if (n == 0 && error->desc != nullptr) *static_cast<std::string*>(words) = error->desc;
  return 0;
}

// The `errno = 28` in the words of the file driver; 0 if there is none.
int ErrnoIn(absl::string_view words) {
  constexpr absl::string_view kMark = "errno = ";
  const size_t at = words.find(kMark);
  if (at == absl::string_view::npos) return 0;
  int number = 0;
  std::from_chars(words.data() + at + kMark.size(), words.data() + words.size(), number);
  return number;
}

}  // namespace

Hdf5Lock::Hdf5Lock() : lock_(LibraryMutex()) { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

Hdf5Id& Hdf5Id::operator=(Hdf5Id&& other) noexcept {
  std::swap(id_, other.id_);
  std::swap(close_, other.close_);
  return *this;
}

int Hdf5Id::Close() {
  if (id_ < 0) return 0;
  const Hdf5Lock lock;
  return close_(std::exchange(id_, -1));
}

absl::Status Hdf5Error(absl::string_view path, absl::string_view doing) {
  std::string words;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, TakeInnermost, &words);
  if (const int number = ErrnoIn(words); number != 0) return FileError(path, doing, number);
  return absl::DataLossError(
      absl::StrCat(path, ": could not ", doing, ": ", words.empty() ? "HDF5 does not say why" : words.substr(0, 200)));
}

absl::StatusOr<Hdf5Id> OpenHdf5ToRead(const std::string& path) {
  // First by ourselves: the library's words for a missing file are long and do not help.
  if (const absl::StatusOr<File> file = File::OpenToRead(path); !file.ok()) return file.status();
  const Hdf5Lock lock;
  Hdf5Id id(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
  if (!id.ok()) return Hdf5Error(path, "open as HDF5");
  return id;
}

}  // namespace reembed
