// SPDX-License-Identifier: Apache-2.0
#include <hdf5.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/counted.h"
#include "engine/status_macros.h"
#include "io/file/file.h"
#include "io/file/hdf5_call.h"
#include "io/file/hdf5_file.h"
#include "io/file/hdf5_text_heap.h"

namespace reembed {
namespace {

// What a block of strings aims at.
constexpr size_t kBlockBytes = size_t{8} << 20;

Hdf5Kind KindOf(hid_t type) {
  switch (H5Tget_class(type)) {
    case H5T_FLOAT:
      return Hdf5Kind::kFloats;
    case H5T_INTEGER:
      // What does not fit into 64 bits would be cut without a word.
      return H5Tget_size(type) <= sizeof(int64_t) ? Hdf5Kind::kIntegers : Hdf5Kind::kOther;
    case H5T_STRING:
      return Hdf5Kind::kTexts;
    default:
      return Hdf5Kind::kOther;
  }
}

std::optional<OutputType> OutputTypeOf(hid_t type) {
  for (const OutputType output :
       {OutputType::kFloat32, OutputType::kFloat16, OutputType::kBfloat16, OutputType::kInt8, OutputType::kBinary}) {
    const Hdf5Id ours(NewHdf5Type(output));
    if (H5Tequal(type, ours.get()) > 0) return output;
  }
  return std::nullopt;
}

// Rows [first, first + rows) of a dataset, as the library names a part of it.
hid_t SelectRows(hid_t dataset, int dimensions, int64_t first, int64_t rows, int64_t columns) {
  Hdf5Id space(H5Dget_space(dataset));
  const hsize_t start[] = {static_cast<hsize_t>(first), 0};
  const hsize_t count[] = {static_cast<hsize_t>(rows), static_cast<hsize_t>(columns)};
  if (!space.ok() || H5Sget_simple_extent_ndims(space.get()) != dimensions ||
      H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start, nullptr, count, nullptr) < 0) {
    return -1;
  }
  return space.Release();
}

// Memory of the same shape as SelectRows(): the library is several times slower where shapes differ.
hid_t NewSpace(int dimensions, int64_t rows, int64_t columns) {
  const hsize_t extent[] = {static_cast<hsize_t>(rows), static_cast<hsize_t>(columns)};
  return H5Screate_simple(dimensions, extent, nullptr);
}

// The path of the file that the object lies in, as the library opened it; empty: it does not say.
std::string FileOf(hid_t object) {
  const ssize_t length = H5Fget_name(object, nullptr, 0);
  if (length <= 0) return "";
  std::string path(static_cast<size_t>(length), '\0');
  return H5Fget_name(object, path.data(), path.size() + 1) == length ? path : "";
}

// The first filter of a dataset that the library has no code for; empty: it has all.
std::string MissingFilter(hid_t properties) {
  for (int i = 0; i < H5Pget_nfilters(properties); ++i) {
    unsigned flags = 0;
    unsigned config = 0;
    size_t values = 0;
    char name[64] = {};
    const H5Z_filter_t filter =
        H5Pget_filter2(properties, static_cast<unsigned>(i), &flags, &values, nullptr, sizeof(name), name, &config);
    if (filter < 0 || H5Zfilter_avail(filter) > 0) continue;
    name[sizeof(name) - 1] = '\0';
    return absl::StrCat(absl::CHexEscape(name), name[0] == '\0' ? "" : " ", "(number ", filter, ")");
  }
  return "";
}

std::string RowsMessage(absl::string_view doing, int64_t first, int64_t rows) {
  return absl::StrCat(doing, " ", rows, " rows from row ", first);
}

// A conversion that the library calls for strings of variable length read as 16 plain bytes: they stay as they are.
// NOLINTNEXTLINE(readability-function-size): the library's signature.
herr_t KeepPlaces(hid_t from, hid_t to, H5T_cdata_t* call, size_t, size_t, size_t, void*, void*, hid_t) {
  if (call->command != H5T_CONV_INIT) return 0;
  call->need_bkg = H5T_BKG_NO;
  return H5Tis_variable_str(from) > 0 && H5Tget_size(to) == Hdf5TextPlace::kBytes ? 0 : -1;
}

// The type under which the library hands out where the strings are, instead of the strings.
hid_t NewPlaceType() {
  const hid_t places = H5Tcreate(H5T_OPAQUE, Hdf5TextPlace::kBytes);
  const Hdf5Id strings(H5Tcopy(H5T_C_S1));
  H5Tset_size(strings.get(), H5T_VARIABLE);
  // Once for the process: the library keeps a table of conversions.
  static const herr_t registered = H5Tregister(H5T_PERS_SOFT, "places", strings.get(), places, KeepPlaces);
  static_cast<void>(registered);
  return places;
}

// The string in a field of fixed width.
absl::string_view TrimField(absl::string_view field, H5T_str_t padding) {
  if (padding == H5T_STR_SPACEPAD) return field.substr(0, field.find_last_not_of(' ') + 1);
  if (padding == H5T_STR_NULLPAD) return field.substr(0, field.find_last_not_of('\0') + 1);
  return field.substr(0, field.find('\0'));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Hdf5Dataset>> Hdf5Dataset::Take(int64_t id, const std::string& path,
                                                               const std::string& name) {
  std::string file;
  {
    const Hdf5Call call;
    file = FileOf(id);
  }
  if (file.empty()) file = path;
  std::unique_ptr<Hdf5Dataset> dataset(new Hdf5Dataset(
      id, file, absl::StrCat(path, ": dataset `", name, "`", file == path ? "" : absl::StrCat(" (in ", file, ")"))));
  ABSL_RETURN_IF_ERROR(dataset->Measure());
  ABSL_RETURN_IF_ERROR(dataset->OpenHeap());
  return dataset;
}

Hdf5Dataset::Hdf5Dataset(int64_t id, std::string file, std::string name)
    : id_(id), file_(std::move(file)), name_(std::move(name)) {}

Hdf5Dataset::~Hdf5Dataset() {
  const Hdf5Call call;
  // As ~Hdf5File().
  if (H5Dflush(id_) >= 0) H5Dclose(id_);
}

absl::Status Hdf5Dataset::DamagedError(absl::string_view what) const {
  return absl::DataLossError(absl::StrCat(name_, ": ", what));
}

absl::Status Hdf5Dataset::Measure() {
  const Hdf5Call call;
  const Hdf5Id type(H5Dget_type(id_));
  const Hdf5Id space(H5Dget_space(id_));
  const Hdf5Id properties(H5Dget_create_plist(id_));
  if (!type.ok() || !space.ok() || !properties.ok()) return call.Error(name_, "read", absl::StatusCode::kDataLoss);
  hsize_t extent[H5S_MAX_RANK] = {0, 1};
  hsize_t most[H5S_MAX_RANK] = {0, 1};
  shape_.dimensions = H5Sget_simple_extent_dims(space.get(), extent, most);
  if (shape_.dimensions < 1 || shape_.dimensions > 2) {
    return DamagedError(absl::StrCat("expected one dimension or two, got ", shape_.dimensions));
  }
  if (shape_.dimensions == 1) extent[1] = 1;
  const hsize_t element = H5Tget_size(type.get());
  if (extent[1] == 0 || extent[1] > static_cast<hsize_t>(kMaxColumns) || element == 0 || element > kMaxTextBytes ||
      extent[0] > std::numeric_limits<int64_t>::max() / (extent[1] * element)) {
    return DamagedError(absl::StrCat("expected a table of rows, got ", extent[0], " x ", extent[1], " elements of ",
                                     element, " bytes"));
  }
  shape_.kind = KindOf(type.get());
  shape_.is_uint64 =
      shape_.kind == Hdf5Kind::kIntegers && element == sizeof(uint64_t) && H5Tget_sign(type.get()) == H5T_SGN_NONE;
  shape_.output = OutputTypeOf(type.get());
  shape_.rows = static_cast<int64_t>(extent[0]);
  shape_.columns = static_cast<int64_t>(extent[1]);
  if (H5Pget_layout(properties.get()) == H5D_CHUNKED) {
    hsize_t chunk[H5S_MAX_RANK] = {0, 1};
    hsize_t bytes = element;
    if (H5Pget_chunk(properties.get(), shape_.dimensions, chunk) != shape_.dimensions) {
      return call.Error(name_, "read", absl::StatusCode::kDataLoss);
    }
    for (int i = 0; i < shape_.dimensions; ++i) bytes *= std::min(chunk[i], hsize_t{1} << 31);
    if (chunk[0] == 0 || chunk[1] == 0 || bytes > static_cast<hsize_t>(kMaxChunkBytes)) {
      return DamagedError(absl::StrCat("expected chunks of at most ", kMaxChunkBytes, " bytes, got ", bytes));
    }
    shape_.chunk_rows = static_cast<int64_t>(chunk[0]);
    shape_.takes_chunks = H5Pget_nfilters(properties.get()) == 0 && chunk[1] == extent[1] && most[0] == H5S_UNLIMITED &&
                          shape_.output.has_value();
  }
  return CheckStorage(type.get(), properties.get());
}

// Whether all rows are in the file, or are known to be empty: what is not there is otherwise read as zeros.
absl::Status Hdf5Dataset::CheckStorage(int64_t type, int64_t properties) const {
  if (H5Pget_layout(properties) == H5D_VIRTUAL) {
    return absl::InvalidArgumentError(absl::StrCat(
        name_, ": is a virtual dataset, a view of others; name the dataset that has the rows, or copy them into one"));
  }
  if (H5Pget_external_count(properties) > 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        name_, ": keeps its rows in a raw file of its own; copy it into one file first, for example with h5repack"));
  }
  if (const std::string filter = MissingFilter(properties); !filter.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(name_, ": is packed by the filter ", filter,
                                                   ", which is not installed; put its plugin where HDF5_PLUGIN_PATH "
                                                   "says, or unpack the file with h5repack -f NONE"));
  }
  const hsize_t columns = static_cast<hsize_t>(shape_.columns);
  const hsize_t row_bytes = columns * H5Tget_size(type);
  const hsize_t wanted = static_cast<hsize_t>(shape_.rows) * row_bytes;
  const hsize_t there = H5Dget_storage_size(id_);
  const bool packed = H5Pget_nfilters(properties) > 0;
  hsize_t missing = !packed && there < wanted ? (wanted - there) / row_bytes : 0;
  if (H5Pget_layout(properties) == H5D_CHUNKED && wanted > 0) {
    // Those of packed chunks are known by their number only.
    hsize_t chunk[H5S_MAX_RANK] = {0, 1};
    hsize_t chunks = 0;
    const Hdf5Id space(H5Dget_space(id_));
    if (H5Pget_chunk(properties, shape_.dimensions, chunk) < 0 || H5Dget_num_chunks(id_, space.get(), &chunks) < 0) {
      return DamagedError("could not count its chunks");
    }
    const hsize_t down = (static_cast<hsize_t>(shape_.rows) + chunk[0] - 1) / chunk[0];
    const hsize_t across = (columns + chunk[1] - 1) / chunk[1];
    missing = chunks < down * across ? std::max<hsize_t>((down * across - chunks) / across, 1) * chunk[0] : 0;
  }
  if (missing == 0) return absl::OkStatus();
  H5D_fill_value_t fill = H5D_FILL_VALUE_ERROR;
  H5Pfill_value_defined(properties, &fill);
  // The library shows a string of variable length that stands for others by where it lies in memory, not in the file.
  const bool reads_as_empty =
      shape_.kind == Hdf5Kind::kTexts && (fill != H5D_FILL_VALUE_USER_DEFINED || H5Tis_variable_str(type) <= 0);
  if (reads_as_empty && missing <= static_cast<hsize_t>(kMaxUnwrittenRows)) return absl::OkStatus();
  return DamagedError(absl::StrCat("expected ", wanted, " bytes for ", shape_.rows, " rows, got ", there, ", as about ",
                                   Counted(static_cast<int64_t>(missing), "row was", "rows were"),
                                   " never written; write them, or make it shorter"));
}

