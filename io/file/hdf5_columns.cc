#include "io/file/hdf5_columns.h"

#include <hdf5.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/json_text.h"
#include "io/file/matrix_format.h"

namespace reembed {
namespace {

constexpr int64_t kBlockRows = 1024;
constexpr size_t kMaxStringBytes = size_t{64} << 20;  // also of a block of variable ones
constexpr size_t kFixedBlockBytes = size_t{4} << 20;
constexpr size_t kDefaultCacheBytes = size_t{1} << 20;
constexpr size_t kMaxChunkBytes = size_t{256} << 20;

// The first names in the root group, for "no such dataset".
std::string NamesIn(hid_t file) {
  constexpr hsize_t kMost = 20;
  std::vector<std::string> names;
  for (hsize_t i = 0; i < kMost; ++i) {
    char name[128];
    if (H5Lget_name_by_idx(file, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof(name), H5P_DEFAULT) < 0) break;
    names.push_back(name);
  }
  return absl::StrJoin(names, ", ");
}

// Bytes of one chunk in memory; 0: not chunked.
size_t ChunkBytes(hid_t dataset, hid_t type, size_t rank) {
  const Hdf5Id properties(H5Dget_create_plist(dataset), H5Pclose);
  if (!properties.ok() || H5Pget_layout(properties.get()) != H5D_CHUNKED) return 0;
  std::vector<hsize_t> shape(rank);
  if (H5Pget_chunk(properties.get(), static_cast<int>(rank), shape.data()) < 0) return 0;
  size_t bytes = H5Tget_size(type);
  for (const hsize_t size : shape) {
    if (size > 0 && bytes > kMaxChunkBytes / size) return kMaxChunkBytes + 1;
    bytes *= size;
  }
  return bytes;
}

// What the library allocates for strings of variable length, up to a limit.
struct StringPool {
  std::vector<std::unique_ptr<char[]>>* blocks;
  size_t bytes = 0;
  char* next = nullptr;
  size_t left = 0;
  bool is_full = false;

  static void* Allocate(size_t size, void* pool) { return static_cast<StringPool*>(pool)->Take(size); }
  static void Free(void*, void*) {}

  void* Take(size_t size) {
    constexpr size_t kBlockBytes = size_t{256} << 10;
    if (size > left) {
      const size_t block = std::max(size, kBlockBytes);
      if (bytes + block > kMaxStringBytes + kBlockBytes) {
        is_full = true;
        return nullptr;
      }
      blocks->emplace_back(new char[block]);
      bytes += block;
      next = blocks->back().get();
      left = block;
    }
    left -= size;
    return std::exchange(next, next + size);
  }
};

class IntegerKeys final : public KeyColumn {
 public:
  explicit IntegerKeys(Hdf5Dataset dataset) : dataset_(std::move(dataset)) {}

  absl::StatusOr<KeyView> At(int64_t row) override {
    if (row < begin_ || row >= begin_ + static_cast<int64_t>(block_.size())) {
      const int64_t rows = std::min(kBlockRows, dataset_.shape[0] - row);
      block_.clear();
      std::vector<int64_t> block(static_cast<size_t>(rows));
      const Hdf5Lock lock;
      if (absl::Status status = dataset_.Read(row, rows, H5T_NATIVE_INT64, H5P_DEFAULT, block.data()); !status.ok()) {
        return status;
      }
      block_ = std::move(block);
      begin_ = row;
    }
    return KeyView(block_[static_cast<size_t>(row - begin_)]);
  }

 private:
  const Hdf5Dataset dataset_;
  int64_t begin_ = 0;
  std::vector<int64_t> block_;
};

class StringKeys final : public KeyColumn {
 public:
  StringKeys(Hdf5Strings strings, std::string place) : strings_(std::move(strings)), place_(std::move(place)) {}

  absl::StatusOr<KeyView> At(int64_t row) override {
    const absl::StatusOr<std::optional<absl::string_view>> key = strings_.At(row);
    if (!key.ok()) return key.status();
    if (key->has_value() && IsValidUtf8(**key)) return KeyView(**key);
    return absl::DataLossError(absl::StrCat(place_, ": row ", row, ": expected a UTF-8 string, got ",
                                            key->has_value() ? "other bytes" : "none"));
  }

 private:
  Hdf5Strings strings_;
  const std::string place_;
};

class MatrixRows final : public VectorRows {
 public:
  explicit MatrixRows(Hdf5Dataset dataset) : dataset_(std::move(dataset)) {}

  absl::Status Read(int64_t first, int64_t rows, float* to) override {
    const Hdf5Lock lock;
    return dataset_.Read(first, rows, H5T_NATIVE_FLOAT, H5P_DEFAULT, to);
  }

