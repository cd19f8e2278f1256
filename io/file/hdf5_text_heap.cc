// SPDX-License-Identifier: Apache-2.0
#include "io/file/hdf5_text_heap.h"

#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr absl::string_view kSignature("GCOL\1", 5);
constexpr size_t kHeaderBytes = 16;        // signature, version, 3 bytes, size of the collection
constexpr size_t kObjectHeaderBytes = 16;  // number, references, 4 bytes, size of the object
// What a collection may have beside its longest string.
constexpr size_t kSpareBytes = size_t{1} << 20;

template <typename T>
T NumberAt(const char* bytes) {
  static_assert(std::endian::native == std::endian::little, "the numbers in the file are taken as they are");
  T number;
  std::memcpy(&number, bytes, sizeof(number));
  return number;
}

}  // namespace

Hdf5TextPlace Hdf5TextPlace::Parse(const char* bytes) {
  return {NumberAt<uint32_t>(bytes), NumberAt<uint64_t>(bytes + 4), NumberAt<uint32_t>(bytes + 12)};
}

absl::StatusOr<absl::string_view> Hdf5TextHeap::At(const Hdf5TextPlace& place) {
  if (place.collection == 0 || place.bytes == 0) return absl::string_view();
  if (place.bytes > max_bytes_) {
    return absl::OutOfRangeError(
        absl::StrCat("the text has ", place.bytes, " bytes, more than the limit of ", max_bytes_));
  }
  if (place.collection != address_) {
    address_ = 0;
    ABSL_RETURN_IF_ERROR(Load(place.collection));
    address_ = place.collection;
  }
  size_t at = kHeaderBytes;
  while (collection_.size() - at >= kObjectHeaderBytes) {
    const auto object = NumberAt<uint16_t>(collection_.data() + at);
    const auto bytes = NumberAt<uint64_t>(collection_.data() + at + 8);
    at += kObjectHeaderBytes;
    // Object 0 is the free rest.
    if (object == 0 || bytes > collection_.size() - at) break;
    if (object == place.object) {
      if (bytes < place.bytes) break;
      // Some writers count the zero at the end.
      const absl::string_view text = absl::string_view(collection_).substr(at, place.bytes);
      return text.substr(0, text.find('\0'));
    }
    const size_t padded = (static_cast<size_t>(bytes) + 7) / 8 * 8;
    if (padded > collection_.size() - at) break;
    at += padded;
  }
  return absl::DataLossError(absl::StrCat(file_.path(), ": expected a string of ", place.bytes,
                                          " bytes in the heap at ", place.collection,
                                          ", got none; the file is damaged"));
}

absl::Status Hdf5TextHeap::Load(uint64_t address) {
  ABSL_ASSIGN_OR_RETURN(const int64_t end, file_.Size());
  char header[kHeaderBytes] = {};
  const auto file_bytes = static_cast<uint64_t>(end - base_);
  if (address < file_bytes) {
    ABSL_RETURN_IF_ERROR(file_.ReadAt(base_ + static_cast<int64_t>(address), absl::MakeSpan(header)).status());
  }
  const auto bytes = NumberAt<uint64_t>(header + 8);
  if (absl::string_view(header, kSignature.size()) != kSignature || bytes < kHeaderBytes ||
      bytes > file_bytes - address) {
    return absl::DataLossError(absl::StrCat(file_.path(), ": expected a heap of strings at ", address,
                                            ", got something else; the file is damaged"));
  }
  if (bytes > max_bytes_ + kSpareBytes) {
    return absl::OutOfRangeError(
        absl::StrCat("the text lies beside one of more than the limit of ", max_bytes_, " bytes"));
  }
  collection_.resize(static_cast<size_t>(bytes));
  ABSL_ASSIGN_OR_RETURN(const size_t read, file_.ReadAt(base_ + static_cast<int64_t>(address),
                                                        absl::MakeSpan(collection_.data(), collection_.size())));
  if (read < collection_.size()) return absl::DataLossError(absl::StrCat(file_.path(), ": cut short"));
  return absl::OkStatus();
}

}  // namespace reembed
