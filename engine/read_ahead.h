// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_READ_AHEAD_H_
#define REEMBED_ENGINE_READ_AHEAD_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/mutex.h"
#include "engine/status_macros.h"

namespace reembed {

// Reads a store ahead on a thread of its own, page by page, so that several are read at a time. `Page` has Clear().
// Used by one thread. What the pages are read from belongs to this object's thread until it is destroyed, which waits
// for no more than the page under way.
template <typename Page>
class ReadAhead {
 public:
  // `fill` puts rows into an empty page and says whether more may follow. After an error or `false` it is not called
  // again.
  explicit ReadAhead(std::function<absl::StatusOr<bool>(Page*)> fill)
      : fill_(std::move(fill)), thread_([this](const std::stop_token& stop) { Read(stop); }) {}

  // Exchanges `page`, whatever is in it, for the next one. False behind the last: then `page` is empty. An error of
  // `fill` comes behind the pages that were filled before it.
  absl::StatusOr<bool> Next(Page* page) {
    page->Clear();
    MutexLock lock(&mutex_);
    changed_.wait(lock, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !pages_.empty() || ended_; });
    if (pages_.empty()) {
      ABSL_RETURN_IF_ERROR(status_);
      return false;
    }
    std::swap(*page, pages_.front());
    used_.push_back(std::move(pages_.front()));
    pages_.pop_front();
    changed_.notify_all();
    return true;
  }

 private:
  static constexpr size_t kPagesAhead = 2;  // each may be as long as one huge text

  void Read(const std::stop_token& stop) {
    absl::StatusOr<bool> more = true;
    while (more.ok() && *more && !stop.stop_requested()) {
      Page page = UsedPage();
      more = fill_(&page);
      MutexLock lock(&mutex_);
      changed_.wait(lock, stop, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return pages_.size() < kPagesAhead; });
      pages_.push_back(std::move(page));
      changed_.notify_all();
    }
    const MutexLock lock(&mutex_);
    status_ = more.status();
    ended_ = true;
    changed_.notify_all();
  }

  Page UsedPage() {
    const MutexLock lock(&mutex_);
    if (used_.empty()) return {};
    Page page = std::move(used_.back());
    used_.pop_back();
    return page;
  }

  const std::function<absl::StatusOr<bool>(Page*)> fill_;

  Mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Page> pages_ ABSL_GUARDED_BY(mutex_);
  std::vector<Page> used_ ABSL_GUARDED_BY(mutex_);  // their memory is used again
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;

  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_READ_AHEAD_H_
