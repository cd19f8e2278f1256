// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/virtual_threads.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <memory>
#include <random>
#include <vector>

namespace reembed {
namespace {

constexpr size_t kStackBytes = size_t{1} << 19;  // pages that are not touched cost nothing
constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr int64_t kWallStart = 1'790'000'000'000'000'000;                // in 2026
constexpr int64_t kMostSwitches = 2'000'000;                             // at one time: threads keep each other awake
constexpr int64_t kEndOfTime = int64_t{30} * 24 * 3600 * 1'000'000'000;  // somebody looks in vain again and again
constexpr uint64_t kYieldOneIn = 8;                                      // locks taken: others may go first

struct Thread {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  int number = 1;
  void* (*start)(void*) = nullptr;
  void* argument = nullptr;
  bool ready = true;
  bool ended = false;
  const void* waits_on = nullptr;  // a mutex, a condition or a thread
  int64_t wake_at = kNever;
  bool timed_out = false;
};

// One simulation. The functions below that the C library would have cannot be given it, hence the variable behind them.
class Scheduler {
 public:
  Scheduler(uint64_t seed, const std::function<void()>& stuck) : random_(seed), stuck_(stuck) {
    threads_.push_back(std::make_unique<Thread>());
    current_ = threads_.front().get();
  }

  Thread* Create(void* (*start)(void*), void* argument) {
    auto thread = std::make_unique<Thread>();
    thread->number = ++last_number_;
    thread->start = start;
    thread->argument = argument;
    if (!stacks_.empty()) {
      thread->stack = std::move(stacks_.back());
      stacks_.pop_back();
    } else {
      thread->stack.reset(new char[kStackBytes]);
    }
    getcontext(&thread->context);
    thread->context.uc_stack = {.ss_sp = thread->stack.get(), .ss_flags = 0, .ss_size = kStackBytes};
    thread->context.uc_link = nullptr;
    makecontext(&thread->context, &Scheduler::Enter, 0);
    threads_.push_back(std::move(thread));
    return threads_.back().get();
  }

  void Join(Thread* thread) {
    while (!thread->ended) Wait(thread, kNever);
    stacks_.push_back(std::move(thread->stack));
    std::erase_if(threads_, [thread](const auto& one) { return one.get() == thread; });
  }

  void Lock(pthread_mutex_t* mutex, bool may_yield) {
    if (may_yield && random_() % kYieldOneIn == 0) Yield();
    while (!TryLock(mutex)) Wait(mutex, kNever);
  }
  // A mutex tells by its own fields who has it: nobody else looks at them while the simulation runs.
  bool TryLock(pthread_mutex_t* mutex) {
    auto& own = mutex->__data;
    const bool recursive = own.__kind == PTHREAD_MUTEX_RECURSIVE_NP;
    if (own.__lock != 0 && (own.__owner != current_->number || !recursive)) return false;
    own.__lock = 1;
    own.__owner = current_->number;
    ++own.__count;
    return true;
  }
  void Unlock(pthread_mutex_t* mutex) {
    auto& own = mutex->__data;
    if (own.__lock == 0 || --own.__count > 0) return;
    own.__lock = own.__owner = 0;
    WakeAll(mutex);
  }

  int WaitFor(pthread_cond_t* condition, pthread_mutex_t* mutex, int64_t until) {
    Unlock(mutex);
    Wait(condition, until);
    const bool timed_out = current_->timed_out;
    Lock(mutex, /*may_yield=*/false);
    return timed_out ? ETIMEDOUT : 0;
  }
  void WakeAll(const void* what) {
    for (const auto& thread : threads_) {
      if (thread->waits_on == what) Wake(thread.get(), false);
    }
  }
  void WakeOne(const void* what) {
    std::vector<Thread*> waiting;
    for (const auto& thread : threads_) {
      if (thread->waits_on == what) waiting.push_back(thread.get());
    }
    if (!waiting.empty()) Wake(waiting[random_() % waiting.size()], false);
  }

  void Sleep(int64_t nanoseconds) { Wait(this, now_ + std::max<int64_t>(1, nanoseconds)); }
  void Yield() { Switch(); }

  int64_t now() const { return now_; }
  int64_t wall() const { return kWallStart + now_ + wall_ahead_; }
  void Jump(int64_t by) { now_ += by; }
  void JumpWall(int64_t by) { wall_ahead_ += by; }
  void Set(int64_t now) { now_ = now; }

 private:
  static void Enter();

  void Wake(Thread* thread, bool timed_out) {
    thread->ready = true;
    thread->waits_on = nullptr;
    thread->wake_at = kNever;
    thread->timed_out = timed_out;
  }

  void Wait(const void* what, int64_t until) {
    current_->ready = false;
    current_->waits_on = what;
    current_->wake_at = until;
    Switch();
  }

  // On to any thread that can go on, this one included.
  void Switch() {
    std::vector<Thread*>& ready = ready_;
    ready.clear();
    while (true) {
      int64_t first = kNever;
      for (const auto& thread : threads_) {
        if (!thread->ready && thread->wake_at <= now_) Wake(thread.get(), true);
        if (thread->ready && !thread->ended) ready.push_back(thread.get());
        if (!thread->ready) first = std::min(first, thread->wake_at);
      }
      if (!ready.empty()) break;
      if (first > kEndOfTime) stuck_();
      now_ = first;
      switches_ = 0;
    }
    if (++switches_ > kMostSwitches) stuck_();
    Thread* const from = current_;
    current_ = ready[random_() % ready.size()];
    if (current_ != from) swapcontext(&from->context, &current_->context);
  }

