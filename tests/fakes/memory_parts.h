// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_MEMORY_PARTS_H_
#define REEMBED_TESTS_FAKES_MEMORY_PARTS_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/embedding_client.h"
#include "engine/ledger.h"
#include "engine/source.h"
#include "engine/vector_sink.h"

// The four parts of a pipeline in memory, with faults to order. Every vector tells which text it belongs to.
namespace reembed {

struct MemoryRow {
  Key key;
  std::optional<std::string> text;
};

class MemorySource final : public Source {
 public:
  explicit MemorySource(std::vector<MemoryRow> rows) : rows_(std::move(rows)) {}

  absl::StatusOr<std::optional<RowView>> Next() override;
  absl::Status SeekAfter(KeyView key) override;
  absl::StatusOr<std::optional<RowView>> Find(KeyView key) override;
  absl::StatusOr<int64_t> CountRows() override { return static_cast<int64_t>(rows_.size()); }

  std::vector<MemoryRow>& rows() { return rows_; }
  void Rewind() { next_ = 0; }
  void FailAt(size_t row) { fail_at_ = row; }  // Next() for this row answers kUnavailable, once

 private:
  std::vector<MemoryRow> rows_;
  size_t next_ = 0;
  std::optional<size_t> fail_at_;
};

// Answers from a thread of its own, in an order that the seed decides. The vector of a text is its TextVector().
class FakeClient final : public EmbeddingClient {
 public:
  enum class Fault {
    kUnavailable,  // Send answers so
    kStop,         // Send answers kUnauthenticated
    kBadReply,     // Decode answers kDataLoss, the first time
    kBadReplies,   // ... every time
    kDropped,      // the Done is dropped
    kThrows,       // Send throws
    kStalled,      // never answered
    kTextRefused,  // the first text of the request is refused, the others are fine
  };

  FakeClient(int dim, uint64_t seed);
  ~FakeClient() override;

  const Model& model() const override { return model_; }
  void Send(Batch* batch, Done done) override;
  absl::Status Decode(Batch* batch) const override;
  void Stop(InTheAir in_the_air, const absl::Status& why) override;
  ClientStats stats() const override;

  void FailRequest(int64_t number, Fault fault) { faults_[number] = fault; }  // before the run; from 0
  void OnRequest(std::function<void(int64_t)> hook) { hook_ = std::move(hook); }
  // Texts of more bytes are refused one by one as too long, with or without the figures; a token is a byte.
  void RefuseAbove(size_t bytes, bool names_figures) {
    max_text_bytes_ = bytes;
    names_figures_ = names_figures;
  }

  int64_t max_in_flight() const { return max_in_flight_; }
  int64_t texts_sent() const { return texts_sent_; }
  // Every text that was ever sent and taken, with how often.
  std::map<std::string, int> bought() const;

 private:
  struct Call {
    Batch* batch;
    Done done;
    absl::Status status;
  };
  void Loop();
  void RefuseLongTexts(Batch* batch) const;

  const Model model_;
  size_t max_text_bytes_ = 0;  // 0: none is too long
  bool names_figures_ = false;
  std::mt19937_64 random_;  // the loop's
  std::map<int64_t, Fault> faults_;
  std::function<void(int64_t)> hook_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Call> calls_;
  std::vector<Call> stalled_;
  std::map<std::string, int> bought_;
  std::set<const Batch*> bad_once_;
  std::set<const Batch*> bad_always_;
  int64_t requests_ = 0;
  int64_t in_flight_ = 0;
  std::atomic<int64_t> max_in_flight_{0};
  std::atomic<int64_t> texts_sent_{0};
  bool closing_ = false;
  bool cancelled_ = false;
  std::thread thread_;
};

class MemoryLedger final : public Ledger {
 public:
  explicit MemoryLedger(int dim) : dim_(dim) {}

  int64_t rows() const override;
  absl::StatusOr<std::unique_ptr<LedgerCursor>> Scan(int64_t from) override;
  Enrolment Enrol(KeyView key, const TextHash& hash) override;
  Enrolment Resume(const LedgerRow& row, const TextHash& hash) override;
  int64_t Reject(KeyView key, std::optional<int64_t> ordinal, const absl::Status& reason) override;
  void Persist(Batch* batch, Done done) override;
  int HeldUp() const override { return 0; }
  absl::StatusOr<SinkPosition> Position(absl::string_view sink) override;
  void SavePosition(absl::string_view sink, int64_t position) override;
  void Refuse(absl::string_view sink, absl::Span<const RefusedRow> rows) override;
  absl::Status Sync() override { return absl::OkStatus(); }

  void EndRun();  // what was claimed is free again, as after a restart
  int64_t kept_rows() const;
  int64_t rejected_rows() const;
  std::map<std::string, std::string> rejects() const;  // key text -> reason
  void FailPersist(int64_t number) { fail_persist_ = number; }

 private:
  friend class MemoryLedgerCursor;
  struct Row {
    Key key;
    int64_t slot = -1;
    absl::Status reject;
  };
  struct Text {
    TextHash hash;
    SlotState state = SlotState::kFree;
    absl::Status reject;
    std::vector<float> vector;
  };
  struct Parked {
    Batch* batch;
    Done done;
  };
  Enrolment Claim(int64_t ordinal, const TextHash& hash);
  bool TryResolve(Batch* batch);

  const int dim_;
  mutable std::mutex mutex_;
  std::vector<Row> rows_;
  std::vector<Text> texts_;
  std::map<std::pair<uint64_t, uint64_t>, int64_t> slots_;
  std::map<std::string, int64_t> positions_;
  std::vector<Parked> parked_;
  std::set<int64_t> refused_;
  std::optional<int64_t> fail_persist_;
  int64_t persists_ = 0;
};

// Remembers what it got, and complains in Write() about whatever a sink may rely on.
class MemorySink final : public VectorSink {
 public:
  explicit MemorySink(RowOrder order) : order_(order) {}

  RowOrder row_order() const override { return order_; }
  absl::StatusOr<bool> Prepare(const SinkContext& context) override;
  absl::StatusOr<int64_t> Open(const SinkContext& context, const SinkPosition& last) override;
  absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) override;
  absl::Status Flush() override;
  absl::Status Complete() override;
  absl::Status Publish(const SinkContext& context) override;

  const std::map<std::string, std::vector<float>>& vectors() const { return vectors_; }  // by key text
  bool finished() const { return completed_ && published_ > 0; }
  bool completed() const { return completed_; }
  int prepared() const { return prepared_; }    // how often
  int published() const { return published_; }  // likewise
  bool begun() const { return begun_; }         // as it was told when it was prepared last
  void FailPublish() { fail_publish_ = true; }  // once
  void LoseTable() { lost_ = true; }            // Prepare() makes it anew
  int64_t writes() const { return writes_; }
  void FailWrite(int64_t number) { fail_write_ = number; }
  void ThrowAtWrite(int64_t number) { throw_at_write_ = number; }
  void RefuseKey(std::string key) { refuse_key_ = std::move(key); }
  void ForgetEverything();  // as an index that was never saved

 private:
  const RowOrder order_;
  std::map<std::string, std::vector<float>> vectors_;
  std::optional<int64_t> fail_write_;
  std::optional<int64_t> throw_at_write_;
  std::string refuse_key_;
  std::atomic<int> inside_{0};
  int64_t last_ordinal_ = -1;
  int64_t writes_ = 0;
  bool forgetful_ = false;
  bool completed_ = false;
  int prepared_ = 0;
  int published_ = 0;
  bool begun_ = false;
  bool fail_publish_ = false;
  bool lost_ = false;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_MEMORY_PARTS_H_
