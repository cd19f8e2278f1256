// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_TARGET_COMPARISON_H_
#define REEMBED_TOOLS_TARGET_COMPARISON_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/key.h"
#include "engine/vector_reader.h"
#include "io/job/job_reader.h"
#include "tools/registry.h"

// What a target holds against what the job has bought.
namespace reembed {

// A row whose vector is not the job's own in a target.
struct RowDifference {
  enum class Kind { kUnreadable, kMissing, kOther };
  int64_t ordinal = 0;
  KeyView key;
  Kind kind = Kind::kOther;
  std::string words;  // for people: "has no vector"
};

// Compares the rows of the job from the ordinal `from` on that have a vector, but for those of which `left_out` is
// true. A job that keeps no vectors knows only whether there is one. Vectors of the job's own that are damaged are
// passed over. Returns how many rows were compared. Errors: those of the job.
absl::StatusOr<int64_t> CompareTarget(const JobReader& job, const Store& target, VectorReader* reader, int64_t from,
                                      absl::FunctionRef<bool(int64_t ordinal)> left_out,
                                      absl::FunctionRef<void(const RowDifference&)> found);

// What a run finds that has looked at everything it has written.
struct ReadBack {
  int64_t foreign = 0;     // that hold another vector, or have lost theirs
  std::vector<Key> first;  // some of them
  bool told = true;        // whether it could be told: the job keeps its vectors
};
// What is doubtful about a target, and who counts the rows that hold no vector, or are not there.
struct ReadBackDoubt {
  bool forgot = false;          // the server may have lost writes; false: somebody else may have written
  bool counts_missing = false;  // false: somebody else does, or they may have been deleted
};
// `directory`: of the job.
absl::StatusOr<ReadBack> ReadTargetBack(const std::string& directory, const Store& target, int64_t from,
                                        const ReadBackDoubt& doubt);
// What people should know of it and can do.
std::string ReadBackMessage(const Store& target, const std::string& directory, const ReadBack& read,
                            const ReadBackDoubt& doubt);

}  // namespace reembed

#endif  // REEMBED_TOOLS_TARGET_COMPARISON_H_
