// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <optional>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/contained.h"
#include "engine/count_rows.h"
#include "engine/cut_texts.h"
#include "engine/mutex.h"
#include "engine/number/normalize.h"
#include "engine/open_sinks.h"
#include "engine/owed_rows.h"
#include "engine/pace/run_control.h"
#include "engine/publish_targets.h"
#include "engine/row_reader.h"
#include "engine/sink_writer.h"
#include "engine/status_macros.h"
#include "engine/wait_looks.h"
#include "oneapi/tbb/flow_graph.h"
#include "oneapi/tbb/task_arena.h"

namespace reembed {
namespace {

namespace flow = oneapi::tbb::flow;

// So many looks in a row must find no new answer before a run gives up. A process that stood still made one of them.
constexpr int kStallLooks = 32;

// Where a batch is.
enum class Stage { kHome, kRead, kEmbed, kDecode, kKeep, kWrite };

// A batch on its way round, and who is being waited for.
struct Slot {
  Slot(const BatchLimits& limits, int dim) : batch(limits, dim) {}

  Batch batch;
  int64_t sequence = 0;  // of the batch among all of this run, dense, in ordinal order
  std::atomic<int> sinks_left{0};
  std::atomic<Stage> stage{Stage::kHome};
  // An asynchronous stage waits for an answer under this number; 0: none does. Whoever sets it back to 0 (the part that
  // answers, or the watchdog in its stead) goes on with the slot, and a later answer is ignored.
  std::atomic<int64_t> ticket{0};
};

using Async = flow::async_node<Slot*, Slot*>;
using Read = flow::multifunction_node<Slot*, std::tuple<Slot*>>;
using Decode = flow::multifunction_node<Slot*, std::tuple<Slot*, Slot*>>;
using Commit = flow::multifunction_node<Slot*, std::tuple<Slot*>>;

bool IsPartlyAnswered(const Batch& batch) {
  const auto is_answered = [](const BatchText& text) { return text.answered; };
  return !batch.replies().empty() || std::any_of(batch.texts().begin(), batch.texts().end(), is_answered);
}

// The graph of one run. The first failure of any part ends reading; what is in flight comes home.
class Run {
 public:
  Run(const PipelineOptions& options, const PipelineParts& parts, std::stop_token stop)
      : options_(options), parts_(parts), stop_(std::move(stop)), dim_(parts.client->model().dim) {}

  absl::Status OpenSinks();
  absl::Status Execute();

 private:
  enum class Outcome { kGoing, kSourceEnded, kStopped };

  void BuildAndWait();
  void StayHome(Slot* slot);
  void ReadInto(Slot* slot, Read::output_ports_type& out);
  void Send(Slot* slot, Async::gateway_type& gate);
  void DecodeReply(Slot* slot, Decode::output_ports_type& out);
  void KeepVectors(Slot* slot, Async::gateway_type& gate);
  void WriteToSinks(Slot* slot, Async::gateway_type& gate);
  void CommitRows(Slot* slot, Commit::output_ports_type& out);

  // Starts an asynchronous stage: `begin` gets the Done. The slot goes on when it is answered, or given up.
  template <typename Begin>
  void Await(const char* stage, Slot* slot, Async::gateway_type& gate, Begin begin);
  absl::Status FinishVectors(Batch* batch);
  absl::Status NormalizeTexts(Batch* batch) const;
  void Watch(std::stop_token done);
  void GiveUpWaiting() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // not held meanwhile
  std::optional<WaitedFor> Look();
  void NoteFailure(const absl::Status& status);
  bool Failed();

  const PipelineOptions options_;
  const PipelineParts parts_;
  const std::stop_token stop_;
  const int dim_;

  std::vector<std::unique_ptr<SinkWriter>> writers_;
  RowReader::Options read_from_;
  std::unique_ptr<RowReader> reader_;
  CutTexts cuts_;
  // Shared, because a Done that a stalled part still holds outlives the run.
  std::vector<std::shared_ptr<Slot>> slots_;
  int64_t next_sequence_ = 0;          // the reading stage only
  Outcome outcome_ = Outcome::kGoing;  // the reading stage only, until the graph has ended
  int home_ = 0;                       // guarded by mutex_ until the graph has ended: batches that came home to stay
  std::atomic<int64_t> next_ticket_{1};

