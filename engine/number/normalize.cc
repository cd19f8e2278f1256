// SPDX-License-Identifier: Apache-2.0
#include "engine/number/normalize.h"

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "absl/strings/str_cat.h"

// This file is compiled once per SIMD target; HWY_DYNAMIC_DISPATCH picks the best one for the processor at run time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/number/normalize.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace reembed {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr hn::ScalableTag<double> kDoubles;
constexpr hn::Rebind<float, decltype(kDoubles)> kFloats;

// The square of any finite float is an ordinary double, the least denormal's included (2e-90), so the sum is zero only
// for a zero row and infinite or NaN only for a row with such an element.
double SumOfSquares(const float* HWY_RESTRICT row, size_t dim) {
  const size_t lanes = hn::Lanes(kFloats);
  auto sum0 = hn::Zero(kDoubles);
  auto sum1 = hn::Zero(kDoubles);
  auto sum2 = hn::Zero(kDoubles);
  auto sum3 = hn::Zero(kDoubles);
  const auto at = [row](size_t i) HWY_ATTR { return hn::PromoteTo(kDoubles, hn::LoadU(kFloats, row + i)); };
  size_t i = 0;
  for (; i + 4 * lanes <= dim; i += 4 * lanes) {
    const auto x0 = at(i);
    const auto x1 = at(i + lanes);
    const auto x2 = at(i + 2 * lanes);
    const auto x3 = at(i + 3 * lanes);
    sum0 = hn::MulAdd(x0, x0, sum0);
    sum1 = hn::MulAdd(x1, x1, sum1);
    sum2 = hn::MulAdd(x2, x2, sum2);
    sum3 = hn::MulAdd(x3, x3, sum3);
  }
  for (; i + lanes <= dim; i += lanes) {
    const auto x = at(i);
    sum0 = hn::MulAdd(x, x, sum0);
  }
  const auto all = hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3));
  double sum = hn::GetLane(hn::SumOfLanes(kDoubles, all));
  for (; i < dim; ++i) sum += static_cast<double>(row[i]) * row[i];
  return sum;
}

// In double, because the inverse norm of a very long or very short row is no ordinary float.
void Scale(float* HWY_RESTRICT row, size_t dim, double factor) {
  const size_t lanes = hn::Lanes(kFloats);
  const auto factors = hn::Set(kDoubles, factor);
  size_t i = 0;
  for (; i + lanes <= dim; i += lanes) {
    const auto x = hn::PromoteTo(kDoubles, hn::LoadU(kFloats, row + i));
    hn::StoreU(hn::DemoteTo(kFloats, hn::Mul(x, factors)), kFloats, row + i);
  }
  for (; i < dim; ++i) row[i] = static_cast<float>(row[i] * factor);
}

// The greatest magnitude in `vector`, as the bits of a float without its sign; they order like the numbers, with
// infinity and then NaN above all others.
int32_t GreatestMagnitudeBits(const int32_t* HWY_RESTRICT bits, size_t dim) {
  constexpr hn::ScalableTag<int32_t> kInts;
  constexpr int32_t kMagnitude = 0x7FFFFFFF;
  const size_t lanes = hn::Lanes(kInts);
  const auto magnitude = hn::Set(kInts, kMagnitude);
  auto greatest0 = hn::Zero(kInts);
  auto greatest1 = hn::Zero(kInts);
  size_t i = 0;
  for (; i + 2 * lanes <= dim; i += 2 * lanes) {
    greatest0 = hn::Max(greatest0, hn::And(hn::LoadU(kInts, bits + i), magnitude));
    greatest1 = hn::Max(greatest1, hn::And(hn::LoadU(kInts, bits + i + lanes), magnitude));
  }
  int32_t greatest = hn::GetLane(hn::MaxOfLanes(kInts, hn::Max(greatest0, greatest1)));
  for (; i < dim; ++i) {
    const int32_t one = bits[i] & kMagnitude;
    if (one > greatest) greatest = one;
  }
  return greatest;
}

}  // namespace HWY_NAMESPACE
}  // namespace reembed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reembed {
namespace {

HWY_EXPORT(SumOfSquares);
HWY_EXPORT(Scale);
HWY_EXPORT(GreatestMagnitudeBits);

}  // namespace

VectorFault CheckVector(absl::Span<const float> vector) {
  constexpr int32_t kInfinityBits = 0x7F800000;
  const int32_t greatest =
      HWY_DYNAMIC_DISPATCH(GreatestMagnitudeBits)(reinterpret_cast<const int32_t*>(vector.data()), vector.size());
  if (greatest >= kInfinityBits) return VectorFault::kNotFinite;
  return greatest == 0 ? VectorFault::kAllZero : VectorFault::kNone;
}

absl::Status NormalizeRows(absl::Span<float> matrix, int dim) {
  if (dim <= 0 || matrix.size() % static_cast<size_t>(dim) != 0) {
    return absl::InternalError(absl::StrCat("normalize: ", matrix.size(), " numbers are no rows of ", dim));
  }
  const size_t rows = matrix.size() / dim;
  for (size_t i = 0; i < rows; ++i) {
    float* const row = matrix.data() + i * dim;
    const double sum = HWY_DYNAMIC_DISPATCH(SumOfSquares)(row, dim);
    if (!std::isfinite(sum) || sum == 0) {
      return absl::DataLossError(absl::StrCat("row ", i, " of the matrix: expected a direction, got ",
                                              sum == 0 ? "only zeros" : "a number that is not finite"));
    }
    HWY_DYNAMIC_DISPATCH(Scale)(row, dim, 1.0 / std::sqrt(sum));
  }
  return absl::OkStatus();
}

}  // namespace reembed
#endif  // HWY_ONCE
