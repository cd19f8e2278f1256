// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_SHARE_CACHING_CLIENT_H_
#define REEMBED_IO_SHARE_CACHING_CLIENT_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/embedding_client.h"
#include "engine/mutex.h"
#include "engine/pace/rate_limiter.h"
#include "io/share/cache_key.h"
#include "io/share/vector_cache.h"

namespace reembed {

// What a cache was good for.
struct CacheCounts {
  int64_t found = 0;    // texts whose vector was there
  int64_t bought = 0;   // texts that were sent to the model
  int64_t waited = 0;   // of those that were found: another worker had just been buying them
  int64_t damaged = 0;  // values that were not what somebody had put there
};

// Asks a VectorCache before the model, and puts there what the model gave. Vectors come back bit by bit as they came
// from the model. A text that another worker is buying is waited for, as long as a claim holds; the others of its batch
// are sent meanwhile.
//
// The cache is asked on a thread of its own. While it is away all goes to the model. The first batch waits until the
// model has passed its first check (EndpointPool), so that a worker whose model is another one gets nothing from here.
//
// Thread-safe. Keeps the vectors that it found until Decode(), so no more than the batches have room for.
class CachingClient final : public EmbeddingClient {
 public:
  // `client` is borrowed. `note` gets a line when the cache goes away or comes back, on any thread; it calls nothing of
  // this.
  CachingClient(EmbeddingClient* client, std::unique_ptr<VectorCache> cache, CacheKeys keys,
                std::function<void(const std::string&)> note);
  // Ends what is under way, and puts into the cache what is still to be put there, if it answers.
  ~CachingClient() override;

  const Model& model() const override { return client_->model(); }
  void Send(Batch* batch, Done done) override;
  absl::Status Decode(Batch* batch) const override;
  void Stop(InTheAir in_the_air, const absl::Status& why) override;
  ClientStats stats() const override { return client_->stats(); }

  CacheCounts counts() const;

 private:
  struct Job;
  using JobPtr = std::shared_ptr<Job>;
  enum class Gate { kClosed, kAsked, kOpen };

  void Work();
  void PassGate();
  void Process(const JobPtr& job);
  void LookUp(Job* job);
  void SendOn(const JobPtr& job);
  void OnAnswer(const JobPtr& job, absl::Status status);
  void Finish(const JobPtr& job, absl::Status status);
  void PutSome();
  void HideOthers(const Job& job) const;
  void Enqueue(Moment at, JobPtr job);
  void EnqueuePut(CacheKey key, std::string value) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether the cache may be asked just now.
  bool IsThere() const;
  void Note(const absl::Status& status);

  EmbeddingClient* const client_;
  const std::unique_ptr<VectorCache> cache_;  // the thread's own
  const CacheKeys keys_;
  const std::function<void(const std::string&)> note_;

  // The thread's own.
  Moment away_until_ = -absl::InfiniteDuration();
  bool noted_away_ = false;
  bool noted_damage_ = false;
  bool noted_full_ = false;
  Batch gate_batch_;

  mutable Mutex mutex_;
  mutable absl::flat_hash_map<const Batch*, JobPtr> jobs_ ABSL_GUARDED_BY(mutex_);  // until Decode()
  std::multimap<Moment, JobPtr> queue_ ABSL_GUARDED_BY(mutex_);                     // by when to look at them
  mutable std::deque<std::pair<CacheKey, std::string>> puts_ ABSL_GUARDED_BY(mutex_);
  mutable CacheCounts counts_ ABSL_GUARDED_BY(mutex_);
  Gate gate_ ABSL_GUARDED_BY(mutex_) = Gate::kClosed;
  int out_ ABSL_GUARDED_BY(mutex_) = 0;  // batches that are at the client
  absl::Status stopped_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  mutable std::condition_variable_any changed_;
  std::thread thread_;
};

}  // namespace reembed

#endif  // REEMBED_IO_SHARE_CACHING_CLIENT_H_
