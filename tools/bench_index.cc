// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <filesystem>
#include <iostream>
#include <memory>
#include <random>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/pace/rate_limiter.h"
#include "engine/status_macros.h"
#include "index/index_build.h"
#include "index/index_eval.h"
#include "index/index_reader.h"
#include "index/row_set.h"
#include "tools/bench_commands.h"
#include "tools/eval_page.h"
#include "tools/format.h"
#include "tools/index_place.h"
#include "tools/live/report_page.h"
#include "tools/output.h"
#include "tools/signals.h"
#include "tools/streams.h"
#include "tools/target_bench.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

constexpr const char* kUsualFactories[] = {"Flat", "HNSW16", "HNSW32", "IVF,Flat", "IVF,SQ8"};
constexpr int kDefaultDim = 384;
constexpr int kTrueNeighbours = 100;
constexpr uint64_t kSeed = 1;

// A folder that goes with the object.
class ScratchFolder {
 public:
  static absl::StatusOr<std::unique_ptr<ScratchFolder>> Make() {
    std::error_code failed;
    const fs::path parent = fs::temp_directory_path(failed);
    std::random_device random;
    const fs::path path = parent / absl::StrFormat("reembed_bench_%08x%08x", random(), random());
    if (!failed) fs::create_directory(path, failed);
    if (failed) {
      return absl::NotFoundError(
          absl::StrCat(path.string(), ": cannot be made: ", failed.message(), "; TMPDIR names another folder for it"));
    }
    return std::unique_ptr<ScratchFolder>(new ScratchFolder(path.string()));
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  std::string operator/(absl::string_view name) const { return absl::StrCat(path_, "/", name); }

 private:
  explicit ScratchFolder(std::string path) : path_(std::move(path)) {}
  const std::string path_;
};

// One kind of index, built once and searched with several breadths.
struct BuiltCell {
  std::string asked;    // as it was asked for, perhaps without a number of lists
  std::string factory;  // as it was built
  absl::Duration build;
  int64_t rows = 0, bytes = 0;
  std::vector<EvalPoint> points;
  absl::Status failure;
  double RowsPerSecond() const {
    return build > absl::ZeroDuration() ? static_cast<double>(rows) / absl::ToDoubleSeconds(build) : 0;
  }
};

struct Best {
  const BuiltCell* cell = nullptr;
  const EvalPoint* point = nullptr;
};

// The fastest search that finds enough.
Best FindBest(const std::vector<BuiltCell>& cells, double recall) {
  Best best;
  for (const BuiltCell& cell : cells) {
    for (const EvalPoint& point : cell.points) {
      if (point.recall_at_10 < recall) continue;
      if (best.point == nullptr || point.queries_per_second > best.point->queries_per_second) best = {&cell, &point};
    }
  }
  return best;
}

std::vector<std::string> Head() {
  return {"factory", "build s", "rows/s", "size", "search", "recall@10", "queries/s", "p50 ms", "p99 ms"};
}

std::vector<std::string> CellsOfRow(const BuiltCell& cell, const EvalPoint& point) {
  return {cell.factory,
          absl::StrFormat("%.2f", absl::ToDoubleSeconds(cell.build)),
          WithCommas(std::llround(cell.RowsPerSecond())),
          BytesText(cell.bytes),
          SearchText(point.search),
          absl::StrFormat("%.4f", point.recall_at_10),
          WithCommas(std::llround(point.queries_per_second)),
          absl::StrFormat("%.3f", point.p50_ms),
          absl::StrFormat("%.3f", point.p99_ms)};
}

std::string Line(const std::vector<std::string>& cells) {
  return absl::StrFormat("%-14s %8s %10s %10s %-14s %9s %10s %8s %8s", cells[0], cells[1], cells[2], cells[3], cells[4],
                         cells[5], cells[6], cells[7], cells[8]);
}

void Print(const BuiltCell& cell, bool json) {
  if (!json) {
    if (!cell.failure.ok()) std::cout << absl::StrFormat("%-14s ", cell.factory) << cell.failure.message() << std::endl;
    for (const EvalPoint& point : cell.points) std::cout << Line(CellsOfRow(cell, point)) << std::endl;
    return;
  }
  if (!cell.failure.ok()) {
    JsonLine line("point");
    std::cout << line.Add("factory", cell.factory).Add("failure", cell.failure.message()).ToString() << std::endl;
  }
  for (const EvalPoint& point : cell.points) {
    JsonLine line("point");
    line.Add("factory", cell.factory)
        .Add("build_seconds", absl::ToDoubleSeconds(cell.build))
        .Add("build_rows_per_second", cell.RowsPerSecond())
        .Add("bytes", cell.bytes)
        .Add("nprobe", point.search.nprobe)
        .Add("ef_search", point.search.ef_search)
        .Add("recall_at_1", point.recall_at_1)
        .Add("recall_at_10", point.recall_at_10)
        .Add("queries_per_second", point.queries_per_second)
        .Add("p50_ms", point.p50_ms)
        .Add("p99_ms", point.p99_ms);
    std::cout << line.ToString() << std::endl;
  }
}

class IndexSweep {
 public:
  IndexSweep(const BenchIndexOptions& options, const Environment& environment, std::stop_token stop)
      : options_(options), environment_(environment), stop_(std::move(stop)) {}

