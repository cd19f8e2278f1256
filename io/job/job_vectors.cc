// SPDX-License-Identifier: Apache-2.0
#include "io/job/job_vectors.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

class JobVectors final : public VectorReader {
 public:
  JobVectors(std::unique_ptr<JobReader> job, std::unique_ptr<LedgerCursor> cursor)
      : job_(std::move(job)), cursor_(std::move(cursor)), vector_(static_cast<size_t>(job_->identity().dim)) {}

  int dim() const override { return job_->identity().dim; }
  int64_t rows() const override { return job_->rows(); }

  absl::StatusOr<std::optional<StoredVector>> Next() override {
    for (;;) {
      ABSL_ASSIGN_OR_RETURN(const std::optional<LedgerRow> row, cursor_->Next());
      if (!row.has_value()) return std::nullopt;
      if (row->state == SlotState::kKept) return At(*row);
    }
  }

  absl::StatusOr<std::optional<StoredVector>> Find(KeyView key) override {
    const Key wanted = Own(key);
    // From where it is to the end, and then once from the beginning.
    for (int pass = 0; pass < 2; ++pass) {
      for (;;) {
        ABSL_ASSIGN_OR_RETURN(const std::optional<LedgerRow> row, cursor_->Next());
        if (!row.has_value()) break;
        if (row->key != ViewOf(wanted)) continue;
        if (row->state != SlotState::kKept) return std::nullopt;
        return At(*row);
      }
      ABSL_ASSIGN_OR_RETURN(cursor_, job_->Scan(0));
    }
    return std::nullopt;
  }

 private:
  absl::StatusOr<std::optional<StoredVector>> At(const LedgerRow& row) {
    ABSL_RETURN_IF_ERROR(job_->ReadVector(row.slot, absl::MakeSpan(vector_)));
    return StoredVector{row.key, vector_};
  }

  const std::unique_ptr<JobReader> job_;
  std::unique_ptr<LedgerCursor> cursor_;
  std::vector<float> vector_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorReader>> OpenJobVectors(std::unique_ptr<JobReader> job, const std::string& dir) {
  if (job->keep_vectors() == KeepVectors::kNever) {
    return absl::FailedPreconditionError(
        absl::StrCat(dir, ": the job keeps no vectors; take them from one of its targets"));
  }
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<LedgerCursor> cursor, job->Scan(0));
  return std::make_unique<JobVectors>(std::move(job), std::move(cursor));
}

}  // namespace reembed
