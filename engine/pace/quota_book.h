// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PACE_QUOTA_BOOK_H_
#define REEMBED_ENGINE_PACE_QUOTA_BOOK_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/time/time.h"
#include "engine/pace/rate_limiter.h"

namespace reembed {

// What a worker asks for, and what it has to tell. Money is in billionths of a US dollar.
struct QuotaAsk {
  std::string worker;         // a name that no other one has
  int64_t requests = 0;       // that it wants to send soon; 0, and no tokens: it wants nothing
  int64_t tokens = 0;         // for them
  int64_t least_tokens = 0;   // for the first of them
  RateLimit given;            // as its user has it; `burst` is of no matter
  RateLimit said;             // as the provider has named it
  int64_t requests_back = 0;  // of earlier grants, that it did not need
  int64_t tokens_back = 0;    // likewise; below 0: so many were used beyond them
  absl::Duration refused;     // above zero: it was refused, and so long nothing shall leave
  int64_t epoch = 0;          // of the last grant; 0: there was none
  bool returns = false;       // it has gone on by itself meanwhile
  bool leaves = false;        // it asks for the last time
  std::string account;        // whose money it spends; empty: nobody counts
  int64_t money_spent = 0;    // by the account so far, what is in the air included
  int64_t money_wanted = 0;   // that and what it wants to spend soon
  int64_t money_cap = 0;      // of all accounts together
};

struct QuotaGrant {
  int64_t requests = 0;
  int64_t tokens = 0;
  absl::Duration begin;    // from now on until they may leave
  int64_t epoch = 0;       // another one than before: what was granted before that is not used is void
  absl::Duration pause;    // so long nothing leaves, from now on
  int workers = 1;         // that were here lately, this one included
  RateLimit limit;         // of all together at present; 0: nobody has named one
  int64_t money = 0;       // that the account may have spent until it asks again
  int64_t money_left = 0;  // that nobody has asked for yet
};

// One quota for many workers, as the server keeps it: the generic cell rate algorithm. Of requests and of tokens it
// keeps the moment at which the next one may leave; a grant moves that moment on, and says from when on it holds. So
// grants follow each other in the order in which they were asked for, whoever is slow or gone loses his own, and no two
// use the same second. io/share has the same in the server's own language; a test compares the two.
//
// A refusal, or a limit that gets narrower, begins a new epoch: what was granted ahead is void.
// Pure logic; the time is a parameter, in microseconds of the server's clock. Not thread-safe.
class QuotaBook {
 public:
  // How much unused quota is kept for later.
  static constexpr int64_t kBurst = 250'000;
  // Grants that begin later are for one request.
  static constexpr int64_t kAhead = 1'000'000;
  // Who was not here for so long is no worker any more; when nobody was, all is forgotten but the money. A limit that
  // no user has given for so long, or whose last worker has left, is forgotten, too: the next one may have a wider one.
  static constexpr int64_t kForget = 10'000'000;
  // When nobody was here for so long, the first that returns waits for the others: they may still go on by themselves.
  static constexpr int64_t kSilence = 2'000'000;
  static constexpr int64_t kHold = 1'000'000;
  // A refusal lowers the rate by a tenth, once in so long at most. It rises again by a millionth in so many
  // microseconds.
  static constexpr int64_t kBetweenLowerings = 10'000'000;
  static constexpr int64_t kRise = 100;
  static constexpr int64_t kLeastShare = 100'000;  // in millionths
  // A clock that goes back by more has been set anew.
  static constexpr int64_t kSmallStep = 1'000'000;

  QuotaGrant Ask(const QuotaAsk& ask, int64_t now);

 private:
  struct Line {
    double given = 0;     // per minute; 0: not said
    double given_at = 0;  // when somebody gave it last
    double said = 0;
    double next = 0;  // when the next one may leave

    double Rate() const;
    double Each(double share) const;
  };
  struct Arrival {
    double now = 0;
    bool fresh = false;  // nobody was here lately: all but the money is forgotten
  };

  Arrival Arrive(const QuotaAsk& ask, int64_t clock);
  bool TakeLimits(const QuotaAsk& ask, double now);
  double TakeRefusal(const QuotaAsk& ask, bool is_news, double now);
  void NoteWorker(const QuotaAsk& ask, double now);
  void AskForMoney(const QuotaAsk& ask, QuotaGrant* grant);

  int64_t seen_ = -1;  // when anybody was here last; -1: never
  int64_t epoch_ = 0;
  Line requests_, tokens_;
  double paused_until_ = 0;
  double lowered_to_ = 1e6;  // of the rate, in millionths, at lowered_at_
  double lowered_at_ = 0;
  std::map<std::string, int64_t> workers_;  // when each was here last
  std::map<std::string, int64_t> money_;    // of each account
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_QUOTA_BOOK_H_
