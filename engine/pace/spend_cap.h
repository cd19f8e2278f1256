// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PACE_SPEND_CAP_H_
#define REEMBED_ENGINE_PACE_SPEND_CAP_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/mutex.h"

namespace reembed {

class SpendCap;

// The money and the tokens of one request, or of several that belong together. What is neither charged nor released
// counts as its estimate once it has left, as nobody knows: so an answer that gets lost makes the job poorer, never
// richer. Move-only; the cap outlives it. An empty one does nothing.
class SpendHold {
 public:
  SpendHold() = default;
  SpendHold(SpendHold&& other) noexcept { *this = std::move(other); }
  SpendHold& operator=(SpendHold&& other) noexcept;
  ~SpendHold() { End(); }

  int64_t tokens() const { return tokens_; }

  // Takes the share of so many tokens out of what has not left yet.
  SpendHold Split(int64_t tokens);
  // Adds what has not left either, of the same cap.
  void Add(SpendHold other);

  void Leave();   // its request is in the air
  void Return();  // it was answered and cost nothing: as before Leave()

 private:
  friend class SpendCap;

  void End();

  SpendCap* cap_ = nullptr;
  int64_t tokens_ = 0;  // estimated
  double charge_ = 0;   // in tokens, as the last requests were charged
  bool has_left_ = false;
  bool in_air_ = false;
};

// Where the money that one part of a job spends is written down before it leaves, so that it is known after a kill.
struct SpendAccount {
  // Writes that at most so much has been spent, durably. Called with locks held; calls nothing of the cap or a client.
  std::function<absl::Status(double usd)> note;
  double used_usd = 0;   // settled, and the estimate of what nobody knows
  double noted_usd = 0;  // the last note
};

struct SpendOptions {
  double usd_per_token = 0;
  double spent_usd = 0;                                         // by earlier runs
  double cap_usd = std::numeric_limits<double>::infinity();     // of all runs together
  double cap_tokens = std::numeric_limits<double>::infinity();  // of this run, as they are charged
  // Called once, when 80 % are spent or in the air; under the same conditions as SpendAccount::note.
  std::function<void(double spent_usd, double cap_usd)> warn;
};

// Nothing leaves whose estimated cost would pass a cap: of dollars, or of tokens. What is in the air counts as spent;
// the true charge takes the place of the estimate when the reply is read. So the overrun is at most by how much the
// estimates of what was in the air fell short. Estimates are scaled by what the last requests were charged.
//
// One for all endpoints and streams of a command, for its probe and its canaries. No clock, no thread. Thread-safe.
class SpendCap {
 public:
  explicit SpendCap(SpendOptions options) : options_(std::move(options)) {}

  enum class Answer {
    kTaken,
    kAskLater,  // requests in the air may turn out cheaper
    kAskSoon,   // none is there, but replies that are being read may
    kNever,     // Reached() says why
  };
  // Takes the money for so many tokens. *hold: replaced when taken.
  Answer Take(int64_t tokens, SpendHold* hold);
  // Likewise for what can do without: when it does not fit nothing else is ended by that.
  Answer Offer(int64_t tokens, SpendHold* hold);

  // A reply has come, to the request whose texts begin at `first_text` of a batch: the estimate counts until Charge().
  // Where the batch comes with another reply first nobody has read this one, and the estimate stays.
  void AwaitCharge(const void* batch, int first_text, SpendHold hold);
  void Charge(const void* batch, int first_text, int64_t tokens);

  // Nothing leaves any more, whatever is still being read: a request of so many tokens does not fit.
  void Close(int64_t tokens);
  // Why nothing leaves any more; OK while it may. IsSpendCapReached() of it, or the failure of a note.
  absl::Status Reached() const;

  // Where the cap is shared: others leave so much of it to all runs of this job together, until the next call. `more`:
  // they may leave more than that when asked, so what does not fit waits. Any thread.
  void Allow(double usd, bool more);
  // All that was spent or is in the air, and what waits for Allow() beside it.
  double wanted_usd() const;

  // From now on money is written down there. Borrowed; before anything leaves, and while nothing is in the air.
  void ChargeTo(SpendAccount* account);

  double cap_usd() const { return options_.cap_usd; }
  double cap_tokens() const { return options_.cap_tokens; }
  // By this run: charged, and the estimate of what is in the air or may have been charged.
  double used_tokens() const;
  // By all runs: what was charged, and the estimate of what is in the air or may have been charged.
  double spent_usd() const;
  // What is charged to the account, with the estimate of what is in the air or was answered and never read, as long as
  // it is the one of ChargeTo().
  double spent_usd(const SpendAccount& account) const;

 private:
  friend class SpendHold;

  // `charge`: of a request, in tokens.
  bool FitsMoney(double charge) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return SpentUsd() + Usd(charge) <= options_.cap_usd * (1 + 1e-12);
  }
  bool FitsAllowed(double charge) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return SpentUsd() + Usd(charge) <= allowed_ * (1 + 1e-12);
  }
  bool FitsTokens(double charge) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return used_ + held_ + charge <= options_.cap_tokens * (1 + 1e-12);
  }
  double ChargeOf(int64_t tokens) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return factor_ * static_cast<double>(tokens);
  }
  double Usd(double charge) const { return options_.usd_per_token * charge; }
  double SpentUsd() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return options_.spent_usd + Usd(used_ + held_); }
  absl::Status NoteAhead(double usd) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseFor(double charge) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Answer TakeFitting(int64_t tokens, SpendHold* hold) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WarnOnce() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Settle(const SpendHold& hold, double charge) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const SpendOptions options_;
  mutable Mutex mutex_;
  double used_ ABSL_GUARDED_BY(mutex_) = 0;  // tokens of this run: charged, or nobody knows
  double held_ ABSL_GUARDED_BY(mutex_) = 0;  // tokens: of what is in the air, or about to leave
  int in_air_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<std::pair<const void*, int>, SpendHold> unread_
      ABSL_GUARDED_BY(mutex_);  // by batch and first text
  SpendAccount* account_ ABSL_GUARDED_BY(mutex_) = nullptr;
  double charged_ ABSL_GUARDED_BY(mutex_) = 0;  // of the last replies, in tokens, fading
  double estimated_ ABSL_GUARDED_BY(mutex_) = 0;
  double factor_ ABSL_GUARDED_BY(mutex_) = 1;  // what an estimated token is charged as
  double allowed_ ABSL_GUARDED_BY(mutex_) = std::numeric_limits<double>::infinity();
  bool may_allow_more_ ABSL_GUARDED_BY(mutex_) = false;
  double waits_for_ ABSL_GUARDED_BY(mutex_) = 0;
  bool warned_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status reached_ ABSL_GUARDED_BY(mutex_);
};

// Whether it says that a cap, of dollars or of tokens, ended the run. Survives copies, not a new message.
bool IsSpendCapReached(const absl::Status& status);

// "$12.34", "$0.0012", "$0.000036": never rounded to nothing.
std::string DollarsText(double usd);

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_SPEND_CAP_H_
