#include "io/file/hdf5_writers.h"

#include <hdf5.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "io/file/hdf5_columns.h"

namespace reembed {
namespace {

// Large enough for the speed of the disk, small enough for a reader's chunk cache.
constexpr size_t kChunkBytes = (size_t{1} << 20) + (size_t{1} << 19);
constexpr size_t kKeyChunkBytes = size_t{128} << 10;
constexpr hsize_t kStringChunkRows = 8192;
constexpr size_t kStringBlockBytes = size_t{1} << 20;

std::string Place(const std::string& path, const std::string& name) {
  return absl::StrCat(path, ": dataset `", name, "`");
}

hid_t FileType(Hdf5Number number) { return number == Hdf5Number::kFloat32 ? H5T_IEEE_F32LE : H5T_STD_I64LE; }

Hdf5Id StringType() {
  Hdf5Id type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), H5T_VARIABLE);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  return type;
}

// A growing dataset of shape [0] or [0, width].
absl::StatusOr<Hdf5Id> CreateGrowing(const Hdf5Id& file, const std::string& place, const std::string& name, hid_t type,
                                     const std::vector<hsize_t>& chunk) {
  std::vector<hsize_t> shape = chunk;
  std::vector<hsize_t> limit = chunk;
  shape[0] = 0;
  limit[0] = H5S_UNLIMITED;
  const int rank = static_cast<int>(chunk.size());
  const Hdf5Id space(H5Screate_simple(rank, shape.data(), limit.data()), H5Sclose);
  const Hdf5Id properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  if (!space.ok() || !properties.ok() || H5Pset_chunk(properties.get(), rank, chunk.data()) < 0) {
    return Hdf5Error(place, "describe");
  }
  Hdf5Id dataset(H5Dcreate2(file.get(), name.c_str(), type, space.get(), H5P_DEFAULT, properties.get(), H5P_DEFAULT),
                 H5Dclose);
  if (!dataset.ok()) return Hdf5Error(place, "make");
  return dataset;
}

