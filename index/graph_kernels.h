// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_GRAPH_KERNELS_H_
#define REEMBED_INDEX_GRAPH_KERNELS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "index/graph_build.h"

// Distances of one query to many rows, once for each set of instructions. Used by graph_codes.cc, which owns the rows.
namespace reembed {

// Rows of codes at `base + row * stride` bytes, each of `numbers` numbers.
struct CodeRows {
  const std::byte* base = nullptr;
  size_t stride = 0;
  size_t numbers = 0;
};

// Numbers of a bf16 or int8 row are padded with zeros to a multiple of this, and so is the query of every storage.
inline constexpr size_t kCodeBlock = 64;

// out[i] is of the row ids[i]. Queries have the form of a row and are padded to kCodeBlock. `n` may be 0.
//
// float32: the inner product, or the squared distance. Sums go over 64 lanes with fused multiply-add, lane i taking the
// numbers i, i + 64 and so on; lanes 0-15, 16-31, 32-47 and 48-63 are added as (a + b) + (c + d), and the halves of
// what is left until one is left. So all kernels give the same bits.
using Float32Kernel = void (*)(const float* query, const CodeRows& rows, const int32_t* ids, size_t n, float* out);
// bf16: the inner product; summed as the instruction does.
using Bf16Kernel = void (*)(const uint16_t* query, const CodeRows& rows, const int32_t* ids, size_t n, float* out);
// int8: the inner product, exact. Codes are from -127 to 127; behind the numbers of a row is their sum (int32_t).
using Int8Kernel = void (*)(const int8_t* query, const CodeRows& rows, const int32_t* ids, size_t n, int32_t* out);

// What one set of instructions can; null: not this.
struct GraphKernels {
  GraphSimd simd = GraphSimd::kPortable;
  Float32Kernel inner_product = nullptr;
  Float32Kernel squared_distance = nullptr;
  Bf16Kernel bf16 = nullptr;
  Int8Kernel int8 = nullptr;
};

// Those that were built in and that this processor has, slowest first. The first is kPortable.
std::vector<GraphKernels> AvailableGraphKernels();

namespace graph_kernels {

// Of graph_kernels_x86.cc; only called where the processor has the instructions.
void Bf16Avx512(const uint16_t* query, const CodeRows& rows, const int32_t* ids, size_t n, float* out);
void Int8Vnni(const int8_t* query, const CodeRows& rows, const int32_t* ids, size_t n, int32_t* out);
bool HasAvx512Bf16();
bool HasAvx512Vnni();

}  // namespace graph_kernels
}  // namespace reembed

#endif  // REEMBED_INDEX_GRAPH_KERNELS_H_
