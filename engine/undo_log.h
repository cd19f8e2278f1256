// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_UNDO_LOG_H_
#define REEMBED_ENGINE_UNDO_LOG_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/key.h"

// The undo log of a job: what the rows of a target that is filled in place held before the job overwrote them. A sink
// logs a row before it overwrites it; a rollback reads it back. `content` is in a form of the sink's own.
namespace reembed {

// What a row of a target held when the job came to it first.
struct OldRow {
  int64_t ordinal = 0;
  KeyView key;                               // as the target is asked for it
  std::optional<absl::string_view> content;  // nullopt: the target had no such row
};

// One target's part of the log. Used by the sink's thread.
class UndoLog {
 public:
  virtual ~UndoLog() = default;

  // Logs the rows that `next` returns, until nullopt; the views of a row need not outlive the next call of `next`. Of a
  // key that is in the log already the first content stays, so the same rows may be logged again after a crash. Durable
  // when it returns OK, and only then may the rows be overwritten; otherwise nothing of this call is logged.
  // Errors: those of `next`; kResourceExhausted (no room), kInternal.
  virtual absl::Status Log(absl::FunctionRef<absl::StatusOr<std::optional<OldRow>>()> next) = 0;

  // Logs a fact about the whole target, such as a column that is about to be added. The first value stays. As Log().
  virtual absl::Status LogNote(absl::string_view name, absl::string_view value) = 0;
};

// One target's part of the log, read back by a rollback. Used by one thread.
class UndoReader {
 public:
  virtual ~UndoReader() = default;

  // In the order in which they were logged; nullopt after the last. The views die at the next call.
  virtual absl::StatusOr<std::optional<OldRow>> Next() = 0;

  virtual absl::StatusOr<std::optional<std::string>> FindNote(absl::string_view name) = 0;

  // The vector, [dim], that the job has written to the row or was about to; nullopt: not known, as the job persists no
  // vectors. The view dies at the next call.
  virtual absl::StatusOr<std::optional<absl::Span<const float>>> WrittenVector(int64_t ordinal) = 0;
};

// What a rollback of one target did.
struct RollbackReport {
  struct Row {
    Key key;
    std::string reason;
  };
  static constexpr size_t kMaxShown = 100;

  int64_t rows_restored = 0;       // hold again what they held, or are gone again
  int64_t rows_unchanged = 0;      // held it already: put back before, or never overwritten
  int64_t rows_gone = 0;           // are not in the target any more
  int64_t rows_left = 0;           // stay as they are, because somebody changed them since, or the target refused
  std::vector<Row> left;           // the first kMaxShown of them
  std::vector<std::string> notes;  // what else was done or stays, for people

  void Leave(KeyView key, absl::string_view reason) {
    if (left.size() < kMaxShown) left.push_back({Own(key), std::string(reason)});
    ++rows_left;
  }
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_UNDO_LOG_H_
