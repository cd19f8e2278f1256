// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SAMPLE_AGENTLOOP_PHRASES_H_
#define REEMBED_TOOLS_SAMPLE_AGENTLOOP_PHRASES_H_

#include <array>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace reembed {

// What sample conversations are put together from. In a phrase `$s` stands for a subject of the topic, `$n` for a
// number, `$d` for a day and `$p` for a name.
struct SampleTopic {
  absl::string_view name;
  std::array<absl::string_view, 4> subjects;
  std::array<absl::string_view, 3> questions;
  std::array<absl::string_view, 3> answers;
  std::array<absl::string_view, 4> details;
};

absl::Span<const SampleTopic> SampleTopics();

// Texts in several scripts, with emoji, combining marks, right-to-left runs and joiners.
absl::Span<const absl::string_view> SampleUnicodeTexts();

}  // namespace reembed

#endif  // REEMBED_TOOLS_SAMPLE_AGENTLOOP_PHRASES_H_
