// SPDX-License-Identifier: Apache-2.0
#include "io/net/http_loop.h"

#include <curl/curl.h>
#include <signal.h>

#include <algorithm>
#include <future>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/contained.h"
#include "engine/mutex.h"
#include "io/net/http_transfer.h"
#include "io/net/trust_store.h"
#include "io/net/unsent.h"

namespace reembed {
namespace {

constexpr long kIdleConnections = 512;                  // kept alive per loop
constexpr absl::Duration kIdlePoll = absl::Minutes(1);  // a new request wakes the loop, so this may be long

}  // namespace

// One CURLM and its thread. Members with neither a mutex nor `const` belong to that thread.
class HttpLoop::Loop {
 public:
  // `trust`: an error ends requests to https:// alone.
  Loop(CURLM* multi, const HttpLoopOptions& options, absl::StatusOr<TrustStore> trust,
       absl::AnyInvocable<void()> on_timer)
      : multi_(multi), options_(options), trust_(std::move(trust)), on_timer_(std::move(on_timer)), thread_([this] {
          Run();
        }) {}

  ~Loop() {
    for (CURL* const easy : idle_) curl_easy_cleanup(easy);
    curl_multi_cleanup(multi_);
  }

  void Start(HttpTransferPtr transfer) {
    bool wake = false;
    {
      const MutexLock lock(&mutex_);
      wake = inbox_.empty();
      inbox_.push_back(std::move(transfer));
    }
    if (wake) curl_multi_wakeup(multi_);
  }

  void Abandon(Ticket ticket) {
    {
      const MutexLock lock(&mutex_);
      abandoned_.push_back(ticket);
    }
    curl_multi_wakeup(multi_);
  }

  void SetTimer(Moment when) {
    {
      const MutexLock lock(&mutex_);
      if (when >= timer_) return;
      timer_ = when;
    }
    if (std::this_thread::get_id() != thread_.get_id()) curl_multi_wakeup(multi_);
  }

  void Cancel() {
    {
      const MutexLock lock(&mutex_);
      cancelled_ = true;
    }
    curl_multi_wakeup(multi_);
  }

  // Cancels and ends the thread.
  void Quit() {
    {
      const MutexLock lock(&mutex_);
      quit_ = true;
    }
    curl_multi_wakeup(multi_);
    thread_.join();
  }

  // After Quit(): cancels what was started since. Returns whether there was any.
  bool CancelLate() {
    TakeInbox();
    const bool any = !arrived_.empty();
    EndAll();
    return any;
  }

 private:
  enum class Next { kGoOn, kCancelAll, kQuit };

  void Run() {
    // Signals are the main thread's; and a TLS write to a dead connection must not end the process.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    for (;;) {
      const Next next = TakeInbox();
      if (next != Next::kGoOn) EndAll();
      if (next == Next::kQuit) return;
      EndAbandoned();
      for (HttpTransferPtr& transfer : std::exchange(arrived_, {})) Leave(std::move(transfer));
      const absl::Duration pause = RunTimer();
      int running = 0;
      curl_multi_perform(multi_, &running);
      const absl::Duration stall = EndStalled();
      if (!FinishDone()) {
        curl_multi_poll(multi_, nullptr, 0, static_cast<int>(CurlMilliseconds(std::min(pause, stall))), nullptr);
      }
    }
  }

  Next TakeInbox() {
    const MutexLock lock(&mutex_);
    for (HttpTransferPtr& transfer : inbox_) arrived_.push_back(std::move(transfer));
    inbox_.clear();
    abandoned_now_.swap(abandoned_);
    abandoned_.clear();
    return quit_ ? Next::kQuit : cancelled_ ? Next::kCancelAll : Next::kGoOn;
  }

  void EndAbandoned() {
    for (const Ticket ticket : std::exchange(abandoned_now_, {})) {
      for (auto* const list : {&arrived_, &active_}) {
        const auto it =
            std::find_if(list->begin(), list->end(), [ticket](const auto& t) { return t->ticket == ticket; });
        if (it == list->end()) continue;
        HttpTransferPtr taken;
        if (list == &active_) {
          taken = TakeActive(it->get());
        } else {
          taken = std::move(*it);
          list->erase(it);
        }
        Answer(std::move(taken), absl::CancelledError("abandoned"));
        break;
      }
    }
  }

