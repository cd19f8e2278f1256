// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_BUILD_STAGE_FILE_H_
#define REEMBED_INDEX_BUILD_STAGE_FILE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "index/faiss_io.h"
#include "index/index_files.h"

namespace reembed {

// What a build has done so far, so that one which is killed is gone on with: the index as it is in
// PATH.partial.stage-ROWS, and PATH.partial.stage.json, one flat JSON object that names it:
// {"format":1,"identity":"...","rows":1000,"trained_rows":200,"bytes":12,"checksum":"..."}.
// The second is replaced in one step, so there is always one stage, or none.
class BuildStageFile {
 public:
  // `identity`: of all that decides what the index becomes. A stage of another one is not gone on with.
  BuildStageFile(const std::string& path, std::string identity)
      : description_(path + ".partial.stage.json"), index_(path + ".partial.stage-"), identity_(std::move(identity)) {}

  struct Stage {
    FaissIndex index;
    int64_t trained_rows = 0;
  };

  // nullopt: there is none, or it is of another build, or damaged. Errors: kResourceExhausted (memory).
  absl::StatusOr<std::optional<Stage>> Load() const;

  // Durable when it returns. Errors: kResourceExhausted (disk full: what was saved before is still there).
  absl::Status Save(const faiss::Index& index, int64_t trained_rows) const;

  void Remove() const;

  // What such a description says of a file.
  struct Record {
    std::string identity;
    int64_t rows = 0;
    int64_t trained_rows = 0;
    FileMark mark;
  };
  // The description at `path`; nullopt: there is none that can be read.
  static std::optional<Record> ReadRecord(const std::string& path);
  // Replaces it in one step, durably.
  static absl::Status WriteRecord(const std::string& path, const Record& record);

 private:
  // All indexes of stages, also those that a killed build had saved and not named yet, or named and not removed; `but`:
  // the path of one that stays.
  void RemoveIndexes(const std::string& but) const;

  std::string IndexPath(int64_t rows) const;

  const std::string description_;
  const std::string index_;
  const std::string identity_;
};

}  // namespace reembed

#endif  // REEMBED_INDEX_BUILD_STAGE_FILE_H_
