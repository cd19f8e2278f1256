// SPDX-License-Identifier: Apache-2.0
#include "index/index_eval.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/counted.h"
#include "engine/number/normalize.h"
#include "engine/status_macros.h"
#include "index/index_reader.h"
#include "index/row_set.h"
#include "index/shard_set.h"
#include "io/file/hdf5_truth.h"
#include "tools/eval_page.h"
#include "tools/format.h"
#include "tools/index_commands.h"
#include "tools/index_place.h"
#include "tools/output.h"
#include "tools/signals.h"
#include "tools/stage_progress.h"

namespace reembed {
namespace {

constexpr int kTrueNeighbours = 100;

// Everything that one evaluation needs, gathered step by step.
class Evaluation {
 public:
  Evaluation(const IndexEvalCommandOptions& options, const Environment& environment)
      : options_(options),
        environment_(environment),
        variables_{options.common.db_token_env, options.common.db_password_env} {}

  absl::Status Run() {
    ABSL_ASSIGN_OR_RETURN(const Store place, IndexPlace(options_.index, environment_));
    head_.index = place.location.path;
    ABSL_ASSIGN_OR_RETURN(index_, IndexReader::OpenAny(head_.index));
    StageProgress progress(ProgressStyleOf(options_.common.progress, options_.common.quiet));
    progress_ = &progress;
    ABSL_RETURN_IF_ERROR(MakeSet());
    if (!options_.write_truth.empty()) ABSL_RETURN_IF_ERROR(Write());
    std::vector<SearchOptions> sweep;
    for (const int nprobe : options_.nprobe) sweep.push_back({.nprobe = nprobe});
    for (const int ef : options_.ef_search) sweep.push_back({.ef_search = ef});
    if (sweep.empty()) sweep = UsualSweep(*index_);
    for (size_t i = 0; i < sweep.size(); ++i) {
      progress.Set("searching", static_cast<int64_t>(i), static_cast<int64_t>(sweep.size()));
      ABSL_ASSIGN_OR_RETURN(const EvalPoint point,
                            Evaluate(index_.get(), set_, sweep[i], rows_.has_value() ? &*rows_ : nullptr));
      points_.push_back(point);
    }
    FillHead();
    return Weigh();
  }

  const EvalHead& head() const { return head_; }
  const std::vector<EvalPoint>& points() const { return points_; }
  const std::string& note() const { return note_; }

 private:
  Metric metric() const { return index_->description().metric; }

  EvalDraw Draw() {
    return {.metric = metric(),
            .count = options_.queries,
            .k = kTrueNeighbours,
            .seed = options_.seed,
            .threads = options_.common.threads,
            .progress = [this](int64_t done, int64_t total) { progress_->Set("comparing", done, total); }};
  }

  absl::Status MakeSet() {
    std::vector<float> queries;
    if (!options_.truth.empty()) {
      ABSL_ASSIGN_OR_RETURN(TruthFile truth, ReadTruth(options_.truth));
      head_.queries_from = absl::StrCat("of ", options_.truth);
      Limit(&truth);
      if (truth.k > 0) return TakeTruth(std::move(truth));
      ABSL_RETURN_IF_ERROR(ReadRows());
      ABSL_RETURN_IF_ERROR(CheckWidth(options_.truth, truth.dim, rows_->dim()));
      queries = std::move(truth.queries);
    } else {
      ABSL_RETURN_IF_ERROR(ReadRows());
      if (!options_.queries_file.empty()) {
        head_.queries_from = absl::StrCat("of ", options_.queries_file);
        ABSL_ASSIGN_OR_RETURN(queries, ReadQueries());
      }
    }
    const bool own = queries.empty();
    if (own) head_.queries_from = absl::StrCat("drawn from its own rows (seed ", options_.seed, ")");
    absl::StatusOr<EvalSet> set = own ? DrawEvalSet(*rows_, Draw()) : MakeEvalSet(*rows_, std::move(queries), Draw());
    ABSL_RETURN_IF_ERROR(set.status());
    set_ = *std::move(set);
    return Narrow();
  }

  // The index may have been built of the first numbers of the vectors that it is compared with.
  absl::Status Narrow() { return set_.dim == index_->dim() ? absl::OkStatus() : NarrowQueries(index_->dim(), &set_); }

  void Limit(TruthFile* truth) const {
    const auto most = static_cast<size_t>(options_.queries);
    if (truth->queries.size() / truth->dim <= most) return;
    truth->queries.resize(most * truth->dim);
    truth->neighbors.resize(most * truth->k);
  }

