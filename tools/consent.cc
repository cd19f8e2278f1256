// SPDX-License-Identifier: Apache-2.0
#include "tools/consent.h"

#include <unistd.h>

#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"

namespace reembed {

absl::Status AskConsent(absl::string_view what, absl::string_view advice, const Consent& consent) {
  if (consent.yes) return absl::OkStatus();
  if (consent.no_input || isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1) {
    return absl::InvalidArgumentError(absl::StrCat(what, "; ", advice));
  }
  std::cerr << what << ". Go on? [y/N] " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  if (answer == "y" || answer == "Y" || answer == "yes") return absl::OkStatus();
  return absl::InvalidArgumentError("not done: there was no yes");
}

}  // namespace reembed
