// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_FAISS_CHECK_H_
#define REEMBED_INDEX_FAISS_CHECK_H_

#include "absl/status/status.h"

namespace faiss {
struct Index;
}  // namespace faiss

namespace reembed {

// FAISS 1.7.3 follows the numbers of a file without looking. This looks: at the graph of an HNSW index, the lists of an
// IVF index, the ids, and at the parts they are made of. O(rows * links).
// Errors: kDataLoss (the message says which number is out of range).
absl::Status CheckFaissIndex(const faiss::Index& index);

}  // namespace reembed

#endif  // REEMBED_INDEX_FAISS_CHECK_H_