  // Another program has found the neighbours: rows of its file, which are the ids of an index that was built from it.
  absl::Status TakeTruth(TruthFile truth) {
    if (truth.dim < index_->dim()) return CheckWidth(options_.truth, truth.dim, index_->dim());
    set_.dim = truth.dim;
    set_.queries = std::move(truth.queries);
    if (metric() == Metric::kCosine) {
      ABSL_RETURN_IF_ERROR(NormalizeRows(absl::MakeSpan(set_.queries), truth.dim));
    }
    set_.k = std::min(truth.k, kTrueNeighbours);
    for (int64_t query = 0; query < set_.count(); ++query) {
      const auto first = truth.neighbors.begin() + query * truth.k;
      set_.ids.insert(set_.ids.end(), first, first + set_.k);
    }
    return Narrow();
  }

  absl::StatusOr<std::vector<float>> ReadQueries() {
    ABSL_ASSIGN_OR_RETURN(const OpenedVectors opened,
                          OpenVectors(options_.queries_file, rows_->dim(), variables_, environment_));
    ABSL_RETURN_IF_ERROR(CheckWidth(opened.name, opened.reader->dim(), rows_->dim()));
    std::vector<float> queries;
    for (int64_t i = 0; i < options_.queries; ++i) {
      ABSL_ASSIGN_OR_RETURN(const std::optional<StoredVector> row, opened.reader->Next());
      if (!row.has_value()) break;
      queries.insert(queries.end(), row->vector.begin(), row->vector.end());
    }
    if (!queries.empty()) return queries;
    return absl::InvalidArgumentError(absl::StrCat(opened.name, ": expected queries, got none"));
  }

  absl::Status CheckWidth(const std::string& place, int dim, int expected) const {
    if (dim == expected) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(place, ": expected vectors of ", expected, " numbers, as ",
                     expected == index_->dim() ? absl::StrCat("in ", head_.index) : "those that they are compared with",
                     ", got such of ", dim));
  }

  // The rows of the index as they were before it made something of them.
  absl::Status ReadRows() {
    const IndexDescription& d = index_->description();
    const auto seen = [this](int64_t rows) {
      progress_->Set("reading", rows, index_->rows());
      return absl::OkStatus();
    };
    const bool asked = !options_.vectors.empty();
    if (!asked && index_->is_exact()) {
      ABSL_ASSIGN_OR_RETURN(rows_, RowSet::Read(index_.get(), head_.index, {.metric = d.metric}, seen));
      return absl::OkStatus();
    }
    // A server is asked only when somebody says so.
    if (!asked && (d.built_from.empty() || !IsOnThisMachine(d.built_from))) {
      return absl::InvalidArgumentError(absl::StrCat(
          head_.index, ": holds no exact vectors to compare with; name those that it was built from with --vectors",
          d.built_from.empty() ? "" : absl::StrCat(" ", d.built_from), ", or true neighbours with --truth"));
    }
    const int dim = options_.common.dimensions > 0 ? options_.common.dimensions : index_->dim();
    ABSL_ASSIGN_OR_RETURN(const OpenedVectors opened,
                          OpenVectors(asked ? options_.vectors : d.built_from, dim, variables_, environment_));
    const int there = opened.reader->dim();
    const bool is_cut = asked && there > index_->dim();
    if (!is_cut) ABSL_RETURN_IF_ERROR(CheckWidth(opened.name, there, index_->dim()));
    ABSL_ASSIGN_OR_RETURN(
        rows_, RowSet::Read(opened.reader.get(), opened.name, {.metric = d.metric, .skip_unusable = true}, seen));
    if (is_cut) {
      note_ = absl::StrCat(opened.name, " has vectors of ", there, " numbers and ", head_.index, " of ", index_->dim(),
                           "; recall is what is left of the neighbours by the whole ones, where queries are cut to ",
                           "their first ", index_->dim(), " numbers");
    } else if (d.fingerprint != 0 && d.fingerprint != rows_->fingerprint()) {
      note_ = absl::StrCat(opened.name, " is not what ", head_.index,
                           " was built from any more; recall is that of the index on what is there now");
    }
    return absl::OkStatus();
  }

  bool IsOnThisMachine(const std::string& uri) const {
    std::error_code ignored;
    if (std::filesystem::is_directory(uri, ignored)) return true;
    const absl::StatusOr<Location> location = ParsePlace(uri, variables_, environment_);
    return location.ok() && StoreOf(*location).kind->is_file;
  }

