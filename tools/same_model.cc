// SPDX-License-Identifier: Apache-2.0
#include "tools/same_model.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/output_form.h"
#include "engine/place_name.h"
#include "engine/row_reader.h"
#include "engine/status_macros.h"
#include "io/file/own_file.h"
#include "tools/earlier_jobs.h"
#include "tools/embedder.h"
#include "tools/format.h"
#include "tools/registry.h"
#include "tools/run_summary.h"

namespace reembed {
namespace {

constexpr int64_t kBrokenPerLacking = 10;  // one row of another width among so many without a vector is a broken one
// Rows of which as many are compared as are needed; the rest stand in for those that cannot be.
constexpr int64_t kCandidates = 64;
// A text that was cut when its vector was made would look like another model's.
constexpr int64_t kPartOfLimit = 4;
constexpr int64_t kUnknownLimit = 2048;  // tokens, where nobody knows the limit of the model
constexpr double kSameLength = 0.05;     // relative

// For messages: where the vectors are.
std::string VectorsPlace(const ResolvedJob& job) {
  const std::string vectors = job.source.location.Get("vector");
  return vectors.empty() ? PlaceName(job.targets[0].location)
                         : absl::StrCat(PlaceName(job.source.location), ": column ", vectors);
}

// Whether `recorded` is a name of the job's model.
bool IsOwnModel(const ResolvedJob& job, const std::string& recorded) {
  if (WithoutTag(recorded) == WithoutTag(job.client.model.name)) return true;
  return job.known_model.has_value() && IsNameOf(*job.known_model, recorded);
}

// How many vectors the job took for its model's own although it did not write them.
std::string AcceptedFile(const ResolvedJob& job) { return job.directory + "/accepted_vectors"; }

int64_t ReadAccepted(const ResolvedJob& job) {
  std::ifstream file(AcceptedFile(job));
  int64_t rows = 0;
  return file >> rows ? rows : 0;
}

struct StoredText {
  Key key;
  std::string text;
  std::vector<float> vector;
  bool shared = false;  // the vector is also another text's
};

// Rows that have a vector, spread over the keys, with texts that nobody has cut.
absl::StatusOr<std::vector<StoredText>> FindCandidates(const ResolvedJob& job, int64_t rows,
                                                       const TokenCounting& counting) {
  const int64_t limit = job.known_model.has_value() ? job.known_model->max_tokens : 0;
  const int64_t most_tokens = (limit > 0 ? limit : kUnknownLimit) / kPartOfLimit;
  Selection selection = job.selection;
  selection.rows = Selection::Rows::kWithVector;
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Source> source, OpenSource(job.source, selection));
  const int64_t strata = std::min(kCandidates, rows);
  std::vector<StoredText> candidates;
  int64_t next = 0;  // stratum that still wants a row
  for (int64_t i = 0; next < strata; ++i) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> row, source->Next());
    if (!row.has_value()) break;
    const int64_t stratum = i * strata / rows;
    if (stratum < next || !CheckText(row->text, job.pipeline.batch.max_text_bytes / kSampleRows).ok()) continue;
    const absl::string_view text = *row->text;
    if (counting.Count(text) > most_tokens) continue;
    const auto same_text = [&](const StoredText& other) { return other.text == text; };
    if (std::any_of(candidates.begin(), candidates.end(), same_text)) continue;
    candidates.push_back({.key = Own(row->key), .text = std::string(text)});
    next = stratum + 1;
  }
  return candidates;
}

// Of any system: its points may have been named as rows of their store.
bool IsPlaceholder(absl::string_view text, absl::Span<const float> vector) {
  const absl::Span<const StoreKind* const> kinds = StoreKinds();
  return std::any_of(kinds.begin(), kinds.end(), [&](const StoreKind* kind) {
    return kind->is_placeholder != nullptr && kind->is_placeholder(text, vector);
  });
}

