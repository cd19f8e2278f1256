// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/alibi.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace reembed {
namespace {

std::string WithoutDigits(absl::string_view words) {
  std::string out(words);
  out.erase(std::remove_if(out.begin(), out.end(), [](unsigned char c) { return absl::ascii_isdigit(c); }), out.end());
  return out;
}

}  // namespace

void Alibi::Taken(Moment left_at) { last_taken_left_ = std::max(last_taken_left_, left_at); }

void Alibi::Leaves(Trial* trial) const {
  if (trial->failures == 0) return;
  trial->others_taken = TakenSince(trial->first_at);
  trial->service_was_well = TakenSince(trial->failed_at) && last_surprise_ <= trial->failed_at;
}

void Alibi::Refused(Trial* trial, Moment now) const {
  if (trial->failures++ == 0) {
    trial->first_at = now;
  } else if (trial->others_taken) {
    ++trial->proofs;
  }
  trial->failed_at = now;
}

void Alibi::Broke(Trial* trial, absl::string_view words, Moment now) {
  std::string plain = WithoutDigits(words);
  if (trial->failures == 0) last_surprise_ = std::max(last_surprise_, now);
  if (trial->failures == 0 || trial->words != plain) {
    *trial = {.words = std::move(plain), .first_at = now, .failures = 1};
  } else {
    ++trial->failures;
    if (trial->service_was_well) ++trial->proofs;
  }
  trial->failed_at = now;
}

}  // namespace reembed
