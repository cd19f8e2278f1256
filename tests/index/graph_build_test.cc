// SPDX-License-Identifier: Apache-2.0
#include "index/graph_build.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/impl/io.h>
#include <faiss/index_io.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/number/normalize.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "index/faiss_check.h"
#include "tests/fakes/process.h"
#include "tests/index/index_fixture.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kSeed = 29;
constexpr int kDim = 40;
constexpr int64_t kRows = 3000;
constexpr int kQueries = 400;

faiss::IndexHNSWFlat& GraphOf(const FaissIndex& index) { return dynamic_cast<faiss::IndexHNSWFlat&>(*index); }

faiss::MetricType FaissMetricOf(Metric metric) {
  return metric == Metric::kL2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
}

// Rows to build from, queries beside them, and what is nearest to these.
struct Data {
  explicit Data(Metric metric) : metric(metric) {
    matrix = ClusteredRows(kRows + kQueries, kDim, kSeed);
    if (metric == Metric::kCosine) {
      EXPECT_THAT(NormalizeRows(absl::MakeSpan(matrix), kDim), IsOk());
    }
    faiss::IndexFlat flat(kDim, FaissMetricOf(metric));
    flat.add(kRows, matrix.data());
    truth = Neighbours(flat, 10);
  }

  absl::Span<const float> rows() const { return absl::MakeConstSpan(matrix).first(kRows * kDim); }
  const float* queries() const { return matrix.data() + kRows * kDim; }

  std::vector<int64_t> Neighbours(const faiss::Index& index, int k) const {
    std::vector<int64_t> ids(kQueries * k);
    std::vector<float> distances(ids.size());
    index.search(kQueries, queries(), k, distances.data(), ids.data());
    return ids;
  }

  double Recall(const faiss::Index& index) const {
    const std::vector<int64_t> found = Neighbours(index, 10);
    int hits = 0;
    for (int query = 0; query < kQueries; ++query) {
      const std::set<int64_t> right(truth.begin() + query * 10, truth.begin() + query * 10 + 10);
      for (int i = 0; i < 10; ++i) hits += static_cast<int>(right.count(found[query * 10 + i]));
    }
    return hits / (10.0 * kQueries);
  }

  Metric metric;
  std::vector<float> matrix;
  std::vector<int64_t> truth;
};

double LinksPerRow(const faiss::IndexHNSWFlat& index) {
  const auto& links = index.hnsw.neighbors;
  return static_cast<double>(std::count_if(links.begin(), links.end(), [](int32_t link) { return link >= 0; })) /
         static_cast<double>(index.ntotal);
}

std::string Bytes(const faiss::Index& index) {
  faiss::VectorIOWriter writer;
  faiss::write_index(&index, &writer);
  return {writer.data.begin(), writer.data.end()};
}

std::vector<GraphBuildOptions> AllChoices(Metric metric) {
  std::vector<GraphBuildOptions> all;
  for (const GraphSimd simd : AvailableGraphSimds()) {
    for (const GraphStorage storage : {GraphStorage::kFloat32, GraphStorage::kBf16, GraphStorage::kInt8}) {
      GraphBuildOptions options{.metric = metric, .threads = 2, .simd = simd, .storage = storage};
      if (ChooseGraphKernel(options).ok()) all.push_back(options);
    }
  }
  return all;
}

std::string NameOf(const GraphBuildOptions& options) {
  return absl::StrCat(MetricName(options.metric), " ", GraphSimdName(options.simd), " ",
                      GraphStorageName(options.storage), " ", options.threads);
}

TEST(GraphBuildTest, EveryKernelFindsWhatPlainFaissFinds) {
  SCOPED_TRACE(kSeed);
  for (const Metric metric : {Metric::kCosine, Metric::kInnerProduct, Metric::kL2}) {
    const Data data(metric);
    faiss::IndexHNSWFlat plain(kDim, 32, FaissMetricOf(metric));
    // By one thread it is the same graph each time; by two its number of links varies by some 2 %.
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    plain.add(kRows, data.rows().data());
    omp_set_num_threads(threads);
    for (const GraphBuildOptions& options : AllChoices(metric)) {
      SCOPED_TRACE(NameOf(options));
      const auto index = BuildGraph(data.rows(), kRows, kDim, options);
      ASSERT_THAT(index, IsOk());
      EXPECT_THAT(CheckFaissIndex(**index), IsOk());
      // Links that are not taken back, or lists that are thinned otherwise, show here before recall does.
      EXPECT_NEAR(LinksPerRow(GraphOf(*index)) / LinksPerRow(plain), 1, 0.02);
      for (const int ef : {16, 64}) {
        plain.hnsw.efSearch = GraphOf(*index).hnsw.efSearch = ef;
        EXPECT_GE(data.Recall(**index), data.Recall(plain) - 0.005) << ef;
      }
    }
  }
}

