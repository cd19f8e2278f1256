// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_GRAPH_CODES_H_
#define REEMBED_INDEX_GRAPH_CODES_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "index/graph_kernels.h"
#include "index/index_spec.h"

namespace reembed {

// The rows of a graph in the form that a kernel reads. float32: the index's own memory. bf16: rounded to nearest. int8:
// numbers turned within the row so that none sticks out (Hadamard transforms after fixed signs, which keep products),
// then divided by a scale of the row; products of codes are exact, so all kernels give the same bits.
// Encode() may run on several threads for different rows; nothing else may run beside it.
class GraphCodes {
 public:
  // `kernels` has a kernel for `storage`, which is not kAuto.
  GraphCodes(const GraphKernels& kernels, GraphStorage storage, Metric metric, int dim);

  // Makes room for `rows` rows, those encoded before stay. `floats`: all rows [rows, dim] in the index, at this place
  // until the next call. Errors: kResourceExhausted.
  absl::Status Resize(const float* floats, int64_t rows);
  void Encode(int64_t row);

  // Bytes of a row besides its float32.
  size_t row_bytes() const { return storage_ == GraphStorage::kFloat32 ? 0 : stride_; }

 private:
  friend class GraphQuery;
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  // Behind the numbers of a row.
  struct Tail {
    int32_t sum = 0;   // of the codes; int8 only
    float scale = 0;   // int8 only
    float square = 0;  // squared length of what the code stands for
  };

  void EncodeBf16(const float* row, std::byte* code) const;
  void EncodeInt8(const float* row, std::byte* code) const;
  Tail TailOf(int32_t row) const;

  const GraphKernels kernels_;
  const GraphStorage storage_;
  const bool squared_;  // distances are squared ones, not products
  const size_t dim_;
  const size_t padded_;  // numbers of a code
  const size_t stride_;
  std::vector<float> signs_;  // 1 or -1 [dim]
  const float* floats_ = nullptr;
  std::unique_ptr<std::byte[], Free> codes_;
  int64_t capacity_ = 0;  // rows
  int64_t rows_ = 0;
};

// One row, and its distances to others: smaller is nearer; the negative product or the squared distance. Used by one
// thread; there may be many over the same codes.
class GraphQuery {
 public:
  explicit GraphQuery(const GraphCodes* codes);

  void Load(int32_t row);
  // out[i]: to the row ids[i].
  void Distances(const int32_t* ids, size_t n, float* out);
  // Brings the beginning of a row near.
  void Prefetch(int32_t row) const {
    const std::byte* const at = view_base_ + static_cast<size_t>(row) * view_stride_;
    for (size_t i = 0; i < kPrefetchedBytes; i += 64) __builtin_prefetch(at + i);
  }

 private:
  static constexpr size_t kPrefetchedBytes = 512;

  const GraphCodes* const codes_;
  const CodeRows rows_;
  const std::byte* const view_base_;
  const size_t view_stride_;
  std::unique_ptr<std::byte[], GraphCodes::Free> query_;
  GraphCodes::Tail tail_;
  std::vector<int32_t> products_;
};

}  // namespace reembed

#endif  // REEMBED_INDEX_GRAPH_CODES_H_
