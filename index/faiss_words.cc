// SPDX-License-Identifier: Apache-2.0
#include "index/faiss_words.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/IndexScalarQuantizer.h>

#include "absl/strings/str_cat.h"

namespace reembed {
namespace {

template <typename T>
const T* As(const faiss::Index& index) {
  return dynamic_cast<const T*>(&index);
}

std::string PqWords(const faiss::ProductQuantizer& pq) { return absl::StrCat("PQ", pq.M, "x", pq.nbits); }

std::string IvfWords(const faiss::IndexIVF& ivf) {
  std::string codes = absl::StrCat("codes of ", ivf.code_size, " bytes");
  if (As<faiss::IndexIVFFlat>(ivf) != nullptr) codes = "Flat";
  if (const auto* const pq = As<faiss::IndexIVFPQ>(ivf)) codes = PqWords(pq->pq);
  if (const auto* const pq = As<faiss::IndexIVFPQFastScan>(ivf)) codes = absl::StrCat(PqWords(pq->pq), "fs");
  if (const auto* const sq = As<faiss::IndexIVFScalarQuantizer>(ivf)) codes = absl::StrCat("SQ", sq->sq.bits);
  return absl::StrCat("IVF", ivf.nlist, ", ", codes);
}

}  // namespace

std::string FaissWords(const faiss::Index& index) {
  if (As<faiss::IndexIDMap2>(index) != nullptr) {
    return absl::StrCat("IDMap2, ", FaissWords(*As<faiss::IndexIDMap2>(index)->index));
  }
  if (const auto* const map = As<faiss::IndexIDMap>(index)) return absl::StrCat("IDMap, ", FaissWords(*map->index));
  if (const auto* const chain = As<faiss::IndexPreTransform>(index)) {
    return absl::StrCat("transformed to ", chain->index->d, " numbers, ", FaissWords(*chain->index));
  }
  if (const auto* const refined = As<faiss::IndexRefine>(index)) {
    return absl::StrCat(FaissWords(*refined->base_index), ", refined by ", FaissWords(*refined->refine_index));
  }
  if (const auto* const graph = As<faiss::IndexHNSW>(index)) {
    return absl::StrCat("HNSW", graph->hnsw.nb_neighbors(1), ", ", FaissWords(*graph->storage));
  }
  if (const auto* const ivf = As<faiss::IndexIVF>(index)) return IvfWords(*ivf);
  if (const auto* const pq = As<faiss::IndexPQ>(index)) return PqWords(pq->pq);
  if (const auto* const sq = As<faiss::IndexScalarQuantizer>(index)) return absl::StrCat("SQ", sq->sq.bits);
  if (As<faiss::IndexFlat>(index) != nullptr) return "Flat";
  return "another kind";
}

}  // namespace reembed
