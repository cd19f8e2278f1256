// SPDX-License-Identifier: Apache-2.0
#include "tools/consent.h"

#include <unistd.h>

#include <iostream>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/shown_text.h"
#include "engine/status_macros.h"

namespace reembed {

namespace {

// What somebody at the terminal answers. Errors: kInvalidArgument (nobody is asked).
absl::StatusOr<std::string> Answer(absl::string_view what, absl::string_view question, absl::string_view advice,
                                   const Consent& consent) {
  if (consent.no_input || isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1) {
    return absl::InvalidArgumentError(absl::StrCat(what, "; ", advice));
  }
  std::cerr << what << ". " << question << " " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  return answer;
}

}  // namespace

absl::Status AskName(absl::string_view what, absl::string_view name, absl::string_view advice, const Consent& consent) {
  if (consent.yes) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(const std::string answer,
                        Answer(what, absl::StrCat("To go on, type its name, ", ShownLine(name), ":"), advice, consent));
  if (absl::StripAsciiWhitespace(answer) == name) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("not done: the answer was not ", name));
}

absl::Status AskConsent(absl::string_view what, absl::string_view advice, const Consent& consent) {
  if (consent.yes) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(const std::string answer, Answer(what, "Go on? [y/N]", advice, consent));
  if (answer == "y" || answer == "Y" || answer == "yes") return absl::OkStatus();
  return absl::InvalidArgumentError("not done: there was no yes");
}

}  // namespace reembed
