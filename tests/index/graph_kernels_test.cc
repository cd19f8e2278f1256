// SPDX-License-Identifier: Apache-2.0
#include "index/graph_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "index/graph_codes.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

constexpr uint64_t kSeed = 23;
constexpr int kGreatestDim = 2000;
constexpr int kRows = 7;  // four at a time, and a rest
constexpr int32_t kIds[kRows] = {3, 0, 6, 1, 5, 2, 4};

struct FreeMemory {
  void operator()(void* memory) const { std::free(memory); }
};

// Rows of one kind of number, each padded with zeros, on cache lines.
template <typename Number>
class Rows {
 public:
  Rows(int count, size_t numbers, size_t tail_bytes)
      : stride_((numbers * sizeof(Number) + tail_bytes + 63) / 64 * 64),
        memory_(static_cast<std::byte*>(std::aligned_alloc(64, stride_ * count))),
        rows_{memory_.get(), stride_, numbers} {
    std::memset(memory_.get(), 0, stride_ * count);
  }
  Number* row(int i) { return reinterpret_cast<Number*>(memory_.get() + stride_ * i); }
  const CodeRows& rows() const { return rows_; }

 private:
  const size_t stride_;
  const std::unique_ptr<std::byte, FreeMemory> memory_;
  const CodeRows rows_;
};

size_t Padded(int dim) { return (static_cast<size_t>(dim) + kCodeBlock - 1) / kCodeBlock * kCodeBlock; }

std::vector<float> RandomNumbers(size_t count, std::mt19937_64* random) {
  std::normal_distribution<float> normal;
  std::vector<float> numbers(count);
  for (float& x : numbers) x = normal(*random);
  return numbers;
}

TEST(GraphKernelsTest, Float32AgreesWithDoubleAndIsTheSameEverywhere) {
  SCOPED_TRACE(kSeed);
  std::mt19937_64 random(kSeed);
  const std::vector<GraphKernels> kernels = AvailableGraphKernels();
  ASSERT_EQ(kernels.front().simd, GraphSimd::kPortable);
  for (int dim = 1; dim <= kGreatestDim; ++dim) {
    // Without a byte behind the last row, as in an index.
    const std::vector<float> matrix = RandomNumbers(static_cast<size_t>(kRows) * dim, &random);
    Rows<float> query(1, Padded(dim), 0);
    const std::vector<float> numbers = RandomNumbers(dim, &random);
    std::copy(numbers.begin(), numbers.end(), query.row(0));
    const CodeRows rows{reinterpret_cast<const std::byte*>(matrix.data()), dim * sizeof(float),
                        static_cast<size_t>(dim)};
    float expected[2][kRows];
    kernels.front().inner_product(query.row(0), rows, kIds, kRows, expected[0]);
    kernels.front().squared_distance(query.row(0), rows, kIds, kRows, expected[1]);
    for (int i = 0; i < kRows; ++i) {
      double product = 0, squared = 0, size = 0;
      for (int j = 0; j < dim; ++j) {
        const double x = matrix[static_cast<size_t>(kIds[i]) * dim + j], q = numbers[j];
        product += q * x;
        squared += (q - x) * (q - x);
        size += std::abs(q * x);
      }
      ASSERT_NEAR(expected[0][i], product, 1e-6 * size) << dim;
      ASSERT_NEAR(expected[1][i], squared, 1e-6 * squared) << dim;
    }
    for (const GraphKernels& kernel : kernels) {
      float got[2][kRows] = {};
      kernel.inner_product(query.row(0), rows, kIds, kRows, got[0]);
      kernel.squared_distance(query.row(0), rows, kIds, kRows, got[1]);
      ASSERT_EQ(std::memcmp(got, expected, sizeof(got)), 0) << GraphSimdName(kernel.simd) << " " << dim;
    }
  }
}

