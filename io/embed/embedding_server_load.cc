// SPDX-License-Identifier: Apache-2.0
#include "io/embed/embedding_server_load.h"

#include <algorithm>

namespace reembed {

EmbeddingServerLoad::EmbeddingServerLoad(const EmbeddingServerSpeed& speed) : speed_(speed), random_(speed.seed) {
  for (int i = 0; i < speed.places; ++i) free_at_.push(-absl::InfiniteDuration());
}

absl::Duration EmbeddingServerLoad::DelayOf(absl::Duration now) {
  const MutexLock lock(&mutex_);
  std::uniform_real_distribution<double> share(0, 1);
  absl::Duration delay = speed_.latency;
  if (speed_.jitter > absl::ZeroDuration()) delay += speed_.jitter * (2 * share(random_) - 1);
  if (speed_.slow_share > 0 && share(random_) < speed_.slow_share) delay = speed_.slow_latency;
  if (!free_at_.empty()) {
    const absl::Duration done = std::max(now, free_at_.top()) + speed_.service_time;
    free_at_.pop();
    free_at_.push(done);
    delay += done - now;
  }
  return std::max(delay, absl::ZeroDuration());
}

}  // namespace reembed
