// SPDX-License-Identifier: Apache-2.0
// The Qdrant sink against a bare loop that PUTs the same requests, prepared beforehand, as many at a time; and what it
// costs to print the numbers. `reads:1`: the server reads and keeps the points, as every server must, on one core;
// `reads:0`: it takes them without a look, so that only memory and loopback limit the bare loop.

#include <benchmark/benchmark.h>

#include <charconv>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/pairs.h"
#include "engine/batch.h"
#include "engine/number/float_list.h"
#include "io/net/http_loop.h"
#include "io/store/qdrant/qdrant_sink.h"
#include "tests/fakes/qdrant_server.h"

namespace reembed {
namespace {

constexpr int kDim = 1536;
constexpr int kBatchRows = 256;
constexpr int kBatches = 16;
constexpr int kStreams = 4;
constexpr size_t kRequestBytes = size_t{4} << 20;  // as the sink cuts them

// The coordinates of unit vectors of this width: normal, with a standard deviation of 1 / sqrt(width).
std::vector<std::unique_ptr<Batch>> MakeBatches() {
  std::mt19937 random(7);
  std::normal_distribution<float> coordinate(0, 1 / std::sqrt(static_cast<float>(kDim)));
  std::vector<std::unique_ptr<Batch>> batches;
  for (int b = 0; b < kBatches; ++b) {
    batches.push_back(std::make_unique<Batch>(BatchLimits{.max_texts = kBatchRows, .max_rows = kBatchRows}, kDim));
    const absl::Span<float> vectors = batches.back()->TakeLoadSpace(kBatchRows);
    for (int i = 0; i < kBatchRows; ++i) {
      float* const vector = vectors.data() + static_cast<size_t>(i) * kDim;
      for (int n = 0; n < kDim; ++n) vector[n] = coordinate(random);
      batches.back()->AddRow(b * kBatchRows + i, int64_t{b} * kBatchRows + i, 0)->vector = vector;
    }
  }
  return batches;
}

// The requests that the sink would send.
std::vector<std::string> MakeBodies(const std::vector<std::unique_ptr<Batch>>& batches) {
  std::vector<std::string> bodies(1, R"({"points":[)");
  for (const auto& batch : batches) {
    for (const BatchRow& row : batch->rows()) {
      if (bodies.back().size() > kRequestBytes) {
        bodies.back().back() = ']';
        bodies.back() += "}";
        bodies.emplace_back(R"({"points":[)");
      }
      absl::StrAppend(&bodies.back(), R"({"id":)", row.ordinal, R"(,"vector":)");
      AppendFloatList(absl::Span<const float>(row.vector, kDim), &bodies.back());
      bodies.back() += "},";
    }
  }
  bodies.back().back() = ']';
  bodies.back() += "}";
  return bodies;
}

void PutAll(HttpLoop* loop, const std::string& url, const std::vector<std::string>& bodies) {
  std::mutex mutex;
  std::condition_variable changed;
  int under_way = 0;
  for (const std::string& body : bodies) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return under_way < kStreams; });
    ++under_way;
    lock.unlock();
    loop->Start({.method = "PUT", .url = url, .headers = {"content-type: application/json"}, .body = body},
                [&](absl::StatusOr<HttpReply> reply) {
                  if (!reply.ok() || reply->status != 200) std::abort();
                  const std::lock_guard guard(mutex);
                  --under_way;
                  changed.notify_one();
                });
  }
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return under_way == 0; });
}

void BM_QdrantSink(benchmark::State& state) {
  QdrantServer server({.swallow = state.range(0) == 0});
  const auto batches = MakeBatches();
  const std::vector<std::string> bodies = MakeBodies(batches);
  const auto location = ParseLocation(absl::StrCat("qdrant:", server.url(), "/c"));
  auto sink = MakeQdrantSink(*location, {.name = "m", .dim = kDim}, false, {});
  if (!sink.ok() || !PrepareAndOpen(sink->get(), {.model = {.name = "m", .dim = kDim}}, {}).ok())
    return state.SkipWithError("sink");
  std::vector<const Batch*> all;
  for (const auto& batch : batches) all.push_back(batch.get());
  auto loop = HttpLoop::Make({});
  const std::string url = absl::StrCat(server.url(), "/collections/c/points?wait=true");
  ComparePairs(
      state, kBatches * kBatchRows, [] {}, [&] { PutAll(loop->get(), url, bodies); },
      [&] {
        std::vector<RefusedRow> refused;
        if (!(*sink)->Write(all, &refused).ok() || !refused.empty()) std::abort();
      });
}

// What the numbers cost in text, on one thread: with a server that costs nothing this is the sink's own limit.
void BM_EncodeOnly(benchmark::State& state) {
  const auto batches = MakeBatches();
  std::string out;
  for (auto _ : state) {
    for (const auto& batch : batches) {
      out.clear();
      for (const BatchRow& row : batch->rows()) AppendFloatList(absl::Span<const float>(row.vector, kDim), &out);
      benchmark::DoNotOptimize(out);
    }
  }
  state.SetItemsProcessed(state.iterations() * kBatches * kBatchRows);
}

// The same in the fewest digits, as the standard library prints them.
void BM_EncodeShortest(benchmark::State& state) {
  const auto batches = MakeBatches();
  std::string out(kBatchRows * kDim * 16, ' ');
  for (auto _ : state) {
    for (const auto& batch : batches) {
      char* to = out.data();
      for (const BatchRow& row : batch->rows()) {
        for (int i = 0; i < kDim; ++i) {
          to = std::to_chars(to, to + 16, row.vector[i]).ptr;
          *to++ = ',';
        }
      }
      benchmark::DoNotOptimize(out);
    }
  }
  state.SetItemsProcessed(state.iterations() * kBatches * kBatchRows);
}

BENCHMARK(BM_QdrantSink)->ArgName("reads")->Arg(1)->Arg(0)->Unit(benchmark::kMillisecond)->UseManualTime();
BENCHMARK(BM_EncodeOnly)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_EncodeShortest)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace reembed