  std::mt19937_64 random_;
  const std::function<void()> stuck_;
  std::vector<std::unique_ptr<Thread>> threads_;  // the first is that of RunVirtually()
  std::vector<std::unique_ptr<char[]>> stacks_;   // to be used again
  Thread* current_;
  std::vector<Thread*> ready_;  // of Switch()
  int last_number_ = 1;
  int64_t now_ = 0;  // nanoseconds
  int64_t wall_ahead_ = 0;
  int64_t switches_ = 0;  // at this time
};

thread_local Scheduler* the_scheduler = nullptr;  // null: the C library's own functions

void Scheduler::Enter() {
  Scheduler* const scheduler = the_scheduler;
  Thread* const self = scheduler->current_;
  self->start(self->argument);
  self->ended = true;
  self->ready = false;
  scheduler->WakeAll(self);
  scheduler->Switch();
}

int64_t Nanoseconds(const timespec& time) { return time.tv_sec * int64_t{1'000'000'000} + time.tv_nsec; }

// The C library's function of this name. Conditions have an old version, too, which must not be taken.
template <typename Function>
Function* Real(Function*, const char* name) {
  void* found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
  if (found == nullptr) found = dlsym(RTLD_NEXT, name);
  return reinterpret_cast<Function*>(found);
}

}  // namespace

void RunVirtually(uint64_t seed, const std::function<void()>& body, const std::function<void()>& stuck) {
  Scheduler scheduler(seed, stuck);
  the_scheduler = &scheduler;
  body();
  the_scheduler = nullptr;
}

Moment VirtualNow() { return absl::Nanoseconds(the_scheduler->now()); }
void JumpClock(absl::Duration by) { the_scheduler->Jump(absl::ToInt64Nanoseconds(by)); }
void JumpWallClock(absl::Duration by) { the_scheduler->JumpWall(absl::ToInt64Nanoseconds(by)); }
void SetClock(Moment now) { the_scheduler->Set(absl::ToInt64Nanoseconds(now)); }

}  // namespace reembed

// What the C library's functions do, by their manual pages.
#define REEMBED_OR_REAL(name, ...)                                                        \
  if (reembed::the_scheduler == nullptr) {                                                \
    static const auto real = reembed::Real(static_cast<decltype(&name)>(nullptr), #name); \
    return real(__VA_ARGS__);                                                             \
  }

extern "C" {

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*), void* argument) {
  REEMBED_OR_REAL(pthread_create, thread, attributes, start, argument)
  *thread = reinterpret_cast<pthread_t>(reembed::the_scheduler->Create(start, argument));
  return 0;
}

int pthread_join(pthread_t thread, void** result) {
  REEMBED_OR_REAL(pthread_join, thread, result)
  reembed::the_scheduler->Join(reinterpret_cast<reembed::Thread*>(thread));
  if (result != nullptr) *result = nullptr;
  return 0;
}

int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  REEMBED_OR_REAL(pthread_mutex_lock, mutex)
  reembed::the_scheduler->Lock(mutex, /*may_yield=*/true);
  return 0;
}

int pthread_mutex_trylock(pthread_mutex_t* mutex) noexcept {
  REEMBED_OR_REAL(pthread_mutex_trylock, mutex)
  return reembed::the_scheduler->TryLock(mutex) ? 0 : EBUSY;
}

int pthread_mutex_unlock(pthread_mutex_t* mutex) noexcept {
  REEMBED_OR_REAL(pthread_mutex_unlock, mutex)
  reembed::the_scheduler->Unlock(mutex);
  return 0;
}

int pthread_cond_wait(pthread_cond_t* condition, pthread_mutex_t* mutex) {
  REEMBED_OR_REAL(pthread_cond_wait, condition, mutex)
  return reembed::the_scheduler->WaitFor(condition, mutex, reembed::kNever);
}

int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock, const timespec* until) {
  REEMBED_OR_REAL(pthread_cond_clockwait, condition, mutex, clock, until)
  return reembed::the_scheduler->WaitFor(condition, mutex, reembed::Nanoseconds(*until));
}

int pthread_cond_signal(pthread_cond_t* condition) noexcept {
  REEMBED_OR_REAL(pthread_cond_signal, condition)
  reembed::the_scheduler->WakeOne(condition);
  return 0;
}

int pthread_cond_broadcast(pthread_cond_t* condition) noexcept {
  REEMBED_OR_REAL(pthread_cond_broadcast, condition)
  reembed::the_scheduler->WakeAll(condition);
  return 0;
}

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  if (reembed::the_scheduler == nullptr) return static_cast<int>(syscall(SYS_clock_gettime, clock, time));
  const bool wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
  const int64_t now = wall ? reembed::the_scheduler->wall() : reembed::the_scheduler->now();
  *time = {.tv_sec = now / 1'000'000'000, .tv_nsec = now % 1'000'000'000};
  return 0;
}

int nanosleep(const timespec* time, timespec* left) {
  REEMBED_OR_REAL(nanosleep, time, left)
  reembed::the_scheduler->Sleep(reembed::Nanoseconds(*time));
  return 0;
}

int usleep(useconds_t microseconds) {
  REEMBED_OR_REAL(usleep, microseconds)
  reembed::the_scheduler->Sleep(int64_t{1000} * microseconds);
  return 0;
}

int sched_yield() noexcept {
  REEMBED_OR_REAL(sched_yield)
  reembed::the_scheduler->Yield();
  return 0;
}

}  // extern "C"