// Texts that many rows share make the same row many times. In a graph whose links they fill, all else is lost.
TEST(GraphBuildTest, RowsThatAreTheSameHideNoOthers) {
  SCOPED_TRACE(kSeed);
  for (const Metric metric : {Metric::kCosine, Metric::kL2}) {
    Data data(metric);
    for (int64_t row = 0; row < kRows; row += 2) std::copy_n(data.matrix.data(), kDim, data.matrix.data() + row * kDim);
    faiss::IndexFlat flat(kDim, FaissMetricOf(metric));
    flat.add(kRows, data.matrix.data());
    // Of `k` rows found for each query, those that are as near as the last of the true ones.
    const auto share = [&](const faiss::Index& index, const float* queries, int count, int k) {
      std::vector<int64_t> ids(count * k);
      std::vector<float> found(ids.size()), nearest(ids.size());
      index.search(count, queries, k, found.data(), ids.data());
      flat.search(count, queries, k, nearest.data(), std::vector<int64_t>(ids.size()).data());
      int hits = 0;
      for (int i = 0; i < count * k; ++i) {
        const float last = nearest[i / k * k + k - 1];
        const float slack = 1e-5f * std::abs(last) + 1e-5f;
        hits += ids[i] >= 0 && (metric == Metric::kL2 ? found[i] <= last + slack : found[i] >= last - slack) ? 1 : 0;
      }
      return hits / static_cast<double>(count * k);
    };
    const std::vector<GraphBuildOptions> all = AllChoices(metric);
    for (const GraphBuildOptions& options : {all.front(), all.back()}) {
      SCOPED_TRACE(NameOf(options));
      const auto index = BuildGraph(data.rows(), kRows, kDim, options);
      ASSERT_THAT(index, IsOk());
      EXPECT_THAT(CheckFaissIndex(**index), IsOk());
      GraphOf(*index).hnsw.efSearch = 64;
      EXPECT_GE(share(**index, data.queries(), kQueries, 10), 0.95);
      // And they are found themselves.
      GraphOf(*index).hnsw.efSearch = 200;
      EXPECT_GE(share(**index, data.matrix.data(), 1, 100), 0.95);
    }
  }
}

TEST(GraphBuildTest, TheIndexIsAPlainOneOfFloat32) {
  const Data data(Metric::kCosine);
  const auto index = BuildGraph(data.rows(), kRows, kDim, {});
  ASSERT_THAT(index, IsOk());
  const std::string bytes = Bytes(**index);
  faiss::VectorIOReader reader;
  reader.data.assign(bytes.begin(), bytes.end());
  const FaissIndex read(faiss::read_index(&reader));
  const faiss::Index& index_read = *read;
  EXPECT_EQ(typeid(index_read), typeid(faiss::IndexHNSWFlat));
  EXPECT_EQ(read->ntotal, kRows);
  std::vector<float> row(kDim);
  for (const int64_t i : {int64_t{0}, kRows - 1}) {
    read->reconstruct(i, row.data());
    EXPECT_TRUE(std::equal(row.begin(), row.end(), data.rows().begin() + i * kDim));
  }
  EXPECT_EQ(data.Neighbours(*read, 10), data.Neighbours(**index, 10));
}

TEST(GraphBuildTest, DebiansPythonFindsTheSame) {
  const Data data(Metric::kCosine);
  const auto index = BuildGraph(data.rows(), kRows, kDim, {});
  ASSERT_THAT(index, IsOk());
  GraphOf(*index).hnsw.efSearch = 64;
  const std::string folder = ::testing::TempDir() + "graph_build_python";
  std::filesystem::create_directories(folder);
  WriteFile(folder + "/a.faiss", Bytes(**index));
  WriteFile(folder + "/queries.f32",
            std::string(reinterpret_cast<const char*>(data.queries()), size_t{kQueries} * kDim * sizeof(float)));
  const ProcessResult python =
      RunProcess({"/usr/bin/python3", "-c",
                  "import sys, faiss, numpy\n"
                  "index = faiss.read_index(sys.argv[1] + '/a.faiss')\n"
                  "queries = numpy.fromfile(sys.argv[1] + '/queries.f32', dtype='float32').reshape(-1, index.d)\n"
                  "assert type(index).__name__ == 'IndexHNSWFlat', type(index)\n"
                  "faiss.ParameterSpace().set_index_parameter(index, 'efSearch', 64)\n"
                  "index.search(queries, 10)[1].astype('int64').tofile(sys.argv[1] + '/found.i64')\n",
                  folder});
  ASSERT_EQ(python.exit_code, 0) << "needs Debian's python3-faiss: " << python.err;
  const std::string found = ReadFile(folder + "/found.i64");
  const std::vector<int64_t> expected = data.Neighbours(**index, 10);
  ASSERT_EQ(found.size(), expected.size() * sizeof(int64_t));
  EXPECT_EQ(std::memcmp(found.data(), expected.data(), found.size()), 0);
  std::filesystem::remove_all(folder);
}