TEST(GraphKernelsTest, Int8IsExact) {
  SCOPED_TRACE(kSeed);
  std::mt19937_64 random(kSeed);
  for (int dim = 1; dim <= kGreatestDim; ++dim) {
    Rows<int8_t> rows(kRows, Padded(dim), sizeof(int32_t));
    Rows<int8_t> query(1, Padded(dim), 0);
    // The greatest products, too, of both signs.
    const auto number = [&](int row) {
      return row < 2 ? (row == 0 ? -127 : 127) : static_cast<int>(random() % 255) - 127;
    };
    for (int j = 0; j < dim; ++j) query.row(0)[j] = static_cast<int8_t>(dim % 3 == 0 ? 127 : number(2));
    int32_t expected[kRows] = {};
    for (int i = 0; i < kRows; ++i) {
      int32_t sum = 0;
      for (int j = 0; j < dim; ++j) {
        const int x = number(i);
        rows.row(i)[j] = static_cast<int8_t>(x);
        sum += x;
        for (int k = 0; k < kRows; ++k) expected[k] += kIds[k] == i ? x * query.row(0)[j] : 0;
      }
      std::memcpy(rows.row(i) + Padded(dim), &sum, sizeof(sum));
    }
    for (const GraphKernels& kernel : AvailableGraphKernels()) {
      if (kernel.int8 == nullptr) continue;
      for (int n = 0; n <= kRows; ++n) {
        int32_t got[kRows] = {};
        kernel.int8(query.row(0), rows.rows(), kIds, n, got);
        for (int i = 0; i < kRows; ++i) {
          ASSERT_EQ(got[i], i < n ? expected[i] : 0) << GraphSimdName(kernel.simd) << " " << dim << " " << n;
        }
      }
    }
  }
}

TEST(GraphKernelsTest, Bf16AgreesWithDouble) {
  SCOPED_TRACE(kSeed);
  std::mt19937_64 random(kSeed);
  for (const GraphKernels& kernel : AvailableGraphKernels()) {
    if (kernel.bf16 == nullptr) continue;
    for (int dim = 1; dim <= kGreatestDim; ++dim) {
      Rows<uint16_t> rows(kRows, Padded(dim), 0);
      Rows<uint16_t> query(1, Padded(dim), 0);
      const auto fill = [&](uint16_t* row) {
        for (const float x : RandomNumbers(dim, &random)) *row++ = std::bit_cast<uint32_t>(x) >> 16;
      };
      fill(query.row(0));
      for (int i = 0; i < kRows; ++i) fill(rows.row(i));
      float got[kRows] = {};
      kernel.bf16(query.row(0), rows.rows(), kIds, kRows, got);
      const auto value = [](uint16_t x) { return std::bit_cast<float>(static_cast<uint32_t>(x) << 16); };
      for (int i = 0; i < kRows; ++i) {
        double product = 0, size = 0;
        for (int j = 0; j < dim; ++j) {
          const double one = static_cast<double>(value(query.row(0)[j])) * value(rows.row(kIds[i])[j]);
          product += one;
          size += std::abs(one);
        }
        ASSERT_NEAR(got[i], product, 1e-6 * size) << dim;
      }
    }
  }
}

// Every kernel and every storage that it has.
template <typename Check>
void ForEachStorage(const Check& check) {
  for (const GraphKernels& kernel : AvailableGraphKernels()) {
    for (const GraphStorage storage : {GraphStorage::kFloat32, GraphStorage::kBf16, GraphStorage::kInt8}) {
      if (storage == GraphStorage::kBf16 && kernel.bf16 == nullptr) continue;
      if (storage == GraphStorage::kInt8 && kernel.int8 == nullptr) continue;
      SCOPED_TRACE(testing::Message() << GraphSimdName(kernel.simd) << " " << GraphStorageName(storage));
      check(kernel, storage);
    }
  }
}

std::vector<float> DistancesFromFirst(const GraphKernels& kernel, GraphStorage storage, Metric metric, int dim,
                                      const std::vector<float>& matrix) {
  const auto rows = static_cast<int64_t>(matrix.size()) / dim;
  GraphCodes codes(kernel, storage, metric, dim);
  EXPECT_THAT(codes.Resize(matrix.data(), rows), IsOk());
  for (int64_t i = 0; i < rows; ++i) codes.Encode(i);
  GraphQuery query(&codes);
  query.Load(0);
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < rows; ++i) ids.push_back(i);
  std::vector<float> distances(ids.size());
  query.Distances(ids.data(), ids.size(), distances.data());
  return distances;
}

