// SPDX-License-Identifier: Apache-2.0
// File sinks against a plain write() of the same bytes, and the JSONL source against reading the file.
// All write a new file in $TMPDIR each time, without fsync: it would measure the disk.

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/batch.h"
#include "engine/location.h"
#include "engine/source.h"
#include "engine/vector_sink.h"
#include "io/file/fbin_sink.h"
#include "io/file/hdf5_sink.h"
#include "io/file/jsonl_sink.h"
#include "io/file/jsonl_source.h"
#include "io/file/npy_sink.h"

namespace reembed {
namespace {

constexpr int kBatchRows = 256;
constexpr int kBatches = 160;  // 40,960 rows; 240 MiB at 1,536 numbers

enum class Keys { kIntegers, kTexts };

// Batches with integer or text keys whose vectors lie as the client leaves them: one reply, one piece.
std::vector<std::unique_ptr<Batch>> MakeBatches(int dim, Keys keys) {
  std::vector<std::unique_ptr<Batch>> batches;
  int64_t ordinal = 0;
  for (int b = 0; b < kBatches; ++b) {
    batches.push_back(std::make_unique<Batch>(BatchLimits{.max_texts = kBatchRows, .max_rows = kBatchRows}, dim));
    for (int i = 0; i < kBatchRows; ++i, ++ordinal) {
      const std::string text = absl::StrCat("message/", ordinal);
      batches.back()->AddRowWithText(ordinal, keys == Keys::kTexts ? KeyView(text) : KeyView(ordinal), ordinal, "t", 1);
    }
    uint32_t state = static_cast<uint32_t>(b + 1);
    for (float& number : batches.back()->vectors()) {
      state = state * 1664525 + 1013904223;
      number = static_cast<float>(static_cast<int32_t>(state)) * (0.05F / 2147483648.0F);
    }
    for (BatchRow& row : batches.back()->rows()) {
      row.vector = batches.back()->vectors().data() + static_cast<int64_t>(row.text) * dim;
    }
  }
  return batches;
}

class BenchFile {
 public:
  BenchFile() {
    const auto folder = std::filesystem::temp_directory_path();
    path_ = (folder / absl::StrCat("reembed-bench-", getpid())).string();
  }
  ~BenchFile() { Remove(); }
  const std::string& path() const { return path_; }
  void Remove() const {
    for (const char* const end : {"", ".keys.jsonl", ".partial", ".keys.jsonl.partial"}) unlink((path_ + end).c_str());
  }

 private:
  std::string path_;
};

void SetRates(benchmark::State& state, int64_t bytes) {
  state.SetItemsProcessed(state.iterations() * kBatches * kBatchRows);
  state.SetBytesProcessed(state.iterations() * bytes);
}

int64_t VectorBytes(int dim) { return int64_t{4} * dim * kBatches * kBatchRows; }

void BM_PlainWrite(benchmark::State& state) {
  const int dim = static_cast<int>(state.range(0));
  const auto batches = MakeBatches(dim, Keys::kIntegers);
  const BenchFile file;
  for (auto _ : state) {
    const int fd = open(file.path().c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (const auto& batch : batches) {
      const auto* const bytes = reinterpret_cast<const char*>(batch->vectors().data());
      if (write(fd, bytes, batch->vectors().size() * sizeof(float)) < 0) state.SkipWithError("write failed");
    }
    close(fd);
    state.PauseTiming();
    file.Remove();
    state.ResumeTiming();
  }
  SetRates(state, VectorBytes(dim));
}
void OneWidth(benchmark::internal::Benchmark* bench) {
  bench->ArgName("dim")->Arg(1536)->UseRealTime()->Unit(benchmark::kMillisecond);
}
BENCHMARK(BM_PlainWrite)->Apply(OneWidth);

using MakeSink = absl::StatusOr<std::unique_ptr<VectorSink>> (*)(const Location&, const Model&);

// Open and Write; Finish, with its fsync, is not timed.
void BM_FileSinkWrite(benchmark::State& state, MakeSink make, Keys keys) {
  const int dim = static_cast<int>(state.range(0));
  const auto batches = MakeBatches(dim, keys);
  const BenchFile file;
  for (auto _ : state) {
    const auto sink = make({.scheme = "x", .path = file.path()}, {"m", dim});
    absl::Status status = sink.status();
    if (status.ok()) status = (*sink)->Open({.model = {"m", dim}}, {}).status();
    std::vector<RefusedRow> refused;
    for (const auto& batch : batches) {
      const Batch* const one[] = {batch.get()};
      if (status.ok()) status = (*sink)->Write(one, &refused);
    }
    state.PauseTiming();
    if (status.ok()) status = (*sink)->Complete();
    if (!status.ok()) state.SkipWithError(status.ToString().c_str());
    state.counters["file_MB"] = static_cast<double>(std::filesystem::file_size(file.path())) / 1e6;
    file.Remove();
    state.ResumeTiming();
  }
  SetRates(state, VectorBytes(dim));
}
BENCHMARK_CAPTURE(BM_FileSinkWrite, fbin, MakeFbinSink, Keys::kIntegers)->Apply(OneWidth);
BENCHMARK_CAPTURE(BM_FileSinkWrite, npy, MakeNpySink, Keys::kIntegers)->Apply(OneWidth);
BENCHMARK_CAPTURE(BM_FileSinkWrite, npy_text_keys, MakeNpySink, Keys::kTexts)->Apply(OneWidth);
BENCHMARK_CAPTURE(BM_FileSinkWrite, hdf5, MakeHdf5Sink, Keys::kIntegers)->Apply(OneWidth);
BENCHMARK_CAPTURE(BM_FileSinkWrite, hdf5_text_keys, MakeHdf5Sink, Keys::kTexts)->Apply(OneWidth);
BENCHMARK_CAPTURE(BM_FileSinkWrite, jsonl, MakeJsonlSink, Keys::kIntegers)->Apply(OneWidth);

constexpr int kSourceRows = 200000;

std::string SourceBytes(int text_bytes) {
  std::string bytes;
  const std::string text(static_cast<size_t>(text_bytes), 'x');
  for (int i = 0; i < kSourceRows; ++i) {
    absl::StrAppend(&bytes, "{\"id\":", i, ",\"user\":\"someone\",\"text\":\"one\\n", text, "\",\"at\":1700000000}\n");
  }
  return bytes;
}

void BM_JsonlSourceRead(benchmark::State& state) {
  const BenchFile file;
  const std::string bytes = SourceBytes(static_cast<int>(state.range(0)));
  const int fd = open(file.path().c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) state.SkipWithError("write failed");
  close(fd);
  for (auto _ : state) {
    const auto source = OpenJsonlSource({.scheme = "jsonl", .path = file.path()});
    int64_t rows = 0;
    while (source.ok()) {
      const auto row = (*source)->Next();
      if (!row.ok() || !row->has_value()) break;
      ++rows;
    }
    if (rows != kSourceRows) state.SkipWithError("rows are missing");
  }
  state.SetItemsProcessed(state.iterations() * kSourceRows);
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes.size()));
}
BENCHMARK(BM_JsonlSourceRead)->ArgName("text_bytes")->Arg(100)->Arg(800)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace reembed
