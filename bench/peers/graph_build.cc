// SPDX-License-Identifier: Apache-2.0
// One build of one index for index_build, which compares it with other libraries:
//
//   peer_graph_build DIR plain|ours THREADS EF_SEARCH [SIMD STORAGE [M]]
//
// DIR has rows.f32, queries.f32 and truth.i64 (ten a query), and dim.txt. Prints one line of JSON: seconds and
// processor seconds of the build, recall@10, and what instructions were used.

#include "index/graph_build.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace reembed {
namespace {

template <typename Number>
std::vector<Number> ReadNumbers(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const auto* const begin = reinterpret_cast<const Number*>(bytes.data());
  return {begin, begin + bytes.size() / sizeof(Number)};
}

double ProcessorSeconds() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
}

int Run(const std::vector<std::string>& words) {
  constexpr int kNeighbours = 10;
  const std::string& directory = words[1];
  int dim = 0;
  std::ifstream(directory + "/dim.txt") >> dim;
  const auto rows = ReadNumbers<float>(directory + "/rows.f32");
  const auto queries = ReadNumbers<float>(directory + "/queries.f32");
  const auto truth = ReadNumbers<int64_t>(directory + "/truth.i64");
  if (dim < 1 || rows.empty() || truth.size() != queries.size() / dim * kNeighbours) {
    std::cerr << directory << ": no data of a comparison\n";
    return 1;
  }
  const auto count = static_cast<int64_t>(rows.size()) / dim;
  GraphBuildOptions options{.threads = std::atoi(words[3].c_str())};
  std::string used = "FAISS " + FaissVersion();
  if (words.size() >= 7) {
    const auto simd = ParseGraphSimd(words[5]);
    const auto storage = ParseGraphStorage(words[6]);
    if (!simd.ok() || !storage.ok()) return 2;
    options.simd = *simd;
    options.storage = *storage;
    if (words.size() == 8) options.m = std::atoi(words[7].c_str());
    const auto choice = ChooseGraphKernel(options);
    if (!choice.ok()) {
      std::cerr << choice.status().message() << "\n";
      return 3;
    }
    used = absl::StrCat(GraphSimdName(choice->simd), ", ", GraphStorageName(choice->storage));
  }
  omp_set_num_threads(options.threads);
  FaissIndex index;
  const double processor = ProcessorSeconds();
  const auto start = std::chrono::steady_clock::now();
  if (words[2] == "ours") {
    auto built = BuildGraph(rows, count, dim, options);
    if (!built.ok()) {
      std::cerr << built.status().message() << "\n";
      return 1;
    }
    index = *std::move(built);
  } else {
    auto plain = std::make_unique<faiss::IndexHNSWFlat>(dim, options.m, faiss::METRIC_INNER_PRODUCT);
    plain->add(count, rows.data());
    index.reset(plain.release());
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const double processor_seconds = ProcessorSeconds() - processor;
  dynamic_cast<faiss::IndexHNSW&>(*index).hnsw.efSearch = std::atoi(words[4].c_str());
  std::vector<int64_t> found(truth.size());
  std::vector<float> distances(truth.size());
  const auto asked = static_cast<int64_t>(truth.size()) / kNeighbours;
  index->search(asked, queries.data(), kNeighbours, distances.data(), found.data());
  int64_t hits = 0;
  for (int64_t query = 0; query < asked; ++query) {
    const auto right = truth.begin() + query * kNeighbours;
    for (int64_t i = 0; i < kNeighbours; ++i) {
      hits += std::count(right, right + kNeighbours, found[static_cast<size_t>(query * kNeighbours + i)]);
    }
  }
  std::cout << absl::StrFormat("{\"seconds\": %.4f, \"processor\": %.4f, \"recall\": %.4f, \"used\": \"%s\"}\n",
                               seconds.count(), processor_seconds,
                               static_cast<double>(hits) / static_cast<double>(truth.size()), used);
  return 0;
}

}  // namespace
}  // namespace reembed

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv, argv + argc);
  if (words.size() != 5 && words.size() != 7 && words.size() != 8) {
    std::cerr << "usage: peer_graph_build DIR plain|ours THREADS EF_SEARCH [SIMD STORAGE [M]]\n";
    return 2;
  }
  return reembed::Run(words);
}
