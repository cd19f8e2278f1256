// SPDX-License-Identifier: Apache-2.0
#include "index/faiss_check.h"

#include <faiss/IndexFlatCodes.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/IndexScalarQuantizer.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

absl::Status Expect(bool good, absl::string_view what) {
  return good ? absl::OkStatus() : absl::DataLossError(absl::StrCat("expected ", what, ", got something else"));
}

// Copied, because reading an enum that holds none of its values is undefined.
int MetricNumber(const faiss::Index& index) {
  int number = 0;
  static_assert(sizeof number == sizeof index.metric_type);
  std::memcpy(&number, &index.metric_type, sizeof number);
  return number;
}

// Ids in the lists are places of rows where another index has the ids; else they are whatever was given to it.
enum class ListIds { kPlaces, kAny };

absl::Status CheckIndex(const faiss::Index& index, ListIds ids);

// A part of an index: there, of this width, with the metric of the whole, and with so many rows.
absl::Status CheckPart(const faiss::Index& whole, const faiss::Index* part, int dim, int64_t rows,
                       ListIds ids = ListIds::kPlaces) {
  const bool fits =
      part != nullptr && part->d == dim && MetricNumber(*part) == MetricNumber(whole) && part->ntotal == rows;
  ABSL_RETURN_IF_ERROR(Expect(fits, absl::StrCat("a part of dim ", dim, " with ", rows, " rows")));
  return CheckIndex(*part, ids);
}

absl::Status CheckSizes(const faiss::HNSW& graph, int64_t rows) {
  const std::vector<int>& starts = graph.cum_nneighbor_per_level;
  if (rows > INT32_MAX || static_cast<int64_t>(graph.levels.size()) != rows ||
      static_cast<int64_t>(graph.offsets.size()) != rows + 1 || graph.offsets.front() != 0 ||
      graph.offsets.back() != graph.neighbors.size() || starts.empty() || starts.front() != 0 ||
      !std::is_sorted(starts.begin(), starts.end()) || graph.assign_probas.empty() ||
      graph.assign_probas.size() >= starts.size()) {
    return Expect(false, "a graph with a level and links for each row");
  }
  for (int64_t i = 0; i < rows; ++i) {
    const int level = graph.levels[i];
    const bool good = level >= 1 && level < static_cast<int>(starts.size()) &&
                      graph.offsets[i + 1] == graph.offsets[i] + static_cast<size_t>(starts[level]);
    if (!good) return Expect(false, absl::StrCat("a level and links that agree at row ", i));
  }
  return absl::OkStatus();
}

