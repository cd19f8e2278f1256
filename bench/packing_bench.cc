// SPDX-License-Identifier: Apache-2.0
// How fast tokens are counted, and what packing does to requests.
//
// BM_CountTokens*: MB/s over English text, with a vocabulary if the environment variable REEMBED_VOCABULARY names one
// (cl100k_base.json), and the pieces alone, which bound the tokens from below, without. OpenAI's own tokenizer over the
// same bytes is measured by tests/end_to_end/tiktoken_test.cc.
//
// BM_Pack: log-normal text lengths (median 150 tokens, sigma in tenths) that are independent of each other, or drift as
// in a store of sessions. Counters: requests; largest and 99th percentile request over the mean; and what a server that
// pads each slice of 32 texts to the longest computes for nothing, over what it was asked for, with texts in order and
// sorted. max_texts alone is the limit beside it (`even` 0).

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <numeric>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "engine/pace/request_packer.h"
#include "engine/text/bpe_tokenizer.h"
#include "engine/text/piece_meter.h"
#include "io/embed/vocabulary_file.h"

namespace reembed {
namespace {

// Words of a few hundred stems with endings, sentences, and a number here and there.
std::string EnglishLike(size_t bytes) {
  static constexpr const char* kStems[] = {"the",  "of",    "and",  "memory", "store",   "agent",  "in",     "was",
                                           "that", "which", "plan", "review", "weather", "travel", "budget", "note"};
  static constexpr const char* kEndings[] = {"", "", "", "", "s", "ed", "ing", "er"};
  std::mt19937_64 random(1);
  std::string text;
  while (text.size() < bytes) {
    text += kStems[random() % std::size(kStems)];
    text += kEndings[random() % std::size(kEndings)];
    const uint64_t next = random() % 20;
    text += next == 0 ? ".\n" : next == 1 ? ", " : next == 2 ? " 2026 " : " ";
  }
  return text;
}

void BM_CountPieces(benchmark::State& state) {
  const PieceMeter meter;
  const std::string text = EnglishLike(size_t{1} << 20);
  for (auto _ : state) benchmark::DoNotOptimize(meter.AtLeast(text));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
}
BENCHMARK(BM_CountPieces);

void CountTokens(benchmark::State& state, const std::string& path, const std::string& text) {
  const auto tokenizer = LoadVocabulary(path);
  if (!tokenizer.ok()) return state.SkipWithError(std::string(tokenizer.status().message()).c_str());
  for (auto _ : state) benchmark::DoNotOptimize((*tokenizer)->Count(text));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
}

[[maybe_unused]] const bool kWithVocabulary = [] {
  const char* const path = std::getenv("REEMBED_VOCABULARY");
  if (path == nullptr) return false;
  const auto add = [path = std::string(path)](const char* name, std::string text) {
    benchmark::RegisterBenchmark(
        name, [path, text = std::move(text)](benchmark::State& state) { CountTokens(state, path, text); });
  };
  add("BM_CountTokens/english", EnglishLike(size_t{1} << 20));
  add("BM_CountTokens/one_letter", std::string(size_t{1} << 20, 'a'));
  return true;
}();

std::vector<int64_t> Lengths(int count, double sigma, double memory) {
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  std::vector<int64_t> lengths;
  double state = normal(random);
  while (static_cast<int>(lengths.size()) < count) {
    state = memory * state + std::sqrt(1 - memory * memory) * normal(random);
    lengths.push_back(std::clamp<int64_t>(static_cast<int64_t>(150 * std::exp(sigma * state)), 1, 8192));
  }
  return lengths;
}

double PaddedTokens(std::vector<int64_t> texts, bool sorted) {
  constexpr size_t kSlice = 32;
  if (sorted) std::sort(texts.begin(), texts.end(), std::greater<>());
  int64_t padded = 0;
  for (size_t i = 0; i < texts.size(); i += kSlice) {
    const size_t end = std::min(texts.size(), i + kSlice);
    padded += static_cast<int64_t>(end - i) * *std::max_element(texts.begin() + i, texts.begin() + end);
  }
  return static_cast<double>(padded);
}

void BM_Pack(benchmark::State& state) {
  constexpr int kTexts = 200000;
  const BatchLimits limits{.max_texts = 256, .max_tokens = 300000};
  const std::vector<int64_t> lengths =
      Lengths(kTexts, static_cast<double>(state.range(0)) / 10, state.range(1) != 0 ? 0.995 : 0);
  const bool even = state.range(2) != 0;
  std::vector<std::vector<int64_t>> requests;
  for (auto _ : state) {
    requests.assign(1, {});
    RequestPacker packer(limits, nullptr);
    int64_t tokens = 0;
    for (const int64_t length : lengths) {
      const int texts = static_cast<int>(requests.back().size());
      if (texts == limits.max_texts || !packer.Takes(texts, tokens, length)) {
        if (even) packer.Close(texts, tokens);
        requests.emplace_back();
        tokens = 0;
      }
      requests.back().push_back(length);
      tokens += length;
    }
  }
  const auto total = static_cast<double>(std::accumulate(lengths.begin(), lengths.end(), int64_t{0}));
  const double mean = total / static_cast<double>(requests.size());
  std::vector<double> sizes;
  double in_order = 0, sorted = 0;
  for (const std::vector<int64_t>& request : requests) {
    sizes.push_back(static_cast<double>(std::accumulate(request.begin(), request.end(), int64_t{0})));
    in_order += PaddedTokens(request, false);
    sorted += PaddedTokens(request, true);
  }
  std::sort(sizes.begin(), sizes.end());
  state.counters["requests"] = static_cast<double>(requests.size());
  state.counters["max_over_mean"] = sizes.back() / mean;
  state.counters["p99_over_mean"] = sizes[sizes.size() * 99 / 100] / mean;
  state.counters["padding_in_order"] = in_order / total - 1;
  state.counters["padding_sorted"] = sorted / total - 1;
  state.SetItemsProcessed(state.iterations() * kTexts);
}
BENCHMARK(BM_Pack)->ArgNames({"sigma10", "drift", "even"})->ArgsProduct({{10, 15}, {0, 1}, {0, 1}});

}  // namespace
}  // namespace reembed
