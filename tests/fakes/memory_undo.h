// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_MEMORY_UNDO_H_
#define REEMBED_TESTS_FAKES_MEMORY_UNDO_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/undo_log.h"

namespace reembed {

// What a sink shows, in memory, and the same read back. As a job's own log: the first content of a key stays.
class MemoryUndo final : public UndoLog {
 public:
  absl::Status Log(absl::FunctionRef<absl::StatusOr<std::optional<OldRow>>()> next) override;
  absl::Status LogNote(absl::string_view name, absl::string_view value) override;

  // Reads from the first row. `dim` of the vectors that VectorRows has for an ordinal; 0: nobody knows what was
  // written.
  std::unique_ptr<UndoReader> Read(int dim) const;

  size_t rows() const { return rows_.size(); }
  void Fail(absl::Status status) { failure_ = std::move(status); }  // from now on Log() answers so

 private:
  friend class MemoryUndoReader;
  struct Row {
    int64_t ordinal;
    Key key;
    std::optional<std::string> content;
  };
  std::vector<Row> rows_;
  std::map<Key, bool> known_;
  std::map<std::string, std::string> notes_;
  absl::Status failure_;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_MEMORY_UNDO_H_