  // Returns how long until the next call.
  absl::Duration RunTimer() {
    const Moment now = MonotonicNow();
    {
      const MutexLock lock(&mutex_);
      if (timer_ > now) return std::min(kIdlePoll, timer_ - now);
      timer_ = absl::InfiniteDuration();
    }
    if (on_timer_ != nullptr) on_timer_();
    const MutexLock lock(&mutex_);
    // What the callback started is in the inbox.
    return inbox_.empty() ? std::clamp(timer_ - now, absl::ZeroDuration(), kIdlePoll) : absl::ZeroDuration();
  }

  void Leave(HttpTransferPtr transfer) {
    if (!trust_.ok() && absl::StartsWithIgnoreCase(transfer->request.url, "https:")) {
      const std::string url = UrlForMessages(transfer->request.url);
      return Answer(std::move(transfer), Prefixed(absl::StrCat(url, ": "), trust_.status()));
    }
    if (idle_.empty()) {
      transfer->easy = curl_easy_init();
    } else {
      transfer->easy = idle_.back();
      idle_.pop_back();
    }
    if (transfer->easy == nullptr) return Answer(std::move(transfer), absl::InternalError("libcurl has no memory"));
    transfer->reply.body = std::move(transfer->request.reply_buffer);
    transfer->reply.body.clear();
    SetCurlOptions(transfer.get(), options_, trust_.ok() ? *trust_ : TrustStore());
    transfer->place = active_.size();
    transfer->silent_since = MonotonicNow();
    active_.push_back(std::move(transfer));
    HttpTransfer* const added = active_.back().get();
    if (const CURLMcode code = curl_multi_add_handle(multi_, added->easy); code != CURLM_OK) {
      Answer(TakeActive(added), absl::InternalError(absl::StrCat("libcurl: ", curl_multi_strerror(code))));
    }
  }

  // Whether there was any: their callbacks may have started new requests.
  bool FinishDone() {
    bool any = false;
    int left = 0;
    while (const CURLMsg* const message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      any = true;
      const CURLcode code = message->data.result;  // the message dies with the next call
      HttpTransfer* transfer = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
      transfer->reply.status = HttpStatusOf(*transfer);
      Answer(TakeActive(transfer), code == CURLE_OK ? absl::OkStatus() : StatusOfEnd(code, *transfer));
    }
    return any;
  }

  // libcurl's own low-speed limit averages over seconds. Returns how long until the next look.
  absl::Duration EndStalled() {
    const Moment now = MonotonicNow();
    absl::Duration next = kIdlePoll;
    for (size_t i = 0; i < active_.size();) {
      HttpTransfer* const transfer = active_[i].get();
      const absl::Duration limit = transfer->request.stall_timeout;
      if (now - transfer->silent_since >= limit && !Moved(transfer, now)) {
        const std::string url = UrlForMessages(transfer->request.url);
        Answer(TakeActive(transfer), absl::DeadlineExceededError(absl::StrCat(
                                         url, ": no byte was sent or received for ", absl::FormatDuration(limit))));
        continue;  // another one is at place i now
      }
      next = std::min(next, transfer->silent_since + limit - now);
      ++i;
    }
    return next;
  }

  static bool Moved(HttpTransfer* transfer, Moment now) {
    const int64_t bytes = BytesMoved(*transfer);
    if (bytes == transfer->bytes_then) return false;
    transfer->bytes_then = bytes;
    transfer->silent_since = now;
    return true;
  }

  HttpTransferPtr TakeActive(HttpTransfer* transfer) {
    const size_t place = transfer->place;
    std::swap(active_[place], active_.back());
    active_[place]->place = place;
    HttpTransferPtr taken = std::move(active_.back());
    active_.pop_back();
    curl_multi_remove_handle(multi_, taken->easy);
    curl_easy_reset(taken->easy);
    idle_.push_back(std::exchange(taken->easy, nullptr));
    return taken;
  }