absl::Status Hdf5Dataset::ReadNumbers(Hdf5Kind kind, int64_t first, size_t numbers, void* to) const {
  const Hdf5Call call;
  const int64_t rows = static_cast<int64_t>(numbers) / shape_.columns;
  const Hdf5Id part(SelectRows(id_, shape_.dimensions, first, rows, shape_.columns));
  const Hdf5Id memory(NewSpace(shape_.dimensions, rows, shape_.columns));
  // Asked for as signed ones, integers beyond int64 would be cut to the largest without a word.
  const hid_t integers = shape_.is_uint64 ? H5T_NATIVE_UINT64 : H5T_NATIVE_INT64;
  const hid_t type = kind == Hdf5Kind::kFloats ? H5T_NATIVE_FLOAT : integers;
  if (!part.ok() || !memory.ok() || H5Dread(id_, type, memory.get(), part.get(), H5P_DEFAULT, to) < 0) {
    return call.Error(name_, RowsMessage("read", first, rows), absl::StatusCode::kDataLoss);
  }
  return absl::OkStatus();
}

absl::Status Hdf5Dataset::Read(int64_t first, absl::Span<float> to) const {
  return ReadNumbers(Hdf5Kind::kFloats, first, to.size(), to.data());
}

absl::Status Hdf5Dataset::ReadBytes(int64_t first, int64_t rows, char* to) const {
  const Hdf5Call call;
  const Hdf5Id part(SelectRows(id_, shape_.dimensions, first, rows, shape_.columns));
  const Hdf5Id memory(NewSpace(shape_.dimensions, rows, shape_.columns));
  const Hdf5Id type(NewHdf5Type(*shape_.output));
  if (!part.ok() || !memory.ok() || H5Dread(id_, type.get(), memory.get(), part.get(), H5P_DEFAULT, to) < 0) {
    return call.Error(name_, RowsMessage("read", first, rows), absl::StatusCode::kDataLoss);
  }
  return absl::OkStatus();
}

