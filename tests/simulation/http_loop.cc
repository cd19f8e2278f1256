// SPDX-License-Identifier: Apache-2.0
#include "io/net/http_loop.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "io/net/unsent.h"
#include "tests/simulation/virtual_threads.h"
#include "tests/simulation/world.h"

// The HttpLoop of the simulation, in place of that of io/net: its other end is the World. Like that one it has a thread
// of its own, on which all answers and the timer come.
namespace reembed {

class HttpLoop::Loop {
 public:
  explicit Loop(absl::AnyInvocable<void()> on_timer) : on_timer_(std::move(on_timer)), thread_([this] { Run(); }) {}

  ~Loop() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    Cancel();
    thread_.join();
  }

  void Start(Ticket ticket, HttpRequest request, Callback callback) {
    {
      const std::lock_guard lock(mutex_);
      Exchange exchange{
          .ticket = ticket,
          .answer = {.at = VirtualNow(), .reply = Unsent(absl::CancelledError("cancelled")), .index = kNotSent},
          .late_at = VirtualNow() + request.total_timeout,
          .read_body = std::move(request.read_body),
          .callback = std::move(callback)};
      if (!cancelled_ && !World::Current()->ghost()) {
        World* const world = World::Current();
        exchange.answer = world->Send(request.url, request.body, request.total_timeout);
        for (int sent = 1; sent < world->sendings && Fails(exchange.answer.reply); ++sent) {
          world->Ended(exchange.answer.index);
          exchange.answer = world->Send(request.url, request.body, request.total_timeout);
        }
      }
      const Moment at = exchange.answer.at;
      exchanges_.emplace(at, std::move(exchange));
    }
    wake_.notify_all();
  }

  void Abandon(Ticket ticket) {
    const std::lock_guard lock(mutex_);
    for (auto exchange = exchanges_.begin(); exchange != exchanges_.end(); ++exchange) {
      if (exchange->second.ticket != ticket) continue;
      CutOff(exchanges_.extract(exchange));
      return;
    }
  }

  void SetTimer(Moment when) {
    const std::lock_guard lock(mutex_);
    timer_ = std::min(timer_, when);
    wake_.notify_all();
  }

  void Cancel() {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    for (auto& waiting : std::exchange(exchanges_, {})) {
      if (waiting.second.answer.index != kNotSent) waiting.second.answer.reply = absl::CancelledError("cancelled");
      exchanges_.emplace(VirtualNow(), std::move(waiting.second));
    }
    wake_.notify_all();
  }

 private:
  static constexpr size_t kNotSent = ~size_t{0};
  struct Exchange {
    Ticket ticket = 0;
    World::Answer answer;
    Moment late_at;
    absl::AnyInvocable<void(absl::string_view, std::string*)> read_body;
    Callback callback;
  };

  static bool Fails(const absl::StatusOr<HttpReply>& reply) { return !reply.ok() || reply->status >= 500; }

  // Requires mutex_.
  void CutOff(std::multimap<Moment, Exchange>::node_type exchange) {
    exchange.mapped().answer.reply = absl::CancelledError("abandoned");
    exchange.key() = VirtualNow();
    exchanges_.insert(std::move(exchange));
    wake_.notify_all();
  }

  void Run() {
    std::unique_lock lock(mutex_);
    while (!ending_ || !exchanges_.empty()) {
      const Moment now = VirtualNow();
      if (!exchanges_.empty() && exchanges_.begin()->first <= now) {
        auto next = exchanges_.extract(exchanges_.begin());
        lock.unlock();
        Deliver(std::move(next.mapped()), now);
        lock.lock();
      } else if (timer_ <= now) {
        timer_ = absl::InfiniteDuration();
        lock.unlock();
        on_timer_();
        lock.lock();
      } else {
        const Moment next = exchanges_.empty() ? timer_ : std::min(timer_, exchanges_.begin()->first);
        if (next == absl::InfiniteDuration()) {
          wake_.wait(lock);
        } else {
          wake_.wait_until(lock, std::chrono::steady_clock::time_point(
                                     absl::ToChronoNanoseconds(absl::Ceil(next, absl::Nanoseconds(1)))));
        }
      }
    }
  }

  static void Deliver(Exchange exchange, Moment now) {
    absl::StatusOr<HttpReply>& reply = exchange.answer.reply;
    // As libcurl does after a stop of the process: who looks at the clock first says so.
    if (reply.ok() && now > exchange.late_at) reply = absl::DeadlineExceededError("no answer in time");
    if (exchange.answer.index != kNotSent) World::Current()->Ended(exchange.answer.index);
    if (reply.ok() && reply->status == 200 && exchange.read_body) {
      const std::string whole = std::exchange(reply->body, "");
      for (size_t at = 0; at < whole.size(); at += kPieceBytes) {
        exchange.read_body(absl::string_view(whole).substr(at, kPieceBytes), &reply->body);
      }
    }
    std::move(exchange.callback)(std::move(reply));
  }

  static constexpr size_t kPieceBytes = 100;

  absl::AnyInvocable<void()> on_timer_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::multimap<Moment, Exchange> exchanges_;
  Moment timer_ = absl::InfiniteDuration();
  bool cancelled_ = false;
  bool ending_ = false;
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<HttpLoop>> HttpLoop::Make(const HttpLoopOptions&, absl::AnyInvocable<void()> on_timer) {
  std::vector<std::unique_ptr<Loop>> loops;
  loops.push_back(std::make_unique<Loop>(std::move(on_timer)));
  return std::unique_ptr<HttpLoop>(new HttpLoop(std::move(loops)));
}

HttpLoop::HttpLoop(std::vector<std::unique_ptr<Loop>> loops) : loops_(std::move(loops)) {}
HttpLoop::~HttpLoop() = default;

HttpLoop::Ticket HttpLoop::Start(HttpRequest request, Callback callback) {
  const Ticket ticket = next_++;
  loops_.front()->Start(ticket, std::move(request), std::move(callback));
  return ticket;
}

void HttpLoop::Abandon(Ticket ticket) { loops_.front()->Abandon(ticket); }
void HttpLoop::SetTimer(Moment when) { loops_.front()->SetTimer(when); }
void HttpLoop::Cancel() { loops_.front()->Cancel(); }

// Nobody in the simulation waits for a single request.
absl::StatusOr<HttpReply> HttpLoop::Call(HttpRequest) { return absl::UnimplementedError("not in the simulation"); }

absl::string_view HttpReply::Header(absl::string_view name) const {
  for (const auto& [one, value] : headers) {
    if (one == name) return value;
  }
  return "";
}

}  // namespace reembed
