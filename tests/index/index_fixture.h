// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_INDEX_INDEX_FIXTURE_H_
#define REEMBED_TESTS_INDEX_INDEX_FIXTURE_H_

#include <stdlib.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/vector_reader.h"
#include "engine/vector_sink.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "index/faiss_sink.h"
#include "index/index_reader.h"
#include "tests/fakes/batches.h"
#include "tests/fakes/read_file.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {

// Rows around random centres, as embeddings of related texts lie: a graph search has a harder time than with rows that
// are independent in each number. Shape [rows, dim].
inline std::vector<float> ClusteredRows(int64_t rows, int dim, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  constexpr int kClusters = 50;
  std::vector<float> centres(static_cast<size_t>(kClusters) * dim);
  for (float& x : centres) x = normal(random);
  std::vector<float> matrix;
  for (int64_t i = 0; i < rows; ++i) {
    const size_t centre = random() % kClusters;
    for (int j = 0; j < dim; ++j) matrix.push_back(centres[centre * dim + j] + 0.5f * normal(random));
  }
  return matrix;
}

inline void WriteFile(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

// Gives rows of memory, keyed by their place behind the first key.
class MemoryReader final : public VectorReader {
 public:
  MemoryReader(std::vector<float> matrix, int dim, int64_t first_key = 0)
      : matrix_(std::move(matrix)), dim_(dim), first_key_(first_key) {}
  int dim() const override { return dim_; }
  int64_t rows() const override { return static_cast<int64_t>(matrix_.size()) / dim_; }
  absl::StatusOr<std::optional<StoredVector>> Next() override {
    if (next_ == rows()) return std::nullopt;
    return At(next_);
  }
  absl::StatusOr<std::optional<StoredVector>> Find(KeyView key) override {
    return At(std::get<int64_t>(key) - first_key_);
  }

 private:
  StoredVector At(int64_t place) {
    next_ = place + 1;
    return {first_key_ + place, absl::MakeConstSpan(matrix_).subspan(place * dim_, dim_)};
  }

  const std::vector<float> matrix_;
  const int dim_;
  const int64_t first_key_;
  int64_t next_ = 0;
};

// A temporary directory with an index in it.
class IndexTest : public ::testing::Test {
 protected:
  IndexTest() {
    std::string pattern = ::testing::TempDir() + "index_XXXXXX";
    directory_ = mkdtemp(pattern.data());
  }
  ~IndexTest() override { std::filesystem::remove_all(directory_); }

  std::string path(const std::string& name = "a.index") const { return directory_ + "/" + name; }

  absl::StatusOr<std::unique_ptr<VectorSink>> MakeSink(const std::string& options = "factory=Flat") const {
    const absl::StatusOr<Location> location = ParseLocation(absl::StrCat("faiss:", path(), "?", options));
    if (!location.ok()) return location.status();
    return MakeFaissSink(*location, model_, sink_options_);
  }

  absl::StatusOr<int64_t> Open(VectorSink* sink, SinkPosition last = {}, int64_t expected_rows = 0) const {
    return sink->Open({.model = model_, .expected_rows = expected_rows}, last);
  }

  // Writes rows in batches of 100, the first with ordinal `first_ordinal`.
  absl::Status Write(VectorSink* sink, const std::vector<Key>& keys, const std::vector<float>& matrix,
                     int64_t first_ordinal = 0) {
    for (size_t begin = 0; begin < keys.size(); begin += 100) {
      const size_t rows = std::min<size_t>(100, keys.size() - begin);
      const auto batch =
          MakeBatch(first_ordinal + static_cast<int64_t>(begin), absl::MakeConstSpan(keys).subspan(begin, rows),
                    absl::MakeConstSpan(matrix).subspan(begin * model_.dim, rows * model_.dim), model_.dim);
      const Batch* const batches[] = {batch.get()};
      if (absl::Status status = sink->Write(batches, &refused_); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // A whole run from nothing to a finished index.
  absl::Status Build(const std::vector<Key>& keys, const std::vector<float>& matrix,
                     const std::string& options = "factory=Flat", int64_t expected_rows = 0) {
    absl::StatusOr<std::unique_ptr<VectorSink>> sink = MakeSink(options);
    if (!sink.ok()) return sink.status();
    if (const auto from = Open(sink->get(), {}, expected_rows); !from.ok()) return from.status();
    if (absl::Status status = Write(sink->get(), keys, matrix); !status.ok()) return status;
    return (*sink)->Complete();
  }

  Model model_{.name = "test-model", .dim = 16};
  FaissSinkOptions sink_options_;
  std::vector<RefusedRow> refused_;

 private:
  std::string directory_;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_INDEX_INDEX_FIXTURE_H_