// The promise of `deterministic`, and int8 keeps it, too.
TEST(GraphBuildTest, DeterministicIsTheSameForThreadsAndSimd) {
  for (const Metric metric : {Metric::kCosine, Metric::kL2}) {
    const Data data(metric);
    for (const GraphStorage storage : {GraphStorage::kAuto, GraphStorage::kInt8}) {
      std::string first;
      for (const GraphSimd simd : AvailableGraphSimds()) {
        if (simd == GraphSimd::kAvx512Bf16) continue;
        for (const int threads : {1, 2, 7}) {
          GraphBuildOptions options{
              .metric = metric, .threads = threads, .simd = simd, .storage = storage, .deterministic = true};
          SCOPED_TRACE(NameOf(options));
          const auto index = BuildGraph(data.rows(), kRows, kDim, options);
          ASSERT_THAT(index, IsOk());
          const std::string bytes = Bytes(**index);
          if (first.empty()) first = bytes;
          ASSERT_TRUE(bytes == first);
        }
      }
      GraphBuildOptions other{.metric = metric, .storage = storage, .deterministic = true, .seed = 5};
      const auto index = BuildGraph(data.rows(), kRows, kDim, other);
      ASSERT_THAT(index, IsOk());
      EXPECT_FALSE(Bytes(**index) == first) << "the seed changes nothing";
    }
  }
}

TEST(GraphBuildTest, ChoicesThatCannotBeAreRefusedByName) {
  EXPECT_THAT(ChooseGraphKernel({.simd = GraphSimd::kAvx512Bf16, .deterministic = true}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("bf16")));
  EXPECT_THAT(ChooseGraphKernel({.storage = GraphStorage::kBf16, .deterministic = true}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("bf16")));
  EXPECT_THAT(ChooseGraphKernel({.simd = GraphSimd::kPortable, .storage = GraphStorage::kBf16}),
              HasError(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("portable"), HasSubstr("bf16"))));
  const std::vector<GraphSimd> available = AvailableGraphSimds();
  int lacking = 0;
  for (const GraphSimd simd : {GraphSimd::kPortable, GraphSimd::kAvx2, GraphSimd::kAvx512, GraphSimd::kAvx512Bf16,
                               GraphSimd::kAvx512Vnni, GraphSimd::kNeon}) {
    const auto choice = ChooseGraphKernel({.simd = simd});
    if (std::find(available.begin(), available.end(), simd) != available.end()) {
      ASSERT_THAT(choice, IsOk());
      EXPECT_EQ(choice->simd, simd);
      continue;
    }
    ++lacking;
    EXPECT_THAT(choice, HasError(absl::StatusCode::kInvalidArgument,
                                 AllOf(HasSubstr(GraphSimdName(simd)), HasSubstr("portable"))));
    EXPECT_THAT(BuildGraph({}, 0, 4, {.simd = simd}), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("simd")));
  }
  EXPECT_GE(lacking, 1) << "no processor has both AVX and NEON";
}

TEST(GraphBuildTest, NamesAreReadBack) {
  for (const absl::string_view name : {"auto", "portable", "avx2", "avx512", "bf16", "vnni", "neon"}) {
    const auto simd = ParseGraphSimd(name);
    ASSERT_THAT(simd, IsOk());
    EXPECT_EQ(GraphSimdName(*simd), name);
  }
  for (const absl::string_view name : {"auto", "float32", "bf16", "int8"}) {
    const auto storage = ParseGraphStorage(name);
    ASSERT_THAT(storage, IsOk());
    EXPECT_EQ(GraphStorageName(*storage), name);
  }
  EXPECT_THAT(ParseGraphSimd("sse"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("`sse`")));
  EXPECT_THAT(ParseGraphStorage("int4"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("`int4`")));
}

