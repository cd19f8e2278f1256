// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_HDF5_TRUTH_H_
#define REEMBED_IO_FILE_HDF5_TRUTH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace reembed {

// Queries and their true neighbours, as ann-benchmarks keeps them in an HDF5 file: `test` [queries, dim] floats,
// `neighbors` [queries, k] integers (rows of `train`, from 0, nearest first), `distances` [queries, k] floats.
// Source: ann-benchmarks, ann_benchmarks/datasets.py.
struct TruthFile {
  int dim = 0;
  int k = 0;  // 0: no neighbours
  std::vector<float> queries;
  std::vector<int64_t> neighbors;
  std::vector<float> distances;  // angular: 1 - cosine; euclidean: not squared; of inner products: negative
  std::string distance;          // attribute: "angular", "euclidean", ...; not read
};

// `distances` may be missing, and so may `neighbors`. Errors: kNotFound (no such file, no `test`), kDataLoss (sizes
// that do not fit), kInvalidArgument (other elements).
absl::StatusOr<TruthFile> ReadTruth(const std::string& path);

// Writes PATH.partial and renames it to `path`, where nothing must be. Errors: kAlreadyExists, kResourceExhausted.
absl::Status WriteTruth(const std::string& path, const TruthFile& truth);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_HDF5_TRUTH_H_
