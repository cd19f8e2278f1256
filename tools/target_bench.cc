// SPDX-License-Identifier: Apache-2.0
#include "tools/target_bench.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/pace/rate_limiter.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "engine/vector_sink.h"
#include "tools/scratch_place.h"

namespace reembed {
namespace {

constexpr double kNearlyBest = 0.95;
constexpr int64_t kFewWrites = 5;
constexpr int64_t kVectorsMade = 512;  // are written again and again, under new keys
constexpr int64_t kRowsOfCenter = 64;
constexpr double kSpread = 0.6;  // of a vector around its center, whose length is 1

double PerSecond(int64_t count, absl::Duration elapsed) {
  return elapsed > absl::ZeroDuration() ? static_cast<double>(count) / absl::ToDoubleSeconds(elapsed) : 0;
}

// A normal number from twelve even ones: distributions of the standard library differ between platforms.
float Normal(std::mt19937_64* random) {
  double sum = -6;
  for (int i = 0; i < 12; ++i) sum += static_cast<double>((*random)() >> 11) * 0x1.0p-53;
  return static_cast<float>(sum);
}

void ScaleToUnit(absl::Span<float> vector) {
  double square = 0;
  for (const float number : vector) square += double{number} * number;
  const auto scale = static_cast<float>(1 / std::sqrt(std::max(square, 1e-30)));
  for (float& number : vector) number *= scale;
}

absl::StatusOr<Store> WithOption(const Store& target, const std::string& option) {
  Store changed = target;
  if (option.empty()) return changed;
  const std::vector<std::string> words = absl::StrSplit(option, absl::MaxSplits('=', 1));
  if (words.size() != 2) {
    return absl::InvalidArgumentError(absl::StrCat("`", option, "`: expected NAME=VALUE, as in the address"));
  }
  changed.location.parameters[words[0]] = words[1];
  return changed;
}

// The rows of one write.
void FillRows(int64_t first, absl::Span<const float> vectors, int dim, Batch* batch) {
  batch->Clear();
  const int64_t rows = batch->limits().max_rows;
  batch->set_range({first, first + rows});
  const int64_t made = static_cast<int64_t>(vectors.size()) / dim;
  for (int64_t row = first; row < first + rows; ++row) {
    batch->AddRow(row, row, row)->vector = &vectors[static_cast<size_t>((row % made) * dim)];
  }
}

absl::Status Fill(const TargetMeasure& measure, VectorSink* sink, const std::stop_token& stop, TargetCell* cell) {
  const std::vector<float> vectors = MadeUpVectors(kVectorsMade, measure.dim, /*seed=*/1);
  Batch batch({.max_texts = 1, .max_rows = measure.rows_per_write, .max_text_bytes = 1}, measure.dim);
  const Batch* const batches[] = {&batch};
  std::vector<RefusedRow> refused;
  const Moment begin = MonotonicNow();
  absl::Status status;
  while (status.ok() && !stop.stop_requested()) {
    const int64_t first = cell->writes * measure.rows_per_write;
    if (cell->writes > 0 && MonotonicNow() - begin >= measure.time) break;
    if (first + measure.rows_per_write > measure.most_rows) break;
    FillRows(first, vectors, measure.dim, &batch);
    const Moment sent = MonotonicNow();
    status = sink->Write(batches, &refused);
    if (!status.ok()) break;
    cell->latencies.push_back(MonotonicNow() - sent);
    ++cell->writes;
  }
  if (status.ok()) status = sink->Flush();
  cell->elapsed = MonotonicNow() - begin;
  cell->refused = static_cast<int64_t>(refused.size());
  cell->rows = cell->writes * measure.rows_per_write - cell->refused;
  if (status.ok() && cell->rows == 0 && !refused.empty()) status = refused.front().reason;
  return status;
}

absl::Status Measure(const TargetMeasure& measure, const std::stop_token& stop, ScratchPlace* scratch,
                     TargetCell* cell) {
  const Model model{.name = "made-up", .dim = measure.dim};
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<VectorSink> sink, MakeSink(scratch->store(), model, {&KindOf({}), {}}));
  SinkContext context{.model = model, .expected_rows = measure.most_rows};
  ABSL_RETURN_IF_ERROR(PrepareAndOpen(sink.get(), context, {}).status());
  ABSL_RETURN_IF_ERROR(Fill(measure, sink.get(), stop, cell));
  if (stop.stop_requested()) return absl::OkStatus();
  context.expected_rows = cell->rows;
  const Moment begin = MonotonicNow();
  ABSL_RETURN_IF_ERROR(CompleteAndPublish(sink.get(), context));
  cell->finish = MonotonicNow() - begin;
  cell->finished = true;
  cell->file_bytes = scratch->FileBytes();
  return absl::OkStatus();
}

}  // namespace

