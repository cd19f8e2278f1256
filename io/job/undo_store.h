// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_UNDO_STORE_H_
#define REEMBED_IO_JOB_UNDO_STORE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/mutex.h"
#include "engine/undo_log.h"
#include "io/job/ledger_sql.h"

namespace reembed {

// JOB/undo.db, see ledger_format.md: what the targets of a job held before. One file for all targets; each has a log of
// its own. The caller holds the job's lock. Errors are those of LedgerConnection and, of a file that is there,
// kFailedPrecondition (of a newer format, or something else).
class UndoStore {
 public:
  // Nothing is opened or made before something is kept.
  explicit UndoStore(const std::string& dir);
  UndoStore(const UndoStore&) = delete;
  UndoStore& operator=(const UndoStore&) = delete;

  // `target` is the name under which the ledger knows the sink. The log must not outlive this; logs of several targets
  // may be used by several threads.
  std::unique_ptr<UndoLog> LogOf(absl::string_view target);

 private:
  class TargetLog;
  absl::Status OpenOnce() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<int64_t> TargetId(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::optional<int64_t>> AdoptTarget(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  template <typename Body>
  absl::Status InTransaction(const std::string& target, Body body) ABSL_NO_THREAD_SAFETY_ANALYSIS;

  const std::string path_;
  Mutex mutex_;
  std::unique_ptr<LedgerConnection> file_ ABSL_GUARDED_BY(mutex_);  // null until something is kept
  bool has_sums_ ABSL_GUARDED_BY(mutex_) = true;
  LedgerStatement insert_row_ ABSL_GUARDED_BY(mutex_);
  LedgerStatement insert_note_ ABSL_GUARDED_BY(mutex_);
};

// What JOB/undo.db has beside each row and note since format 2, to tell damage; `target`: its id.
int64_t UndoRowSum(int64_t target, const OldRow& row);
int64_t UndoNoteSum(int64_t target, absl::string_view name, absl::string_view value);

// Whether there are sums in an open JOB/undo.db: not in format 1.
absl::StatusOr<bool> HasUndoSums(LedgerConnection* undo);

// What is damaged in JOB/undo.db, for people; names the target and the row's key. Reads all of it; empty also if there
// is none. Errors: as OpenUndo; kDataLoss (it cannot be read to its end).
struct UndoCheck {
  static constexpr size_t kMaxShown = 100;
  int64_t rows = 0;     // read; of a file without sums none
  int64_t damaged = 0;  // rows and notes
  std::vector<std::string> shown;
};
absl::StatusOr<UndoCheck> CheckUndo(const std::string& dir);

// A target of which something was kept.
struct UndoTarget {
  int64_t id = 0;
  std::string name;
  int64_t rows = 0;
};

// Opens JOB/undo.db for reading. Errors: kNotFound (nothing was ever kept); as UndoStore.
absl::StatusOr<std::unique_ptr<LedgerConnection>> OpenUndo(const std::string& dir);

// The newest first: a job that came to one table under two names is put back in reverse.
absl::StatusOr<std::vector<UndoTarget>> ReadUndoTargets(LedgerConnection* undo);

// What JOB/undo.db takes on disk; 0: there is none.
int64_t UndoBytes(const std::string& dir);

// Removes JOB/undo.db. The caller holds the job's lock.
absl::Status RemoveUndo(const std::string& dir);

}  // namespace reembed

#endif  // REEMBED_IO_JOB_UNDO_STORE_H_
