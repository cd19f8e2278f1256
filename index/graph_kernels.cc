// SPDX-License-Identifier: Apache-2.0
#include "index/graph_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

// This file is compiled once per SIMD target. The targets are those that GraphSimd has a name for.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/graph_kernels.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace reembed {
namespace HWY_NAMESPACE {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
namespace hn = hwy::HWY_NAMESPACE;

constexpr hn::CappedTag<float, 16> kFloats;
constexpr size_t kFloatLanes = hn::MaxLanes(kFloats);
constexpr size_t kSums = kCodeBlock / kFloatLanes;  // registers that one row's 64 lanes take
// Rows at a time: as many as leave the registers room.
constexpr size_t kFloatRows = kFloatLanes == 16 ? 4 : 1;
constexpr size_t kFloatsOfLine = 16;
using Floats = hn::Vec<decltype(kFloats)>;

// The last steps of the sum that Float32Kernel promises.
HWY_INLINE float SumOfLanes(const Floats* HWY_RESTRICT sums) {
  constexpr size_t kGroup = 16 / kFloatLanes;  // registers of 16 lanes
  Floats left[kGroup];
#pragma GCC unroll 4
  for (size_t j = 0; j < kGroup; ++j) {
    left[j] = hn::Add(hn::Add(sums[j], sums[kGroup + j]), hn::Add(sums[2 * kGroup + j], sums[3 * kGroup + j]));
  }
#pragma GCC unroll 4
  for (size_t half = kGroup / 2; half > 0; half /= 2) {
#pragma GCC unroll 4
    for (size_t j = 0; j < half; ++j) left[j] = hn::Add(left[j], left[j + half]);
  }
  HWY_ALIGN float lanes[kFloatLanes];
  hn::Store(left[0], kFloats, lanes);
#pragma GCC unroll 4
  for (size_t half = kFloatLanes / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

template <bool kSquared>
HWY_INLINE Floats Accumulate(Floats q, Floats x, Floats sum) {
  if constexpr (kSquared) {
    const Floats apart = hn::Sub(q, x);
    return hn::MulAdd(apart, apart, sum);
  } else {
    return hn::MulAdd(q, x, sum);
  }
}

// `next`: the rows that come after, which are brought near meanwhile.
template <bool kSquared, size_t kRows>
HWY_INLINE void FloatsOfRows(const float* HWY_RESTRICT query, const float* const* HWY_RESTRICT row,
                             const float* const* HWY_RESTRICT next, size_t dim, float* HWY_RESTRICT out) {
  Floats sums[kRows][kSums];
#pragma GCC unroll 4
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (size_t s = 0; s < kSums; ++s) sums[r][s] = hn::Zero(kFloats);
  }
  size_t i = 0;
  for (; i + kCodeBlock <= dim; i += kCodeBlock) {
#pragma GCC unroll 4
    for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (size_t line = 0; line < kCodeBlock; line += kFloatsOfLine) __builtin_prefetch(next[r] + i + line);
    }
#pragma GCC unroll 16
    for (size_t s = 0; s < kSums; ++s) {
      const Floats q = hn::Load(kFloats, query + i + s * kFloatLanes);
#pragma GCC unroll 4
      for (size_t r = 0; r < kRows; ++r) {
        sums[r][s] = Accumulate<kSquared>(q, hn::LoadU(kFloats, row[r] + i + s * kFloatLanes), sums[r][s]);
      }
    }
  }
  if (i < dim) {
    // Behind the last number may be the end of the memory.
    HWY_ALIGN float rest[kRows][kCodeBlock] = {};
    for (size_t r = 0; r < kRows; ++r) std::memcpy(rest[r], row[r] + i, (dim - i) * sizeof(float));
#pragma GCC unroll 16
    for (size_t s = 0; s < kSums; ++s) {
      const Floats q = hn::Load(kFloats, query + i + s * kFloatLanes);
#pragma GCC unroll 4
      for (size_t r = 0; r < kRows; ++r) {
        sums[r][s] = Accumulate<kSquared>(q, hn::Load(kFloats, rest[r] + s * kFloatLanes), sums[r][s]);
      }
    }
  }
#pragma GCC unroll 4
  for (size_t r = 0; r < kRows; ++r) out[r] = SumOfLanes(sums[r]);
}

template <bool kSquared>
void Float32(const float* HWY_RESTRICT query, const CodeRows& rows, const int32_t* HWY_RESTRICT ids, size_t n,
             float* HWY_RESTRICT out) {
  const auto row_of = [&rows](int32_t id) {
    return reinterpret_cast<const float*>(rows.base + static_cast<size_t>(id) * rows.stride);
  };
  size_t i = 0;
  for (; i + kFloatRows <= n; i += kFloatRows) {
    const float* row[kFloatRows];
    const float* next[kFloatRows];
    for (size_t r = 0; r < kFloatRows; ++r) {
      row[r] = row_of(ids[i + r]);
      next[r] = row_of(ids[std::min(i + r + kFloatRows, n - 1)]);
    }
    FloatsOfRows<kSquared, kFloatRows>(query, row, next, rows.numbers, out + i);
  }
  for (; i < n; ++i) {
    const float* const row = row_of(ids[i]);
    const float* const next = row_of(ids[std::min(i + 1, n - 1)]);
    FloatsOfRows<kSquared, 1>(query, &row, &next, rows.numbers, out + i);
  }
}

constexpr hn::ScalableTag<int32_t> kSumsOfInts;
constexpr hn::ScalableTag<int16_t> kShorts;
constexpr hn::Rebind<int8_t, decltype(kShorts)> kBytes;
using Ints = hn::Vec<decltype(kSumsOfInts)>;

template <size_t kRows>
HWY_INLINE void BytesOfRows(const int8_t* HWY_RESTRICT query, const int8_t* const* HWY_RESTRICT row,
                            const int8_t* const* HWY_RESTRICT next, size_t numbers, int32_t* HWY_RESTRICT out) {
  Ints sums[kRows];
  Ints more[kRows];
#pragma GCC unroll 4
  for (size_t r = 0; r < kRows; ++r) sums[r] = more[r] = hn::Zero(kSumsOfInts);
  for (size_t block = 0; block < numbers; block += kCodeBlock) {
#pragma GCC unroll 4
    for (size_t r = 0; r < kRows; ++r) __builtin_prefetch(next[r] + block);
#pragma GCC unroll 8
    for (size_t i = block; i < block + kCodeBlock; i += hn::MaxLanes(kShorts)) {
      const auto q = hn::PromoteTo(kShorts, hn::Load(kBytes, query + i));
#pragma GCC unroll 4
      for (size_t r = 0; r < kRows; ++r) {
        const auto x = hn::PromoteTo(kShorts, hn::Load(kBytes, row[r] + i));
        sums[r] = hn::ReorderWidenMulAccumulate(kSumsOfInts, q, x, sums[r], more[r]);
      }
    }
  }
#pragma GCC unroll 4
  for (size_t r = 0; r < kRows; ++r) {
    out[r] = hn::GetLane(hn::SumOfLanes(kSumsOfInts, hn::Add(sums[r], more[r])));
  }
}

void Int8(const int8_t* HWY_RESTRICT query, const CodeRows& rows, const int32_t* HWY_RESTRICT ids, size_t n,
          int32_t* HWY_RESTRICT out) {
  const auto row_of = [&rows](int32_t id) {
    return reinterpret_cast<const int8_t*>(rows.base + static_cast<size_t>(id) * rows.stride);
  };
  size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const int8_t* row[4];
    const int8_t* next[4];
    for (size_t r = 0; r < 4; ++r) {
      row[r] = row_of(ids[i + r]);
      next[r] = row_of(ids[std::min(i + r + 4, n - 1)]);
    }
    BytesOfRows<4>(query, row, next, rows.numbers, out + i);
  }
  for (; i < n; ++i) {
    const int8_t* const row = row_of(ids[i]);
    const int8_t* const next = row_of(ids[std::min(i + 1, n - 1)]);
    BytesOfRows<1>(query, &row, &next, rows.numbers, out + i);
  }
}

