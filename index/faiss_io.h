// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_FAISS_IO_H_
#define REEMBED_INDEX_FAISS_IO_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "index/index_files.h"
#include "index/index_spec.h"

namespace faiss {
struct Index;
}  // namespace faiss

// Everything that FAISS throws, trusts or prints stays behind these functions.
namespace reembed {

struct FaissDeleter {
  void operator()(faiss::Index* index) const;
};
using FaissIndex =
    std::unique_ptr<faiss::Index, FaissDeleter>;  // an IndexIDMap2 around the index proper, unless it says so

std::string FaissVersion();

// Runs `call`. What FAISS throws becomes an error with this code and the text `what: <FAISS's own words>`;
// bad_alloc becomes kResourceExhausted.
absl::Status CallFaiss(absl::StatusCode code, absl::string_view what, absl::FunctionRef<void()> call);

// An empty index. `factory` is resolved.
// Errors: kInvalidArgument (FAISS does not know the factory, or cannot build it for this dim).
absl::StatusOr<FaissIndex> MakeFaissIndex(const IndexSpec& spec, absl::string_view factory, int dim);

// Reads a file that SaveFaissIndex() wrote. First the whole file is checked against `mark`, so damage never reaches
// FAISS. Against malice, where `mark` fits, sizes are bounded by the file's own and all places that the index points to
// are checked: enough for flat, HNSW and IVF indexes of plain vectors, not for quantizers (SQ, PQ and the like), whose
// files are read only under a Precondition: someone trusted made them.
// Errors: kNotFound, kDataLoss, kResourceExhausted (not enough memory).
absl::StatusOr<FaissIndex> LoadFaissIndex(const std::string& path, const FileMark& mark);

// Reads a file of FAISS that somebody else has made, with the checks that LoadFaissIndex() makes against malice. An
// IndexIDMap comes as an IndexIDMap2; what else there may be comes as it is, without an IndexIDMap2 around it.
// Errors: as LoadFaissIndex(); kDataLoss also names a kind of index that this FAISS does not know.
absl::StatusOr<FaissIndex> LoadForeignFaissIndex(const std::string& path);

// The same of an IVF index without an IndexIDMap around it, whose lists stay in the file and are read where they lie:
// it may be larger than memory, and must not change meanwhile. Lists are only checked to be inside the file. Errors:
// also kInvalidArgument (another kind of index).
absl::StatusOr<FaissIndex> LoadMappedFaissIndex(const std::string& path);

// Rows to hand to one add(): FAISS prepares tables for all rows at each.
int64_t RowsPerAdd(int dim);

// Writes a durable file.
absl::StatusOr<FileMark> SaveFaissIndex(const faiss::Index& index, const std::string& path);

}  // namespace reembed

#endif  // REEMBED_INDEX_FAISS_IO_H_
