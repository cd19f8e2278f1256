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

// What a client has done so far in this run. tools/ calculates the money from the price table.
struct ClientStats {
  int64_t requests = 0;          // sent, retries included
  int64_t requests_retried = 0;  // sent again after a refusal, an error or a reply that was not usable
  int64_t http_429 = 0;
  int64_t requests_hedged = 0;  // sent a second time because the first took long
  int concurrency = 0;          // maximum number of requests in flight at the moment
  int in_the_air = 0;           // requests in flight at the moment
  int64_t texts_dropped = 0;  // perhaps charged for, and lost: in flight at a stop, or a part whose other parts failed
  int64_t texts_unanswered = 0;  // perhaps charged for: texts of requests that ended without an answer
  int64_t tokens = 0;            // from the provider's `usage`; estimated without it
  absl::Duration latency;        // average of the last answers; zero: there was none
  absl::Duration quota_wait;     // how long the next request must wait for the quota; zero: not at all
  // The quota, as options or replies have named it; 0: not known.
  double requests_per_minute = 0;
  double tokens_per_minute = 0;
};

// What to do with requests in flight when a client is stopped.
enum class InTheAir { kFinish, kDrop };

// Turns the texts of a batch into vectors with a model behind an API. Handles rate limits, retries, splitting and
// deadlines itself. Thread-safe.
class EmbeddingClient {
 public:
  virtual ~EmbeddingClient() = default;

  virtual const Model& model() const = 0;

  // Starts embedding batch->texts(); the client owns the batch until it calls `done`. A text that the provider refuses
  // gets BatchText::reject, and the others succeed. Texts are skipped if they have a reject or a vector
  // (BatchText::answered), or are answered by batch->replies(). So a failed batch can be sent again, also by another
  // client, which sends only the missing texts.
  // `done` gets: OK; kUnavailable, kDeadlineExceeded, kResourceExhausted (retries used up: run again later);
  // kUnauthenticated, kFailedPrecondition (key, quota or model: stop the run); after Stop() its `why`.
  virtual void Send(Batch* batch, Done done) = 0;

  // Parses batch->replies() into batch->vectors(), [texts, dim]: placed by index, width and finiteness checked. Uses
  // the processor only. Removes the replies. If Send() failed, parses those that have arrived. A text whose vector
  // stays unusable in every reply (missing, not finite, all zero, of another width) gets BatchText::reject, and so does
  // one whose replies stay unreadable while those of other texts are not. Errors: kDataLoss (some texts have no vector
  // yet: Send the batch again, which asks for them alone or in smaller requests; others are not asked for again.
  // Happens O(log texts) times at most); kUnavailable (every reply is unusable: run again later); kFailedPrecondition
  // (all vectors have another width than the model's: stop the run).
  virtual absl::Status Decode(Batch* batch) const = 0;

  // Ends sending: requests that wait for quota, for a retry or in the queue, and batches that are sent afterwards, end
  // with `why` at once. Requests in flight are finished but not retried (kFinish), or dropped (kDrop): then it is
  // unknown whether they were charged for. The first `why` is kept; kFinish may be followed by kDrop. Any thread. Calls
  // Done callbacks. Precondition: `why` is not OK, and the caller holds no lock that such a callback takes.
  virtual void Stop(InTheAir in_the_air, const absl::Status& why) = 0;

  void StopSending(const absl::Status& why) { Stop(InTheAir::kFinish, why); }
  void Cancel() { Stop(InTheAir::kDrop, absl::CancelledError("cancelled")); }

  virtual ClientStats stats() const = 0;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_EMBEDDING_CLIENT_H_