 private:
  const Hdf5Dataset dataset_;
};

}  // namespace

bool HasHdf5Dataset(const Hdf5Id& file, const std::string& name) {
  const Hdf5Lock lock;
  return H5Lexists(file.get(), name.c_str(), H5P_DEFAULT) > 0;
}

absl::StatusOr<Hdf5Dataset> Hdf5Dataset::Open(const Hdf5Id& file, const std::string& path, const std::string& name) {
  const Hdf5Lock lock;
  Hdf5Dataset dataset = {.place = absl::StrCat(path, ": dataset `", name, "`")};
  dataset.id = Hdf5Id(H5Dopen2(file.get(), name.c_str(), H5P_DEFAULT), H5Dclose);
  if (!dataset.id.ok() && !HasHdf5Dataset(file, name)) {
    return absl::NotFoundError(absl::StrCat(path, ": no dataset `", name, "`; it has: ", NamesIn(file.get())));
  }
  if (!dataset.id.ok()) return Hdf5Error(dataset.place, "open");
  dataset.type = Hdf5Id(H5Dget_type(dataset.id.get()), H5Tclose);
  const Hdf5Id space(H5Dget_space(dataset.id.get()), H5Sclose);
  if (!dataset.type.ok() || !space.ok()) return Hdf5Error(dataset.place, "read its type and shape");
  const int rank = H5Sget_simple_extent_ndims(space.get());
  if (rank < 0) return Hdf5Error(dataset.place, "read its shape");
  std::vector<hsize_t> shape(static_cast<size_t>(rank));
  H5Sget_simple_extent_dims(space.get(), shape.data(), nullptr);
  for (const hsize_t size : shape) {
    if (size > uint64_t{1} << 62) return absl::DataLossError(absl::StrCat(dataset.place, ": its shape is damaged"));
    dataset.shape.push_back(static_cast<int64_t>(size));
  }
  const size_t chunk_bytes = ChunkBytes(dataset.id.get(), dataset.type.get(), shape.size());
  if (chunk_bytes > kMaxChunkBytes) {
    return absl::InvalidArgumentError(absl::StrCat(dataset.place, ": expected chunks of at most ", kMaxChunkBytes,
                                                   " bytes, got larger ones; make them smaller with h5repack"));
  }
  if (chunk_bytes > kDefaultCacheBytes) {
    // Or every block would read, and perhaps decompress, its chunk once more.
    const Hdf5Id access(H5Pcreate(H5P_DATASET_ACCESS), H5Pclose);
    H5Pset_chunk_cache(access.get(), H5D_CHUNK_CACHE_NSLOTS_DEFAULT, chunk_bytes, 1.0);
    dataset.id = Hdf5Id();  // the cache of an open dataset stays as it is
    dataset.id = Hdf5Id(H5Dopen2(file.get(), name.c_str(), access.get()), H5Dclose);
    if (!dataset.id.ok()) return Hdf5Error(dataset.place, "open");
  }
  return dataset;
}

absl::Status Hdf5Dataset::Read(int64_t first, int64_t rows, int64_t memory_type, int64_t transfer, void* to) const {
  const Hdf5Lock lock;
  std::vector<hsize_t> start(shape.size(), 0);
  std::vector<hsize_t> count(shape.begin(), shape.end());
  start[0] = static_cast<hsize_t>(first);
  count[0] = static_cast<hsize_t>(rows);
  const Hdf5Id in_file(H5Dget_space(id.get()), H5Sclose);
  const Hdf5Id in_memory(H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr), H5Sclose);
  if (!in_file.ok() || !in_memory.ok() ||
      H5Sselect_hyperslab(in_file.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr) < 0 ||
      H5Dread(id.get(), memory_type, in_memory.get(), in_file.get(), transfer, to) < 0) {
    return Hdf5Error(place, absl::StrCat("read ", rows, " rows from row ", first));
  }
  return absl::OkStatus();
}

Hdf5Strings::Hdf5Strings(Hdf5Dataset dataset, Hdf5Id memory_type, size_t fixed_bytes)
    : dataset_(std::move(dataset)), memory_type_(std::move(memory_type)), fixed_bytes_(fixed_bytes) {}

absl::StatusOr<Hdf5Strings> Hdf5Strings::Open(const Hdf5Id& file, const std::string& path, const std::string& name) {
  const Hdf5Lock lock;
  absl::StatusOr<Hdf5Dataset> dataset = Hdf5Dataset::Open(file, path, name);
  if (!dataset.ok()) return dataset.status();
  const hid_t type = dataset->type.get();
  if (H5Tget_class(type) != H5T_STRING || dataset->shape.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(dataset->place, ": expected one dimension of strings, got something else"));
  }
  const bool is_variable = H5Tis_variable_str(type) > 0;
  const size_t bytes = is_variable ? 0 : H5Tget_size(type);
  if (!is_variable && (bytes == 0 || bytes > kMaxStringBytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat(dataset->place, ": expected strings of 1 to ", kMaxStringBytes, " bytes, got ", bytes));
  }
  // As in the file, so that nothing is converted.
  Hdf5Id memory_type(H5Tcopy(H5T_C_S1), H5Tclose);
  if (!memory_type.ok() || H5Tset_size(memory_type.get(), is_variable ? H5T_VARIABLE : bytes) < 0 ||
      H5Tset_cset(memory_type.get(), H5Tget_cset(type)) < 0 ||
      H5Tset_strpad(memory_type.get(), H5Tget_strpad(type)) < 0) {
    return Hdf5Error(dataset->place, "read its type");
  }
  return Hdf5Strings(std::move(*dataset), std::move(memory_type), bytes);
}

