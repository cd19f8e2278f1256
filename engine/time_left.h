// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_TIME_LEFT_H_
#define REEMBED_ENGINE_TIME_LEFT_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "engine/pace/rate_limiter.h"

namespace reembed {

// Says how long a run still takes, from when its rows came. Pure logic, with the time as a parameter. Not thread-safe.
//
// Rows come in lumps, so the pace is measured from lump to lump, never from or to a moment between them; and over the
// later part of what is done, as a run begins slower than it goes on. Until a tenth is done, a limit that somebody has
// named counts as well.
class TimeLeft {
 public:
  // `begin`: when the first rows were asked for.
  explicit TimeLeft(Moment begin) : points_{{begin, 0}} {}

  // So many rows are done, fewer never. Call it often: what comes between two calls seems to come at the second.
  void Note(Moment now, int64_t done);

  struct Limits {
    double rows_per_second = 0;  // of the quota, as far as it is known; 0: nothing is
    absl::Duration pause;        // for so long nothing can leave
  };
  // Until `total` rows are done. nullopt: nothing can be said yet.
  std::optional<absl::Duration> Estimate(Moment now, int64_t total, const Limits& limits) const;

  // Between which an estimate probably lies: twice its standard error to either side, by the paces of stretches of the
  // part that it was made from. Of few stretches: from half of it to twice as much.
  struct Band {
    absl::Duration least, most;
  };
  Band BandOf(absl::Duration estimate) const;

 private:
  struct Point {
    Moment at;
    int64_t done;
  };

  std::vector<Point>::const_iterator Telling() const;

  std::vector<Point> points_;  // when rows came; older ones are thinned out
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_TIME_LEFT_H_