#endif  // a target with a name
}  // namespace HWY_NAMESPACE
}  // namespace reembed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reembed {
namespace {

// The promise of Float32Kernel in plain code. Slow where the processor has no fused multiply-add.
template <bool kSquared>
void PortableFloat32(const float* query, const CodeRows& rows, const int32_t* ids, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) {
    const auto* const row = reinterpret_cast<const float*>(rows.base + static_cast<size_t>(ids[i]) * rows.stride);
    float lanes[kCodeBlock] = {};
    for (size_t j = 0; j < rows.numbers; ++j) {
      float& lane = lanes[j % kCodeBlock];
      const float apart = query[j] - row[j];
      lane = kSquared ? std::fma(apart, apart, lane) : std::fma(query[j], row[j], lane);
    }
    for (size_t j = 0; j < 16; ++j) lanes[j] = (lanes[j] + lanes[16 + j]) + (lanes[32 + j] + lanes[48 + j]);
    for (size_t half = 8; half > 0; half /= 2) {
      for (size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
    }
    out[i] = lanes[0];
  }
}

void PortableInt8(const int8_t* query, const CodeRows& rows, const int32_t* ids, size_t n, int32_t* out) {
  for (size_t i = 0; i < n; ++i) {
    const auto* const row = reinterpret_cast<const int8_t*>(rows.base + static_cast<size_t>(ids[i]) * rows.stride);
    int32_t sum = 0;
    for (size_t j = 0; j < rows.numbers; j += kCodeBlock) {
      // The compiler makes vectors of a loop whose length it knows.
      for (size_t k = 0; k < kCodeBlock; ++k) {
        sum += static_cast<int16_t>(query[j + k]) * static_cast<int16_t>(row[j + k]);
      }
    }
    out[i] = sum;
  }
}

}  // namespace

