// SPDX-License-Identifier: Apache-2.0
// How fast vectors come out of base64 replies, and how fast the built-in server writes them, beside the copying of the
// same bytes. Bytes are bytes of text. One text is one vector of 1,536 numbers; `vectors` of them lie in a row, so that
// the larger figure is bound by memory.

#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "engine/number/base64.h"

namespace reembed {
namespace {

constexpr size_t kVectorBytes = 1536 * sizeof(float);

struct Texts {
  std::vector<unsigned char> bytes;
  std::vector<std::string> texts;
  size_t text_bytes = 0;
};

Texts MakeTexts(int64_t vectors) {
  std::mt19937_64 random(1);
  Texts made;
  made.bytes.resize(vectors * kVectorBytes);
  for (unsigned char& byte : made.bytes) byte = static_cast<unsigned char>(random());
  for (int64_t i = 0; i < vectors; ++i) {
    EncodeBase64(absl::MakeConstSpan(made.bytes).subspan(i * kVectorBytes, kVectorBytes), &made.texts.emplace_back());
    made.text_bytes += made.texts.back().size();
  }
  return made;
}

void Count(benchmark::State& state, const Texts& texts) {
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(texts.text_bytes));
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(texts.texts.size()));
}

void BM_Base64Decode(benchmark::State& state) {
  const Texts texts = MakeTexts(state.range(0));
  std::vector<unsigned char> out(texts.bytes.size());
  for (auto _ : state) {
    for (size_t i = 0; i < texts.texts.size(); ++i) {
      if (!DecodeBase64(texts.texts[i], absl::MakeSpan(out).subspan(i * kVectorBytes, kVectorBytes))) std::abort();
    }
    benchmark::ClobberMemory();
  }
  if (out != texts.bytes) std::abort();
  Count(state, texts);
}
BENCHMARK(BM_Base64Decode)->ArgName("vectors")->Arg(1)->Arg(16)->Arg(16384);

void BM_Base64Encode(benchmark::State& state) {
  const Texts texts = MakeTexts(state.range(0));
  std::string text;
  for (auto _ : state) {
    for (size_t i = 0; i < texts.texts.size(); ++i) {
      EncodeBase64(absl::MakeConstSpan(texts.bytes).subspan(i * kVectorBytes, kVectorBytes), &text);
    }
    benchmark::ClobberMemory();
  }
  Count(state, texts);
}
BENCHMARK(BM_Base64Encode)->ArgName("vectors")->Arg(16)->Arg(16384);

// The limit: a copy of the text.
void BM_Base64Memcpy(benchmark::State& state) {
  const Texts texts = MakeTexts(state.range(0));
  std::vector<unsigned char> out(texts.text_bytes);
  for (auto _ : state) {
    size_t at = 0;
    for (const std::string& text : texts.texts) {
      std::memcpy(out.data() + at, text.data(), text.size());
      at += text.size();
    }
    benchmark::ClobberMemory();
  }
  Count(state, texts);
}
BENCHMARK(BM_Base64Memcpy)->ArgName("vectors")->Arg(1)->Arg(16)->Arg(16384);

}  // namespace
}  // namespace reembed
