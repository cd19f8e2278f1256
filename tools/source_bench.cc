// SPDX-License-Identifier: Apache-2.0
#include "tools/source_bench.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <variant>

#include "engine/pace/rate_limiter.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr int64_t kRowsPerLook = 64;  // at the time
constexpr size_t kMostPoints = 200;   // of the course

double PerSecond(int64_t count, absl::Duration elapsed) {
  return elapsed > absl::ZeroDuration() ? static_cast<double>(count) / absl::ToDoubleSeconds(elapsed) : 0;
}

int64_t BytesOf(const KeyView& key) {
  const auto* text = std::get_if<absl::string_view>(&key);
  return text == nullptr ? int64_t{sizeof(int64_t)} : static_cast<int64_t>(text->size());
}

void Count(const RowView& row, SourceReading* reading) {
  ++reading->rows;
  reading->key_bytes += BytesOf(row.key);
  if (!row.text.has_value()) {
    ++reading->without_text;
    return;
  }
  reading->text_bytes += static_cast<int64_t>(row.text->size());
  reading->lengths.push_back(static_cast<int64_t>(row.text->size()));
}

}  // namespace

double SourceReading::RowsPerSecond() const { return PerSecond(rows, elapsed); }
double SourceReading::BytesPerSecond() const { return PerSecond(key_bytes + text_bytes, elapsed); }

int64_t SourceReading::Length(double share) const {
  if (lengths.empty()) return 0;
  const double rank = std::ceil(share * static_cast<double>(lengths.size()));
  return lengths[static_cast<size_t>(std::clamp(rank, 1.0, static_cast<double>(lengths.size()))) - 1];
}

absl::StatusOr<SourceReading> MeasureSource(Source* source, absl::Duration time, int64_t most_rows,
                                            const std::stop_token& stop) {
  SourceReading reading;
  const Moment begin = MonotonicNow();
  const absl::Duration per_point = time / static_cast<int64_t>(kMostPoints);
  absl::Duration next_point = per_point;
  while (!stop.stop_requested() && (most_rows == 0 || reading.rows < most_rows)) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> row, source->Next());
    if (!row.has_value()) {
      reading.whole = true;
      break;
    }
    Count(*row, &reading);
    if (reading.rows == 1) reading.first_row = MonotonicNow() - begin;
    if (reading.rows % kRowsPerLook != 0) continue;
    const absl::Duration now = MonotonicNow() - begin;
    if (now >= next_point) {
      reading.course.emplace_back(absl::ToDoubleSeconds(now), reading.rows);
      next_point = now + per_point;
    }
    if (now >= time) break;
  }
  reading.elapsed = MonotonicNow() - begin;
  reading.course.emplace_back(absl::ToDoubleSeconds(reading.elapsed), reading.rows);
  std::sort(reading.lengths.begin(), reading.lengths.end());
  return reading;
}

}  // namespace reembed