absl::Status CheckGraph(const faiss::HNSW& graph, int64_t rows) {
  ABSL_RETURN_IF_ERROR(CheckSizes(graph, rows));
  if (rows == 0) return Expect(graph.entry_point == -1, "no entry into a graph without rows");
  const bool good_entry = graph.entry_point >= 0 && graph.entry_point < rows && graph.max_level >= 0 &&
                          graph.levels[graph.entry_point] == graph.max_level + 1 && graph.upper_beam == 1;
  if (!good_entry) return Expect(false, "an entry point of the highest level");
  for (int64_t i = 0; i < rows; ++i) {
    for (int level = 0; level < graph.levels[i]; ++level) {
      size_t begin = 0;
      size_t end = 0;
      graph.neighbor_range(i, level, &begin, &end);
      for (size_t at = begin; at < end; ++at) {
        const int64_t neighbor = graph.neighbors[at];
        if (neighbor < -1 || neighbor >= rows || (neighbor >= 0 && graph.levels[neighbor] <= level)) {
          return Expect(false, absl::StrCat("links to rows of the same level at row ", i));
        }
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckLists(const faiss::IndexIVF& ivf, ListIds meaning) {
  // Lists in blocks, as for `PQ16x4fs`, count their codes in another way.
  const bool plain = dynamic_cast<const faiss::ArrayInvertedLists*>(ivf.invlists) != nullptr;
  if (ivf.nlist == 0 || ivf.invlists == nullptr || ivf.invlists->nlist != ivf.nlist ||
      (plain && ivf.invlists->code_size != ivf.code_size)) {
    return Expect(false, "as many lists as the index says");
  }
  if (!ivf.direct_map.no()) return Expect(false, "no map from rows to lists, which is made when needed");
  ABSL_RETURN_IF_ERROR(CheckPart(ivf, ivf.quantizer, ivf.d, ivf.is_trained ? static_cast<int64_t>(ivf.nlist) : 0));
  int64_t rows = 0;
  for (size_t list = 0; list < ivf.nlist; ++list) {
    const size_t size = ivf.invlists->list_size(list);
    rows += static_cast<int64_t>(size);
    const faiss::InvertedLists::ScopedIds ids(ivf.invlists, list);
    for (size_t i = 0; i < size; ++i) {
      if (meaning == ListIds::kPlaces && (ids[i] < 0 || ids[i] >= ivf.ntotal)) {
        return Expect(false, absl::StrCat("places of rows in list ", list));
      }
    }
  }
  return Expect(rows == ivf.ntotal, absl::StrCat(ivf.ntotal, " rows in the lists"));
}

absl::Status CheckTransforms(const faiss::IndexPreTransform& index, ListIds ids) {
  int dim = index.d;
  for (const faiss::VectorTransform* const transform : index.chain) {
    if (transform == nullptr || transform->d_in != dim || transform->d_out < 1) {
      return Expect(false, "transforms that fit to each other");
    }
    dim = transform->d_out;
    const auto* const linear = dynamic_cast<const faiss::LinearTransform*>(transform);
    if (linear != nullptr && linear->is_trained &&
        (linear->A.size() != static_cast<size_t>(linear->d_in) * linear->d_out ||
         (linear->have_bias && linear->b.size() != static_cast<size_t>(linear->d_out)))) {
      return Expect(false, "a matrix of the size of its transform");
    }
  }
  return CheckPart(index, index.index, dim, index.ntotal, ids);
}

// A newer FAISS has more types (bf16, signed bytes), which this one reads without a word and throws at in a search.
absl::Status CheckQuantizer(const faiss::ScalarQuantizer& quantizer) {
  int type = 0;
  static_assert(sizeof type == sizeof quantizer.qtype);
  std::memcpy(&type, &quantizer.qtype, sizeof type);
  if (type >= 0 && type <= faiss::ScalarQuantizer::QT_6bit) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat("scalar quantizer of type ", type));
}

absl::Status CheckIndex(const faiss::Index& index, ListIds ids) {
  if (index.d < 1 || index.ntotal < 0) return Expect(false, "a width and a number of rows");
  // FAISS throws out of a parallel loop on others, which ends the process.
  if (const int metric = MetricNumber(index); metric != faiss::METRIC_INNER_PRODUCT && metric != faiss::METRIC_L2) {
    return Expect(false, "inner product or L2 as metric");
  }
  if (const auto* const map = dynamic_cast<const faiss::IndexIDMap*>(&index)) {
    if (static_cast<int64_t>(map->id_map.size()) != map->ntotal) return Expect(false, "an id for each row");
    return CheckPart(index, map->index, map->d, map->ntotal);
  }
  if (const auto* const hnsw = dynamic_cast<const faiss::IndexHNSW*>(&index)) {
    ABSL_RETURN_IF_ERROR(CheckPart(index, hnsw->storage, hnsw->d, hnsw->ntotal));
    return CheckGraph(hnsw->hnsw, hnsw->ntotal);
  }
  if (const auto* const scalar = dynamic_cast<const faiss::IndexIVFScalarQuantizer*>(&index)) {
    ABSL_RETURN_IF_ERROR(CheckQuantizer(scalar->sq));
  }
  if (const auto* const scalar = dynamic_cast<const faiss::IndexScalarQuantizer*>(&index)) {
    ABSL_RETURN_IF_ERROR(CheckQuantizer(scalar->sq));
  }
  if (const auto* const ivf = dynamic_cast<const faiss::IndexIVF*>(&index)) return CheckLists(*ivf, ids);
  if (const auto* const transformed = dynamic_cast<const faiss::IndexPreTransform*>(&index)) {
    return CheckTransforms(*transformed, ids);
  }
  if (const auto* const refined = dynamic_cast<const faiss::IndexRefine*>(&index)) {
    ABSL_RETURN_IF_ERROR(CheckPart(index, refined->base_index, refined->d, refined->ntotal));
    return CheckPart(index, refined->refine_index, refined->d, refined->ntotal);
  }
  if (const auto* const codes = dynamic_cast<const faiss::IndexFlatCodes*>(&index)) {
    return Expect(codes->codes.size() == static_cast<size_t>(codes->ntotal) * codes->code_size, "a code for each row");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckFaissIndex(const faiss::Index& index) { return CheckIndex(index, ListIds::kAny); }

}  // namespace reembed
