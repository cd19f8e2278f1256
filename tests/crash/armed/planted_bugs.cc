// SPDX-License-Identifier: Apache-2.0
// Mistakes for the crash test to find. The linker puts this RunPipeline() before the real one (--wrap), so that nothing
// of it is in the shipped command. PLANTED_BUG names one:
//
//   swap    two texts of a batch get each other's vectors
//   drop    a batch is not written to a target
//   forget  a position of a target is not saved
//   rebuy   the text of an earlier row is not known again
//
// Without it, it only makes flushes of targets come often, so that jobs of a second have kills between them.

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "engine/pipeline.h"

namespace reembed {
namespace {

// Every so many chances the mistake is made.
constexpr int kEvery = 3;

class Bug {
 public:
  explicit Bug(std::string name) : name_(std::move(name)) {}
  bool Strikes(absl::string_view name) { return name == name_ && ++chances_ % kEvery == 0; }

 private:
  const std::string name_;
  std::atomic<int> chances_{0};
};

class BuggyLedger final : public Ledger {
 public:
  BuggyLedger(Ledger* ledger, Bug* bug) : ledger_(ledger), bug_(bug) {}

  int64_t rows() const override { return ledger_->rows(); }
  absl::StatusOr<std::unique_ptr<LedgerCursor>> Scan(int64_t from) override { return ledger_->Scan(from); }
  Enrolment Enrol(KeyView key, const TextHash& hash) override {
    TextHash other = hash;
    if (!known_.insert(hash.lo).second && bug_->Strikes("rebuy")) ++other.lo;
    return ledger_->Enrol(key, other);
  }
  Enrolment Resume(const LedgerRow& row, const TextHash& hash) override { return ledger_->Resume(row, hash); }
  int64_t Reject(KeyView key, std::optional<int64_t> ordinal, const absl::Status& reason) override {
    return ledger_->Reject(key, ordinal, reason);
  }
  void Persist(Batch* batch, Done done) override {
    const absl::Span<float> vectors = batch->vectors();
    const auto dim = static_cast<size_t>(batch->dim());
    if (vectors.size() >= 2 * dim && bug_->Strikes("swap")) {
      std::swap_ranges(vectors.begin(), vectors.begin() + dim, vectors.begin() + dim);
    }
    ledger_->Persist(batch, std::move(done));
  }
  int HeldUp() const override { return ledger_->HeldUp(); }
  absl::StatusOr<SinkPosition> Position(absl::string_view sink) override { return ledger_->Position(sink); }
  void SavePosition(absl::string_view sink, int64_t position) override {
    if (!bug_->Strikes("forget")) ledger_->SavePosition(sink, position);
  }
  void Refuse(absl::string_view sink, absl::Span<const RefusedRow> rows) override { ledger_->Refuse(sink, rows); }
  absl::Status Sync() override { return ledger_->Sync(); }

 private:
  Ledger* const ledger_;
  Bug* const bug_;
  absl::flat_hash_set<uint64_t> known_;
};

class BuggySink final : public VectorSink {
 public:
  BuggySink(VectorSink* sink, Bug* bug) : sink_(sink), bug_(bug) {}

  RowOrder row_order() const override { return sink_->row_order(); }
  absl::StatusOr<bool> Prepare(const SinkContext& context) override { return sink_->Prepare(context); }
  absl::Status Publish(const SinkContext& context) override { return sink_->Publish(context); }
  absl::StatusOr<int64_t> Open(const SinkContext& context, const SinkPosition& last) override {
    return sink_->Open(context, last);
  }
  absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) override {
    if (bug_->Strikes("drop")) batches.remove_prefix(1);
    return batches.empty() ? absl::OkStatus() : sink_->Write(batches, refused);
  }
  absl::Status Flush() override { return sink_->Flush(); }
  absl::Status Complete() override { return sink_->Complete(); }

 private:
  VectorSink* const sink_;
  Bug* const bug_;
};

}  // namespace

// The names that --wrap gives them; the mangled name of RunPipeline() is in tests/CMakeLists.txt, too.
absl::Status RealRunPipeline(const PipelineOptions& options, const PipelineParts& parts, std::stop_token stop) asm(
    "__real__ZN7reembed11RunPipelineERKNS_15PipelineOptionsERKNS_13PipelinePartsESt10stop_token");
absl::Status WrappedRunPipeline(const PipelineOptions& options, const PipelineParts& parts, std::stop_token stop) asm(
    "__wrap__ZN7reembed11RunPipelineERKNS_15PipelineOptionsERKNS_13PipelinePartsESt10stop_token");

absl::Status WrappedRunPipeline(const PipelineOptions& options, const PipelineParts& parts, std::stop_token stop) {
  const char* const name = std::getenv("PLANTED_BUG");
  PipelineOptions often = options;
  often.flush_interval = absl::Milliseconds(5);
  if (name == nullptr) return RealRunPipeline(often, parts, std::move(stop));
  Bug bug(name);
  BuggyLedger ledger(parts.ledger, &bug);
  std::vector<std::unique_ptr<BuggySink>> sinks;
  std::vector<NamedSink> named;
  for (const NamedSink& sink : parts.sinks) {
    sinks.push_back(std::make_unique<BuggySink>(sink.sink, &bug));
    named.push_back({sink.name, sinks.back().get(), sink.undo});
  }
  PipelineParts buggy = parts;
  buggy.ledger = &ledger;
  buggy.sinks = named;
  return RealRunPipeline(often, buggy, std::move(stop));
}

}  // namespace reembed