// The first eight, spread, whose stored vector can say something.
absl::StatusOr<std::vector<StoredText>> ReadStored(VectorReader* reader, std::vector<StoredText> candidates) {
  std::vector<StoredText> rows;
  size_t good = 0;
  const size_t step = (candidates.size() + kSampleRows - 1) / kSampleRows;
  for (size_t first = 0; first < step; ++first) {
    for (size_t i = first; i < candidates.size() && good < kSampleRows; i += step) {
      StoredText& row = candidates[i];
      const absl::StatusOr<std::optional<StoredVector>> stored = reader->Find(ViewOf(row.key));
      if (absl::IsDataLoss(stored.status())) continue;
      ABSL_RETURN_IF_ERROR(stored.status());
      if (!stored->has_value() || !CanBeSampled((*stored)->vector)) continue;
      if (IsPlaceholder(row.text, (*stored)->vector)) continue;
      row.vector.assign((*stored)->vector.begin(), (*stored)->vector.end());
      // Different texts with one vector: it is a placeholder of some kind.
      for (StoredText& other : rows) {
        if (other.vector != row.vector) continue;
        good -= other.shared ? 0 : 1;
        other.shared = row.shared = true;
      }
      good += row.shared ? 0 : 1;
      rows.push_back(std::move(row));
    }
  }
  std::erase_if(rows, [](const StoredText& row) { return row.shared; });
  return rows;
}

// The first endpoint that answers.
absl::StatusOr<std::vector<float>> EmbedAgain(const ResolvedJob& job, const std::vector<StoredText>& rows,
                                              ClientStats* stats) {
  std::vector<std::string> texts;
  texts.reserve(rows.size());
  for (const StoredText& row : rows) texts.push_back(row.text);
  std::vector<ApiOptions> clients = {job.client};
  for (size_t i = 1; i < job.endpoints.size(); ++i) clients.push_back(job.endpoints[i].client);
  const size_t at_once = static_cast<size_t>(std::max(1, job.pipeline.batch.max_texts));
  absl::StatusOr<std::vector<float>> made;
  for (ApiOptions& client : clients) {
    client.encoding = job.client.encoding;
    ABSL_ASSIGN_OR_RETURN(const RunningEmbedder embedder, StartEmbedder(std::move(client)));
    made = std::vector<float>();
    for (size_t i = 0; i < texts.size() && made.ok(); i += at_once) {
      const absl::StatusOr<std::vector<float>> some =
          EmbedTexts(embedder.client.get(), absl::MakeConstSpan(texts).subspan(i, at_once));
      if (some.ok()) {
        made->insert(made->end(), some->begin(), some->end());
      } else {
        made = some.status();
      }
    }
    Add(embedder.client->stats(), stats);
    if (made.ok()) break;
  }
  return made;
}

double Length(absl::Span<const float> vector) {
  double sum = 0;
  for (const float number : vector) sum += double{number} * number;
  return std::sqrt(sum);
}

// Cosines of all, and what is to be said of their lengths; empty: they have the same.
struct Comparison {
  std::vector<double> cosines;
  std::string lengths;
};

Comparison Compare(const ResolvedJob& job, const VectorReader& reader, const std::vector<StoredText>& rows,
                   std::vector<float> made) {
  const size_t dim = static_cast<size_t>(job.client.model.dim);
  Comparison comparison;
  for (size_t i = 0; i < rows.size(); ++i) {
    const absl::Span<float> vector = absl::MakeSpan(made).subspan(i * dim, dim);
    if (!CanBeSampled(vector)) continue;  // the API did not take the text
    if (job.pipeline.normalization == Normalization::kUnitL2 && !NormalizeRows(vector, job.client.model.dim).ok()) {
      continue;
    }
    // As the place would hold it.
    const size_t held = std::min(rows[i].vector.size(), dim);
    if (!NarrowVector(vector, vector.first(held)).ok()) continue;
    const absl::Span<float> expected = vector.first(held);
    reader.Round(expected);
    const double cosine = SampleCosine(rows[i].vector, expected);
    comparison.cosines.push_back(cosine);
    const double stored_length = Length(rows[i].vector), length = Length(expected);
    if (cosine < kSampleSame || std::abs(stored_length - length) <= kSameLength * length) continue;
    comparison.lengths = absl::StrFormat("; the stored ones have another length (%.3g, new ones %.3g): see --normalize",
                                         stored_length, length);
  }
  return comparison;
}

