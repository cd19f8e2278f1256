// SPDX-License-Identifier: Apache-2.0
#include "tools/verification.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/canary.h"
#include "engine/number/normalize.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "io/job/undo_store.h"
#include "tools/embedder.h"
#include "tools/format.h"
#include "tools/place.h"
#include "tools/preflight.h"
#include "tools/registry.h"
#include "tools/streams.h"
#include "tools/target_comparison.h"
#include "tools/target_loss.h"

namespace reembed {
namespace {

constexpr int64_t kShownProblems = 10;

}  // namespace

void Problems::Add(std::string problem) {
  if (count++ < kShownProblems) shown.push_back(std::move(problem));
}

void VerifyCounts::Add(const VerifyCounts& more) {
  vectors_read += more.vectors_read;
  texts_damaged += more.texts_damaged;
  vectors_compared += more.vectors_compared;
  texts_compared += more.texts_compared;
  rows_resampled += more.rows_resampled;
  rows_identical += more.rows_identical;
  lowest_cosine = std::min(lowest_cosine, more.lowest_cosine);
  lines.insert(lines.end(), more.lines.begin(), more.lines.end());
}

absl::Status Verification::CheckStore() {
  if (job_->keep_vectors() == KeepVectors::kNever) {
    notes_.push_back("the job keeps no vectors: targets are checked for presence and width only");
    return absl::OkStatus();
  }
  progress_->At("vectors.f32");
  progress_->Set("reading", 0, 0);
  ABSL_ASSIGN_OR_RETURN(const VectorCheck check, job_->CheckVectors());
  ABSL_RETURN_IF_ERROR(NameDamage(check.damaged));
  counts_.vectors_read = check.texts;
  for (const SlotRange& range : check.damaged) counts_.texts_damaged += range.size();
  notes_.push_back(absl::StrCat("vectors.f32: ", Counted(check.texts, "vector", "vectors"), " read"));
  return absl::OkStatus();
}

// Each damaged range with the rows whose vectors are there.
absl::Status Verification::NameDamage(absl::Span<const SlotRange> damaged) {
  if (damaged.empty()) return absl::OkStatus();
  std::vector<std::pair<int64_t, std::string>> rows(damaged.size());  // how many, and the first one's name
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<LedgerCursor> cursor, job_->Scan(0));
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<LedgerRow> row, cursor->Next());
    if (!row.has_value()) break;
    const auto behind = std::upper_bound(damaged.begin(), damaged.end(), row->slot,
                                         [](int64_t slot, const SlotRange& range) { return slot < range.begin; });
    if (behind == damaged.begin() || row->slot >= (behind - 1)->end) continue;
    auto& [count, first] = rows[static_cast<size_t>(behind - 1 - damaged.begin())];
    if (count++ == 0) first = KeyText(row->key);
  }
  for (size_t i = 0; i < damaged.size(); ++i) {
    const auto& [begin, end] = damaged[i];
    const auto& [count, first] = rows[i];
    problems_.Add(absl::StrCat(
        "vectors.f32: ",
        end - begin == 1 ? absl::StrCat("slot ", begin, " is") : absl::StrCat("slots ", begin, " to ", end - 1, " are"),
        " damaged: ",
        count == 0   ? "no row needs it now"
        : count == 1 ? absl::StrCat("the vector of row ", first)
                     : absl::StrCat("the vectors of ", WithCommas(count), " rows, the first is row ", first)));
  }
  return absl::OkStatus();
}

absl::Status Verification::CheckUndoLog(const std::string& folder) {
  progress_->At("undo.db");
  progress_->Set("reading", 0, 0);
  ABSL_ASSIGN_OR_RETURN(const UndoCheck check, CheckUndo(folder));
  for (const std::string& problem : check.shown) problems_.Add(problem);
  problems_.count += check.damaged - static_cast<int64_t>(check.shown.size());
  if (check.rows > 0) {
    notes_.push_back(absl::StrCat("undo.db: ", Counted(check.rows, "row", "rows"), " read"));
  }
  return absl::OkStatus();
}

absl::Status Verification::CheckTarget(const Store& target, const std::map<int64_t, std::string>& refused) {
  progress_->At(PlaceName(target.location));
  progress_->Set("comparing", 0, job_->rows());
  const absl::StatusOr<std::unique_ptr<VectorReader>> reader = OpenReader(target, job_->identity().dim);
  if (!reader.ok()) {
    problems_.Add(std::string(reader.status().message()));
    return absl::OkStatus();
  }
  const auto left_out = [&](int64_t ordinal) {
    progress_->Set("comparing", ordinal, job_->rows());
    return refused.count(ordinal) > 0;
  };
  const auto found = [&](const RowDifference& row) {
    problems_.Add(absl::StrCat(PlaceText(target.location), ": row ", KeyText(row.key), ": ", row.words));
    lost_[target.location.ToString()].push_back(row.ordinal);
  };
  ABSL_ASSIGN_OR_RETURN(const int64_t compared,
                        CompareTarget(*job_, target, reader->get(), /*from=*/0, left_out, found));
  const bool whole_file = !target.kind->is_table();
  if (whole_file && (*reader)->rows() != compared) {
    problems_.Add(absl::StrCat(target.location.ToString(), ": has ", Counted((*reader)->rows(), "row", "rows"),
                               ", and the job ", compared));
  }
  counts_.vectors_compared += compared;
  ABSL_ASSIGN_OR_RETURN(const std::optional<OutputLoss> loss, LossOfTarget(*job_, target, reader->get(), left_out));
  JsonLine line("target");
  line.Add("target", target.location.ToString()).Add("vectors_compared", compared);
  std::string note =
      absl::StrCat(PlaceText(target.location), ": ", Counted(compared, "vector", "vectors"), " compared");
  if (loss.has_value()) {
    line.Add("recall_at_1", loss->recall_at_1)
        .Add("recall_at_10", loss->recall_at_10)
        .Add("recall_queries", loss->queries)
        .Add("recall_rows", loss->rows);
    absl::StrAppend(&note, absl::StrFormat("; of the 10 nearest by the job's own vectors it keeps %.4f, of the nearest "
                                           "%.4f (%d queries among %d rows)",
                                           loss->recall_at_10, loss->recall_at_1, loss->queries, loss->rows));
  }
  counts_.lines.push_back(line.ToString());
  notes_.push_back(std::move(note));
  return absl::OkStatus();
}

