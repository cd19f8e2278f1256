// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_EMBEDDING_SERVER_LOAD_H_
#define REEMBED_IO_EMBED_EMBEDDING_SERVER_LOAD_H_

#include <cstdint>
#include <queue>
#include <random>
#include <vector>

#include "absl/time/time.h"
#include "engine/mutex.h"

namespace reembed {

// How a server answers in time; for tests and measures of clients.
struct EmbeddingServerSpeed {
  absl::Duration latency = absl::ZeroDuration();  // of every reply, at least
  absl::Duration jitter = absl::ZeroDuration();   // it varies evenly by so much to both sides
  double slow_share = 0;                          // of the replies take slow_latency instead
  absl::Duration slow_latency = absl::ZeroDuration();
  // So many requests are worked on at a time, each for service_time; the others wait in line. 0: no line.
  int places = 0;
  absl::Duration service_time = absl::ZeroDuration();
  uint64_t seed = 1;
};

// When replies are due. Thread-safe.
class EmbeddingServerLoad {
 public:
  explicit EmbeddingServerLoad(const EmbeddingServerSpeed& speed);

  // How long after `now`, when the request came, its reply is sent. `now` is of a clock that only goes forward.
  absl::Duration DelayOf(absl::Duration now);

 private:
  const EmbeddingServerSpeed speed_;
  Mutex mutex_;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  std::priority_queue<absl::Duration, std::vector<absl::Duration>, std::greater<>> free_at_
      ABSL_GUARDED_BY(mutex_);  // one for each place
};

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_EMBEDDING_SERVER_LOAD_H_