bool TargetCell::IsThin() const { return writes < kFewWrites; }
double TargetCell::RowsPerSecond() const { return PerSecond(rows, elapsed); }
double TargetCell::RowsPerSecondInAll() const { return PerSecond(rows, elapsed + finish); }

TargetCell MeasureTarget(const TargetMeasure& measure, const std::stop_token& stop) {
  TargetCell cell{
      .place = PlaceName(measure.target.location), .option = measure.option, .rows_per_write = measure.rows_per_write};
  const absl::StatusOr<Store> target = WithOption(measure.target, measure.option);
  if (!target.ok()) {
    cell.failure = target.status();
    return cell;
  }
  // Nothing that cannot be a target gets a place.
  if (target->kind->make_sink == nullptr) {
    cell.failure = MakeSink(*target, {}, {&KindOf({}), {}}).status();
    return cell;
  }
  const absl::StatusOr<std::unique_ptr<ScratchPlace>> scratch =
      ScratchPlace::Make(*target, measure.dim, measure.most_rows);
  if (!scratch.ok()) {
    cell.failure = scratch.status();
    return cell;
  }
  cell.failure = Measure(measure, stop, scratch->get(), &cell);
  std::sort(cell.latencies.begin(), cell.latencies.end());
  // What is left behind matters more than what was measured.
  const absl::Status removed = (*scratch)->Remove();
  if (!removed.ok()) cell.failure = removed;
  return cell;
}

const TargetCell* FindTargetKnee(absl::Span<const TargetCell> cells) {
  const auto counts = [](const TargetCell& cell) { return cell.failure.ok() && cell.rows > 0 && cell.option.empty(); };
  double best = 0;
  for (const TargetCell& cell : cells) {
    if (counts(cell)) best = std::max(best, cell.RowsPerSecond());
  }
  const TargetCell* knee = nullptr;
  for (const TargetCell& cell : cells) {
    if (!counts(cell) || cell.RowsPerSecond() < kNearlyBest * best) continue;
    if (knee == nullptr || cell.rows_per_write < knee->rows_per_write) knee = &cell;
  }
  return knee;
}

std::vector<int> RowsPerWriteSteps(int most) {
  std::vector<int> steps;
  for (int step = 1; step < most; step *= 8) steps.push_back(step);
  steps.push_back(most);
  return steps;
}

std::vector<std::string> OptionsWorthTrying(const Store& target) {
  std::vector<std::string> options;
  for (const char* const option : target.kind->worth_trying) {
    const std::string name(absl::string_view(option).substr(0, absl::string_view(option).find('=')));
    if (target.location.Get(name).empty()) options.push_back(option);
  }
  return options;
}

std::vector<float> MadeUpVectors(int64_t count, int dim, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<float> vectors(static_cast<size_t>(count) * dim);
  std::vector<float> centers(static_cast<size_t>((count + kRowsOfCenter - 1) / kRowsOfCenter) * dim);
  const size_t width = static_cast<size_t>(dim);
  for (float& number : centers) number = Normal(&random);
  for (size_t i = 0; i < centers.size(); i += width) ScaleToUnit(absl::MakeSpan(&centers[i], width));
  const auto spread = static_cast<float>(kSpread / std::sqrt(static_cast<double>(dim)));
  for (size_t i = 0; i < vectors.size(); i += width) {
    const float* const center = &centers[(random() % (centers.size() / width)) * width];
    for (size_t k = 0; k < width; ++k) vectors[i + k] = center[k] + spread * Normal(&random);
    ScaleToUnit(absl::MakeSpan(&vectors[i], width));
  }
  return vectors;
}

}  // namespace reembed