absl::Status Hdf5Dataset::Read(int64_t first, absl::Span<int64_t> to) const {
  return ReadNumbers(Hdf5Kind::kIntegers, first, to.size(), to.data());
}

absl::Status Hdf5Dataset::OpenHeap() {
  int64_t base;
  {
    const Hdf5Call call;
    const Hdf5Id type(H5Dget_type(id_));
    if (shape_.kind != Hdf5Kind::kTexts || H5Tis_variable_str(type.get()) <= 0) return absl::OkStatus();
    const Hdf5Id file(H5Iget_file_id(id_));
    const Hdf5Id properties(H5Fget_create_plist(file.get()));
    hsize_t before = 0;
    size_t address_bytes = 0;
    size_t length_bytes = 0;
    if (H5Pget_userblock(properties.get(), &before) < 0 ||
        H5Pget_sizes(properties.get(), &address_bytes, &length_bytes) < 0) {
      return call.Error(name_, "read", absl::StatusCode::kDataLoss);
    }
    if (address_bytes != 8 || length_bytes != 8) {
      return DamagedError(absl::StrCat("expected addresses of 8 bytes, got ", address_bytes));
    }
    base = static_cast<int64_t>(before);
  }
  ABSL_ASSIGN_OR_RETURN(File file, File::OpenToRead(file_));
  heap_ = std::make_unique<Hdf5TextHeap>(std::move(file), base, kMaxTextBytes);
  return absl::OkStatus();
}