  static void Answer(HttpTransferPtr transfer, absl::Status status) {
    Callback callback = std::move(transfer->callback);
    HttpReply reply = std::move(transfer->reply);
    if (!status.ok() && transfer->sendings == 0) status = Unsent(std::move(status));
    transfer.reset();
    if (status.ok()) {
      std::move(callback)(std::move(reply));
    } else {
      std::move(callback)(std::move(status));
    }
  }

  void EndAll() {
    while (!active_.empty()) Answer(TakeActive(active_.back().get()), absl::CancelledError("cancelled"));
    for (HttpTransferPtr& transfer : std::exchange(arrived_, {})) {
      Answer(std::move(transfer), absl::CancelledError("cancelled"));
    }
  }

  CURLM* const multi_;
  const HttpLoopOptions options_;
  const absl::StatusOr<TrustStore> trust_;
  absl::AnyInvocable<void()> on_timer_;
  Mutex mutex_;
  std::vector<HttpTransferPtr> inbox_ ABSL_GUARDED_BY(mutex_);
  std::vector<Ticket> abandoned_ ABSL_GUARDED_BY(mutex_);
  Moment timer_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteDuration();
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool quit_ ABSL_GUARDED_BY(mutex_) = false;

  std::vector<HttpTransferPtr> arrived_;
  std::vector<Ticket> abandoned_now_;
  std::vector<HttpTransferPtr> active_;
  std::vector<CURL*> idle_;

  std::thread thread_;  // last: it uses all of the above
};

absl::StatusOr<std::unique_ptr<HttpLoop>> HttpLoop::Make(const HttpLoopOptions& options,
                                                         absl::AnyInvocable<void()> on_timer) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  const absl::StatusOr<TrustStore> trust =
      options.ca_file.empty() ? FindTrustStore() : TrustStore{.file = options.ca_file};
  std::vector<std::unique_ptr<Loop>> loops;
  for (int i = 0; i < std::max(1, options.threads); ++i) {
    CURLM* const multi = curl_multi_init();
    if (multi == nullptr) return absl::InternalError("libcurl could not be started");
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, kIdleConnections);
    loops.push_back(std::make_unique<Loop>(multi, options, trust, std::exchange(on_timer, nullptr)));
  }
  return std::unique_ptr<HttpLoop>(new HttpLoop(std::move(loops)));
}

HttpLoop::HttpLoop(std::vector<std::unique_ptr<Loop>> loops) : loops_(std::move(loops)) {}

HttpLoop::~HttpLoop() {
  for (const auto& loop : loops_) loop->Quit();
  // The last callbacks may have started requests, on a loop that had quit before; so may those of these.
  for (bool any = true; any;) {
    any = false;
    for (const auto& loop : loops_) any |= loop->CancelLate();
  }
}

HttpLoop::Ticket HttpLoop::Start(HttpRequest request, Callback callback) {
  auto transfer = std::make_unique<HttpTransfer>();
  transfer->request = std::move(request);
  transfer->callback = std::move(callback);
  const Ticket ticket = transfer->ticket = next_.fetch_add(1, std::memory_order_relaxed);
  loops_[ticket % loops_.size()]->Start(std::move(transfer));
  return ticket;
}

void HttpLoop::Abandon(Ticket ticket) { loops_[ticket % loops_.size()]->Abandon(ticket); }

void HttpLoop::SetTimer(Moment when) { loops_[0]->SetTimer(when); }

absl::StatusOr<HttpReply> HttpLoop::Call(HttpRequest request) {
  std::promise<absl::StatusOr<HttpReply>> promise;
  Start(std::move(request), [&promise](absl::StatusOr<HttpReply> reply) { promise.set_value(std::move(reply)); });
  return promise.get_future().get();
}

void HttpLoop::Cancel() {
  for (const auto& loop : loops_) loop->Cancel();
}

absl::string_view HttpReply::Header(absl::string_view name) const {
  for (const auto& [header, value] : headers) {
    if (header == name) return value;
  }
  return "";
}

}  // namespace reembed