  absl::Status Write() const {
    TruthFile truth{.dim = set_.dim, .k = set_.k, .queries = set_.queries};
    // Neighbours are rows of `train` there: ids do for that only where they are rows.
    truth.neighbors = set_.ids;
    truth.distance = metric() == Metric::kL2 ? "euclidean" : metric() == Metric::kCosine ? "angular" : "dot";
    for (const float score : set_.scores) {
      truth.distances.push_back(metric() == Metric::kL2       ? std::sqrt(score)
                                : metric() == Metric::kCosine ? 1 - score
                                                              : -score);
    }
    if (truth.distances.empty()) truth.distances.resize(truth.neighbors.size());
    return WriteTruth(options_.write_truth, truth);
  }

  void FillHead() {
    const IndexDescription& d = index_->description();
    head_.factory = d.factory;
    head_.metric = std::string(MetricName(d.metric));
    head_.model = d.model.name;
    head_.rows = index_->rows();
    head_.dim = index_->dim();
    head_.compared_dim = set_.dim;
    head_.queries = set_.count();
  }

  absl::Status Weigh() {
    if (index_->has_description()) {
      ABSL_ASSIGN_OR_RETURN(head_.bytes, IndexBytes(head_.index, index_->description()));
      return absl::OkStatus();
    }
    std::error_code ignored;
    head_.bytes = static_cast<int64_t>(std::filesystem::file_size(head_.index, ignored));
    return absl::OkStatus();
  }

  const IndexEvalCommandOptions& options_;
  const Environment& environment_;
  const SecretVariables variables_;
  std::unique_ptr<IndexReader> index_;
  std::optional<RowSet> rows_;
  EvalSet set_;
  EvalHead head_;
  std::vector<EvalPoint> points_;
  std::string note_;
  StageProgress* progress_ = nullptr;
};

std::string PointJson(const EvalPoint& point) {
  JsonLine line("point");
  line.Add("nprobe", point.search.nprobe)
      .Add("ef_search", point.search.ef_search)
      .Add("recall_at_1", point.recall_at_1)
      .Add("recall_at_10", point.recall_at_10)
      .Add("recall_at_100", point.recall_at_100 < 0 ? std::nan("") : point.recall_at_100)
      .Add("queries_per_second", point.queries_per_second)
      .Add("p50_ms", point.p50_ms)
      .Add("p99_ms", point.p99_ms);
  return line.ToString();
}

void Print(const EvalHead& head, const std::vector<EvalPoint>& points, bool json) {
  if (json) {
    for (const EvalPoint& point : points) std::cout << PointJson(point) << "\n";
    JsonLine line("summary");
    line.Add("index", head.index)
        .Add("factory", head.factory)
        .Add("metric", head.metric)
        .Add("model", head.model)
        .Add("rows", head.rows)
        .Add("dim", head.dim)
        .Add("compared_dim", head.compared_dim)
        .Add("bytes", head.bytes)
        .Add("queries", head.queries)
        .Add("exit_code", 0);
    std::cout << line.ToString() << std::endl;
    return;
  }
  std::cout << head.index << ": " << (head.factory.empty() ? "" : head.factory + ", ") << head.metric << ", "
            << Counted(head.rows, "row", "rows") << " of " << head.dim << " numbers, " << BytesText(head.bytes) << "; "
            << Counted(head.queries, "query", "queries") << " " << head.queries_from << "\n"
            << absl::StrFormat("%-14s %9s %9s %10s %11s %9s %9s\n", "search", "recall@1", "recall@10", "recall@100",
                               "queries/s", "p50 ms", "p99 ms");
  for (const EvalPoint& point : points) {
    const std::string at_100 = point.recall_at_100 < 0 ? "-" : absl::StrFormat("%.4f", point.recall_at_100);
    std::cout << absl::StrFormat("%-14s %9.4f %9.4f %10s %11.0f %9.3f %9.3f\n", SearchText(point.search),
                                 point.recall_at_1, point.recall_at_10, at_100, point.queries_per_second, point.p50_ms,
                                 point.p99_ms);
  }
  std::cout << std::flush;
}

absl::Status WritePage(const std::string& path, const std::string& page) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << page << std::flush;
  if (file.good()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": cannot write the page; is its folder there?"));
}

}  // namespace

ExitCode IndexEvalCommand(const IndexEvalCommandOptions& options, const Environment& environment) {
  const bool json = options.common.json;
  const StopSignals signals({.command = "index eval", .left = "nothing was changed", .json = json});
  Evaluation evaluation(options, environment);
  absl::Status status = evaluation.Run();
  if (status.ok() && !options.html.empty()) {
    status = WritePage(options.html, EvalPage(evaluation.head(), evaluation.points()));
  }
  if (!status.ok()) return Fail("index eval", WithQuotingAdvice(status, {options.vectors}), json);
  if (!evaluation.note().empty()) Note(evaluation.note(), json);
  Print(evaluation.head(), evaluation.points(), json);
  return kExitDone;
}

}  // namespace reembed
