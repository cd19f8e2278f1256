// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iostream>
#include <map>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/canary.h"
#include "engine/number/normalize.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "io/job/job_reader.h"
#include "io/job/job_store.h"
#include "io/job/undo_store.h"
#include "tools/commands.h"
#include "tools/embedder.h"
#include "tools/format.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/preflight.h"
#include "tools/registry.h"
#include "tools/resolve.h"
#include "tools/shard_checks.h"
#include "tools/signals.h"
#include "tools/stage_progress.h"
#include "tools/streams.h"
#include "tools/target_comparison.h"
#include "tools/target_loss.h"

namespace reembed {
namespace {

constexpr int64_t kShownProblems = 10;

// What was found wrong: a count, and the first rows by name.
struct Problems {
  int64_t count = 0;
  std::vector<std::string> shown;
  void Add(std::string problem) {
    if (count++ < kShownProblems) shown.push_back(std::move(problem));
  }
};

// What was compared, for people and for programs.
struct Counts {
  int64_t vectors_read = 0;      // of the job's own store
  int64_t texts_damaged = 0;     // of them: not what was kept
  int64_t vectors_compared = 0;  // of all targets
  int64_t texts_compared = 0;
  int64_t rows_resampled = 0;
  int64_t rows_identical = 0;      // of those: whose vector came again to the last bit
  double lowest_cosine = 1;        // of those
  std::vector<std::string> lines;  // JSON: of each target and of the source

  void Add(const Counts& more) {
    vectors_read += more.vectors_read;
    texts_damaged += more.texts_damaged;
    vectors_compared += more.vectors_compared;
    texts_compared += more.texts_compared;
    rows_resampled += more.rows_resampled;
    rows_identical += more.rows_identical;
    lowest_cosine = std::min(lowest_cosine, more.lowest_cosine);
    lines.insert(lines.end(), more.lines.begin(), more.lines.end());
  }
};

class Verification {
 public:
  // All are borrowed.
  Verification(const JobReader* job, const ResolvedJob* resolved, StageProgress* progress)
      : job_(job), resolved_(resolved), progress_(progress) {}

  absl::Status CheckStore();
  absl::Status CheckUndoLog(const std::string& folder);
  absl::Status CheckTarget(const Store& target, const std::map<int64_t, std::string>& refused);
  absl::Status CheckSource();
  std::string SourceName() const;  // without its parameters, which the targets say
  absl::Status CountTable(const std::string& place, JsonLine* line);
  absl::Status CheckSample(int64_t sample);

  const Problems& problems() const { return problems_; }
  const std::vector<std::string>& notes() const { return notes_; }
  const Counts& counts() const { return counts_; }

  // By the names of targets: ordinals of rows that they lack or hold otherwise.
  const std::map<std::string, std::vector<int64_t>>& lost() const { return lost_; }

 private:
  absl::Status NameDamage(absl::Span<const SlotRange> damaged);
  absl::Status Read(const LedgerRow& row, std::vector<float>* vector) const {
    vector->resize(job_->identity().dim);
    return job_->ReadVector(row.slot, absl::MakeSpan(*vector));
  }

  const JobReader* const job_;
  const ResolvedJob* const resolved_;
  StageProgress* const progress_;
  Problems problems_;
  std::vector<std::string> notes_;
  Counts counts_;
  std::map<std::string, std::vector<int64_t>> lost_;
};

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

absl::StatusOr<ResolvedJob> ResolveAgain(const std::string& folder, const VerifyOptions& options,
                                         const Environment& environment) {
  CommandOptions asked;
  asked.job_file = folder + "/job.toml";
  asked.job = folder;
  asked.api_base = options.api_base;
  if (!options.api_base.empty()) asked.endpoints.clear();
  asked.api_key_env = options.api_key_env;
  asked.api_key_file = options.api_key_file;
  asked.api_key_cmd = options.api_key_cmd;
  ABSL_RETURN_IF_ERROR(ReadJobFile(&asked));
  return Resolve(asked, environment, options.sample > 0 ? KeyNeed::kWanted : KeyNeed::kNone);
}

// What was found in one folder of the job, or in the job itself.
struct Findings {
  Problems problems;
  std::vector<std::string> notes;
  Counts counts;
  std::map<std::string, std::vector<int64_t>> lost;  // as Verification has it
};

absl::StatusOr<Findings> VerifyFolder(const std::string& folder, const VerifyOptions& options,
                                      const Environment& environment) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<JobReader> job, JobReader::Open(folder));
  ABSL_ASSIGN_OR_RETURN(const ResolvedJob resolved, ResolveAgain(folder, options, environment));
  ABSL_ASSIGN_OR_RETURN(const std::vector<RejectedRow> rejects, job->ListRejects(job->rows() + 1));

