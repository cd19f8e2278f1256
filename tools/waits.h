// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_WAITS_H_
#define REEMBED_TOOLS_WAITS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/wait_meter.h"

// What a run has waited for, in words.
namespace reembed {

// As programs read it: "source", "api", "quota", "processor", "disk", "target".
absl::string_view WaitPartWord(WaitPart part);

// "the disk of the job 93 %". A target is named like the place in messages.
std::string WaitText(const WaitShare& share);

// What holds a run up more than half of the time and is not the embedder's work, or ours: a source, a disk, a target or
// a quota. Of `shares`, the largest first; nullopt: there is no such thing, or too little is known.
std::optional<WaitShare> WhatHoldsUp(absl::Span<const WaitShare> shares);

// "waited for the disk of the job 93 %, the API 5 % of the time"; of what was small no word. Empty for short runs.
std::string WaitLine(absl::Span<const WaitShare> shares);

// [{"part":"disk","share":0.93},{"part":"target","target":"fbin:x","share":0.05}]
std::string WaitJson(absl::Span<const WaitShare> shares);

}  // namespace reembed

#endif  // REEMBED_TOOLS_WAITS_H_
