// SPDX-License-Identifier: Apache-2.0
#include "engine/publish_targets.h"

#include <atomic>
#include <optional>

#include "engine/contained.h"
#include "engine/kill_point.h"
#include "engine/wait_looks.h"

namespace reembed {

absl::Status PublishTargets(absl::Span<const NamedSink> sinks, const Model& model, RunCounters* counters,
                            const std::stop_token& stop) {
  std::atomic<const NamedSink*> current{nullptr};
  const WaitLooks looks(&counters->waits, [&current]() -> std::optional<WaitedFor> {
    const NamedSink* const sink = current;
    if (sink == nullptr) return std::nullopt;
    return WaitedFor{WaitPart::kTarget, sink->name};
  });
  absl::Status first;
  for (const NamedSink& sink : sinks) {
    if (stop.stop_requested()) {
      first.Update(absl::CancelledError("stopped; the same command resumes from here"));
      break;
    }
    current = &sink;
    first.Update(OfTarget(sink.name, Contained("", [&] {
                            return sink.sink->Publish({.model = model, .undo = sink.undo, .begun = true});
                          })));
    KillPoint("sink: finished");
  }
  return first;
}

}  // namespace reembed
