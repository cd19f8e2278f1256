// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_TEXT_LONG_TEXT_CLIENT_H_
#define REEMBED_ENGINE_TEXT_LONG_TEXT_CLIENT_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/embedding_client.h"
#include "engine/mutex.h"
#include "engine/text/text_cutter.h"

namespace reembed {

// Gives texts that the provider refuses as too long (BatchText::too_long) a vector all the same: that of their
// beginning (kTruncate), or the mean of those of their parts, weighted by bytes and scaled to length 1 (kSplit). A
// piece that is refused is cut again, a dozen times at most. What was done is in BatchText::embedded; a text that stays
// refused has the provider's words in BatchText::reject.
//
// A text that seems too long by what was learned so far goes alone, so that its refusal does not take a whole request
// with it; one that certainly is too long is cut before it is sent.
//
// Thread-safe. Pieces are not remembered beyond a batch: a run that dies buys those of its open batches again.
class LongTextClient final : public EmbeddingClient {
 public:
  // `client` is borrowed. Whatever it was sent it answers before this object goes.
  LongTextClient(EmbeddingClient* client, const CutOptions& options);
  ~LongTextClient() override;

  const Model& model() const override { return client_->model(); }
  void Send(Batch* batch, Done done) override;
  absl::Status Decode(Batch* batch) const override;
  void Stop(InTheAir in_the_air, const absl::Status& why) override { client_->Stop(in_the_air, why); }
  ClientStats stats() const override;

 private:
  struct Piece;
  struct Repair;
  struct Round;
  struct Job;
  using JobPtr = std::shared_ptr<Job>;

  void SendAgain(const JobPtr& job, Done done);
  std::vector<Round*> HoldBack(Job* job);
  void OnBatch(const JobPtr& job, absl::Status status);
  void OnRound(const JobPtr& job, Round* round, absl::Status status);
  void CutAgain(const Piece& piece, const BatchText& refused, Job* job, std::vector<Piece>* sure,
                std::vector<Round*>* rounds);
  // Without its mutex. `last`: nothing of it was under way when the mutex was let go.
  void GoOn(const JobPtr& job, bool last, const std::vector<Round*>& rounds);
  void Finish(const JobPtr& job);

  EmbeddingClient* const client_;
  const LongText policy_;
  TextCutter cutter_;
  std::atomic<int64_t> texts_dropped_{0};  // pieces that were answered, of batches that failed
  mutable Mutex mutex_;
  mutable absl::flat_hash_map<const Batch*, JobPtr> answered_ ABSL_GUARDED_BY(mutex_);  // until Decode()
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_TEXT_LONG_TEXT_CLIENT_H_