  StageProgress progress(ProgressStyleOf(options.progress, options.quiet));
  Verification verification(job.get(), &resolved, &progress);
  ABSL_RETURN_IF_ERROR(verification.CheckStore());
  ABSL_RETURN_IF_ERROR(verification.CheckUndoLog(folder));
  for (const Store& target : resolved.targets) {
    if (target.kind->is_stream) continue;
    std::map<int64_t, std::string> refused;
    for (const RejectedRow& row : rejects) {
      if (IsNameOf(row.sink, target.location)) refused[row.ordinal] = row.sink;
    }
    ABSL_RETURN_IF_ERROR(verification.CheckTarget(target, refused));
  }
  ABSL_RETURN_IF_ERROR(verification.CheckSource());
  if (options.sample > 0) {
    ABSL_RETURN_IF_ERROR(verification.CheckSample(options.sample));
  }

  return Findings{verification.problems(), verification.notes(), verification.counts(), verification.lost()};
}

// Makes the job forget the vectors that are damaged, and owe its targets what they lack or hold otherwise; the run that
// follows buys the former again and writes both.
absl::Status ForgetWhatIsWrong(const std::string& folder, const Findings& found) {
  JobIdentity identity;
  KeepVectors keep_vectors;
  {
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<JobReader> job, JobReader::Open(folder));
    identity = job->identity();
    keep_vectors = job->keep_vectors();
  }
  ABSL_ASSIGN_OR_RETURN(
      const std::unique_ptr<JobStore> store,
      JobStore::Open(folder, identity, {.keep_vectors = keep_vectors, .check = JobOptions::Check::kEverything}));
  for (const auto& [target, ordinals] : found.lost) {
    if (keep_vectors == KeepVectors::kNever) break;  // there is nothing to write again
    for (const int64_t ordinal : ordinals) store->Owe(target, ordinal);
  }
  return store->Close();
}

// kExitDone and kExitRejectedRows: the run came to its end.
absl::StatusOr<ExitCode> RepairFolder(const std::string& folder, const VerifyOptions& options, const Findings& found,
                                      const Environment& environment) {
  CommandOptions run;
  run.job_file = folder + "/job.toml";
  run.job = folder;
  run.api_base = options.api_base;
  run.api_key_env = options.api_key_env;
  run.api_key_file = options.api_key_file;
  run.api_key_cmd = options.api_key_cmd;
  run.json = options.json;
  run.no_input = options.no_input;
  run.progress = options.progress;
  run.quiet = options.quiet;
  // What would keep the run from beginning is found before anything is forgotten.
  ABSL_RETURN_IF_ERROR(ReadJobFile(&run));
  ABSL_RETURN_IF_ERROR(ResolveStreams(run, environment).status());
  ABSL_RETURN_IF_ERROR(ForgetWhatIsWrong(folder, found));
  return RunCommand(run, environment);
}

// What was found of all folders.
struct Verdict {
  Problems problems;
  std::vector<std::string> notes;
  Counts counts;
  int64_t texts_repaired = 0;  // damaged ones, bought again
};

