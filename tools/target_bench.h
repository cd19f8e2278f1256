// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_TARGET_BENCH_H_
#define REEMBED_TOOLS_TARGET_BENCH_H_

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "tools/registry.h"

namespace reembed {

// One measure of a target: so many rows in each call of its sink.
struct TargetCell {
  std::string place;   // the target that was meant, not the one that was written to
  std::string option;  // what was added to its address; empty: nothing
  int rows_per_write = 0;
  int64_t writes = 0;
  int64_t rows = 0;                       // that it took
  int64_t refused = 0;                    // that it did not
  absl::Duration elapsed;                 // from the first write until all are durable
  absl::Duration finish;                  // after that: what is done once at the end, as an index
  bool finished = false;                  // it was come to
  int64_t file_bytes = 0;                 // of a file
  std::vector<absl::Duration> latencies;  // of the writes, sorted
  absl::Status failure;                   // why it ended early

  // Whether it rests on so few writes that it says little.
  bool IsThin() const;
  double RowsPerSecond() const;
  // With what comes at the end, were there so many rows.
  double RowsPerSecondInAll() const;
};

struct TargetMeasure {
  Store target;
  int dim = 0;
  int rows_per_write = 0;
  int64_t most_rows = 0;  // whatever the time
  absl::Duration time;    // for writing; at least one write is made
  std::string option;     // "name=value", added to the address; empty: nothing
};

// Writes vectors of unit length, made up and always the same, into a scratch place of `measure.target` and removes it,
// whatever happens. Blocks. After `stop` no write begins. What fails is in TargetCell::failure.
TargetCell MeasureTarget(const TargetMeasure& measure, const std::stop_token& stop);

// The cell of the fewest rows a write whose speed is within 5 % of the best among those with the address as it was
// given. nullptr: nothing was measured.
const TargetCell* FindTargetKnee(absl::Span<const TargetCell> cells);

// 1, 8, 64, 512 ... and `most` itself.
std::vector<int> RowsPerWriteSteps(int most);

// The options worth a measure that the address does not say anything of.
std::vector<std::string> OptionsWorthTrying(const Store& target);

// `count` made-up vectors of unit length, [count, dim], around one center for each 64 of them, as texts have topics.
std::vector<float> MadeUpVectors(int64_t count, int dim, uint64_t seed);

}  // namespace reembed

#endif  // REEMBED_TOOLS_TARGET_BENCH_H_
