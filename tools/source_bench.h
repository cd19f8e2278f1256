// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SOURCE_BENCH_H_
#define REEMBED_TOOLS_SOURCE_BENCH_H_

#include <cstdint>
#include <stop_token>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/source.h"

namespace reembed {

// What was read of a source, row by row as a run reads it.
struct SourceReading {
  int64_t rows = 0;
  int64_t without_text = 0;
  int64_t key_bytes = 0;
  int64_t text_bytes = 0;
  std::vector<int64_t> lengths;                    // of the texts in bytes, sorted
  absl::Duration first_row;                        // until it came
  absl::Duration elapsed;                          // until the last
  bool whole = false;                              // it was read to its end
  std::vector<std::pair<double, int64_t>> course;  // seconds, and the rows by then

  double RowsPerSecond() const;
  double BytesPerSecond() const;  // of keys and texts
  // The length that `share` (0 to 1) of the texts do not exceed; 0 of none.
  int64_t Length(double share) const;
};

// Reads from the beginning for `time`, at most `most_rows` rows; 0: any number. Changes nothing. After `stop` it reads
// no more. Errors: of the source.
absl::StatusOr<SourceReading> MeasureSource(Source* source, absl::Duration time, int64_t most_rows,
                                            const std::stop_token& stop);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SOURCE_BENCH_H_