absl::StatusOr<Hdf5TextBlock> Hdf5Dataset::ReadTexts(int64_t first, int64_t rows) const {
  const Hdf5Call call;
  const Hdf5Id type(heap_ != nullptr ? NewPlaceType() : H5Dget_type(id_));
  const size_t width = H5Tget_size(type.get());
  rows = std::min(rows, std::max<int64_t>(static_cast<int64_t>(kBlockBytes / width), 1));
  const Hdf5Id part(SelectRows(id_, 1, first, rows, 1));
  const Hdf5Id memory(NewSpace(1, rows, 1));
  std::string fields(static_cast<size_t>(rows) * width, '\0');
  if (!part.ok() || !memory.ok() ||
      H5Dread(id_, type.get(), memory.get(), part.get(), H5P_DEFAULT, fields.data()) < 0) {
    return call.Error(name_, RowsMessage("read", first, rows), absl::StatusCode::kDataLoss);
  }
  Hdf5TextBlock block;
  for (size_t at = 0; at < fields.size() && block.bytes() < kBlockBytes; at += width) {
    if (heap_ == nullptr) {
      block.Add(TrimField({fields.data() + at, width}, H5Tget_strpad(type.get())));
      continue;
    }
    const absl::StatusOr<absl::string_view> text = heap_->At(Hdf5TextPlace::Parse(fields.data() + at));
    // The rows before a damaged one are good.
    if (!text.ok() && block.size() == 0) return text.status();
    if (!text.ok()) break;
    block.Add(*text);
  }
  return block;
}

