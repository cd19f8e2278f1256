// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_EMBEDDING_CLIENT_H_
#define REEMBED_ENGINE_EMBEDDING_CLIENT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/batch.h"
#include "engine/done.h"

namespace reembed {

struct Model {
  std::string name;  // as the provider spells it
  int dim = 0;       // length of the vectors it returns
};

// What a client has done so far in this run. Money is counted by tools/, from the price table.
struct ClientStats {
  int64_t requests = 0;          // sent, retries included
  int64_t requests_retried = 0;  // sent again after a refusal, an error or a reply that was not usable
  int64_t http_429 = 0;
  int64_t requests_hedged = 0;   // sent a second time because the first took long
  int concurrency = 0;           // requests that may be in the air just now
  int in_the_air = 0;            // requests that are
  int64_t texts_dropped = 0;     // perhaps charged for, and lost: in the air at a stop, or a part without the others
  int64_t texts_unanswered = 0;  // perhaps charged for: of requests that were sent and ended without an answer
  int64_t tokens = 0;            // as the provider's `usage` says; estimated where it says nothing
  absl::Duration latency;        // of the last answers, on average; zero: none has come
  absl::Duration
      quota_wait;  // for so long the quota alone holds back what is next just now; zero: nothing waits for it
  // The quota as far as somebody has named it; 0: nobody has.
  double requests_per_minute = 0;
  double tokens_per_minute = 0;
};

// What becomes of requests that are in the air when a client is stopped.
enum class InTheAir { kFinish, kDrop };

// Turns the texts of a batch into vectors, through a model somewhere else.
// Pacing, retries, splitting and deadlines are the client's own. Thread-safe.
class EmbeddingClient {
 public:
  virtual ~EmbeddingClient() = default;

  virtual const Model& model() const = 0;

  // Starts embedding batch->texts(); the batch is the client's until `done`. Texts that the provider refused one by
  // one have their BatchText::reject set, and the rest succeeds. Texts with a reject already are left out, and so are
  // those with a vector (BatchText::answered) and those that batch->replies() answers: after a failure, or a reply that
  // was of no use, they go on from there, at another client too.
  // Answers: OK; kUnavailable or kDeadlineExceeded or kResourceExhausted (retries used up: run again later);
  // kUnauthenticated, kFailedPrecondition (key, quota or model: stop the run);
  // what Stop() said (after it).
  virtual void Send(Batch* batch, Done done) = 0;

  // Parses batch->replies() into batch->vectors(): placed by index, width and finiteness checked; CPU only. Leaves no
  // replies behind. Of a batch whose Send() failed it parses what has come. A text whose own vector stays unusable
  // however often it is asked for (none, not finite, all zero, of another width) gets BatchText::reject, and so does
  // one whose replies stay unreadable while others are not. Errors: kDataLoss (some texts have no vector yet: Send the
  // batch again, which asks for them alone or in smaller requests; what is answered stays so. Happens some times the
  // logarithm of the texts, not for ever); kUnavailable (no reply is of use: run again later); kFailedPrecondition
  // (another width than the model's for all texts: stop the run).
  virtual absl::Status Decode(Batch* batch) const = 0;

  // No request leaves any more, neither a first one nor a repeated one: what waits for quota, for a retry or in line,
  // and what is sent afterwards, ends with `why` at once. Requests in the air are finished, and not sent again; or
  // dropped, so that nobody knows whether they were charged for. The first `why` stays; kFinish may be followed by
  // kDrop. Precondition: `why` is not OK. Any thread, but with no lock held that a Done takes: they run here.
  virtual void Stop(InTheAir in_the_air, const absl::Status& why) = 0;

  void StopSending(const absl::Status& why) { Stop(InTheAir::kFinish, why); }
  void Cancel() { Stop(InTheAir::kDrop, absl::CancelledError("cancelled")); }

  virtual ClientStats stats() const = 0;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_EMBEDDING_CLIENT_H_