std::string Cosines(const SampleVerdict& verdict) {
  return verdict.highest - verdict.lowest < 0.005 ? absl::StrFormat("%.2f", verdict.lowest)
                                                  : absl::StrFormat("%.2f to %.2f", verdict.lowest, verdict.highest);
}

// What it means for the job. `sent`: what it cost.
absl::Status StatusOf(const ResolvedJob& job, const UnknownModel& unknown, const SampleVerdict& verdict,
                      const std::string& sent) {
  using Kind = SampleVerdict::Kind;
  if (verdict.kind == Kind::kSame) return absl::OkStatus();
  const std::string facts = absl::StrCat(VectorsPlace(job), " holds ", Counted(unknown.rows, "vector", "vectors"),
                                         " of a model that is not recorded, and this job ", "would put ",
                                         WithCommas(std::max(unknown.lacking, unknown.pending)), " of ",
                                         job.client.model.name, " beside them; ");
  const std::string earlier =
      unknown.other.empty() ? "" : absl::StrCat("; an earlier job has written there: ", unknown.other);
  const std::string way_out = "use --all to replace them, fill another column, or mix them with --mix";
  if (verdict.kind == Kind::kTooFew) {
    return absl::FailedPreconditionError(absl::StrCat(
        facts, "whether they are of the same model cannot be told: only ", verdict.compared,
        " of them could be compared ", "(wanted are ", kLeastSampleRows,
        "; long texts, vectors that are zero or not finite, and vectors of several texts are not compared)", earlier,
        "; ", way_out, sent));
  }
  const std::string compared =
      absl::StrCat(verdict.compared, " of them were compared with new vectors of the same texts: ");
  if (verdict.kind == Kind::kAnother) {
    return absl::FailedPreconditionError(absl::StrCat(facts, compared, "cosine ", Cosines(verdict),
                                                      ", so another model made them, and vectors of two models cannot ",
                                                      "be compared", earlier, "; ", way_out, sent));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      facts, compared, verdict.same, " are alike (cosine ", kSampleSame, " or more), the others have ",
      Cosines(verdict), "; they may be made with another template, prefix or --input-type, of texts that were cut or ",
      "edited since, by another version of the model, or some by another model", earlier, "; ", way_out, sent));
}

bool IsSameRecipe(const JobIdentity& a, const JobIdentity& b) {
  return a.model == b.model && a.dim == b.dim && a.recipe == b.recipe && a.normalization == b.normalization;
}

// Rows that the job's target has from it, as far as its ledger can be read.
int64_t CountWritten(const EarlierJob& job) {
  const absl::StatusOr<std::unique_ptr<WrittenRows>> written = WrittenRows::Open(job);
  if (!written.ok()) return 0;
  int64_t rows = 0;
  while (true) {
    const absl::StatusOr<std::optional<WrittenRow>> row = (*written)->Next();
    if (!row.ok() || !row->has_value()) return rows;
    ++rows;
  }
}

// Whether any row of the job has a text that gets a vector.
absl::StatusOr<bool> HasTextToEmbed(const ResolvedJob& job) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Source> source, OpenSource(job.source, job.selection));
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> row, source->Next());
    if (!row.has_value()) return false;
    if (CheckText(row->text, job.pipeline.batch.max_text_bytes).ok()) return true;
  }
}

}  // namespace

