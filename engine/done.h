// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_DONE_H_
#define REEMBED_ENGINE_DONE_H_

#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

namespace reembed {

// The end of an asynchronous call. Runs exactly once: when it is dropped unused, by a bug or an exception, it answers
// kInternal, so that no run can hang on it. May run on any thread, also before the call that took it returns;
// the callback only hands work on.
class Done {
 public:
  Done() = default;  // nothing to answer
  explicit Done(absl::AnyInvocable<void(absl::Status) &&> callback) : callback_(std::move(callback)) {}
  Done(Done&& other) noexcept : callback_(std::exchange(other.callback_, nullptr)) {}
  Done& operator=(Done&& other) noexcept {
    if (this != &other) {
      Drop();
      callback_ = std::exchange(other.callback_, nullptr);
    }
    return *this;
  }
  ~Done() { Drop(); }

  void operator()(absl::Status status) && {
    if (callback_ == nullptr) return;
    std::exchange(callback_, nullptr)(std::move(status));
  }

 private:
  void Drop() { std::move (*this)(absl::InternalError("a part dropped its answer: please report this")); }

  absl::AnyInvocable<void(absl::Status)&&> callback_ = nullptr;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_DONE_H_
