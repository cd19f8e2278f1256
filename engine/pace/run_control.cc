// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/run_control.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace reembed {

PaceWish RunControl::wish() const {
  const MutexLock lock(&mutex_);
  return wish_;
}

void RunControl::Change(const std::function<void(PaceWish*)>& change) {
  // Followers are called under the lock, so that they hear of changes in the order in which these were made.
  const MutexLock lock(&mutex_);
  change(&wish_);
  for (const auto& follower : followers_) follower(wish_);
}

void RunControl::Pause() {
  Change([](PaceWish* wish) { wish->paused = true; });
}

void RunControl::Resume() {
  Change([](PaceWish* wish) { wish->paused = false; });
}

absl::Status RunControl::SetRate(std::optional<double> requests_per_minute, std::optional<double> tokens_per_minute) {
  if (!requests_per_minute.has_value() && !tokens_per_minute.has_value()) {
    return absl::InvalidArgumentError("rate: expected rpm=N, tpm=N or both");
  }
  for (const auto& [name, rate] : {std::pair("rpm", requests_per_minute), {"tpm", tokens_per_minute}}) {
    if (rate.has_value() && !(*rate >= 0 && std::isfinite(*rate))) {
      return absl::InvalidArgumentError(
          absl::StrCat("rate: ", name, "=", *rate, ": expected a number above 0, or 0 for no limit"));
    }
  }
  Change([&](PaceWish* wish) {
    if (requests_per_minute.has_value()) wish->requests_per_minute = requests_per_minute;
    if (tokens_per_minute.has_value()) wish->tokens_per_minute = tokens_per_minute;
  });
  return absl::OkStatus();
}

absl::Status RunControl::SetConcurrency(int requests) {
  if (requests < 1 || requests > most_concurrent_) {
    return absl::InvalidArgumentError(
        absl::StrCat("concurrency ", requests, ": expected 1 to ", most_concurrent_,
                     ", as this run has room for no more; a run that is started with more has it"));
  }
  Change([&](PaceWish* wish) { wish->concurrency = requests; });
  return absl::OkStatus();
}

std::unique_ptr<RunControl::Following> RunControl::Follow(std::function<void(const PaceWish&)> changed) {
  const MutexLock lock(&mutex_);
  changed(wish_);
  return std::make_unique<Following>(this, followers_.insert(followers_.end(), std::move(changed)));
}

RunControl::Following::~Following() {
  const MutexLock lock(&control_->mutex_);
  control_->followers_.erase(place_);
}

}  // namespace reembed