absl::Status CheckRecordedModel(const ResolvedJob& job, const Survey& survey) {
  if (job.selection.rows == Selection::Rows::kAll) return absl::OkStatus();
  const Model& model = job.client.model;
  ABSL_ASSIGN_OR_RETURN(const int dim, OutputDim(job.source.location, model.dim));
  const std::string place = VectorsPlace(job);
  for (const Survey::WidthCount& width : survey.widths) {
    // Some that are no vectors are broken ones; when there is hardly anything else the column is another.
    if (width.dim < 0 && width.rows > survey.rows_with_vector && width.rows > survey.rows_null) {
      return absl::FailedPreconditionError(absl::StrCat(place, " holds ", WithCommas(width.rows),
                                                        " values that are no vectors, more than anything else: name "
                                                        "the column for vectors, or use --all to replace them"));
    }
    // Some of another width among more of ours, or here and there in a column that is empty, are broken rows: they are
    // repaired like missing ones.
    const bool few = width.rows < survey.rows_with_vector || width.rows * kBrokenPerLacking <= survey.rows_null;
    if (width.dim == dim || width.dim <= 0 || few) continue;
    return absl::FailedPreconditionError(absl::StrCat(place, " holds ", Counted(width.rows, "vector", "vectors"),
                                                      " of ", width.dim, " dimensions, and this job makes ", dim,
                                                      "; use --all to replace them, or --dimensions ", width.dim,
                                                      " to go with them"));
  }
  if (job.options.mix) return absl::OkStatus();
  for (const Survey::ModelCount& other : survey.models) {
    if (other.model.empty() || IsOwnModel(job, other.model)) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(place, " holds ", Counted(other.rows, "vector", "vectors"), " of the model ", other.model,
                     ", and this job uses ", model.name,
                     "; vectors of two models cannot be compared: use --all to replace them, --model ", other.model,
                     " to match them, or mix them with --mix"));
  }
  return absl::OkStatus();
}

UnknownModel FindUnknownModel(const ResolvedJob& job, const Survey& survey, const std::optional<JobStats>& own,
                              const std::string& jobs_folder) {
  UnknownModel unknown;
  if (job.selection.rows == Selection::Rows::kAll) return unknown;
  unknown.lacking = survey.rows_selected - survey.rows_with_vector;
  unknown.rows = unknown.filled = survey.rows_with_vector;
  for (const Survey::ModelCount& model : survey.models) {
    if (!model.model.empty()) unknown.rows -= model.rows;
  }
  if (unknown.rows == 0) return unknown;
  const bool has_own = own.has_value() && own->rows > 0 && !own->rolled_back.has_value();
  if (has_own) {
    const std::string target = job.targets[0].location.ToString();
    for (const auto& [sink, position] : own->sinks) {
      if (sink == target) unknown.pending = own->rows - position;
    }
    unknown.pending = std::max(unknown.pending, own->rows_pending);
  }
  const std::vector<EarlierJob> earlier =
      FindEarlierJobs(job.targets[0].location, {jobs_folder}, FolderOfAll(job)).jobs;
  // One that was killed may have written before it could say so.
  const auto wrote = [](const EarlierJob& other) { return !other.rolled_back.has_value() && other.rows > 0; };
  absl::Time others_end = absl::InfinitePast();
  for (const EarlierJob& other : earlier) {
    if (!wrote(other) || IsSameRecipe(job.identity, other.identity)) continue;
    const absl::Time ended = other.ended.value_or(absl::InfinitePast());
    // When one was killed its files say; of one that is at work nobody knows.
    const absl::Time unknown_end = other.ended.has_value() ? ended : absl::InfiniteFuture();
    others_end = std::max({others_end, ended, other.bought.value_or(unknown_end)});
    if (unknown.other.empty()) {
      unknown.other = absl::StrCat(other.directory, " (", other.identity.model, ", ", other.identity.dim,
                                   " dimensions, ", other.identity.recipe, ")");
    }
  }
  // What was there before the others wrote may be gone, and a run that bought nothing has put nothing back.
  const auto counts = [others_end](std::optional<absl::Time> bought) {
    return others_end == absl::InfinitePast() || bought.value_or(absl::InfinitePast()) > others_end;
  };
  // A column with models names those of all jobs already.
  const bool jobs_count = survey.models.empty();
  for (const EarlierJob& other : earlier) {
    if (!jobs_count || !wrote(other) || !IsSameRecipe(job.identity, other.identity) || !counts(other.bought)) continue;
    unknown.rows -= CountWritten(other);
  }
  if (has_own && counts(LastBought(*own))) {
    unknown.accepted = ReadAccepted(job);
    unknown.rows -= unknown.accepted + (jobs_count ? DoneRows(*own) : 0);
  }
  unknown.rows = std::max<int64_t>(0, unknown.rows);
  return unknown;
}