TEST(GraphBuildTest, FewEqualAndZeroRows) {
  for (const Metric metric : {Metric::kInnerProduct, Metric::kL2}) {
    for (const GraphBuildOptions& options : AllChoices(metric)) {
      SCOPED_TRACE(NameOf(options));
      for (const int64_t rows : {0, 1, 2, 70, 700}) {
        for (const float value : {0.0f, 0.25f}) {
          const std::vector<float> matrix(rows * kDim, value);
          const auto index = BuildGraph(matrix, rows, kDim, options);
          ASSERT_THAT(index, IsOk());
          EXPECT_EQ((*index)->ntotal, rows);
          EXPECT_THAT(CheckFaissIndex(**index), IsOk());
          const std::vector<float> query(kDim, 1.0f);
          std::vector<int64_t> ids(5, -2);
          std::vector<float> distances(5);
          (*index)->search(1, query.data(), 5, distances.data(), ids.data());
          const std::set<int64_t> found(ids.begin(), ids.begin() + std::min<int64_t>(rows, 5));
          EXPECT_EQ(found.size(), static_cast<size_t>(std::min<int64_t>(rows, 5)));
          EXPECT_EQ(found.count(-1), 0u);
        }
      }
    }
  }
  EXPECT_THAT(BuildGraph(std::vector<float>(7), 2, 4, {}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("7 numbers")));
  EXPECT_THAT(BuildGraph(std::vector<float>(8), 2, 4, {.m = 1}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("m 1")));
}

TEST(GraphBuildTest, GoesOnWithAnIndexOfFaissAndInPieces) {
  const Data data(Metric::kCosine);
  faiss::IndexHNSWFlat plain(kDim, 16, faiss::METRIC_INNER_PRODUCT);
  plain.add(kRows, data.rows().data());
  for (const GraphBuildOptions& options : AllChoices(Metric::kCosine)) {
    SCOPED_TRACE(NameOf(options));
    auto* const graph = new faiss::IndexHNSWFlat(kDim, 16, faiss::METRIC_INNER_PRODUCT);
    faiss::IndexIDMap2 index(graph);
    index.own_fields = true;
    std::vector<int64_t> ids(kRows);
    for (int64_t i = 0; i < kRows; ++i) ids[i] = 3 * i;
    index.add_with_ids(1000, data.rows().data(), ids.data());
    ASSERT_TRUE(GraphBuilder::CanBuild(index));
    const auto builder = GraphBuilder::Make(&index, options);
    ASSERT_THAT(builder, IsOk());
    EXPECT_THAT((*builder)->Add(data.rows().first(kDim), {}), HasError(absl::StatusCode::kInternal, HasSubstr("ids")));
    for (int64_t from = 1000; from < kRows;) {
      const int64_t count = std::min<int64_t>(from % 700 + 1, kRows - from);
      ASSERT_THAT((*builder)->Add(data.rows().subspan(from * kDim, count * kDim),
                                  absl::MakeConstSpan(ids).subspan(from, count)),
                  IsOk());
      from += count;
    }
    EXPECT_EQ(index.ntotal, kRows);
    EXPECT_EQ(index.id_map, ids);
    EXPECT_EQ(index.rev_map.at(3 * (kRows - 1)), kRows - 1);
    EXPECT_THAT(CheckFaissIndex(index), IsOk());
    EXPECT_GE(data.Recall(*graph), data.Recall(plain) - 0.005);
  }
  EXPECT_FALSE(GraphBuilder::CanBuild(faiss::IndexFlatL2(4)));
  EXPECT_FALSE(GraphBuilder::CanBuild(faiss::IndexHNSWSQ(4, faiss::ScalarQuantizer::QT_8bit, 8)));
}

TEST(GraphBuildTest, TellsHowFarItIsAndStops) {
  const Data data(Metric::kCosine);
  std::vector<int64_t> told;
  GraphBuildOptions options{.threads = 2, .progress = [&](int64_t rows) { told.push_back(rows); }};
  ASSERT_THAT(BuildGraph(data.rows(), kRows, kDim, options), IsOk());
  EXPECT_GE(told.size(), 5u);
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
  EXPECT_EQ(told.back(), kRows);
  std::stop_source stop;
  options.stop = stop.get_token();
  options.progress = [&](int64_t) { stop.request_stop(); };
  EXPECT_THAT(BuildGraph(data.rows(), kRows, kDim, options), HasError(absl::StatusCode::kCancelled, HasSubstr("stop")));
}

}  // namespace
}  // namespace reembed
