// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_IVF_PARTS_H_
#define REEMBED_INDEX_IVF_PARTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "index/faiss_io.h"
#include "index/index_files.h"

namespace faiss {
struct IndexIVF;
}  // namespace faiss

// Inverted lists of indexes that are larger than memory: built in parts, put together on the disk, searched where they
// lie. The file is a plain one of FAISS, as write_index() would write it.
namespace reembed {

// The IVF index in `index`, perhaps behind a transform; null if there is none whose lists are one code behind the other
// (those of fast-scan codes are not).
faiss::IndexIVF* PlainIvf(faiss::Index* index);

// kInvalidArgument unless both were trained alike, so that a code in a list means the same in both. `a` and `b` name
// them.
absl::Status CheckTrainedAlike(const faiss::Index& one, const std::string& a, const faiss::Index& other,
                               const std::string& b);

// Writes a durable file that is `trained` (a PlainIvf() index without rows) with the lists of all `parts`, each behind
// that of the part before. `merged` is told of lists.
absl::StatusOr<FileMark> MergeIvfParts(faiss::Index* trained, absl::Span<const FaissIndex> parts,
                                       const std::string& path,
                                       absl::FunctionRef<void(int64_t done, int64_t total)> merged);

}  // namespace reembed

#endif  // REEMBED_INDEX_IVF_PARTS_H_