  Mutex mutex_;
  int under_way_ ABSL_GUARDED_BY(mutex_) = 0;  // batches neither home nor given up
  std::condition_variable_any all_home_;       // with mutex_
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  struct Awaited {
    std::shared_ptr<Slot> slot;
    Async::gateway_type* gate;
    int64_t ticket;
  };
  std::vector<Awaited> awaited_ ABSL_GUARDED_BY(mutex_);
  std::condition_variable_any watch_;  // with mutex_; nobody notifies, it only waits
  std::atomic<int64_t> answers_{0};
  std::atomic<bool> reading_{false};
  std::atomic<int> closing_{-1};  // the sink that is made complete; behind the last the ledger
};

absl::Status Run::OpenSinks() {
  ABSL_ASSIGN_OR_RETURN(const OpenedSinks opened, reembed::OpenSinks(options_, parts_));
  read_from_ = opened.read_from;
  for (size_t i = 0; i < parts_.sinks.size(); ++i) {
    writers_.push_back(std::make_unique<SinkWriter>(parts_.sinks[i], opened.starts[i], parts_.ledger,
                                                    &parts_.counters->sinks, options_.flush_interval));
  }
  return absl::OkStatus();
}

absl::Status Run::Execute() {
  reader_ = std::make_unique<RowReader>(parts_.source, parts_.ledger, parts_.count_tokens, options_.batch, read_from_);
  for (int i = 0; i < options_.batches_in_flight; ++i) {
    slots_.push_back(std::make_shared<Slot>(options_.batch, dim_));
  }
  const WaitLooks looks(&parts_.counters->waits, [this] { return Look(); });
  {
    std::jthread watchdog([this](std::stop_token done) { Watch(std::move(done)); });
    BuildAndWait();
  }
  if (home_ != options_.batches_in_flight) {
    NoteFailure(absl::InternalError(absl::StrCat("lost batches: ", options_.batches_in_flight, " went out and ", home_,
                                                 " came home; run again, nothing that was paid for is lost")));
  }
  const bool complete = outcome_ == Outcome::kSourceEnded && !Failed() && parts_.ledger->rows() > 0;
  bool left_unfinished = false;
  for (auto& writer : writers_) {
    ++closing_;
    const bool finish = complete && !stop_.stop_requested();
    left_unfinished |= complete && !finish;
    const absl::Status closed =
        writer->Close(finish ? SinkWriter::Ending::kComplete : SinkWriter::Ending::kEarly, parts_.ledger->rows());
    if (finish && closed.ok() && parts_.owed != nullptr) parts_.owed->Settle(writer->name());
    NoteFailure(closed);
  }
  ++closing_;
  NoteFailure(parts_.ledger->Sync());
  const MutexLock lock(&mutex_);
  ABSL_RETURN_IF_ERROR(failure_);
  if (outcome_ == Outcome::kStopped || left_unfinished)
    return absl::CancelledError("stopped; the same command resumes from here");
  return absl::OkStatus();
}

void Run::BuildAndWait() {
  // One core is left to the threads outside: a worker that looks for work where none is takes time from the network
  // loop (measured on two cores: a fifth of all). This thread takes no part, since oneTBB would have it look for work,
  // too.
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  oneapi::tbb::task_arena arena(std::max(1, cores - 1), /*reserved_for_masters=*/0);
  oneapi::tbb::task_group_context context;
  std::optional<flow::graph> made;                // before its nodes: it must outlive them
  arena.execute([&] { made.emplace(context); });  // it lives in the arena of the thread that makes it
  flow::graph& graph = *made;
  Read read(graph, flow::serial, [this](Slot* slot, Read::output_ports_type& out) { ReadInto(slot, out); });
  Async embed(graph, flow::unlimited, [this](Slot* slot, Async::gateway_type& gate) { Send(slot, gate); });
  Decode decode(graph, flow::unlimited, [this](Slot* slot, Decode::output_ports_type& out) { DecodeReply(slot, out); });
  Async keep(graph, flow::unlimited, [this](Slot* slot, Async::gateway_type& gate) { KeepVectors(slot, gate); });
  Async write(graph, flow::unlimited, [this](Slot* slot, Async::gateway_type& gate) { WriteToSinks(slot, gate); });
  Commit commit(graph, flow::serial, [this](Slot* slot, Commit::output_ports_type& out) { CommitRows(slot, out); });

  flow::make_edge(flow::output_port<0>(read), embed);
  flow::make_edge(embed, decode);
  flow::make_edge(flow::output_port<0>(decode), keep);
  flow::make_edge(flow::output_port<1>(decode), embed);  // the reply was not usable: ask again
  flow::make_edge(keep, write);
  flow::make_edge(write, commit);
  flow::make_edge(flow::output_port<0>(commit), read);  // the batch goes round

  {
    const MutexLock lock(&mutex_);
    under_way_ = static_cast<int>(slots_.size());
  }
  std::vector<Slot*> all;  // the watchdog may take one out of slots_
  for (const auto& slot : slots_) all.push_back(slot.get());
  for (Slot* const slot : all) read.try_put(slot);
  {
    MutexLock lock(&mutex_);
    const auto over = [this, &context]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return under_way_ == 0 || context.is_group_execution_cancelled();
    };
    while (!all_home_.wait_for(lock, std::chrono::seconds(1), over)) continue;
  }
  arena.execute([&graph] { graph.wait_for_all(); });
}

void Run::StayHome(Slot* slot) {
  slot->stage = Stage::kHome;
  const MutexLock lock(&mutex_);
  ++home_;
  if (--under_way_ == 0) all_home_.notify_all();
}

void Run::ReadInto(Slot* slot, Read::output_ports_type& out) {
  slot->batch.Clear();
  slot->stage = Stage::kRead;
  if (outcome_ == Outcome::kGoing && stop_.stop_requested()) outcome_ = Outcome::kStopped;
  if (outcome_ != Outcome::kGoing || Failed()) {
    StayHome(slot);
    return;
  }
  const absl::Status filled = Contained("read: ", [&] {
    reading_ = true;
    const absl::StatusOr<FillResult> result = reader_->Fill(&slot->batch);
    reading_ = false;
    if (result.ok() && *result == FillResult::kEnd) outcome_ = Outcome::kSourceEnded;
    return result.status();
  });
  // Rows that were numbered before the source failed are in the batch: they go their way.
  if (!filled.ok()) NoteFailure(filled);
  if (slot->batch.range().size() == 0) {
    StayHome(slot);
    return;
  }
  parts_.counters->rows_read += static_cast<int64_t>(slot->batch.rows().size());
  slot->sequence = next_sequence_++;
  std::get<0>(out).try_put(slot);
}

template <typename Begin>
void Run::Await(const char* stage, Slot* slot, Async::gateway_type& gate, Begin begin) {
  const int64_t ticket = next_ticket_++;
  std::shared_ptr<Slot> owner;
  {
    const MutexLock lock(&mutex_);
    const auto is_slot = [slot](const auto& shared) { return shared.get() == slot; };
    owner = *std::find_if(slots_.begin(), slots_.end(), is_slot);
    gate.reserve_wait();
    slot->ticket = ticket;
    awaited_.push_back({owner, &gate, ticket});
  }
  const absl::Status begun = Contained(absl::StrCat(stage, ": "), [&] {
    begin(Done([this, &gate, owner, ticket](absl::Status status) {
      int64_t expected = ticket;
      if (!owner->ticket.compare_exchange_strong(expected, 0)) return;  // given up: `this` and the gate may be gone
      ++answers_;
      {
        const MutexLock lock(&mutex_);
        std::erase_if(awaited_, [ticket](const Awaited& awaited) { return awaited.ticket == ticket; });
      }
      if (!status.ok()) owner->batch.Fail(std::move(status));
      if (owner->stage == Stage::kEmbed) owner->stage = Stage::kDecode;
      gate.try_put(owner.get());
      gate.release_wait();  // last: the graph may be gone right after
    }));
    return absl::OkStatus();
  });
  NoteFailure(begun);  // the Done has answered already: it was dropped on the way
}

void Run::Send(Slot* slot, Async::gateway_type& gate) {
  Batch* const batch = &slot->batch;
  if (batch->texts().empty() || !batch->status().ok()) {
    slot->stage = Stage::kDecode;
    gate.try_put(slot);
    return;
  }
  batch->replies().clear();
  slot->stage = Stage::kEmbed;
  Await("embed", slot, gate, [&](Done done) { parts_.client->Send(batch, std::move(done)); });
}

absl::Status Run::NormalizeTexts(Batch* batch) const {
  for (size_t i = 0; i < batch->texts().size(); ++i) {
    BatchText& text = batch->texts()[i];
    if (!batch->HasVector(text)) continue;
    if (absl::Status scaled = NormalizeRows(batch->vectors().subspan(i * dim_, dim_), dim_); !scaled.ok()) {
      text.reject = absl::DataLossError("its vector is zero or not finite");
    }
  }
  return absl::OkStatus();
}

void Run::DecodeReply(Slot* slot, Decode::output_ports_type& out) {
  Batch* const batch = &slot->batch;
  const bool complete = batch->status().ok();
  if (complete ? !batch->texts().empty() : IsPartlyAnswered(*batch)) {
    const absl::Status decoded = Contained("decode: ", [&] { return parts_.client->Decode(batch); });
    if (complete && absl::IsDataLoss(decoded)) {
      batch->NextAttempt();
      // Also when the run has failed elsewhere: other texts of the batch are answered, and paid for.
      if (batch->attempts() < options_.max_bad_replies) {
        std::get<1>(out).try_put(slot);
        return;
      }
      batch->Fail(absl::UnavailableError(
          absl::StrCat(decoded.message(), " (asked ", batch->attempts(), " times); run the same command again later")));
    } else if (absl::IsUnavailable(decoded)) {
      batch->Fail(decoded);
    } else if (!decoded.ok() && !absl::IsDataLoss(decoded)) {
      batch->Distrust(decoded);  // another model's, perhaps
    }
    if (absl::Status finished = Contained("decode: ", [&] { return FinishVectors(batch); }); !finished.ok()) {
      batch->Distrust(std::move(finished));
    }
    // The next request takes the memory while it is warm.
    batch->replies().clear();
  }
  std::get<0>(out).try_put(slot);
}

// From what the client has brought to what is kept.
absl::Status Run::FinishVectors(Batch* batch) {
  batch->MergeParts();
  cuts_.Remember(*batch);
  return options_.normalization == Normalization::kAsReceived ? absl::OkStatus() : NormalizeTexts(batch);
}

void Run::KeepVectors(Slot* slot, Async::gateway_type& gate) {
  slot->stage = Stage::kKeep;
  Await("persist", slot, gate, [&](Done done) { parts_.ledger->Persist(&slot->batch, std::move(done)); });
}

void Run::WriteToSinks(Slot* slot, Async::gateway_type& gate) {
  if (writers_.empty()) {
    gate.try_put(slot);
    return;
  }
  slot->sinks_left = static_cast<int>(writers_.size());
  slot->stage = Stage::kWrite;
  Await("write", slot, gate, [&](Done done) {
    // Whichever sink answers last answers for all; each reports its own failure.
    auto all = std::make_shared<Done>(std::move(done));
    for (auto& writer : writers_) {
      writer->Write(&slot->batch, slot->sequence, Done([this, slot, all](const absl::Status& status) {
        NoteFailure(status);
        if (--slot->sinks_left == 0) std::move (*all)(absl::OkStatus());
      }));
    }
  });
}

void Run::CommitRows(Slot* slot, Commit::output_ports_type& out) {
  NoteFailure(slot->batch.status());
  CountRows(slot->batch, cuts_, parts_.counters);
  slot->stage = Stage::kRead;
  std::get<0>(out).try_put(slot);
}

void Run::Watch(std::stop_token done) {
  const auto interval = absl::ToChronoNanoseconds(options_.stall_timeout / kStallLooks);
  MutexLock lock(&mutex_);
  int64_t seen = -1;
  int quiet = 0;  // looks in a row without an answer
  while (!done.stop_requested()) {
    const bool paused = parts_.control != nullptr && parts_.control->paused();
    quiet = seen == answers_.load() && !awaited_.empty() && !paused ? quiet + 1 : 0;
    seen = answers_.load();
    if (quiet >= kStallLooks) {
      GiveUpWaiting();
      quiet = 0;
    }
    // A process that was stopped for a while finds one look late, and the answers may be there by the next.
    watch_.wait_for(lock, done, interval, [] { return false; });
  }
}

void Run::GiveUpWaiting() {
  mutex_.unlock();
  NoteFailure(absl::DeadlineExceededError(absl::StrCat("no answer from any part for ",
                                                       absl::FormatDuration(options_.stall_timeout),
                                                       "; gave up waiting. run again: it resumes from here")));
  parts_.client->Cancel();
  mutex_.lock();
  for (const Awaited& awaited : std::exchange(awaited_, {})) {
    int64_t expected = awaited.ticket;
    if (!awaited.slot->ticket.compare_exchange_strong(expected, 0)) continue;
    // The part that stalled may still write to this batch, so it does not go round again.
    const auto is_slot = [&](const auto& shared) { return shared == awaited.slot; };
    const auto place = std::find_if(slots_.begin(), slots_.end(), is_slot);
    if (place != slots_.end()) slots_.erase(place);
    awaited.gate->release_wait();
    if (--under_way_ == 0) all_home_.notify_all();
  }
}

std::optional<WaitedFor> Run::Look() {
  std::vector<std::string> names;
  for (const NamedSink& sink : parts_.sinks) names.push_back(sink.name);
  if (const int closing = closing_; closing >= 0) {
    if (closing < static_cast<int>(names.size())) return WaitedFor{WaitPart::kTarget, names[closing]};
    return WaitedFor{WaitPart::kDisk, ""};
  }
  BatchCounts counts;
  {
    const MutexLock lock(&mutex_);
    for (const auto& slot : slots_) {
      const Stage stage = slot->stage;
      // Those that are not read for want of a processor wait for no source.
      counts.source += stage == Stage::kRead && reading_ ? 1 : 0;
      counts.api += stage == Stage::kEmbed ? 1 : 0;
      counts.processor += stage == Stage::kDecode ? 1 : 0;
    }
  }
  counts.quota = counts.api > 0 && parts_.client->stats().quota_wait > absl::ZeroDuration();
  counts.disk = parts_.ledger->HeldUp();
  for (const auto& writer : writers_) counts.targets.push_back(writer->HeldUp());
  return SlowestOf(counts, names);
}

void Run::NoteFailure(const absl::Status& status) {
  if (status.ok()) return;
  const MutexLock lock(&mutex_);
  if (failure_.ok()) failure_ = status;
}

bool Run::Failed() {
  const MutexLock lock(&mutex_);
  return !failure_.ok();
}

}  // namespace