void PrintJson(const Verdict& verdict, const VerifyOptions& options, ExitCode code) {
  for (const std::string& line : verdict.counts.lines) std::cout << line << "\n";
  for (const std::string& problem : verdict.problems.shown) {
    std::cout << JsonLine("problem").Add("message", problem).ToString() << "\n";
  }
  JsonLine line("summary");
  line.Add("problems", verdict.problems.count)
      .Add("vectors_read", verdict.counts.vectors_read)
      .Add("texts_damaged", verdict.counts.texts_damaged)
      .Add("vectors_compared", verdict.counts.vectors_compared)
      .Add("texts_compared", verdict.counts.texts_compared);
  if (options.sample > 0) {
    line.Add("rows_resampled", verdict.counts.rows_resampled)
        .Add("rows_identical", verdict.counts.rows_identical)
        .Add("lowest_cosine", verdict.counts.lowest_cosine)
        .Add("least_cosine", kSameModelCosine);
  }
  if (options.repair) line.Add("texts_repaired", verdict.texts_repaired);
  line.Add("job", options.job).Add("exit_code", static_cast<int>(code));
  std::cout << line.ToString() << std::endl;
}

void PrintText(const Verdict& verdict, const VerifyOptions& options) {
  std::vector<std::string> notes = verdict.notes;
  if (verdict.texts_repaired > 0) {
    notes.push_back(Counted(verdict.texts_repaired, "kept vector was damaged, and bought again where a row needs it",
                            "kept vectors were damaged, and bought again where a row needs it"));
  }
  for (const std::string& note : notes) {
    if (!options.quiet) std::cout << note << "\n";
  }
  for (const std::string& problem : verdict.problems.shown) std::cout << "problem: " << problem << "\n";
  if (verdict.problems.count > static_cast<int64_t>(verdict.problems.shown.size())) {
    std::cout << "... and " << WithCommas(verdict.problems.count - static_cast<int64_t>(verdict.problems.shown.size()))
              << " more\n";
  }
  if (options.quiet && verdict.problems.count == 0) return;
  std::cout << (verdict.problems.count == 0 ? "everything is as the job left it"
                                            : Counted(verdict.problems.count, "problem", "problems"))
            << std::endl;
}

}  // namespace

ExitCode VerifyCommand(const VerifyOptions& options, const Environment& environment) {
  const auto fail = [&](const absl::Status& status) { return Fail("verify", status, options.json); };
  std::optional<StopSignals> signals;
  signals.emplace(StopWords{.command = "verify", .left = "nothing was changed", .json = options.json});
  const absl::StatusOr<std::vector<std::string>> folders = JobFolders(options.job);
  if (!folders.ok()) return fail(folders.status());
  Problems problems;
  std::vector<std::string> notes;
  Counts counts;
  int64_t repaired = 0;           // damaged texts, bought again
  ExitCode rejected = kExitDone;  // rows that a repair could not buy again
  if (absl::Status whole = CheckShards(
          options.job, environment, [&](std::string problem) { problems.Add(std::move(problem)); }, &notes);
      !whole.ok())
    return fail(whole);
  for (const std::string& folder : *folders) {
    absl::StatusOr<Findings> found = VerifyFolder(folder, options, environment);
    if (!found.ok()) return fail(found.status());
    if (options.repair && found->problems.count > 0) {
      for (const std::string& problem : found->problems.shown) {
        if (!options.quiet) Note("repairing " + problem, options.json);
      }
      signals.reset();  // the run has its own
      const absl::StatusOr<ExitCode> run = RepairFolder(folder, options, *found, environment);
      if (!run.ok()) return fail(run.status());
      if (*run != kExitDone && *run != kExitRejectedRows) return *run;
      rejected = WorseOf(rejected, *run);
      repaired += found->counts.texts_damaged;
      found = VerifyFolder(folder, options, environment);
      if (!found.ok()) return fail(found.status());
    }
    problems.shown.insert(problems.shown.end(), found->problems.shown.begin(), found->problems.shown.end());
    problems.count += found->problems.count;
    notes.insert(notes.end(), found->notes.begin(), found->notes.end());
    counts.Add(found->counts);
  }
  const ExitCode code = problems.count > 0 ? kExitMismatch : rejected;
  const Verdict verdict{.problems = std::move(problems),
                        .notes = std::move(notes),
                        .counts = std::move(counts),
                        .texts_repaired = repaired};
  if (options.json) {
    PrintJson(verdict, options, code);
  } else {
    PrintText(verdict, options);
  }
  return code;
}

}  // namespace reembed