  absl::Status Prepare() {
    if (!options_.common.report.empty()) ABSL_RETURN_IF_ERROR(CheckReportPath(options_.common.report));
    for (const std::string& factory : Factories()) ABSL_RETURN_IF_ERROR(ParseFactory(factory).status());
    ABSL_ASSIGN_OR_RETURN(metric_, ParseMetric(options_.metric));
    ABSL_ASSIGN_OR_RETURN(folder_, ScratchFolder::Make());
    if (options_.vectors.empty()) {
      ABSL_RETURN_IF_ERROR(MakeUp());
    } else {
      ABSL_RETURN_IF_ERROR(Read());
    }
    const EvalDraw draw{
        .metric = metric_, .count = options_.queries, .k = kTrueNeighbours, .seed = kSeed, .threads = options_.threads};
    ABSL_ASSIGN_OR_RETURN(set_, DrawEvalSet(*rows_, draw));
    return absl::OkStatus();
  }

  void Run() {
    if (!options_.common.json) {
      std::cout << what_ << ", " << MetricName(metric_) << "; " << Counted(set_.count(), "query", "queries")
                << " of its own rows, one at a time on one thread\n"
                << Line(Head()) << std::endl;
    }
    for (const std::string& factory : Factories()) {
      if (stop_.stop_requested()) return;
      BuiltCell cell{.asked = factory, .factory = factory, .rows = rows_->rows()};
      cell.failure = Measure(&cell);
      if (stop_.stop_requested() && cell.points.empty()) return;
      Print(cell, options_.common.json);
      cells_.push_back(std::move(cell));
    }
  }

  const std::vector<BuiltCell>& cells() const { return cells_; }
  const std::string& what() const { return what_; }

 private:
  std::vector<std::string> Factories() const {
    if (!options_.factories.empty()) return options_.factories;
    return {std::begin(kUsualFactories), std::end(kUsualFactories)};
  }

  absl::Status MakeUp() {
    const int dim = options_.dimensions > 0 ? options_.dimensions : kDefaultDim;
    const std::vector<float> vectors = MadeUpVectors(options_.rows, dim, kSeed);
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<RowSet::Writer> writer,
                          RowSet::Writer::Make(dim, metric_, *folder_ / "rows"));
    for (int64_t row = 0; row < options_.rows; ++row) {
      ABSL_RETURN_IF_ERROR(writer->Add(row, row, absl::MakeConstSpan(&vectors[static_cast<size_t>(row * dim)], dim)));
    }
    ABSL_ASSIGN_OR_RETURN(rows_, writer->Finish());
    what_ = absl::StrCat(Counted(options_.rows, "made-up row", "made-up rows"), " of ", dim, " numbers");
    return absl::OkStatus();
  }

  absl::Status Read() {
    const SecretVariables variables = {options_.common.db_token_env, options_.common.db_password_env};
    ABSL_ASSIGN_OR_RETURN(const OpenedVectors opened,
                          OpenVectors(options_.vectors, options_.dimensions, variables, environment_));
    const auto seen = [this](int64_t) {
      return stop_.stop_requested() ? absl::CancelledError("stopped") : absl::OkStatus();
    };
    ABSL_ASSIGN_OR_RETURN(rows_,
                          RowSet::Read(opened.reader.get(), opened.name,
                                       {.metric = metric_, .beside = *folder_ / "rows", .skip_unusable = true}, seen));
    what_ = absl::StrCat(Counted(rows_->rows(), "row", "rows"), " of ", rows_->dim(), " numbers from ", opened.name);
    return absl::OkStatus();
  }

  absl::Status Measure(BuiltCell* cell) {
    const std::string path = *folder_ / "scratch";
    IndexBuildOptions build{.model = {.name = "", .dim = rows_->dim()},
                            .built_from = "",
                            .version = REEMBED_VERSION,
                            .threads = options_.threads,
                            .keeps_previous = false,
                            .stopped = [this] { return stop_.stop_requested(); }};
    ABSL_ASSIGN_OR_RETURN(build.spec.factory, ParseFactory(cell->factory));
    build.spec.metric = metric_;
    const Moment begin = MonotonicNow();
    ABSL_ASSIGN_OR_RETURN(const BuiltIndex built, BuildIndexOf(*rows_, path, build));
    cell->build = MonotonicNow() - begin;
    cell->factory = built.description.factory;
    cell->bytes = built.description.index_file.bytes;
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<IndexReader> index, IndexReader::Open(path));
    for (const SearchOptions& search : UsualSweep(*index)) {
      if (stop_.stop_requested()) return absl::OkStatus();
      ABSL_ASSIGN_OR_RETURN(const EvalPoint point, Evaluate(index.get(), set_, search, &*rows_));
      cell->points.push_back(point);
    }
    return absl::OkStatus();
  }

  const BenchIndexOptions& options_;
  const Environment& environment_;
  const std::stop_token stop_;
  Metric metric_ = Metric::kCosine;
  std::unique_ptr<ScratchFolder> folder_;
  std::optional<RowSet> rows_;
  EvalSet set_;
  std::string what_;
  std::vector<BuiltCell> cells_;
};

