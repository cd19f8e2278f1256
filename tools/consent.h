// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_CONSENT_H_
#define REEMBED_TOOLS_CONSENT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace reembed {

// What the user has said of questions before they came.
struct Consent {
  bool yes = false;
  bool no_input = false;  // nobody answers, also where there is a terminal
};

// Asks for a yes before something is overwritten: `what`, on standard error, where somebody sits at a terminal. With
// `yes` it was said already; with `no_input` it is not asked for. Errors: kInvalidArgument (no yes; away from a
// terminal with `what` and `advice`).
absl::Status AskConsent(absl::string_view what, absl::string_view advice, const Consent& consent);

// Likewise before what cannot be taken back: the answer is the `name` of what is replaced or dropped, as a yes is soon
// typed. Errors: kInvalidArgument (another answer; otherwise as above).
absl::Status AskName(absl::string_view what, absl::string_view name, absl::string_view advice, const Consent& consent);

}  // namespace reembed

#endif  // REEMBED_TOOLS_CONSENT_H_
