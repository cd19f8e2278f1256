// SPDX-License-Identifier: Apache-2.0
#include "tools/target_comparison.h"

#include <cstring>
#include <limits>
#include <memory>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/canary.h"
#include "engine/output_form.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "tools/format.h"
#include "tools/place.h"

namespace reembed {
namespace {

constexpr size_t kNamed = 5;

// Whether a target holds what the job bought, or what targets of its kind make of that.
bool Same(const StoreKind& kind, absl::Span<const float> bought, absl::Span<const float> stored) {
  if (bought.size() != stored.size()) return false;
  if (const double least = kind.least_cosine; least > 0) return CosineSimilarity(bought, stored) >= least;
  return std::memcmp(bought.data(), stored.data(), bought.size() * sizeof(float)) == 0;
}

}  // namespace

absl::StatusOr<int64_t> CompareTarget(const JobReader& job, const Store& target, VectorReader* reader, int64_t from,
                                      absl::FunctionRef<bool(int64_t ordinal)> left_out,
                                      absl::FunctionRef<void(const RowDifference&)> found) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<LedgerCursor> rows, job.Scan(from));
  ABSL_ASSIGN_OR_RETURN(const int held, OutputDim(target.location, job.identity().dim));
  int64_t compared = 0;
  std::vector<float> bought(static_cast<size_t>(job.identity().dim));
  std::vector<float> expected(static_cast<size_t>(held));
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<LedgerRow> row, rows->Next());
    if (!row.has_value()) return compared;
    if (row->state != SlotState::kKept || left_out(row->ordinal)) continue;
    ++compared;
    const absl::StatusOr<std::optional<StoredVector>> stored = reader->Find(row->key);
    RowDifference difference{.ordinal = row->ordinal, .key = row->key};
    if (!stored.ok()) {
      difference.kind = RowDifference::Kind::kUnreadable;
      difference.words = std::string(stored.status().message());
      found(difference);
    } else if (!stored->has_value()) {
      difference.kind = RowDifference::Kind::kMissing;
      difference.words = "has no vector";
      found(difference);
    } else if (job.keep_vectors() == KeepVectors::kAlways) {
      const absl::Status read = job.ReadVector(row->slot, absl::MakeSpan(bought));
      if (absl::IsDataLoss(read)) continue;
      ABSL_RETURN_IF_ERROR(read);
      const absl::Status narrowed = NarrowVector(bought, absl::MakeSpan(expected));
      reader->Round(absl::MakeSpan(expected));
      if (narrowed.ok() && Same(*target.kind, expected, (*stored)->vector)) continue;
      difference.words = "holds another vector";
      found(difference);
    }
  }
}

absl::StatusOr<ReadBack> ReadTargetBack(const std::string& directory, const Store& target, int64_t from,
                                        const ReadBackDoubt& doubt) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<JobReader> job, JobReader::Open(directory));
  ABSL_ASSIGN_OR_RETURN(const std::vector<RejectedRow> rejects, job->ListRejects(std::numeric_limits<int64_t>::max()));
  absl::flat_hash_set<int64_t> refused;
  for (const RejectedRow& row : rejects) {
    if (IsNameOf(row.sink, target.location)) refused.insert(row.ordinal);
  }
  ReadBack read{.told = job->keep_vectors() == KeepVectors::kAlways};
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<VectorReader> reader, OpenReader(target, job->identity().dim));
  const auto found = [&](const RowDifference& row) {
    if (row.kind == RowDifference::Kind::kMissing && !doubt.counts_missing) return;
    ++read.foreign;
    if (read.first.size() < kNamed) read.first.push_back(Own(row.key));
  };
  ABSL_RETURN_IF_ERROR(
      CompareTarget(
          *job, target, reader.get(), from, [&](int64_t ordinal) { return refused.contains(ordinal); }, found)
          .status());
  return read;
}

std::string ReadBackMessage(const Store& target, const std::string& directory, const ReadBack& read,
                            const ReadBackDoubt& doubt) {
  const std::string place = PlaceText(target.location);
  if (!read.told) {
    return absl::StrCat(
        place, ": ",
        doubt.forgot ? "the server may have lost what was written" : "another job may have written here meanwhile",
        ", and this job keeps no vectors to compare with; run it again with --all, or with "
        "--keep-vectors=always");
  }
  const std::string keys = absl::StrJoin(
      read.first, ", ", [](std::string* out, const Key& key) { absl::StrAppend(out, KeyText(ViewOf(key))); });
  const std::string rows =
      absl::StrCat(Counted(read.foreign, "row holds", "rows hold"), " another vector than this job has written",
                   doubt.counts_missing ? ", or none" : "", " (key ", keys,
                   read.foreign > static_cast<int64_t>(read.first.size()) ? ", ..." : "", ")");
  const std::string repair = absl::StrCat("this job's own again, without buying: reembed verify --repair ", directory);
  if (doubt.forgot) {
    return absl::StrCat(place, ": ", rows,
                        ": the server was started anew during the run and has lost them, or somebody ",
                        "else has written here; write ", repair);
  }
  return absl::StrCat(place, ": ", rows, ": another job, or another program, has written here meanwhile; see to that ",
                      "first, then write ", repair);
}

}  // namespace reembed
