// SPDX-License-Identifier: Apache-2.0
// From the body of a reply to checked vectors in their places: EmbeddingClient::Decode without the batch.
// Contenders: memcpy of the body (the bound of anything that reads it), and number arrays through simdjson's own
// get_double, which is how it is usually done.

#include <benchmark/benchmark.h>
#include <simdjson.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "io/embed/reply_reader.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/text_vector.h"

namespace reembed {
namespace {

std::vector<std::string> Texts(int rows) {
  std::vector<std::string> texts;
  for (int i = 0; i < rows; ++i) texts.push_back(absl::StrCat("text ", i));
  return texts;
}

std::string Body(VectorFormat format, int rows, int dim) { return OpenAiReply(Texts(rows), format, {.dim = dim}); }

void CheckOnce(const std::vector<float>& vectors, int rows, int dim) {
  const std::vector<std::string> texts = Texts(rows);
  for (int i = 0; i < rows; ++i) {
    if (std::memcmp(&vectors[i * dim], TextVector(texts[i], dim).data(), dim * sizeof(float)) != 0) std::abort();
  }
}

void Report(benchmark::State& state, int rows, size_t bytes) {
  state.SetItemsProcessed(state.iterations() * rows);
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes));
}

void BM_ReplyDecode(benchmark::State& state, VectorFormat format) {
  const int rows = static_cast<int>(state.range(0)), dim = static_cast<int>(state.range(1));
  std::string body = Body(format, rows, dim);
  body.reserve(body.size() + 64);
  std::vector<float> vectors(static_cast<size_t>(rows) * dim);
  std::vector<VectorFault> faults(rows);
  for (auto _ : state) {
    if (!DecodeReply({}, &body, dim, absl::MakeSpan(vectors), absl::MakeSpan(faults)).ok()) std::abort();
    benchmark::ClobberMemory();
  }
  CheckOnce(vectors, rows, dim);
  Report(state, rows, body.size());
}

void BM_ReplyCopy(benchmark::State& state, VectorFormat format) {
  const int rows = static_cast<int>(state.range(0)), dim = static_cast<int>(state.range(1));
  const std::string body = Body(format, rows, dim);
  std::string copy(body.size(), '\0');
  for (auto _ : state) {
    std::memcpy(copy.data(), body.data(), body.size());
    benchmark::ClobberMemory();
  }
  Report(state, rows, body.size());
}

void BM_ReplyDecodeByGetDouble(benchmark::State& state) {
  const int rows = static_cast<int>(state.range(0)), dim = static_cast<int>(state.range(1));
  const simdjson::padded_string body(Body(VectorFormat::kFloat, rows, dim));
  std::vector<float> vectors(static_cast<size_t>(rows) * dim);
  simdjson::ondemand::parser parser;
  for (auto _ : state) {
    simdjson::ondemand::document document = parser.iterate(body);
    for (simdjson::ondemand::object item : document["data"].get_array()) {
      float* out = &vectors[int64_t(item["index"]) * dim];
      for (const double value : item["embedding"].get_array()) *out++ = static_cast<float>(value);
    }
    benchmark::ClobberMemory();
  }
  CheckOnce(vectors, rows, dim);
  Report(state, rows, body.size());
}

void Shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"rows", "dim"})->Args({256, 1536})->Unit(benchmark::kMicrosecond);
}

BENCHMARK_CAPTURE(BM_ReplyDecode, base64, VectorFormat::kBase64)->Apply(Shapes);
BENCHMARK_CAPTURE(BM_ReplyDecode, float, VectorFormat::kFloat)->Apply(Shapes);
BENCHMARK(BM_ReplyDecodeByGetDouble)->Apply(Shapes);
BENCHMARK_CAPTURE(BM_ReplyCopy, base64, VectorFormat::kBase64)->Apply(Shapes);

}  // namespace
}  // namespace reembed
