// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_ENDPOINT_POOL_H_
#define REEMBED_IO_EMBED_ENDPOINT_POOL_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/canary.h"
#include "engine/embedding_client.h"
#include "engine/endpoint_report.h"
#include "engine/mutex.h"
#include "engine/pace/endpoint_chooser.h"

namespace reembed {

// One place that serves the model, with a quota, pauses and retries of its own.
struct PoolEndpoint {
  std::string name;  // for messages: a URL, and which key where two share one; never the key
  EndpointTraits traits;
  std::unique_ptr<EmbeddingClient> client;
};

struct EndpointPoolOptions {
  ChooserOptions chooser;
  // Whether canary texts are embedded before the first work, and the vectors of all endpoints compared with each other
  // and with `reference`. Always so with several endpoints.
  bool check_first = true;
  // From one check of an endpoint to the next, by `clock`; looked at whenever work is sent. Infinite: only the first.
  absl::Duration check_interval = absl::Minutes(10);
  std::vector<float> reference;  // [CanaryTexts().size(), dim], of an earlier run of the job; empty: there is none
  // Gets the reference where there was none, before any work is sent. What it answers fails the work. On a thread of
  // a client; calls nothing of the pool.
  std::function<absl::Status(absl::Span<const float>)> keep_reference;
  // Gets a line when an endpoint changes its state. On any thread; calls nothing of the pool.
  std::function<void(const std::string&)> note;
  std::function<Moment()> clock = MonotonicNow;
};

// One or several endpoints of the same model as one client. Work goes where it is done first (EndpointChooser); work
// that an endpoint could not do goes to another one, so nothing is lost, and nothing is bought twice but what an
// endpoint charged for without answering. An endpoint whose key, quota or model is refused leaves the pool with a note;
// when the last one leaves, its failure is the run's.
//
// Nothing is sent to an endpoint before its canary vectors are those of the others and of the earlier runs of the job
// (CanaryWatch). When they change, everything ends with kFailedPrecondition, also what is in the air.
//
// Thread-safe; has no thread and no timer of its own.
class EndpointPool final : public EmbeddingClient {
 public:
  // All clients have the same model. At least one endpoint. Errors: kInvalidArgument.
  static absl::StatusOr<std::unique_ptr<EndpointPool>> Make(std::vector<PoolEndpoint> endpoints,
                                                            EndpointPoolOptions options);
  ~EndpointPool() override;

  const Model& model() const override { return model_; }
  void Send(Batch* batch, Done done) override;
  absl::Status Decode(Batch* batch) const override;
  void Stop(InTheAir in_the_air, const absl::Status& why) override;
  ClientStats stats() const override;  // of all endpoints, canary texts included

  // Precondition: all work is done. Waits for the checks that are under way, and, unless it was stopped, makes a
  // last one of each endpoint that has given vectors since a check that is longer ago than a minute, or than the
  // interval. Blocks.
  // Errors: kFailedPrecondition (another model, as of Send).
  absl::Status FinishChecks();

  std::vector<EndpointReport> endpoints() const;
  // Checks that showed the right model.
  int64_t checks_passed() const;

 private:
  struct Work;
  struct Check;
  using WorkPtr = std::unique_ptr<Work>;
  // What to do after the lock is let go.
  struct Actions {
    std::vector<WorkPtr> send;
    std::vector<std::pair<WorkPtr, absl::Status>> answer;
    std::vector<std::unique_ptr<Check>> check;
    std::vector<std::string> notes;
    std::optional<InTheAir> stop;
  };
  enum class Start { kNotYet, kChecking, kReady };

  EndpointPool(std::vector<PoolEndpoint> endpoints, EndpointPoolOptions options);

  void Route(WorkPtr work, Moment now, Actions* actions) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddCheck(int endpoint, int first_text, int texts, Moment now, Actions* actions)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddDueChecks(Moment now, Actions* actions) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FinishStart(Moment now, Actions* actions) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Judge(int endpoint, int first_text, const std::vector<float>& vectors, Actions* actions)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteFailure(int endpoint, const absl::Status& status, Moment sent, Moment now, Actions* actions)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Trip(absl::Status status, Actions* actions) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Lets go of it meanwhile.
  void Act(Actions actions) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnAnswer(WorkPtr work, absl::Status status);
  void OnChecked(std::unique_ptr<Check> check, absl::Status status);

  const Model model_;
  const EndpointPoolOptions options_;

  mutable Mutex mutex_;
  mutable EndpointChooser chooser_ ABSL_GUARDED_BY(mutex_);
  mutable CanaryWatch canary_ ABSL_GUARDED_BY(mutex_);
  Start start_ ABSL_GUARDED_BY(mutex_) = Start::kNotYet;
  int first_checks_out_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::vector<float>> first_vectors_ ABSL_GUARDED_BY(mutex_);  // of each endpoint, until all have answered
  std::vector<WorkPtr> parked_ ABSL_GUARDED_BY(mutex_);                    // until the first checks have been answered
  absl::Status stopped_ ABSL_GUARDED_BY(mutex_);                           // not OK: nothing is sent any more
  absl::Status tripped_ ABSL_GUARDED_BY(mutex_);  // not OK: another model was seen, nothing goes on
  absl::Status first_fatal_ ABSL_GUARDED_BY(mutex_);
  absl::Status last_failure_ ABSL_GUARDED_BY(mutex_);  // of another kind
  bool down_ ABSL_GUARDED_BY(mutex_) = false;  // some work has failed everywhere, and nothing was answered since
  int acting_ ABSL_GUARDED_BY(mutex_) = 0;     // threads in Act(): they may call clients
  std::condition_variable_any acted_;          // acting_ or checks_out_ has come to 0
  int checks_out_ ABSL_GUARDED_BY(mutex_) = 0;
  mutable absl::flat_hash_map<const Batch*, std::vector<int>> answered_by_
      ABSL_GUARDED_BY(mutex_);                                           // until Decode(); the last answered last
  mutable std::vector<EndpointReport> reports_ ABSL_GUARDED_BY(mutex_);  // name, trouble, texts
  int64_t rerouted_ ABSL_GUARDED_BY(mutex_) = 0;

  std::vector<std::unique_ptr<EmbeddingClient>> clients_;  // last: while they end, their answers use all of the above
};

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_ENDPOINT_POOL_H_
