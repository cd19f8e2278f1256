// SPDX-License-Identifier: Apache-2.0
// Instructions that Highway 1.0 does not know. The functions carry their target themselves.
#include <cstring>

#include "index/graph_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace reembed::graph_kernels {
namespace {

constexpr size_t kLine = 64;  // bytes of a cache line and of a register

// Four rows, and the four after them on their way. Without more rows: the same once more, which costs nothing.
struct FourRows {
  FourRows(const CodeRows& rows, const int32_t* ids, size_t n) {
    const auto row_of = [&rows](int32_t id) { return rows.base + static_cast<size_t>(id) * rows.stride; };
    for (size_t r = 0; r < 4; ++r) {
      now[r] = row_of(ids[r < n ? r : n - 1]);
      next[r] = 4 + r < n ? row_of(ids[4 + r]) : now[r];
    }
  }
  const std::byte* now[4];
  const std::byte* next[4];
};

}  // namespace

bool HasAvx512Bf16() { return __builtin_cpu_supports("avx512bf16") != 0; }
bool HasAvx512Vnni() { return __builtin_cpu_supports("avx512vnni") != 0; }

__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) void Bf16Avx512(const uint16_t* query,
                                                                                const CodeRows& rows,
                                                                                const int32_t* ids, size_t n,
                                                                                float* out) {
  const size_t bytes = rows.numbers * sizeof(uint16_t);
  const auto* const q = reinterpret_cast<const std::byte*>(query);
  for (size_t i = 0; i < n; i += 4) {
    const FourRows four(rows, ids + i, n - i);
    __m512 sum0 = _mm512_setzero_ps();
    __m512 sum1 = _mm512_setzero_ps();
    __m512 sum2 = _mm512_setzero_ps();
    __m512 sum3 = _mm512_setzero_ps();
    for (size_t j = 0; j < bytes; j += kLine) {
      for (const std::byte* const next : four.next) __builtin_prefetch(next + j);
      const auto numbers = (__m512bh)_mm512_load_si512(q + j);
      sum0 = _mm512_dpbf16_ps(sum0, numbers, (__m512bh)_mm512_load_si512(four.now[0] + j));
      sum1 = _mm512_dpbf16_ps(sum1, numbers, (__m512bh)_mm512_load_si512(four.now[1] + j));
      sum2 = _mm512_dpbf16_ps(sum2, numbers, (__m512bh)_mm512_load_si512(four.now[2] + j));
      sum3 = _mm512_dpbf16_ps(sum3, numbers, (__m512bh)_mm512_load_si512(four.now[3] + j));
    }
    const float sums[4] = {_mm512_reduce_add_ps(sum0), _mm512_reduce_add_ps(sum1), _mm512_reduce_add_ps(sum2),
                           _mm512_reduce_add_ps(sum3)};
    std::memcpy(out + i, sums, (n - i < 4 ? n - i : 4) * sizeof(float));
  }
}

// The instruction multiplies bytes without sign by bytes with sign, so the query is moved up by 128; what that adds is
// 128 times the sum of the row.
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"))) void Int8Vnni(const int8_t* query, const CodeRows& rows,
                                                                              const int32_t* ids, size_t n,
                                                                              int32_t* out) {
  const __m512i up = _mm512_set1_epi8(static_cast<char>(0x80));
  for (size_t i = 0; i < n; i += 4) {
    const FourRows four(rows, ids + i, n - i);
    __m512i sum0 = _mm512_setzero_si512();
    __m512i sum1 = _mm512_setzero_si512();
    __m512i sum2 = _mm512_setzero_si512();
    __m512i sum3 = _mm512_setzero_si512();
    for (size_t j = 0; j < rows.numbers; j += kLine) {
      for (const std::byte* const next : four.next) __builtin_prefetch(next + j);
      const __m512i numbers = _mm512_xor_si512(_mm512_load_si512(query + j), up);
      sum0 = _mm512_dpbusd_epi32(sum0, numbers, _mm512_load_si512(four.now[0] + j));
      sum1 = _mm512_dpbusd_epi32(sum1, numbers, _mm512_load_si512(four.now[1] + j));
      sum2 = _mm512_dpbusd_epi32(sum2, numbers, _mm512_load_si512(four.now[2] + j));
      sum3 = _mm512_dpbusd_epi32(sum3, numbers, _mm512_load_si512(four.now[3] + j));
    }
    int32_t sums[4] = {_mm512_reduce_add_epi32(sum0), _mm512_reduce_add_epi32(sum1), _mm512_reduce_add_epi32(sum2),
                       _mm512_reduce_add_epi32(sum3)};
    for (size_t r = 0; r < 4 && i + r < n; ++r) {
      int32_t sum_of_row;
      std::memcpy(&sum_of_row, four.now[r] + rows.numbers, sizeof(sum_of_row));
      out[i + r] = sums[r] - 128 * sum_of_row;
    }
  }
}

}  // namespace reembed::graph_kernels

#else

namespace reembed::graph_kernels {

void Bf16Avx512(const uint16_t*, const CodeRows&, const int32_t*, size_t, float*) {}
void Int8Vnni(const int8_t*, const CodeRows&, const int32_t*, size_t, int32_t*) {}
bool HasAvx512Bf16() { return false; }
bool HasAvx512Vnni() { return false; }

}  // namespace reembed::graph_kernels

#endif
