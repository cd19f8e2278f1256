// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PUBLISH_TARGETS_H_
#define REEMBED_ENGINE_PUBLISH_TARGETS_H_

#include <stop_token>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/embedding_client.h"
#include "engine/named_sink.h"
#include "engine/run_counters.h"

namespace reembed {

// The last step of the targets, once a job: every sink that fills them has completed. One after the other; `counters`
// are told what is waited for. Blocks; call it from one thread. It may be called again, also for targets that are
// published. Errors: the first failure, named; the others are published all the same. kCancelled after `stop`: those
// that were not begun by then are not published.
absl::Status PublishTargets(absl::Span<const NamedSink> sinks, const Model& model, RunCounters* counters,
                            const std::stop_token& stop);

}  // namespace reembed

#endif  // REEMBED_ENGINE_PUBLISH_TARGETS_H_
