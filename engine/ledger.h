// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_LEDGER_H_
#define REEMBED_ENGINE_LEDGER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/batch.h"
#include "engine/done.h"
#include "engine/embedding_client.h"
#include "engine/key.h"
#include "engine/vector_sink.h"

namespace reembed {

// 128-bit fingerprint of a text: equal texts have equal fingerprints, and for 10^10 different texts the chance that
// any two collide is below 10^-18, so one vector can be used for all rows with that text.
struct TextHash {
  uint64_t lo = 0;
  uint64_t hi = 0;
  friend bool operator==(const TextHash&, const TextHash&) = default;
};

// The same on every machine and in every version: ledgers on disk hold it.
TextHash HashText(absl::string_view text);

enum class SlotState : uint8_t {
  kFree,      // no run has its vector, and this run is not buying it
  kClaimed,   // this run is buying it
  kKept,      // its vector is persisted: in the vector store, durably
  kRejected,  // the provider refuses this text
};

// One row of an earlier run, or of this one.
struct LedgerRow {
  int64_t ordinal = 0;
  KeyView key;                         // valid until the cursor's next call
  int64_t slot = -1;                   // -1: rejected before it had one
  TextHash hash;                       // of the text of `slot`
  SlotState state = SlotState::kFree;  // of `slot`; kRejected when the row itself is
};

class LedgerCursor {
 public:
  virtual ~LedgerCursor() = default;
  // In ascending ordinal order; nullopt after the last.
  virtual absl::StatusOr<std::optional<LedgerRow>> Next() = 0;
};

// What the ledger says about a row that is about to enter a batch.
struct Enrolment {
  int64_t ordinal = 0;
  int64_t slot = 0;
  bool buy = false;     // this row's batch buys the text; otherwise its vector comes from the vector store
  absl::Status reject;  // not OK: the provider has refused this text before
};

// The part of the ledger for the reading stage: which rows exist, and which texts they have. Called by one thread
// at a time.
class RowLedger {
 public:
  virtual ~RowLedger() = default;

  // Rows numbered so far. Any thread.
  virtual int64_t rows() const = 0;

  // The rows that were numbered before this call, from ordinal `from` on.
  virtual absl::StatusOr<std::unique_ptr<LedgerCursor>> Scan(int64_t from) = 0;

  // Numbers a new row. Copies the key. Durable no later than the row's vector.
  virtual Enrolment Enrol(KeyView key, const TextHash& hash) = 0;

  // Resumes a row of an earlier run that has no vector yet. `hash`: of the text that it has now, which may have
  // changed.
  virtual Enrolment Resume(const LedgerRow& row, const TextHash& hash) = 0;

  // Records that a row gets no vector, and why; `reason` holds no text of the row. Numbers the row, unless it has
  // `ordinal` already. Returns its ordinal.
  virtual int64_t Reject(KeyView key, std::optional<int64_t> ordinal, const absl::Status& reason) = 0;
};

// The part of the ledger for the later stages: which vectors are persisted, and the position of each sink. Thread-safe.
class VectorLedger {
 public:
  virtual ~VectorLedger() = default;

  // Persists the vectors of batch->texts(): appends them to the vector store, makes them durable, records them, and
  // only then sets BatchRow::vector of every row. A row whose vector another batch buys waits for that batch's
  // Persist(). The rows of rejected texts are rejected. If the batch has failed, the vectors that it has
  // (Batch::HasVector) are persisted, its rows get none, and rows of other batches that wait for its other texts fail.
  // The ledger owns the batch until it calls `done`, which gets: OK; kResourceExhausted (disk full); kUnavailable (a
  // row's text was in a batch that failed); kInternal (input/output error).
  virtual void Persist(Batch* batch, Done done) = 0;

  // How many batches wait in Persist() for the disk at this moment, without those that wait for another batch.
  virtual int HeldUp() const = 0;

  // Position of a sink; {0, 0} if it is new. `sink`: the target's URI, without secrets. Rows that are rejected, or that
  // this sink refused, do not count as stored.
  virtual absl::StatusOr<SinkPosition> Position(absl::string_view sink) = 0;
  virtual void SavePosition(absl::string_view sink, int64_t position) = 0;

  // Records rows that a target refused: they are rejected for this sink only.
  virtual void Refuse(absl::string_view sink, absl::Span<const RefusedRow> rows) = 0;

  // Makes all calls so far durable, also those of RowLedger.
  // Errors: the first failure of any write since the start.
  virtual absl::Status Sync() = 0;
};

// The durable record of a job; it alone decides what still has to be done.
class Ledger : public RowLedger, public VectorLedger {};

}  // namespace reembed

#endif  // REEMBED_ENGINE_LEDGER_H_
