// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_REQUEST_FLOW_H_
#define REEMBED_IO_EMBED_REQUEST_FLOW_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/batch.h"
#include "engine/done.h"
#include "engine/embedding_client.h"
#include "engine/mutex.h"
#include "engine/pace/alibi.h"
#include "engine/pace/learned_caps.h"
#include "engine/pace/pacer.h"
#include "engine/pace/rate_limiter.h"
#include "engine/pace/recent_latencies.h"
#include "engine/pace/reply_class.h"
#include "engine/pace/retry.h"
#include "engine/pace/run_control.h"
#include "engine/pace/spend_cap.h"
#include "io/embed/request_verdict.h"

namespace reembed {

struct FlowOptions {
  std::string url;
  std::vector<std::string> headers;   // "name: value"
  std::vector<std::string> secrets;   // what is secret in the headers: masked in whatever the API says
  std::string ca_file;                // see HttpLoopOptions
  std::string proxy;                  // likewise
  bool accept_gzip = false;           // likewise
  int max_texts = 0;                  // in one request; 0: as many as the batch has
  bool longest_first = false;         // the texts of a request leave by length, see text_order.h
  std::shared_ptr<LearnedCaps> caps;  // where the API's refusals go, for RequestPacker; null: nobody packs by them
  RateLimit limit;                    // without one, the API's x-ratelimit headers slow the flow down
  int concurrency = 32;               // requests in the air at most; fewer while the server is well served by fewer
  bool fixed_concurrency = false;     // see PacerOptions
  bool hedge = false;                 // send stragglers a second time, see Pacer: up to 5 % of requests, paid twice
  int loop_threads = 1;
  int base64_dim = 0;  // width of vectors that come as base64 and are decoded as they arrive; 0: Decode does all
  absl::Duration connect_timeout = absl::Seconds(10);
  absl::Duration timeout = absl::Seconds(60);  // of one request, from leaving to the last byte
  RetryPolicy retry;
  ErrorTraits errors;  // what is special about the API's errors
  ReachHints hints;
  // Gets a line when all wait for what the server says: that it loads its model, or a wait longer than is granted; and
  // when requests get smaller, as they took too long. Once for each reason, on a loop thread, which it must not block;
  // null: nobody is told.
  std::function<void(const std::string&)> note;
  // Gets how many texts may have been charged for without an answer. They are asked for again when it is answered: so
  // somebody can write down beforehand what is bought twice. With an error they are not asked for again, and their
  // batches end with it. On a loop thread, which it must not block; the answer may come on any, and waits for nothing.
  // Null: nobody writes it down.
  std::function<void(int64_t texts, Done noted)> lost;
  SharedQuota* shared_quota = nullptr;  // borrowed: see RateLimiter
  SpendCap* spend = nullptr;      // borrowed: nothing leaves for which it has no money; nullptr: money is no matter
  RunControl* control = nullptr;  // borrowed: what is wished while the run goes on; null: nobody wishes anything
  double counts_as = 1;           // see PacerOptions
  uint64_t seed = 0;              // of the jitter
};

// Writes the request body for these texts, in this order, over *body.
using BodyWriter = absl::AnyInvocable<void(absl::Span<const BatchText* const> texts, std::string* body) const>;

// The part of an EmbeddingClient that all JSON APIs share: from a batch to its replies. It paces, retries, splits what
// is too large, finds the texts that the API refuses, and gives up in words that people understand. Thread-safe.
class RequestFlow {
 public:
  static absl::StatusOr<std::unique_ptr<RequestFlow>> Make(FlowOptions options, BodyWriter write_body);
  ~RequestFlow();  // as Stop(kDrop), and waits until all is answered and noted

  // As EmbeddingClient::Send. Texts that have a reject already are left out, and so are those with a vector and those
  // that one of the batch's replies answers: a Send() that failed has left them, and they are paid for. Once the API
  // has said that no request can succeed, nothing is sent any more.
  void Send(Batch* batch, Done done);

  // As EmbeddingClient::Stop.
  void Stop(InTheAir in_the_air, const absl::Status& why);

  ClientStats stats() const;

  // For Decode: what a reply cost, and its buffer back for the next one. With the tokens that its texts had been
  // estimated at, the quota is kept by what the provider counts.
  void CountTokens(int64_t tokens) { tokens_ += tokens; }
  void CountTokens(int64_t tokens, int64_t estimated);
  void Recycle(std::vector<Reply>* replies);

  // The address as messages may show it.
  const std::string& where() const { return judge_.where(); }

 private:
  struct Call;
  struct Part;
  using PartPtr = std::shared_ptr<Part>;  // shared by its two sendings when it is hedged
  // One sending.
  struct Leaving {
    Departure departure;
    SpendHold money;
  };

  // What an answer means for others.
  struct Aftermath {
    bool twin_decides = false;            // its other sending is under way, and may bring what this one did not
    std::vector<HttpLoop::Ticket> twins;  // that are needed no more
    std::vector<PartPtr> hopeless;        // that wait, and would end as it did
    bool is_lost = false;                 // perhaps charged for, and not answered
    std::string note;                     // for people; may be empty
  };

  // A request without an answer, whose loss is written down.
  struct Noted {
    PartPtr part;
    RequestVerdict verdict;
    Moment at;
    absl::Status status;  // of the writing
  };

  RequestFlow(FlowOptions options, BodyWriter write_body);

