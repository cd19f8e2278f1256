// SPDX-License-Identifier: Apache-2.0
#include "io/file/hdf5_call.h"

#include <hdf5.h>

#include <string>
#include <type_traits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "io/file/file.h"

namespace reembed {
namespace {

static_assert(std::is_same_v<hid_t, int64_t>);

// The state of the library is global, so its lock is.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
constinit Mutex g_library;

// The walk begins at the innermost error; a positive answer ends it.
herr_t TakeDescription(unsigned, const H5E_error2_t* error, void* to) {
  if (error->desc != nullptr) *static_cast<std::string*>(to) = error->desc;
  return 1;
}

// The library tells the errno of a failed system call only inside its sentence; 0: it tells none.
int ErrnoIn(absl::string_view description) {
  constexpr absl::string_view kMark = "errno = ";
  const size_t at = description.find(kMark);
  if (at == absl::string_view::npos) return 0;
  absl::string_view digits = description.substr(at + kMark.size());
  digits = digits.substr(0, digits.find_first_not_of("0123456789"));
  int number;
  return absl::SimpleAtoi(digits, &number) ? number : 0;
}

}  // namespace

Hdf5Call::Hdf5Call() : lock_(&g_library) {
  // At exit the library would write files that could not be written before, and crash over it. All others are closed.
  static const herr_t stays_quiet = H5dont_atexit();
  static_cast<void>(stays_quiet);
  H5Eget_auto2(H5E_DEFAULT, &print_, &print_data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

Hdf5Call::~Hdf5Call() {
  H5Eclear2(H5E_DEFAULT);
  H5Eset_auto2(H5E_DEFAULT, print_, print_data_);
}

absl::Status Hdf5Call::Error(absl::string_view path, absl::string_view doing, absl::StatusCode otherwise) const {
  std::string description;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, TakeDescription, &description);
  if (const int error_number = ErrnoIn(description); error_number != 0) return FileError(path, doing, error_number);
  if (description.empty()) description = "no reason given";
  return absl::Status(otherwise, absl::StrCat(path, ": could not ", doing, ": HDF5: ", description));
}

Hdf5Id::~Hdf5Id() {
  if (id_ >= 0) H5Idec_ref(id_);
}

int64_t NewHdf5Type(OutputType type) {
  if (type == OutputType::kInt8) return H5Tcopy(H5T_STD_I8LE);
  if (type == OutputType::kBinary) return H5Tcopy(H5T_STD_U8LE);
  Hdf5Id floats(H5Tcopy(H5T_IEEE_F32LE));
  if (type == OutputType::kFloat32) return floats.Release();
  // Sign, exponent and fraction from the highest bit down.
  const bool is_half = type == OutputType::kFloat16;
  const size_t exponent_bits = is_half ? 5 : 8;
  const size_t fraction_bits = 15 - exponent_bits;
  const bool made = H5Tset_fields(floats.get(), 15, fraction_bits, exponent_bits, 0, fraction_bits) >= 0 &&
                    H5Tset_size(floats.get(), sizeof(uint16_t)) >= 0 &&
                    H5Tset_ebias(floats.get(), is_half ? 15 : 127) >= 0;
  return made ? floats.Release() : -1;
}

}  // namespace reembed
