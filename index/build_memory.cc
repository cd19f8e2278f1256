// SPDX-License-Identifier: Apache-2.0
#include "index/build_memory.h"

#include <faiss/IndexFastScan.h>
#include <faiss/IndexFlatCodes.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/impl/ProductQuantizer.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "index/ivf_parts.h"

namespace reembed {
namespace {

constexpr int64_t kBaseBytes = int64_t{64} << 20;  // of the program, its threads and buffers
constexpr int64_t kIdBytes = 72;                   // an id, and its place in a table
constexpr int64_t kGraphBytes = 8 * 66 + 16;       // links and their distances while a graph is built
constexpr int64_t kLeastRowsPerPart = 4096;
constexpr int64_t kManyRows = 1 << 20;  // over which what is not a row's own is divided

std::string MemoryText(int64_t bytes) {
  return absl::StrFormat("%.0f MiB", std::ceil(static_cast<double>(bytes) / (1 << 20)));
}

const faiss::Index& Proper(const faiss::Index& empty) { return *static_cast<const faiss::IndexIDMap2&>(empty).index; }

const faiss::IndexIVF* AnyIvf(const faiss::Index* index) {
  if (const auto* const transformed = dynamic_cast<const faiss::IndexPreTransform*>(index)) {
    return AnyIvf(transformed->index);
  }
  return dynamic_cast<const faiss::IndexIVF*>(index);
}

// The program, and the lists' centroids: FAISS has them beside the codes of a quantizer, and while it clusters.
int64_t LastingBytes(const faiss::Index& empty, const BuildSize& size) {
  const auto* const ivf = AnyIvf(&Proper(empty));
  const int64_t lists = ivf == nullptr ? 0 : static_cast<int64_t>(ivf->nlist);
  return kBaseBytes + lists * size.dim * 4 * 3;
}

int64_t IdBytes(int64_t of_one, const BuildSize& size) { return size.rows * of_one + size.key_bytes; }

int64_t SampleBytes(const faiss::Index& empty, const BuildSize& size) {
  if (empty.is_trained) return 0;
  const int64_t sample = size.sample_rows;
  const faiss::Index& proper = Proper(empty);
  // A transform is trained on a copy and makes another; codes are trained on what the lists leave over of some rows.
  int64_t copied = sample;
  if (dynamic_cast<const faiss::IndexPreTransform*>(&proper) != nullptr) copied = 2 * sample;
  if (dynamic_cast<const faiss::IndexIVFFlat*>(&proper) != nullptr) copied = 0;
  const auto of_codes = [&copied](const faiss::ProductQuantizer& pq) {
    copied = std::min(copied, static_cast<int64_t>(pq.ksub) * pq.cp.max_points_per_centroid);
  };
  if (const auto* const ivf = dynamic_cast<const faiss::IndexIVFPQ*>(&proper)) of_codes(ivf->pq);
  if (const auto* const ivf = dynamic_cast<const faiss::IndexIVFPQFastScan*>(&proper)) of_codes(ivf->pq);
  return (sample + copied) * size.dim * 4;
}

// Of a row, as it stays.
int64_t CodeBytes(const faiss::Index& index) {
  if (const auto* const transformed = dynamic_cast<const faiss::IndexPreTransform*>(&index)) {
    return CodeBytes(*transformed->index);
  }
  if (const auto* const ivf = dynamic_cast<const faiss::IndexIVF*>(&index)) {
    return static_cast<int64_t>(ivf->code_size) + 8;
  }
  if (const auto* const codes = dynamic_cast<const faiss::IndexFlatCodes*>(&index)) {
    return static_cast<int64_t>(codes->code_size);
  }
  if (const auto* const blocks = dynamic_cast<const faiss::IndexFastScan*>(&index)) {
    return static_cast<int64_t>(blocks->code_size);
  }
  if (const auto* const graph = dynamic_cast<const faiss::IndexHNSW*>(&index)) return CodeBytes(*graph->storage);
  return 4 * int64_t{index.d};
}

// Of rows that are added, without their ids.
int64_t BytesOf(const faiss::Index& empty, int64_t rows, const BuildSize& size) {
  if (GraphBuilder::CanBuild(empty)) return GraphBuildBytes(rows, size.dim, size.graph);
  const bool is_graph = dynamic_cast<const faiss::IndexHNSW*>(&Proper(empty)) != nullptr;
  // What grows is copied, and is there twice meanwhile.
  return rows * (2 * CodeBytes(Proper(empty)) + (is_graph ? kGraphBytes : 0));
}

// Of a row while its part, or its shard, is built. The ids of a part are in its lists.
int64_t PartRowBytes(const faiss::Index& empty, const BuildSize& size) {
  const bool is_part = PlainIvf(static_cast<const faiss::IndexIDMap2&>(empty).index) != nullptr;
  return BytesOf(empty, kManyRows, size) / kManyRows + (is_part ? 0 : kIdBytes);
}

}  // namespace

absl::StatusOr<int64_t> RowsWithin(int64_t memory, const faiss::Index& empty, const BuildSize& size,
                                   const std::string& path, const std::string& factory) {
  const int64_t lasting = LastingBytes(empty, size);
  // The sample is given back before rows are added.
  const int64_t training = lasting + IdBytes(8, size) + SampleBytes(empty, size);
  const int64_t at_once = lasting + IdBytes(kIdBytes, size) + BytesOf(empty, size.rows, size);
  if (std::max(training, at_once) <= memory) return 0;
  const int64_t fixed = lasting + IdBytes(8, size);
  const int64_t row_bytes = PartRowBytes(empty, size);
  const int64_t least = std::max(training, fixed + kLeastRowsPerPart * row_bytes);
  if (least <= memory) return (memory - fixed) / row_bytes;
  return absl::InvalidArgumentError(absl::StrCat(path, ": expected memory to build ", factory, ", got ",
                                                 MemoryText(memory), "; the smallest that can is ", MemoryText(least)));
}

}  // namespace reembed