std::vector<GraphKernels> AvailableGraphKernels() {
  std::vector<GraphKernels> available = {
      {GraphSimd::kPortable, PortableFloat32<false>, PortableFloat32<true>, nullptr, PortableInt8}};
  [[maybe_unused]] const int64_t supported = hwy::SupportedTargets();
#if HWY_TARGETS & HWY_NEON
  if ((supported & HWY_NEON) != 0) {
    available.push_back({GraphSimd::kNeon, N_NEON::Float32<false>, N_NEON::Float32<true>, nullptr, N_NEON::Int8});
  }
#endif
#if HWY_TARGETS & HWY_AVX2
  if ((supported & HWY_AVX2) != 0) {
    available.push_back({GraphSimd::kAvx2, N_AVX2::Float32<false>, N_AVX2::Float32<true>, nullptr, N_AVX2::Int8});
  }
#endif
#if HWY_TARGETS & HWY_AVX3
  if ((supported & HWY_AVX3) != 0) {
    available.push_back({GraphSimd::kAvx512, N_AVX3::Float32<false>, N_AVX3::Float32<true>, nullptr, N_AVX3::Int8});
    if (graph_kernels::HasAvx512Bf16()) {
      available.push_back(
          {GraphSimd::kAvx512Bf16, N_AVX3::Float32<false>, N_AVX3::Float32<true>, graph_kernels::Bf16Avx512, nullptr});
    }
    if (graph_kernels::HasAvx512Vnni()) {
      available.push_back(
          {GraphSimd::kAvx512Vnni, N_AVX3::Float32<false>, N_AVX3::Float32<true>, nullptr, graph_kernels::Int8Vnni});
    }
  }
#endif
  return available;
}

}  // namespace reembed
#endif  // HWY_ONCE
