// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_KEPT_VECTORS_H_
#define REEMBED_IO_JOB_KEPT_VECTORS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "io/job/ledger_sql.h"
#include "io/job/ledger_tables.h"
#include "io/job/vector_file.h"

namespace reembed {

// The only way out of JOB/vectors.f32: a vector is compared with what the ledger knows of it before anybody gets it. In
// format 2 each slot has its own checksum. In format 1 whole runs of slots have one, so a slot is as sound as its run,
// which is read once as a whole. Used by one thread at a time.
class KeptVectors {
 public:
  // Both are borrowed, the ledger may be open for reading only.
  static absl::StatusOr<std::unique_ptr<KeptVectors>> Open(LedgerConnection* ledger, const VectorFile* file);

  // The vectors of the kept slots [slot, slot + n) into `vectors`, [n, dim]. Errors: kDataLoss (one of them is not what
  // was kept: says which slot), as VectorFile.
  absl::Status Read(int64_t slot, absl::Span<float> vectors);

  // Which of the slots of a run are damaged: adds ranges to *damaged, in slot order. Slots beyond the end of the file,
  // or for which the ledger itself is damaged, are; so is the whole run in format 1.
  absl::Status FindDamage(const SlotRange& run, std::vector<SlotRange>* damaged);

  // What is lost with a slot that Read() has called damaged: itself, or its whole run.
  absl::StatusOr<SlotRange> LostWith(int64_t slot);

  // The ledger says something else of slots than it did.
  void Forget() { run_ = {}; }

 private:
  KeptVectors(int format, const VectorFile* file, LedgerStatement find)
      : format_(format), file_(file), find_(std::move(find)) {}

  // Makes `run_` the one with this slot.
  absl::Status Load(int64_t slot);
  // Of slots of `run_` that were read.
  bool IsSound(int64_t slot, absl::Span<const float> vector) const;
  absl::Status Damaged(int64_t begin, int64_t end) const;

  const int format_;
  const VectorFile* const file_;
  LedgerStatement find_;
  KeptRun run_;            // the last that was asked for
  bool is_sound_ = false;  // in format 1 all of it, in format 2 what the ledger says of it
  std::vector<float> piece_;
};

}  // namespace reembed

#endif  // REEMBED_IO_JOB_KEPT_VECTORS_H_