TEST(GraphCodesTest, DistancesAreNearTheTrueOnes) {
  SCOPED_TRACE(kSeed);
  std::mt19937_64 random(kSeed);
  constexpr int kCount = 50;
  ForEachStorage([&](const GraphKernels& kernel, GraphStorage storage) {
    for (const int dim : {1, 2, 15, 16, 31, 33, 37, 48, 100, 384, 1000, 1536}) {
      // Some models have a few numbers that are many times greater than all others.
      for (const float outlier : {1.0f, 20.0f}) {
        std::vector<float> matrix = RandomNumbers(static_cast<size_t>(kCount) * dim, &random);
        for (int i = 0; i < kCount; ++i) matrix[static_cast<size_t>(i) * dim + dim / 2] *= outlier;
        for (const Metric metric : {Metric::kL2, Metric::kInnerProduct}) {
          const std::vector<float> got = DistancesFromFirst(kernel, storage, metric, dim, matrix);
          for (int i = 0; i < kCount; ++i) {
            double product = 0, squared = 0, lengths[2] = {};
            for (int j = 0; j < dim; ++j) {
              const double a = matrix[j], b = matrix[static_cast<size_t>(i) * dim + j];
              product += a * b;
              squared += (a - b) * (a - b);
              lengths[0] += a * a;
              lengths[1] += b * b;
            }
            const double error = storage == GraphStorage::kFloat32 ? 1e-6 : 0.02;
            EXPECT_NEAR(got[i], metric == Metric::kL2 ? squared : -product, error * std::max(lengths[0], lengths[1]))
                << dim << " " << outlier << " " << MetricName(metric) << " " << i;
          }
        }
      }
    }
  });
}

// The error of int8, in units of a row's length, with one number that is 20 times the others: turned rows lose little.
TEST(GraphCodesTest, AGreatNumberDoesNotCrushTheOthers) {
  SCOPED_TRACE(kSeed);
  constexpr int kDim = 768, kCount = 100;
  double errors[2];
  for (const bool with_outlier : {false, true}) {
    std::mt19937_64 random(kSeed);
    std::vector<float> matrix = RandomNumbers(static_cast<size_t>(kCount) * kDim, &random);
    double length = 0;
    for (int i = 0; i < kCount; ++i) {
      if (with_outlier) matrix[static_cast<size_t>(i) * kDim + 77] = i % 2 == 0 ? 20 : 19;
    }
    for (int j = 0; j < kDim; ++j) length += matrix[j] * matrix[j];
    const GraphKernels portable = AvailableGraphKernels().front();
    const auto exact = DistancesFromFirst(portable, GraphStorage::kFloat32, Metric::kInnerProduct, kDim, matrix);
    const auto coded = DistancesFromFirst(portable, GraphStorage::kInt8, Metric::kInnerProduct, kDim, matrix);
    double sum = 0;
    for (int i = 1; i < kCount; ++i) sum += (exact[i] - coded[i]) * (exact[i] - coded[i]);
    errors[with_outlier] = std::sqrt(sum / (kCount - 1)) / length;
  }
  EXPECT_LT(errors[1], 2 * errors[0]) << errors[0] << " " << errors[1];
  EXPECT_LT(errors[0], 0.002);
}

TEST(GraphCodesTest, RowsWithoutDirectionAndTinyOnesHaveDistances) {
  ForEachStorage([&](const GraphKernels& kernel, GraphStorage storage) {
    std::vector<float> matrix(4 * 40, 0.0f);
    std::fill_n(matrix.begin(), 40, 1.0f);
    std::fill_n(matrix.begin() + 40, 40, 1e-42f);
    std::fill_n(matrix.begin() + 120, 40, -3.0f);
    for (const Metric metric : {Metric::kL2, Metric::kInnerProduct}) {
      const std::vector<float> got = DistancesFromFirst(kernel, storage, metric, 40, matrix);
      EXPECT_NEAR(got[1], metric == Metric::kL2 ? 40 : 0, 0.8);
      EXPECT_NEAR(got[2], metric == Metric::kL2 ? 40 : 0, 0.8);
      EXPECT_NEAR(got[3], metric == Metric::kL2 ? 640 : 120, 6);
    }
  });
}

}  // namespace
}  // namespace reembed
