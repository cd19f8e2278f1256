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
// any two collide is below 10^-18, so that one vector may stand for all rows with that text.
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
  kKept,      // its vector is in the store
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

// What the ledger says to a row that is about to enter a batch.
struct Enrolment {
  int64_t ordinal = 0;
  int64_t slot = 0;
  bool buy = false;     // this row's batch buys the text; otherwise its vector comes from the store when it is there
  absl::Status reject;  // not OK: the text is known to be refused
};

// What the reading stage asks of a job's memory, and tells it: which rows there are and which texts they have. All
// calls come from one thread at a time.
class RowLedger {
 public:
  virtual ~RowLedger() = default;

  // Rows numbered so far. Any thread.
  virtual int64_t rows() const = 0;

  // The rows that were numbered before this call, from ordinal `from` on.
  virtual absl::StatusOr<std::unique_ptr<LedgerCursor>> Scan(int64_t from) = 0;

  // Numbers a new row. Copies the key. Durable no later than anything that is kept for it.
  virtual Enrolment Enrol(KeyView key, const TextHash& hash) = 0;

  // Takes up a row of an earlier run that has no vector yet; `hash` is of the text it has now, which may have changed.
  virtual Enrolment Resume(const LedgerRow& row, const TextHash& hash) = 0;

  // Numbers a new row that gets no vector (nullopt: numbers nothing, the row has `ordinal` already), with the reason,
  // which holds no text of the row. Returns its ordinal.
  virtual int64_t Reject(KeyView key, std::optional<int64_t> ordinal, const absl::Status& reason) = 0;
};

// What becomes of the rows: which vectors are bought, how far each sink is. Any thread at any time.
class VectorLedger {
 public:
  virtual ~VectorLedger() = default;

  // The only way a vector becomes the job's own. Appends the vectors of batch->texts() to the store, makes them
  // durable, records them, and only then sets BatchRow::vector of every row, also of those whose vector was bought by
  // another batch (for whose Keep it waits). Rejected texts reject their rows. Of a batch that has failed
  // the vectors that it has are kept (Batch::HasVector), no row gets one, and rows that waited for its other texts fail
  // with it. The batch is the ledger's until `done`.
  // Answers: OK; kResourceExhausted (disk full); kUnavailable (a row's text was in a batch that failed);
  // kInternal (input/output error).
  virtual void Keep(Batch* batch, Done done) = 0;

  // How many batches Keep() holds up just now for its disk's sake; not those that wait for another batch.
  virtual int HeldUp() const = 0;

  // Position of a sink; {0, 0} if it is new. `sink` is the target's URI, without secrets. Rows rejected as a whole or
  // refused by this very sink do not count as stored.
  virtual absl::StatusOr<SinkPosition> Position(absl::string_view sink) = 0;
  virtual void SavePosition(absl::string_view sink, int64_t position) = 0;

  // A target refused rows: they count as rejected, for that sink alone.
  virtual void Refuse(absl::string_view sink, absl::Span<const RefusedRow> rows) = 0;

  // Everything said so far, also to the RowLedger, is on disk when this returns.
  // Errors: the first failure of any write since the start.
  virtual absl::Status Sync() = 0;
};

// The durable memory of a job. Nothing else decides what still has to be done. Who needs only one half takes only that.
class Ledger : public RowLedger, public VectorLedger {};

}  // namespace reembed

#endif  // REEMBED_ENGINE_LEDGER_H_