  void Obey(const PaceWish& wish);
  PartPtr MakePart(Call* call, int first, int count);
  void Queue(PartPtr part) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Submit(PartPtr part);
  void Dispatch();
  PartPtr TakeNext(Moment now, Leaving* leaving, Moment* ask_again) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  PartPtr TakeStraggler(Moment now, Leaving* leaving, Moment* ask_again) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Moment TryStart(Part* part, Moment now, Leaving* leaving) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Moment AskForMoneyAgain(const Part& part, SpendCap::Answer answer, Moment now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndForMoney();
  void Launch(PartPtr part, Leaving leaving);
  void OnAnswer(PartPtr part, Leaving left, absl::StatusOr<HttpReply> answer);
  void Settle(PartPtr part, Leaving left, RequestVerdict verdict, HttpReply reply);
  Aftermath Learn(const PartPtr& part, const HttpReply& reply, Moment now, Leaving* left, RequestVerdict* verdict)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void HoldBack(const Part& part, const RequestVerdict& verdict, const Departure& departure, Moment now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TestAlibi(const PartPtr& part, const Departure& departure, RequestVerdict* verdict, Moment now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Suspect(PartPtr part);
  void ReleaseSuspects() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SuspectsRest(Moment now, std::vector<PartPtr>* given_up) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool WantsControl() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendControl();
  bool SplitSlow(const PartPtr& part);
  bool SettleBroken(PartPtr* part, const RequestVerdict& verdict);
  void ReleaseRetries(Moment outage_began, Moment now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeReply(PartPtr part, HttpReply reply, SpendHold money);
  void Reject(PartPtr part, RequestVerdict verdict);
  void SplitInto(PartPtr part, const std::vector<int>& counts);
  void Split(PartPtr part, const Excess& excess);
  void RetryWhenNoted(PartPtr part, RequestVerdict verdict, Moment now);
  void RetryNoted();
  void Retry(PartPtr part, const RequestVerdict& verdict, Moment now);
  void GiveUp(PartPtr part, const RequestVerdict& verdict, Moment now);
  void End(PartPtr part, absl::Status status);
  void EndAll(std::vector<PartPtr> parts, const absl::Status& status);
  std::string NoteOn(const RequestVerdict& verdict) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<PartPtr> TakeAllWaiting() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const FlowOptions options_;
  const BodyWriter write_body_;
  const RequestJudge judge_;

  const std::shared_ptr<LearnedCaps> caps_;

  std::atomic<int64_t> requests_{0};
  std::atomic<int64_t> retried_{0};
  std::atomic<int64_t> hedged_{0};
  std::atomic<int64_t> http_429_{0};
  std::atomic<int64_t> tokens_{0};
  std::atomic<int64_t> texts_dropped_{0};
  std::atomic<int64_t> texts_unanswered_{0};

  mutable Mutex mutex_;  // guards also the calls and their batches while several parts are out
  bool told_to_stop_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status stopped_
      ABSL_GUARDED_BY(mutex_);  // why no request of this run leaves any more: we were told so, or none can succeed
  Pacer pacer_ ABSL_GUARDED_BY(mutex_);
  Moment without_money_since_ ABSL_GUARDED_BY(mutex_) =
      absl::InfiniteDuration();  // nothing is in the air, and the next request has none
  Alibi alibi_ ABSL_GUARDED_BY(mutex_);
  // Texts that were refused alone, in words that no rule knows, and are asked for again when others have been taken.
  std::vector<PartPtr> suspects_ ABSL_GUARDED_BY(mutex_);
  PartPtr control_ ABSL_GUARDED_BY(mutex_);           // waits to leave
  bool control_out_ ABSL_GUARDED_BY(mutex_) = false;  // it does, or is in the air
  int controls_ ABSL_GUARDED_BY(mutex_) = 0;
  bool noted_loading_ ABSL_GUARDED_BY(mutex_) = false;
  bool noted_long_wait_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<PartPtr> queue_ ABSL_GUARDED_BY(mutex_);  // that may leave when the pacer lets them, first rows first
  std::multimap<Moment, PartPtr> retries_ ABSL_GUARDED_BY(mutex_);  // failed ones, by the moment from which they may
  std::deque<std::pair<Moment, std::weak_ptr<Part>>> by_age_ ABSL_GUARDED_BY(mutex_);  // sent then; only when hedging
  RecentLatencies latencies_ ABSL_GUARDED_BY(mutex_);
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> spare_bodies_ ABSL_GUARDED_BY(mutex_);   // for their memory
  std::vector<std::string> spare_replies_ ABSL_GUARDED_BY(mutex_);  // likewise

  // Of losses that are being written down. Its own mutex: whoever writes them down may be waited for under mutex_, for
  // a note of the money.
  Mutex noting_mutex_;
  int noting_ ABSL_GUARDED_BY(noting_mutex_) = 0;            // being written down, or in noted_
  std::vector<Noted> noted_ ABSL_GUARDED_BY(noting_mutex_);  // for RetryNoted()
  std::condition_variable_any all_noted_;                    // noting_ has come to 0

  std::unique_ptr<HttpLoop> loop_;                    // last: while it ends, its callbacks use all of the above
  HttpLoop* http_ = nullptr;                          // the same
  std::unique_ptr<RunControl::Following> following_;  // first to go: it calls the loop
};

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_REQUEST_FLOW_H_