absl::Status RunPipeline(const PipelineOptions& options, const PipelineParts& given, std::stop_token stop) {
  PipelineParts parts = given;
  RunCounters counters;
  if (parts.counters == nullptr) parts.counters = &counters;
  const TokenEstimator estimator;
  const TokenCounter estimate = [&](absl::string_view text) {
    return estimator.Estimate(static_cast<int64_t>(text.size()));
  };
  if (parts.count_tokens == nullptr) {
    parts.count_tokens = &estimate;
    parts.estimator = &estimator;
  }
  Run run(options, parts, stop);
  ABSL_RETURN_IF_ERROR(run.OpenSinks());
  ABSL_RETURN_IF_ERROR(run.Execute());
  if (!options.publishes || parts.ledger->rows() == 0) return absl::OkStatus();
  return PublishTargets(parts.sinks, parts.client->model(), parts.counters, stop);
}

int BatchesInFlight(int concurrency, const BatchLimits& limits, int dim) {
  constexpr int64_t kSpareBytes = int64_t{32} << 20;  // of their vectors
  BatchLimits without_texts = limits;
  without_texts.max_text_bytes = 0;
  const int64_t bytes = Batch::BytesOf(without_texts, dim);
  const auto affordable = static_cast<int>(std::min<int64_t>(kSpareBytes / bytes, int64_t{3} * concurrency));
  // A commit takes as long with few requests as with many, and as many batches wait for it.
  return concurrency + std::max({4, std::min(concurrency, 8), concurrency / 2, affordable});
}

int64_t PeakBatchBytes(const PipelineOptions& options, int dim) {
  return options.batches_in_flight * Batch::BytesOf(options.batch, dim);
}

}  // namespace reembed