std::string UnknownModelText(const ResolvedJob& job, const UnknownModel& unknown) {
  if (unknown.rows == 0) return "";
  const std::string rows = WithCommas(unknown.rows);
  if (!unknown.would_mix()) {
    return absl::StrCat("no row lacks a vector; ", rows, unknown.rows == 1 ? " has" : " have",
                        " one, of a model that is not recorded; --all replaces ", "them");
  }
  const std::string facts = absl::StrCat(Counted(unknown.rows, "row has a vector of", "rows have vectors of"),
                                         " a model that is not recorded; ");
  if (job.options.mix) return absl::StrCat(facts, "those of ", job.client.model.name, " come beside them (--mix)");
  return absl::StrCat(facts, "run compares ", unknown.rows < kSampleRows ? "them" : "eight of them", " first");
}

absl::Status AcceptUnknownModel(const ResolvedJob& job, const UnknownModel& unknown) {
  const std::string path = AcceptedFile(job);
  const int64_t rows = unknown.accepted + unknown.rows;
  return ReplaceOwnFile(path, absl::StrCat(rows, "\n"));
}

absl::StatusOr<ModelSample> CompareWithStored(const ResolvedJob& job, const UnknownModel& unknown,
                                              const TokenCounting& counting) {
  ModelSample sample;
  ABSL_ASSIGN_OR_RETURN(const bool adds, HasTextToEmbed(job));
  if (!adds && unknown.pending == 0) return sample;
  ABSL_ASSIGN_OR_RETURN(std::vector<StoredText> candidates, FindCandidates(job, unknown.filled, counting));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<VectorReader> reader, OpenReader(job.targets[0], job.client.model.dim));
  ABSL_ASSIGN_OR_RETURN(const std::vector<StoredText> rows, ReadStored(reader.get(), std::move(candidates)));
  Comparison comparison;
  if (rows.size() >= kLeastSampleRows) {
    ABSL_ASSIGN_OR_RETURN(std::vector<float> made, EmbedAgain(job, rows, &sample.stats));
    comparison = Compare(job, *reader, rows, std::move(made));
  }
  sample.verdict = JudgeSample(comparison.cosines);
  if (sample.stats.requests == 0) sample.verdict.compared = static_cast<int>(rows.size());
  const std::string sent =
      sample.stats.requests == 0
          ? ""
          : absl::StrCat(" (", rows.size(), " texts, ", Counted(sample.stats.tokens, "token was", "tokens were"), " ",
                         "sent to find out)");
  ABSL_RETURN_IF_ERROR(StatusOf(job, unknown, sample.verdict, sent));
  const SampleVerdict& verdict = sample.verdict;
  sample.note = absl::StrCat(VectorsPlace(job), " holds ", Counted(unknown.rows, "vector", "vectors"),
                             " of a model that is not recorded; of ", verdict.compared, " that were compared ",
                             verdict.same, " are those of ", job.client.model.name,
                             ", so all are taken to be of this model: this is a sample, not a proof",
                             verdict.same == verdict.compared
                                 ? ""
                                 : absl::StrCat(" (the others have a cosine of ", Cosines(verdict),
                                                ": their texts may have been edited; --all embeds all rows again)"),
                             comparison.lengths);
  ABSL_RETURN_IF_ERROR(AcceptUnknownModel(job, unknown));
  return sample;
}

}  // namespace reembed
