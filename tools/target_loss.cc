// SPDX-License-Identifier: Apache-2.0
#include "tools/target_loss.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "engine/output_form.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

// A search among more takes longer than the comparison of all rows.
constexpr int64_t kMostRows = 10'000;
constexpr int64_t kMostFloats = int64_t{16} << 20;
constexpr int64_t kMostQueries = 200;

// What is near in the target: bits by how many differ, all else by its direction.
Metric MetricOf(const Store& target) {
  const std::string type = target.location.Get("type");
  return type == OutputTypeName(OutputType::kBinary) || type == "bit" ? Metric::kL2 : Metric::kCosine;
}

// Whether a vector of the job comes back as another.
bool Rounds(const VectorReader& reader, int dim) {
  std::vector<float> vector(static_cast<size_t>(dim), 1 / 3.0f);
  const std::vector<float> before = vector;
  reader.Round(absl::MakeSpan(vector));
  return vector != before;
}

}  // namespace

absl::StatusOr<std::optional<OutputLoss>> LossOfTarget(const JobReader& job, const Store& target, VectorReader* reader,
                                                       absl::FunctionRef<bool(int64_t ordinal)> left_out) {
  const int dim = job.identity().dim;
  ABSL_ASSIGN_OR_RETURN(const int held_dim, OutputDim(target.location, dim));
  if (job.keep_vectors() != KeepVectors::kAlways || !target.kind->takes_output_forms ||
      (held_dim == dim && !Rounds(*reader, held_dim))) {
    return std::nullopt;
  }
  const int64_t most = std::clamp<int64_t>(kMostFloats / dim, 2, kMostRows);
  const int64_t stride = (job.rows() + most - 1) / most;
  std::vector<float> bought(static_cast<size_t>(dim)), whole, held;
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<LedgerCursor> rows, job.Scan(0));
  for (;;) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<LedgerRow> row, rows->Next());
    if (!row.has_value()) break;
    if (row->ordinal % stride != 0 || row->state != SlotState::kKept || left_out(row->ordinal)) continue;
    const absl::StatusOr<std::optional<StoredVector>> stored = reader->Find(row->key);
    // What is missing or cannot be read has been named by whoever compared.
    if (!stored.ok() || !stored->has_value() || static_cast<int>((*stored)->vector.size()) != held_dim) continue;
    if (!job.ReadVector(row->slot, absl::MakeSpan(bought)).ok()) continue;
    whole.insert(whole.end(), bought.begin(), bought.end());
    held.insert(held.end(), (*stored)->vector.begin(), (*stored)->vector.end());
  }
  if (static_cast<int64_t>(whole.size()) < int64_t{2} * dim) return std::nullopt;
  ABSL_ASSIGN_OR_RETURN(const OutputLoss loss,
                        MeasureOutputLoss(whole, dim, held, held_dim, MetricOf(target), kMostQueries, 0));
  return loss;
}

}  // namespace reembed
