// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_SIMULATION_PARTS_H_
#define REEMBED_TESTS_SIMULATION_PARTS_H_

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/embedding_client.h"
#include "engine/vector_sink.h"
#include "tests/simulation/world.h"

namespace reembed {

// A mistake that is made on purpose, for the invariant that must see it.
enum class Plant {
  kNone,
  kLostRow,        // a row that a target got is not in it
  kForeignVector,  // two texts of a reply get each other's vectors
  kBuyAgain,       // texts of a good reply are asked for again
  kOverwrite,      // a target loses what is not the job's
  kRosyReport,     // a run that could not go on says that all is done
  kNoBudget,       // what fails is sent again at once, and once more
  kQuota,          // the quota is taken for a third larger
  kSpendCap,       // the cap is taken for half as much again
  kOrder,          // a target that wants its rows in order gets them in any
  kBatches,        // there are two batches more than were granted
  kDeafToStop,     // the client is not told to stop
  kNoEnd,          // an answer gets lost within the process
};

// The client that the pipeline sees: passes all on and counts batches.
class WatchedClient final : public EmbeddingClient {
 public:
  WatchedClient(EmbeddingClient* client, Plant plant) : client_(client), plant_(plant) {}

  const Model& model() const override { return client_->model(); }
  void Send(Batch* batch, Done done) override;
  absl::Status Decode(Batch* batch) const override;
  void Stop(InTheAir in_the_air, const absl::Status& why) override { client_->Stop(in_the_air, why); }
  ClientStats stats() const override { return client_->stats(); }

  int batches() const { return static_cast<int>(batches_.size()); }

 private:
  EmbeddingClient* const client_;
  const Plant plant_;
  mutable std::mutex mutex_;
  mutable int decoded_ = 0;
  std::set<const Batch*> batches_;
  std::vector<Done> lost_;
};

// A target: a table or a file, as its script says. What it holds is the World's.
class SimulatedSink final : public VectorSink {
 public:
  SimulatedSink(World* world, int number, Plant plant) : world_(world), number_(number), plant_(plant) {
    for (const MemoryRow& row : world->scenario().rows) {
      if (row.text.has_value()) texts_[KeyText(ViewOf(row.key))] = *row.text;
    }
  }

  RowOrder row_order() const override { return plant_ == Plant::kOrder ? RowOrder::kAny : script().order; }
  absl::StatusOr<int64_t> Open(const SinkContext& context, const SinkPosition& last) override;
  absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) override;
  absl::Status Flush() override;
  absl::Status Complete() override;

 private:
  const SinkScript& script() const { return world_->scenario().sinks[number_]; }
  absl::Status Failing() const;
  Table& table() { return world_->tables[number_]; }

  World* const world_;
  const int number_;
  const Plant plant_;
  std::map<std::string, std::string> texts_;  // by key
  int written_ = 0;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_SIMULATION_PARTS_H_
