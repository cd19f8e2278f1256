// SPDX-License-Identifier: Apache-2.0
#include "io/file/hdf5_truth.h"

#include <fcntl.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/status_macros.h"
#include "io/file/file.h"
#include "io/file/growing_file.h"
#include "io/file/hdf5_file.h"
#include "io/file/hdf5_trial.h"

namespace reembed {
namespace {

constexpr int64_t kChunkRows = 256;
constexpr int64_t kMostNumbers = int64_t{1} << 31;  // of queries: more are a mistake

absl::Status CheckShape(const Hdf5Dataset& dataset, Hdf5Kind kind, int64_t rows, int64_t columns) {
  const Hdf5Dataset::Shape& shape = dataset.shape();
  if (shape.dimensions != 2 || shape.kind != kind) {
    return absl::InvalidArgumentError(absl::StrCat(dataset.name(), ": expected two dimensions of ", NameOf(kind),
                                                   ", got ", shape.dimensions, " of ", NameOf(shape.kind)));
  }
  if ((rows < 0 || shape.rows == rows) && (columns < 0 || shape.columns == columns) && shape.rows > 0 &&
      shape.columns > 0 && shape.rows <= kMostNumbers / shape.columns) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat(dataset.name(), ": expected ", rows < 0 ? "some" : absl::StrCat(rows),
                                          " rows", columns < 0 ? "" : absl::StrCat(" of ", columns), ", got ",
                                          shape.rows, " of ", shape.columns));
}

absl::StatusOr<TruthFile> Read(const std::string& path) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Hdf5File> file, Hdf5File::Open(path, Hdf5File::Access::kRead));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Hdf5Dataset> test, file->Dataset("test"));
  ABSL_RETURN_IF_ERROR(CheckShape(*test, Hdf5Kind::kFloats, -1, -1));
  const int64_t rows = test->shape().rows;
  TruthFile truth{.dim = static_cast<int>(test->shape().columns)};
  truth.queries.resize(static_cast<size_t>(rows * truth.dim));
  ABSL_RETURN_IF_ERROR(test->Read(0, absl::MakeSpan(truth.queries)));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Hdf5Dataset> neighbors, file->DatasetOrNull("neighbors"));
  if (neighbors == nullptr) return truth;
  ABSL_RETURN_IF_ERROR(CheckShape(*neighbors, Hdf5Kind::kIntegers, rows, -1));
  truth.k = static_cast<int>(neighbors->shape().columns);
  truth.neighbors.resize(static_cast<size_t>(rows * truth.k));
  ABSL_RETURN_IF_ERROR(neighbors->Read(0, absl::MakeSpan(truth.neighbors)));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Hdf5Dataset> distances, file->DatasetOrNull("distances"));
  if (distances == nullptr) return truth;
  ABSL_RETURN_IF_ERROR(CheckShape(*distances, Hdf5Kind::kFloats, rows, truth.k));
  truth.distances.resize(static_cast<size_t>(rows * truth.k));
  ABSL_RETURN_IF_ERROR(distances->Read(0, absl::MakeSpan(truth.distances)));
  return truth;
}

template <typename T>
absl::Status AddMatrix(Hdf5File* file, const char* name, Hdf5Kind kind, int64_t columns, const std::vector<T>& values) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Hdf5Dataset> dataset, file->AddDataset(name, kind, kChunkRows, columns));
  return dataset->AppendMatrix(values);
}

absl::Status Write(const std::string& path, const TruthFile& truth) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Hdf5File> file, Hdf5File::Create(path));
  ABSL_RETURN_IF_ERROR(AddMatrix(file.get(), "test", Hdf5Kind::kFloats, truth.dim, truth.queries));
  ABSL_RETURN_IF_ERROR(AddMatrix(file.get(), "neighbors", Hdf5Kind::kIntegers, truth.k, truth.neighbors));
  ABSL_RETURN_IF_ERROR(AddMatrix(file.get(), "distances", Hdf5Kind::kFloats, truth.k, truth.distances));
  ABSL_RETURN_IF_ERROR(file->SetAttribute("distance", truth.distance));
  ABSL_RETURN_IF_ERROR(file->SetAttribute("type", "dense"));
  return file->Flush();
}

}  // namespace

absl::StatusOr<TruthFile> ReadTruth(const std::string& path) {
  ABSL_RETURN_IF_ERROR(TryHdf5(path, [&path](bool) { static_cast<void>(Read(path)); }));
  return Read(path);
}

absl::Status WriteTruth(const std::string& path, const TruthFile& truth) {
  ABSL_RETURN_IF_ERROR(CheckTargetPath(path));
  ABSL_ASSIGN_OR_RETURN(const bool is_there, PathExists(path));
  if (is_there) {
    return absl::AlreadyExistsError(absl::StrCat(path, ": is there already; move it away, or choose another name"));
  }
  const std::string partial = PartialPath(path);
  ABSL_RETURN_IF_ERROR(Write(partial, truth));
  ABSL_ASSIGN_OR_RETURN(const File file, File::OpenToWrite(partial));
  ABSL_RETURN_IF_ERROR(file.Sync());
  return RenameDurably(partial, path);
}

}  // namespace reembed