std::string Advice(const std::vector<BuiltCell>& cells, double recall) {
  const Best best = FindBest(cells, recall);
  if (best.point == nullptr) {
    return absl::StrFormat("none of these finds %.4g of the ten nearest; measure others with --factory", recall);
  }
  const std::string search = best.point->search.nprobe > 0 || best.point->search.ef_search > 0
                                 ? absl::StrCat(" with ", SearchText(best.point->search))
                                 : "";
  return absl::StrFormat(
      "the fastest that finds %.4g of the ten nearest: %s%s, recall %.4f, %s queries/s, built in %s, %s; reembed index "
      "build VECTORS -o INDEX --factory %s",
      recall, best.cell->factory, search, best.point->recall_at_10,
      WithCommas(std::llround(best.point->queries_per_second)), DurationText(best.cell->build),
      BytesText(best.cell->bytes), best.cell->asked);
}

ReportPage PageOf(const IndexSweep& sweep, double recall) {
  ReportPage page{
      .title = "reembed: indexes, how fast they are built and searched",
      .text = absl::StrCat(sweep.what(), ". One query at a time on one thread. By reembed ", REEMBED_VERSION, ".")};
  ReportSection table{.title = "Figures", .text = Advice(sweep.cells(), recall), .head = Head()};
  for (const BuiltCell& cell : sweep.cells()) {
    Plot plot{.title = absl::StrCat(cell.factory, ": queries a second by recall@10"),
              .lines = {{.name = cell.factory}},
              .across = " of the ten nearest",
              .begin = 0};
    for (const EvalPoint& point : cell.points) {
      table.rows.push_back(CellsOfRow(cell, point));
      plot.lines[0].seconds.push_back(point.recall_at_10);
      plot.lines[0].values.push_back(point.queries_per_second);
    }
    if (cell.points.size() > 1) table.plots.push_back(std::move(plot));
    if (!cell.failure.ok()) {
      table.rows.push_back({cell.factory, std::string(cell.failure.message()), "", "", "", "", "", "", ""});
    }
  }
  page.sections.push_back(std::move(table));
  return page;
}

void PrintSummary(const IndexSweep& sweep, double recall, ExitCode code, bool json) {
  if (!json) {
    std::cout << Advice(sweep.cells(), recall) << std::endl;
    return;
  }
  const Best best = FindBest(sweep.cells(), recall);
  JsonLine line("summary");
  line.Add("vectors", sweep.what()).Add("least_recall", recall);
  if (best.point != nullptr) {
    line.Add("best_factory", best.cell->factory)
        .Add("best_nprobe", best.point->search.nprobe)
        .Add("best_ef_search", best.point->search.ef_search)
        .Add("best_recall_at_10", best.point->recall_at_10)
        .Add("best_queries_per_second", best.point->queries_per_second);
  }
  std::cout << line.Add("advice", Advice(sweep.cells(), recall)).Add("exit_code", static_cast<int>(code)).ToString()
            << std::endl;
}

}  // namespace

ExitCode BenchIndexCommand(const BenchIndexOptions& options, const Environment& environment) {
  const bool json = options.common.json;
  StopSignals signals({.command = "bench index", .left = "nothing was changed", .json = json});
  const auto fail = [&](const absl::Status& status) {
    return Fail("bench index", WithQuotingAdvice(status, {options.vectors}), json);
  };
  const StopSignals::Work work(&signals, {.wait = absl::Seconds(10)});
  IndexSweep sweep(options, environment, signals.token());
  if (absl::Status prepared = sweep.Prepare(); !prepared.ok()) return fail(prepared);
  sweep.Run();
  ExitCode code = kExitDone;
  for (const BuiltCell& cell : sweep.cells()) {
    if (!cell.failure.ok()) code = WorseOf(code, fail(cell.failure));
  }
  if (signals.signal() != 0) code = ExitCodeOfSignal(signals.signal());
  if (!options.common.report.empty()) {
    const absl::Status written = WriteReport(PageOf(sweep, options.recall), options.common.report);
    if (!written.ok()) code = WorseOf(code, fail(written));
  }
  PrintSummary(sweep, options.recall, code, json);
  return code;
}

}  // namespace reembed