std::string Verification::SourceName() const {
  return PlaceText({.scheme = resolved_->source.location.scheme, .path = resolved_->source.location.path});
}

absl::Status Verification::CheckSource() {
  if (resolved_->source.kind->is_stream) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Source> source, OpenSource(resolved_->source, resolved_->selection));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<LedgerCursor> rows, job_->Scan(0));
  const std::string place = SourceName();
  progress_->At(place);
  int64_t compared = 0;
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<LedgerRow> row, rows->Next());
    if (!row.has_value()) break;
    progress_->Set("comparing texts", row->ordinal, job_->rows());
    if (row->state == SlotState::kRejected) continue;
    ++compared;
    ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> now, source->Find(row->key));
    const std::string name = absl::StrCat(place, ": row ", KeyText(row->key));
    if (!now.has_value()) {
      problems_.Add(absl::StrCat(name, ": is gone"));
    } else if (row->state != SlotState::kKept) {
      problems_.Add(absl::StrCat(name, ": has no vector yet; run the job again"));
    } else if (!now->text.has_value() || !(HashText(*now->text) == row->hash)) {
      if (job_->keep_vectors() == KeepVectors::kAlways) problems_.Add(absl::StrCat(name, ": has another text now"));
    }
  }
  counts_.texts_compared = compared;
  JsonLine line("source");
  line.Add("source", resolved_->source.location.ToString()).Add("texts_compared", compared);
  notes_.push_back(absl::StrCat(place, ": ", Counted(compared, "text", "texts"), " compared"));
  absl::Status counted = resolved_->in_place ? CountTable(place, &line) : absl::OkStatus();
  counts_.lines.push_back(line.ToString());
  return counted;
}

absl::Status Verification::CountTable(const std::string& place, JsonLine* line) {
  ABSL_ASSIGN_OR_RETURN(const Survey survey, SurveyTable(*resolved_));
  line->Add("rows_selected", survey.rows_selected)
      .Add("rows_with_vector", survey.rows_with_vector)
      .Add("rows_needed", survey.rows_needed)
      .Add("orphans", survey.orphans);
  notes_.push_back(absl::StrCat(place, ": ", WithCommas(survey.rows_with_vector), " of ",
                                WithCommas(survey.rows_selected), " selected rows have a vector"));
  if (survey.rows_needed > 0) {
    notes_.push_back(absl::StrCat(place, ": ", Counted(survey.rows_needed, "row has", "rows have"),
                                  " no vector and should: the system's search fails over them"));
  }
  if (survey.orphans > 0) {
    notes_.push_back(absl::StrCat(place, ": ", Counted(survey.orphans, "vector", "vectors"), " whose rows are gone"));
  }
  for (const std::string& remark : survey.remarks) notes_.push_back(absl::StrCat(place, ": ", remark));
  return absl::OkStatus();
}

absl::Status Verification::CheckSample(int64_t sample) {
  if (job_->keep_vectors() == KeepVectors::kNever) {
    return absl::InvalidArgumentError("--sample: this job keeps no vectors to compare with");
  }
  ABSL_ASSIGN_OR_RETURN(const RunningEmbedder embedder, StartEmbedder(resolved_->client));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Source> source, OpenSource(resolved_->source, resolved_->selection));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<LedgerCursor> rows, job_->Scan(0));
  const int64_t stride = std::max<int64_t>(1, job_->rows() / sample);
  std::vector<float> bought;
  int64_t compared = 0, identical = 0;
  double lowest = 1;
  while (compared < sample) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<LedgerRow> row, rows->Next());
    if (!row.has_value()) break;
    if (row->state != SlotState::kKept || row->ordinal < compared * stride) continue;
    progress_->Set("embedding again", compared, sample);
    ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> now, source->Find(row->key));
    if (!now.has_value() || !now->text.has_value()) continue;
    const absl::Status read = Read(*row, &bought);
    if (absl::IsDataLoss(read)) continue;  // it has been named
    ABSL_RETURN_IF_ERROR(read);
    ABSL_ASSIGN_OR_RETURN(const std::vector<float> again, EmbedOne(embedder.client.get(), *now->text));
    const double cosine = CosineSimilarity(bought, again);
    lowest = std::min(lowest, cosine);
    ++compared;
    if (again == bought) ++identical;
    if (cosine < kSameModelCosine) {
      problems_.Add(absl::StrCat(SourceName(), ": row ", KeyText(row->key),
                                 ": embedded again, the cosine to its vector is ", cosine));
    }
  }
  counts_.rows_resampled = compared;
  counts_.rows_identical = identical;
  counts_.lowest_cosine = lowest;
  notes_.push_back(absl::StrCat(Counted(compared, "row", "rows"), " embedded again, ", WithCommas(identical),
                                " to the last bit; lowest cosine ", lowest, ", expected at least ", kSameModelCosine));
  return absl::OkStatus();
}

}  // namespace reembed