absl::Status Hdf5Dataset::WriteChunk(int64_t rows, int64_t first, absl::Span<const char> chunk) {
  static_assert(std::endian::native == std::endian::little, "chunks are written as they lie in memory");
  const Hdf5Call call;
  const hsize_t extent[] = {static_cast<hsize_t>(rows), static_cast<hsize_t>(shape_.columns)};
  const hsize_t offset[] = {static_cast<hsize_t>(first), 0};
  if (H5Dset_extent(id_, extent) < 0 || H5Dwrite_chunk(id_, H5P_DEFAULT, 0, offset, chunk.size(), chunk.data()) < 0) {
    return call.Error(name_, absl::StrCat("write ", chunk.size(), " more bytes"), absl::StatusCode::kInternal);
  }
  shape_.rows = rows;
  return absl::OkStatus();
}

absl::Status Hdf5Dataset::AppendRows(Hdf5Kind kind, size_t rows, const void* values) {
  const Hdf5Call call;
  const hsize_t extent[] = {static_cast<hsize_t>(shape_.rows) + rows, static_cast<hsize_t>(shape_.columns)};
  const Hdf5Id text(kind == Hdf5Kind::kTexts ? H5Dget_type(id_) : -1);
  const hid_t number = kind == Hdf5Kind::kFloats ? H5T_NATIVE_FLOAT : H5T_NATIVE_INT64;
  const hid_t type = kind == Hdf5Kind::kTexts ? text.get() : number;
  const bool grown = H5Dset_extent(id_, extent) >= 0;
  const int dimensions = shape_.dimensions;
  const auto count = static_cast<int64_t>(rows);
  const Hdf5Id part(grown ? SelectRows(id_, dimensions, shape_.rows, count, shape_.columns) : -1);
  const Hdf5Id memory(part.ok() ? NewSpace(dimensions, count, shape_.columns) : -1);
  if (!memory.ok() || H5Dwrite(id_, type, memory.get(), part.get(), H5P_DEFAULT, values) < 0) {
    return call.Error(name_, RowsMessage("write", shape_.rows, static_cast<int64_t>(rows)),
                      absl::StatusCode::kInternal);
  }
  shape_.rows = static_cast<int64_t>(extent[0]);
  return absl::OkStatus();
}

absl::Status Hdf5Dataset::Append(absl::Span<const int64_t> values) {
  return AppendRows(Hdf5Kind::kIntegers, values.size(), values.data());
}

absl::Status Hdf5Dataset::Append(absl::Span<const std::string> texts) {
  std::vector<const char*> pointers;
  for (const std::string& text : texts) pointers.push_back(text.c_str());
  return AppendRows(Hdf5Kind::kTexts, pointers.size(), pointers.data());
}

absl::Status Hdf5Dataset::AppendMatrix(absl::Span<const float> values) {
  return AppendRows(Hdf5Kind::kFloats, values.size() / static_cast<size_t>(shape_.columns), values.data());
}

absl::Status Hdf5Dataset::AppendMatrix(absl::Span<const int64_t> values) {
  return AppendRows(Hdf5Kind::kIntegers, values.size() / static_cast<size_t>(shape_.columns), values.data());
}

}  // namespace reembed
