// SPDX-License-Identifier: Apache-2.0
#include "index/graph_codes.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace reembed {
namespace {

constexpr size_t kLine = 64;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr float kGreatestCode = 127;
// Numbers side by side in a step of a transform, so that it is made of plain vector operations.
constexpr size_t kGroup = 16;

size_t RoundUp(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

size_t CodeBytes(GraphStorage storage, size_t padded, size_t tail) {
  if (storage == GraphStorage::kFloat32) return 0;
  return RoundUp(padded * (storage == GraphStorage::kBf16 ? sizeof(uint16_t) : 1) + tail, kLine);
}

// A sign for each place, the same in every build.
std::vector<float> FixedSigns(size_t dim) {
  std::vector<float> signs(dim);
  uint64_t state = 0;
  for (float& sign : signs) {
    state += 0x9E3779B97F4A7C15u;
    uint64_t bits = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBu;
    sign = (bits >> 63) != 0 ? -1.0f : 1.0f;
  }
  return signs;
}

// Hadamard transform over `groups`, a power of two, groups of kGroup numbers; scaled so that lengths stay.
void Turn(float* numbers, size_t groups) {
  for (size_t half = 1; half < groups; half *= 2) {
    for (size_t begin = 0; begin < groups; begin += 2 * half) {
      float* const a = numbers + begin * kGroup;
      float* const b = a + half * kGroup;
      for (size_t i = 0; i < half * kGroup; i += kGroup) {
        for (size_t j = i; j < i + kGroup; ++j) {
          const float sum = a[j] + b[j];
          b[j] = a[j] - b[j];
          a[j] = sum;
        }
      }
    }
  }
  const float scale = 1.0f / std::sqrt(static_cast<float>(groups));
  for (size_t i = 0; i < groups * kGroup; ++i) numbers[i] *= scale;
}

// Round to nearest, ties to even. NaN does not occur.
uint16_t Bf16Of(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

}  // namespace

void AskForLargePages(void* memory, size_t bytes) {
  const size_t into_page = reinterpret_cast<uintptr_t>(memory) % kHugePage;
  const size_t skipped = into_page == 0 ? 0 : kHugePage - into_page;
  if (bytes < skipped + kHugePage) return;
  const size_t whole = (bytes - skipped) / kHugePage * kHugePage;
  static_cast<void>(madvise(static_cast<std::byte*>(memory) + skipped, whole, MADV_HUGEPAGE));
}

GraphCodes::GraphCodes(const GraphKernels& kernels, GraphStorage storage, Metric metric, int dim)
    : kernels_(kernels),
      storage_(storage),
      squared_(metric == Metric::kL2),
      dim_(static_cast<size_t>(dim)),
      padded_(RoundUp(dim_, kCodeBlock)),
      stride_(CodeBytes(storage, padded_, sizeof(Tail))) {
  if (storage_ == GraphStorage::kInt8) signs_ = FixedSigns(dim_);
}

absl::Status GraphCodes::Resize(const float* floats, int64_t rows) {
  floats_ = floats;
  if (stride_ != 0 && rows > capacity_) {
    const int64_t capacity = capacity_ == 0 ? rows : std::max(rows, capacity_ + capacity_ / 2);
    const size_t bytes = RoundUp(static_cast<size_t>(capacity) * stride_, kHugePage);
    std::unique_ptr<std::byte[], Free> larger(static_cast<std::byte*>(std::aligned_alloc(kHugePage, bytes)));
    if (larger == nullptr) {
      return absl::ResourceExhaustedError(absl::StrCat("graph: not enough memory for ", bytes, " bytes of codes"));
    }
    AskForLargePages(larger.get(), bytes);
    if (rows_ > 0) std::memcpy(larger.get(), codes_.get(), static_cast<size_t>(rows_) * stride_);
    codes_ = std::move(larger);
    capacity_ = capacity;
  }
  rows_ = rows;
  return absl::OkStatus();
}

void GraphCodes::Encode(int64_t row) {
  if (storage_ == GraphStorage::kFloat32) return;
  const float* const numbers = floats_ + static_cast<size_t>(row) * dim_;
  std::byte* const code = codes_.get() + static_cast<size_t>(row) * stride_;
  if (storage_ == GraphStorage::kBf16) {
    EncodeBf16(numbers, code);
  } else {
    EncodeInt8(numbers, code);
  }
}

void GraphCodes::EncodeBf16(const float* row, std::byte* code) const {
  auto* const numbers = reinterpret_cast<uint16_t*>(code);
  double square = 0;
  for (size_t i = 0; i < dim_; ++i) {
    numbers[i] = Bf16Of(row[i]);
    const auto rounded = std::bit_cast<float>(static_cast<uint32_t>(numbers[i]) << 16);
    square += static_cast<double>(rounded) * rounded;
  }
  std::fill(numbers + dim_, numbers + padded_, uint16_t{0});
  const Tail tail{.square = static_cast<float>(square)};
  std::memcpy(numbers + padded_, &tail, sizeof(tail));
}

void GraphCodes::EncodeInt8(const float* row, std::byte* code) const {
  std::vector<float> turned(dim_);
  for (size_t i = 0; i < dim_; ++i) turned[i] = row[i] * signs_[i];
  for (size_t begin = 0; dim_ - begin >= 2 * kGroup;) {
    const size_t groups = std::bit_floor((dim_ - begin) / kGroup);
    Turn(turned.data() + begin, groups);
    begin += groups * kGroup;
  }
  float greatest = 0;
  for (const float x : turned) greatest = std::max(greatest, std::abs(x));
  auto* const numbers = reinterpret_cast<int8_t*>(code);
  Tail tail{.scale = greatest / kGreatestCode};
  // A row of zeros, or of numbers too small to divide by.
  const float factor = tail.scale > 0 && std::isfinite(1 / tail.scale) ? 1 / tail.scale : 0;
  int64_t square = 0;
  for (size_t i = 0; i < dim_; ++i) {
    // 1.5 * 2^23: adding it rounds to an integer in the last bits, to the nearest even in doubt.
    constexpr float kRounder = 12582912.0f;
    const int32_t number = std::bit_cast<int32_t>(turned[i] * factor + kRounder) - std::bit_cast<int32_t>(kRounder);
    numbers[i] = static_cast<int8_t>(std::clamp(number, -127, 127));
    tail.sum += numbers[i];
    square += static_cast<int64_t>(numbers[i] * numbers[i]);
  }
  std::fill(numbers + dim_, numbers + padded_, int8_t{0});
  tail.square = tail.scale * tail.scale * static_cast<float>(square);
  std::memcpy(numbers + padded_, &tail, sizeof(tail));
}

GraphCodes::Tail GraphCodes::TailOf(int32_t row) const {
  Tail tail;
  const size_t numbers = padded_ * (storage_ == GraphStorage::kBf16 ? sizeof(uint16_t) : 1);
  std::memcpy(&tail, codes_.get() + static_cast<size_t>(row) * stride_ + numbers, sizeof(tail));
  return tail;
}

GraphQuery::GraphQuery(const GraphCodes* codes)
    : codes_(codes),
      rows_(codes->storage_ == GraphStorage::kFloat32
                ? CodeRows{reinterpret_cast<const std::byte*>(codes->floats_), codes->dim_ * sizeof(float), codes->dim_}
                : CodeRows{codes->codes_.get(), codes->stride_, codes->padded_}),
      view_base_(rows_.base),
      view_stride_(rows_.stride),
      query_(static_cast<std::byte*>(std::aligned_alloc(kLine, codes->padded_ * sizeof(float)))) {
  std::memset(query_.get(), 0, codes->padded_ * sizeof(float));
}

void GraphQuery::Load(int32_t row) {
  const size_t bytes = codes_->storage_ == GraphStorage::kFloat32
                           ? codes_->dim_ * sizeof(float)
                           : codes_->padded_ * (codes_->storage_ == GraphStorage::kBf16 ? sizeof(uint16_t) : 1);
  std::memcpy(query_.get(), rows_.base + static_cast<size_t>(row) * rows_.stride, bytes);
  if (codes_->storage_ != GraphStorage::kFloat32) tail_ = codes_->TailOf(row);
}

void GraphQuery::Distances(const int32_t* ids, size_t n, float* out) {
  if (codes_->storage_ == GraphStorage::kFloat32) {
    const Float32Kernel kernel = codes_->squared_ ? codes_->kernels_.squared_distance : codes_->kernels_.inner_product;
    kernel(reinterpret_cast<const float*>(query_.get()), rows_, ids, n, out);
    if (codes_->squared_) return;
    for (size_t i = 0; i < n; ++i) out[i] = -out[i];
    return;
  }
  if (codes_->storage_ == GraphStorage::kBf16) {
    codes_->kernels_.bf16(reinterpret_cast<const uint16_t*>(query_.get()), rows_, ids, n, out);
    for (size_t i = 0; i < n; ++i) {
      out[i] = codes_->squared_ ? tail_.square + codes_->TailOf(ids[i]).square - 2 * out[i] : -out[i];
    }
    return;
  }
  if (products_.size() < n) products_.resize(n);
  codes_->kernels_.int8(reinterpret_cast<const int8_t*>(query_.get()), rows_, ids, n, products_.data());
  for (size_t i = 0; i < n; ++i) {
    const GraphCodes::Tail other = codes_->TailOf(ids[i]);
    const float product = tail_.scale * other.scale * static_cast<float>(products_[i]);
    out[i] = codes_->squared_ ? tail_.square + other.square - 2 * product : -product;
  }
}

}  // namespace reembed