absl::StatusOr<std::optional<absl::string_view>> Hdf5Strings::At(int64_t row) {
  if (row < block_begin_ || row >= block_begin_ + static_cast<int64_t>(block_.size())) {
    block_.clear();
    const absl::Status status = fixed_bytes_ > 0 ? LoadFixed(row) : LoadVariable(row);
    if (!status.ok()) return status;
    block_begin_ = row;
  }
  return block_[static_cast<size_t>(row - block_begin_)];
}

absl::Status Hdf5Strings::LoadFixed(int64_t row) {
  const int64_t fitting = std::max<int64_t>(1, static_cast<int64_t>(kFixedBlockBytes / fixed_bytes_));
  const int64_t count = std::min({kBlockRows, fitting, rows() - row});
  fixed_.resize(static_cast<size_t>(count) * fixed_bytes_);
  const Hdf5Lock lock;
  if (absl::Status status = dataset_.Read(row, count, memory_type_.get(), H5P_DEFAULT, fixed_.data()); !status.ok()) {
    return status;
  }
  const bool space_padded = H5Tget_strpad(memory_type_.get()) == H5T_STR_SPACEPAD;
  for (int64_t i = 0; i < count; ++i) {
    const char* const text = fixed_.data() + static_cast<size_t>(i) * fixed_bytes_;
    size_t bytes = space_padded ? fixed_bytes_ : strnlen(text, fixed_bytes_);
    while (space_padded && bytes > 0 && text[bytes - 1] == ' ') --bytes;
    block_.emplace_back(absl::string_view(text, bytes));
  }
  return absl::OkStatus();
}

absl::Status Hdf5Strings::LoadVariable(int64_t row) {
  const Hdf5Lock lock;
  const Hdf5Id transfer(H5Pcreate(H5P_DATASET_XFER), H5Pclose);
  for (int64_t count = std::min(kBlockRows, rows() - row);; count /= 2) {
    pool_.clear();
    StringPool pool = {.blocks = &pool_};
    H5Pset_vlen_mem_manager(transfer.get(), StringPool::Allocate, &pool, StringPool::Free, nullptr);
    std::vector<const char*> texts(static_cast<size_t>(count), nullptr);
    const absl::Status status = dataset_.Read(row, count, memory_type_.get(), transfer.get(), texts.data());
    if (status.ok()) {
      for (const char* const text : texts) {
        block_.push_back(text == nullptr ? std::nullopt : std::optional(absl::string_view(text)));
      }
      return absl::OkStatus();
    }
    if (!pool.is_full) return status;
    if (count == 1) {
      return absl::DataLossError(absl::StrCat(dataset_.place, ": row ", row, ": expected at most ", kMaxStringBytes,
                                              " bytes of text, got more"));
    }
  }
}

absl::StatusOr<std::unique_ptr<KeyColumn>> OpenHdf5Keys(const Hdf5Id& file, const std::string& path,
                                                        const std::string& name, int64_t rows) {
  const Hdf5Lock lock;
  absl::StatusOr<Hdf5Dataset> dataset = Hdf5Dataset::Open(file, path, name);
  if (!dataset.ok()) return dataset.status();
  if (dataset->shape.size() != 1 || dataset->shape[0] != rows) {
    return absl::InvalidArgumentError(absl::StrCat(dataset->place, ": expected a key for each of ", rows,
                                                   " rows, got the shape (", absl::StrJoin(dataset->shape, ", "), ")"));
  }
  if (H5Tget_class(dataset->type.get()) == H5T_INTEGER) return std::make_unique<IntegerKeys>(std::move(*dataset));
  absl::StatusOr<Hdf5Strings> strings = Hdf5Strings::Open(file, path, name);
  if (!strings.ok()) return strings.status();
  return std::make_unique<StringKeys>(std::move(*strings), dataset->place);
}

absl::StatusOr<Hdf5Matrix> OpenHdf5Matrix(const Hdf5Id& file, const std::string& path, const std::string& name) {
  const Hdf5Lock lock;
  absl::StatusOr<Hdf5Dataset> dataset = Hdf5Dataset::Open(file, path, name);
  if (!dataset.ok()) return dataset.status();
  if (dataset->shape.size() != 2 || H5Tget_class(dataset->type.get()) != H5T_FLOAT) {
    return absl::InvalidArgumentError(
        absl::StrCat(dataset->place, ": expected two dimensions of floats, got something else"));
  }
  const int64_t dim = dataset->shape[1];
  if (dim < 1 || dim > kMaxDim) {
    return absl::InvalidArgumentError(
        absl::StrCat(dataset->place, ": expected a width of 1 to ", kMaxDim, ", got ", dim));
  }
  const int64_t rows = dataset->shape[0];
  return Hdf5Matrix{
      .vectors = std::make_unique<MatrixRows>(std::move(*dataset)), .rows = rows, .dim = static_cast<int>(dim)};
}

}  // namespace reembed
