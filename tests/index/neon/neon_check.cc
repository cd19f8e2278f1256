// SPDX-License-Identifier: Apache-2.0
// Prints a line for each width: a digest of what the fastest kernel makes of rows that are the same everywhere. Built
// for this processor and for AArch64; CTest compares what both print. It has nothing but the kernels, so that no
// library has to be there for AArch64.
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "hwy/targets.h"
#include "index/graph_kernels.h"

#if defined(__aarch64__)
namespace hwy {
int64_t SupportedTargets() { return HWY_NEON; }
}  // namespace hwy
#endif

namespace {

constexpr size_t kRows = 7;
constexpr int32_t kIds[kRows] = {3, 0, 6, 1, 5, 2, 4};

class Numbers {
 public:
  uint32_t Next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 33);
  }

 private:
  uint64_t state_ = 1;
};

uint64_t Digest(const void* bytes, size_t size, uint64_t digest) {
  for (size_t i = 0; i < size; ++i) digest = (digest ^ static_cast<const unsigned char*>(bytes)[i]) * 1099511628211u;
  return digest;
}

template <typename Number>
Number* Aligned(size_t count) {
  return static_cast<Number*>(std::aligned_alloc(64, (count * sizeof(Number) + 63) / 64 * 64));
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<reembed::GraphKernels> kernels = reembed::AvailableGraphKernels();
  const reembed::GraphKernels& kernel = kernels.back();
  // The name is not part of what is compared.
  std::fprintf(stderr, "kernel %d of %zu\n", static_cast<int>(kernel.simd), kernels.size());
  if (argc > 1 && static_cast<int>(kernel.simd) != std::atoi(argv[1])) return 1;
  Numbers numbers;
  for (size_t dim = 1; dim <= 2000; ++dim) {
    const size_t padded = (dim + reembed::kCodeBlock - 1) / reembed::kCodeBlock * reembed::kCodeBlock;
    const size_t stride = padded + 64;
    auto* const floats = Aligned<float>(kRows * dim);
    auto* const query = Aligned<float>(padded);
    auto* const bytes = Aligned<int8_t>(kRows * stride);
    auto* const bytes_query = Aligned<int8_t>(padded);
    std::memset(query, 0, padded * sizeof(float));
    std::memset(bytes, 0, kRows * stride);
    std::memset(bytes_query, 0, padded);
    for (size_t i = 0; i < dim; ++i) {
      query[i] = static_cast<float>(numbers.Next()) * 1e-9f - 1;
      bytes_query[i] = static_cast<int8_t>(static_cast<int>(numbers.Next() % 255) - 127);
    }
    for (size_t row = 0; row < kRows; ++row) {
      int32_t sum = 0;
      for (size_t i = 0; i < dim; ++i) {
        floats[row * dim + i] = static_cast<float>(numbers.Next()) * 1e-9f - 1;
        bytes[row * stride + i] = static_cast<int8_t>(static_cast<int>(numbers.Next() % 255) - 127);
        sum += bytes[row * stride + i];
      }
      std::memcpy(bytes + row * stride + padded, &sum, sizeof(sum));
    }
    const reembed::CodeRows rows{reinterpret_cast<const std::byte*>(floats), dim * sizeof(float), dim};
    float found[kRows];
    kernel.inner_product(query, rows, kIds, kRows, found);
    uint64_t digest = Digest(found, sizeof(found), 14695981039346656037u);
    kernel.squared_distance(query, rows, kIds, kRows, found);
    digest = Digest(found, sizeof(found), digest);
    int32_t products[kRows];
    kernel.int8(bytes_query, {reinterpret_cast<const std::byte*>(bytes), stride, padded}, kIds, kRows, products);
    std::printf("%zu %016" PRIx64 "\n", dim, Digest(products, sizeof(products), digest));
    std::free(floats);
    std::free(query);
    std::free(bytes);
    std::free(bytes_query);
  }
}
