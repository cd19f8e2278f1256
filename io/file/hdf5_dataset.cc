#include <hdf5.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "io/file/hdf5_call.h"
#include "io/file/hdf5_file.h"

namespace reembed {
namespace {

// What a block of strings aims at.
constexpr size_t kBlockBytes = size_t{8} << 20;

Hdf5Kind KindOf(hid_t type) {
  switch (H5Tget_class(type)) {
    case H5T_FLOAT:
      return Hdf5Kind::kFloats;
    case H5T_INTEGER:
      // What does not fit into 64 signed bits would be cut without a word.
      return H5Tget_size(type) + (H5Tget_sign(type) == H5T_SGN_NONE ? 1 : 0) <= sizeof(int64_t) ? Hdf5Kind::kIntegers
                                                                                                : Hdf5Kind::kOther;
    case H5T_STRING:
      return Hdf5Kind::kTexts;
    default:
      return Hdf5Kind::kOther;
  }
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

hid_t NewSpace(int64_t elements) {
  const hsize_t extent = static_cast<hsize_t>(elements);
  return H5Screate_simple(1, &extent, nullptr);
}

std::string RowsMessage(absl::string_view doing, int64_t first, int64_t rows) {
  return absl::StrCat(doing, " ", rows, " rows from row ", first);
}

// Where the library puts the strings it reads, so that a damaged length cannot ask for more than there should be.
struct TextMemory {
  Hdf5TextBlock* block;
  size_t bytes_left;
};

void* AllocateText(size_t bytes, void* of) {
  auto* const memory = static_cast<TextMemory*>(of);
  if (bytes > memory->bytes_left) return nullptr;
  memory->bytes_left -= bytes;
  memory->block->memory.emplace_back(new (std::nothrow) char[bytes]);
  return memory->block->memory.back().get();
}

void KeepText(void*, void*) {}

// The string in a field of fixed width.
absl::string_view TrimField(absl::string_view field, H5T_str_t padding) {
  if (padding == H5T_STR_SPACEPAD) return field.substr(0, field.find_last_not_of(' ') + 1);
  if (padding == H5T_STR_NULLPAD) return field.substr(0, field.find_last_not_of('\0') + 1);
  return field.substr(0, field.find('\0'));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Hdf5Dataset>> Hdf5Dataset::Take(int64_t id, const std::string& name) {
  std::unique_ptr<Hdf5Dataset> dataset(new Hdf5Dataset(id, name));
  if (absl::Status status = dataset->Measure(); !status.ok()) return status;
  return dataset;
}

Hdf5Dataset::~Hdf5Dataset() {
  const Hdf5Call call;
  H5Dclose(id_);
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
  shape_.rows = static_cast<int64_t>(extent[0]);
  shape_.columns = static_cast<int64_t>(extent[1]);
  const int filters = H5Pget_nfilters(properties.get());
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
    shape_.takes_chunks =
        filters == 0 && chunk[1] == extent[1] && most[0] == H5S_UNLIMITED && H5Tequal(type.get(), H5T_IEEE_F32LE) > 0;
  }
  // A damaged number of rows would otherwise be read as rows of zeros, for ages.
  const hsize_t wanted = extent[0] * extent[1] * element;
  const hsize_t there = H5Dget_storage_size(id_);
  if (wanted > 0 && (filters == 0 ? there < wanted : there == 0)) {
    return DamagedError(absl::StrCat("expected ", wanted, " bytes for ", extent[0], " rows, got ", there));
  }
  return absl::OkStatus();
}

absl::Status Hdf5Dataset::ReadNumbers(Hdf5Kind kind, int64_t first, size_t numbers, void* to) const {
  const Hdf5Call call;
  const int64_t rows = static_cast<int64_t>(numbers) / shape_.columns;
  const Hdf5Id part(SelectRows(id_, shape_.dimensions, first, rows, shape_.columns));
  const Hdf5Id memory(NewSpace(static_cast<int64_t>(numbers)));
  const hid_t type = kind == Hdf5Kind::kFloats ? H5T_NATIVE_FLOAT : H5T_NATIVE_INT64;
  if (!part.ok() || !memory.ok() || H5Dread(id_, type, memory.get(), part.get(), H5P_DEFAULT, to) < 0) {
    return call.Error(name_, RowsMessage("read", first, rows), absl::StatusCode::kDataLoss);
  }
  return absl::OkStatus();
}

absl::Status Hdf5Dataset::Read(int64_t first, absl::Span<float> to) const {
  return ReadNumbers(Hdf5Kind::kFloats, first, to.size(), to.data());
}

absl::Status Hdf5Dataset::Read(int64_t first, absl::Span<int64_t> to) const {
  return ReadNumbers(Hdf5Kind::kIntegers, first, to.size(), to.data());
}

absl::StatusOr<Hdf5TextBlock> Hdf5Dataset::ReadTexts(int64_t first, int64_t rows) const {
  const Hdf5Call call;
  const Hdf5Id type(H5Dget_type(id_));
  return H5Tis_variable_str(type.get()) > 0 ? ReadStrings(call, type.get(), first, rows)
                                            : ReadFields(call, type.get(), first, rows);
}

absl::StatusOr<Hdf5TextBlock> Hdf5Dataset::ReadFields(const Hdf5Call& call, int64_t type, int64_t first,
                                                      int64_t rows) const {
  const size_t width = H5Tget_size(type);
  rows = std::min(rows, std::max<int64_t>(static_cast<int64_t>(kBlockBytes / width), 1));
  const Hdf5Id part(SelectRows(id_, 1, first, rows, 1));
  const Hdf5Id memory(NewSpace(rows));
  Hdf5TextBlock block;
  block.memory.emplace_back(std::make_unique<char[]>(static_cast<size_t>(rows) * width));
  char* const fields = block.memory.back().get();
  if (!part.ok() || !memory.ok() || H5Dread(id_, type, memory.get(), part.get(), H5P_DEFAULT, fields) < 0) {
    return call.Error(name_, RowsMessage("read", first, rows), absl::StatusCode::kDataLoss);
  }
  const H5T_str_t padding = H5Tget_strpad(type);
  for (int64_t i = 0; i < rows; ++i) {
    block.texts.push_back(TrimField({fields + static_cast<size_t>(i) * width, width}, padding));
  }
  return block;
}

absl::StatusOr<Hdf5TextBlock> Hdf5Dataset::ReadStrings(const Hdf5Call& call, int64_t type, int64_t first,
                                                       int64_t rows) const {
  const Hdf5Id properties(H5Pcreate(H5P_DATASET_XFER));
  while (true) {
    Hdf5TextBlock block;
    std::vector<char*> texts(static_cast<size_t>(rows));
    TextMemory room{.block = &block, .bytes_left = rows > 1 ? kBlockBytes : kMaxTextBytes};
    H5Pset_vlen_mem_manager(properties.get(), AllocateText, &room, KeepText, nullptr);
    const Hdf5Id part(SelectRows(id_, 1, first, rows, 1));
    const Hdf5Id memory(NewSpace(rows));
    if (part.ok() && memory.ok() && H5Dread(id_, type, memory.get(), part.get(), properties.get(), texts.data()) >= 0) {
      // The library gives an empty string as none.
      for (const char* text : texts) block.texts.emplace_back(text == nullptr ? "" : text);
      return block;
    }
    // Either the block is too large or a string is damaged: a single row tells.
    if (rows == 1) return call.Error(name_, absl::StrCat("read row ", first), absl::StatusCode::kDataLoss);
    rows = std::max<int64_t>(rows / 8, 1);
  }
}

absl::Status Hdf5Dataset::WriteChunk(int64_t rows, int64_t first, absl::Span<const float> chunk) {
  static_assert(std::endian::native == std::endian::little, "chunks are written as they lie in memory");
  const Hdf5Call call;
  const hsize_t extent[] = {static_cast<hsize_t>(rows), static_cast<hsize_t>(shape_.columns)};
  const hsize_t offset[] = {static_cast<hsize_t>(first), 0};
  if (H5Dset_extent(id_, extent) < 0 ||
      H5Dwrite_chunk(id_, H5P_DEFAULT, 0, offset, chunk.size() * sizeof(float), chunk.data()) < 0) {
    return call.Error(name_, absl::StrCat("write ", chunk.size() * sizeof(float), " more bytes"),
                      absl::StatusCode::kInternal);
  }
  shape_.rows = rows;
  return absl::OkStatus();
}

absl::Status Hdf5Dataset::AppendRows(Hdf5Kind kind, size_t rows, const void* values) {
  const Hdf5Call call;
  const hsize_t extent = static_cast<hsize_t>(shape_.rows) + rows;
  const Hdf5Id text(kind == Hdf5Kind::kTexts ? H5Dget_type(id_) : -1);
  const hid_t type = kind == Hdf5Kind::kTexts ? text.get() : H5T_NATIVE_INT64;
  const bool grown = H5Dset_extent(id_, &extent) >= 0;
  const Hdf5Id part(grown ? SelectRows(id_, 1, shape_.rows, static_cast<int64_t>(rows), 1) : -1);
  const Hdf5Id memory(part.ok() ? NewSpace(static_cast<int64_t>(rows)) : -1);
  if (!memory.ok() || H5Dwrite(id_, type, memory.get(), part.get(), H5P_DEFAULT, values) < 0) {
    return call.Error(name_, RowsMessage("write", shape_.rows, static_cast<int64_t>(rows)),
                      absl::StatusCode::kInternal);
  }
  shape_.rows = static_cast<int64_t>(extent);
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

}  // namespace reembed