absl::Status WriteAttribute(const Hdf5Id& file, const std::string& path, const std::string& name, hid_t type,
                            const void* value) {
  const Hdf5Id space(H5Screate(H5S_SCALAR), H5Sclose);
  const Hdf5Id attribute(H5Acreate2(file.get(), name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  if (!attribute.ok() || H5Awrite(attribute.get(), type, value) < 0) {
    return Hdf5Error(path, absl::StrCat("write the attribute ", name));
  }
  return absl::OkStatus();
}

}  // namespace

Hdf5ChunkWriter::Hdf5ChunkWriter(std::string place, Hdf5Number number, int64_t width)
    : place_(std::move(place)),
      width_(width),
      rank_(number == Hdf5Number::kFloat32 ? 2 : 1),
      row_bytes_(static_cast<size_t>(width) * (number == Hdf5Number::kFloat32 ? sizeof(float) : sizeof(int64_t))) {
  const size_t bytes = number == Hdf5Number::kFloat32 ? kChunkBytes : kKeyChunkBytes;
  chunk_rows_ = std::max<int64_t>(1, static_cast<int64_t>(bytes / row_bytes_));
}

absl::StatusOr<Hdf5ChunkWriter> Hdf5ChunkWriter::Create(const Hdf5Id& file, const std::string& path,
                                                        const std::string& name, Hdf5Number number, int64_t width) {
  const Hdf5Lock lock;
  Hdf5ChunkWriter writer(Place(path, name), number, width);
  std::vector<hsize_t> chunk = {static_cast<hsize_t>(writer.chunk_rows_)};
  if (writer.rank_ == 2) chunk.push_back(static_cast<hsize_t>(width));
  absl::StatusOr<Hdf5Id> dataset = CreateGrowing(file, writer.place_, name, FileType(number), chunk);
  if (!dataset.ok()) return dataset.status();
  writer.dataset_ = std::move(*dataset);
  writer.chunk_.resize(static_cast<size_t>(writer.chunk_rows_) * writer.row_bytes_);
  return writer;
}

absl::StatusOr<Hdf5ChunkWriter> Hdf5ChunkWriter::Continue(const Hdf5Id& file, const std::string& path,
                                                          const std::string& name, Hdf5Number number, int64_t width) {
  const Hdf5Lock lock;
  Hdf5ChunkWriter writer(Place(path, name), number, width);
  absl::StatusOr<Hdf5Dataset> dataset = Hdf5Dataset::Open(file, path, name);
  if (!dataset.ok()) return dataset.status();
  const Hdf5Id properties(H5Dget_create_plist(dataset->id.get()), H5Pclose);
  hsize_t chunk[2] = {0, 0};
  const bool is_ours = static_cast<int>(dataset->shape.size()) == writer.rank_ &&
                       H5Tequal(dataset->type.get(), FileType(number)) > 0 &&
                       H5Pget_layout(properties.get()) == H5D_CHUNKED &&
                       H5Pget_chunk(properties.get(), writer.rank_, chunk) == writer.rank_ &&
                       chunk[0] == static_cast<hsize_t>(writer.chunk_rows_) && H5Pget_nfilters(properties.get()) == 0;
  if (!is_ours) {
    return absl::FailedPreconditionError(
        absl::StrCat(writer.place_, ": expected the layout that this version writes, got another; move the file away"));
  }
  writer.chunk_.resize(static_cast<size_t>(writer.chunk_rows_) * writer.row_bytes_);
  writer.filled_ = dataset->shape[0] % writer.chunk_rows_;
  writer.rows_ = dataset->shape[0] - writer.filled_;
  if (writer.filled_ > 0) {
    if (absl::Status status =
            dataset->Read(writer.rows_, writer.filled_, FileType(number), H5P_DEFAULT, writer.chunk_.data());
        !status.ok()) {
      return status;
    }
  }
  writer.dataset_ = std::move(dataset->id);
  return writer;
}

absl::Status Hdf5ChunkWriter::Append(const void* row) {
  std::memcpy(chunk_.data() + static_cast<size_t>(filled_) * row_bytes_, row, row_bytes_);
  ++filled_;
  if (filled_ < chunk_rows_) return absl::OkStatus();
  if (absl::Status status = WriteChunk(); !status.ok()) return status;
  rows_ += filled_;
  filled_ = 0;
  return absl::OkStatus();
}

absl::Status Hdf5ChunkWriter::Finish() { return filled_ > 0 ? WriteChunk() : absl::OkStatus(); }

absl::Status Hdf5ChunkWriter::WriteChunk() {
  const Hdf5Lock lock;
  // A chunk is written whole, also at the edge; what lies behind the last row must not be left-overs.
  std::memset(chunk_.data() + static_cast<size_t>(filled_) * row_bytes_, 0,
              static_cast<size_t>(chunk_rows_ - filled_) * row_bytes_);
  const hsize_t shape[2] = {static_cast<hsize_t>(rows_ + filled_), static_cast<hsize_t>(width_)};
  const hsize_t offset[2] = {static_cast<hsize_t>(rows_), 0};
  if (H5Dset_extent(dataset_.get(), shape) < 0 ||
      H5Dwrite_chunk(dataset_.get(), H5P_DEFAULT, 0, offset, chunk_.size(), chunk_.data()) < 0) {
    return Hdf5Error(place_, absl::StrCat("write ", chunk_.size(), " more bytes"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Hdf5StringWriter> Hdf5StringWriter::Create(const Hdf5Id& file, const std::string& path,
                                                          const std::string& name) {
  const Hdf5Lock lock;
  Hdf5StringWriter writer(Place(path, name));
  absl::StatusOr<Hdf5Id> dataset = CreateGrowing(file, writer.place_, name, StringType().get(), {kStringChunkRows});
  if (!dataset.ok()) return dataset.status();
  writer.dataset_ = std::move(*dataset);
  return writer;
}

absl::StatusOr<Hdf5StringWriter> Hdf5StringWriter::Continue(const Hdf5Id& file, const std::string& path,
                                                            const std::string& name, int64_t rows) {
  const Hdf5Lock lock;
  Hdf5StringWriter writer(Place(path, name));
  writer.dataset_ = Hdf5Id(H5Dopen2(file.get(), name.c_str(), H5P_DEFAULT), H5Dclose);
  if (!writer.dataset_.ok()) return Hdf5Error(writer.place_, "open");
  writer.rows_ = rows;
  return writer;
}

absl::Status Hdf5StringWriter::Append(absl::string_view text) {
  begins_.push_back(texts_.size());
  texts_.append(text.data(), text.size());
  texts_.push_back('\0');
  return begins_.size() < kStringChunkRows && texts_.size() < kStringBlockBytes ? absl::OkStatus() : Finish();
}

absl::Status Hdf5StringWriter::Finish() {
  if (begins_.empty()) return absl::OkStatus();
  const Hdf5Lock lock;
  std::vector<const char*> texts;
  for (const size_t begin : begins_) texts.push_back(texts_.data() + begin);
  const hsize_t start = static_cast<hsize_t>(rows_);
  const hsize_t count = texts.size();
  const hsize_t shape = start + count;
  if (H5Dset_extent(dataset_.get(), &shape) < 0) return Hdf5Error(place_, "make longer");
  const Hdf5Id in_file(H5Dget_space(dataset_.get()), H5Sclose);
  const Hdf5Id in_memory(H5Screate_simple(1, &count, nullptr), H5Sclose);
  if (H5Sselect_hyperslab(in_file.get(), H5S_SELECT_SET, &start, nullptr, &count, nullptr) < 0 ||
      H5Dwrite(dataset_.get(), StringType().get(), in_memory.get(), in_file.get(), H5P_DEFAULT, texts.data()) < 0) {
    return Hdf5Error(place_, absl::StrCat("write ", texts_.size(), " more bytes"));
  }
  rows_ += static_cast<int64_t>(count);
  begins_.clear();
  texts_.clear();
  return absl::OkStatus();
}

absl::Status WriteHdf5Attribute(const Hdf5Id& file, const std::string& path, const std::string& name,
                                const std::string& value) {
  const Hdf5Lock lock;
  const char* const text = value.c_str();
  return WriteAttribute(file, path, name, StringType().get(), &text);
}

absl::Status WriteHdf5Attribute(const Hdf5Id& file, const std::string& path, const std::string& name, int64_t value) {
  const Hdf5Lock lock;
  return WriteAttribute(file, path, name, H5T_NATIVE_INT64, &value);
}

}  // namespace reembed
