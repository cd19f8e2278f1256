// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <iostream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "tools/bench_commands.h"
#include "tools/format.h"
#include "tools/live/report_page.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/signals.h"
#include "tools/streams.h"
#include "tools/sweep.h"
#include "tools/target_bench.h"

namespace reembed {
namespace {

double Milliseconds(absl::Duration duration) { return absl::ToDoubleMilliseconds(duration); }

std::vector<std::string> CellsOfRow(const TargetCell& cell) {
  const auto rate = [](double value) { return WithCommas(std::llround(value)); };
  return {WithCommas(cell.rows_per_write),
          rate(cell.RowsPerSecond()),
          absl::StrFormat("%.1f", Milliseconds(Percentile(cell.latencies, 0.50))),
          absl::StrFormat("%.1f", Milliseconds(Percentile(cell.latencies, 0.95))),
          WithCommas(cell.rows),
          cell.finished ? absl::StrFormat("%.2f", absl::ToDoubleSeconds(cell.finish)) : "-",
          cell.file_bytes > 0 && cell.rows > 0 ? WithCommas(cell.file_bytes / cell.rows) : "-",
          cell.option.empty() ? "as given" : cell.option};
}

std::vector<std::string> Head() {
  return {"rows a write", "rows/s", "p50 ms", "p95 ms", "rows", "at the end s", "bytes/row", "address"};
}

std::string Line(const std::vector<std::string>& cells) {
  return absl::StrFormat("%12s %11s %9s %9s %9s %12s %9s  %s", cells[0], cells[1], cells[2], cells[3], cells[4],
                         cells[5], cells[6], cells[7]);
}

std::string CellJson(const TargetCell& cell) {
  JsonLine line("cell");
  line.Add("target", cell.place).Add("option", cell.option).Add("rows_per_write", cell.rows_per_write);
  if (!cell.failure.ok()) return line.Add("failure", cell.failure.message()).ToString();
  line.Add("rows_per_second", cell.RowsPerSecond())
      .Add("p50_ms", Milliseconds(Percentile(cell.latencies, 0.50)))
      .Add("p95_ms", Milliseconds(Percentile(cell.latencies, 0.95)))
      .Add("rows", cell.rows)
      .Add("rows_refused", cell.refused)
      .Add("writes", cell.writes)
      .Add("elapsed_seconds", absl::ToDoubleSeconds(cell.elapsed))
      .Add("finish_seconds", cell.finished ? absl::ToDoubleSeconds(cell.finish) : std::nan(""))
      .Add("file_bytes", cell.file_bytes)
      .AddRaw("too_few_writes", cell.IsThin() ? "true" : "false");
  return line.ToString();
}

void Print(const TargetCell& cell, bool json) {
  if (json) {
    std::cout << CellJson(cell) << std::endl;
  } else if (cell.failure.ok()) {
    std::cout << Line(CellsOfRow(cell)) << (cell.IsThin() ? "  few" : "") << std::endl;
  } else {
    std::cout << absl::StrFormat("%12s  ", WithCommas(cell.rows_per_write))
              << (cell.option.empty() ? "" : cell.option + ": ") << cell.failure.message() << std::endl;
  }
}

// What one target was found to be.
struct Measured {
  std::string uri;
  std::vector<TargetCell> cells;
  const TargetCell* knee() const { return FindTargetKnee(cells); }
};

// The fastest with another address, if it is clearly faster than the knee.
const TargetCell* FindFasterOption(const Measured& measured) {
  const TargetCell* const knee = measured.knee();
  const TargetCell* best = nullptr;
  for (const TargetCell& cell : measured.cells) {
    if (cell.option.empty() || !cell.failure.ok() || cell.rows == 0) continue;
    if (cell.RowsPerSecond() < 1.1 * knee->RowsPerSecond()) continue;
    if (best == nullptr || cell.RowsPerSecond() > best->RowsPerSecond()) best = &cell;
  }
  return best;
}

std::string Advice(const Measured& measured) {
  const TargetCell* const knee = measured.knee();
  if (knee == nullptr) return absl::StrCat(measured.uri, ": nothing could be measured");
  std::string text = absl::StrCat(
      knee->place, " takes ", WithCommas(std::llround(knee->RowsPerSecond())), " rows/s from ",
      Counted(knee->rows_per_write, "row", "rows"), " a write on: --batch-size ", knee->rows_per_write,
      ", or fewer with so many requests at a time that as many rows come together (--concurrency), as what waits is "
      "written at once");
  if (const TargetCell* const option = FindFasterOption(measured); option != nullptr) {
    absl::StrAppend(&text, absl::StrFormat("; with &%s in the address %.1f times as many, in another form",
                                           option->option, option->RowsPerSecond() / knee->RowsPerSecond()));
  }
  return text;
}

Plot PlotOf(const Measured& measured) {
  Plot plot{.title = absl::StrCat("Rows a second: ", measured.cells.front().place),
            .across = " rows a write",
            .begin = 1,
            .is_log = true};
  plot.lines.push_back({.name = "rows a second"});
  for (const TargetCell& cell : measured.cells) {
    if (!cell.failure.ok() || !cell.option.empty()) continue;
    plot.lines[0].seconds.push_back(cell.rows_per_write);
    plot.lines[0].values.push_back(cell.RowsPerSecond());
  }
  return plot;
}

ReportPage PageOf(const std::vector<Measured>& all, const BenchTargetOptions& options) {
  ReportPage page{.title = "reembed: how fast targets are written",
                  .text = absl::StrCat(
                      "Made-up vectors of ", WithCommas(options.dimensions), " numbers, at most ",
                      Counted(options.rows, "row", "rows"), " or ", DurationText(absl::Seconds(options.common.seconds)),
                      " a measure, into places that were made for it and removed. By reembed ", REEMBED_VERSION, ".")};
  for (const Measured& measured : all) {
    if (measured.cells.empty()) continue;
    ReportSection section{.title = measured.uri, .text = Advice(measured), .head = Head()};
    for (const TargetCell& cell : measured.cells) {
      if (cell.failure.ok()) {
        section.rows.push_back(CellsOfRow(cell));
      } else {
        section.rows.push_back(
            {WithCommas(cell.rows_per_write), std::string(cell.failure.message()), "", "", "", "", "", cell.option});
      }
    }
    section.plots.push_back(PlotOf(measured));
    page.sections.push_back(std::move(section));
  }
  return page;
}

class TargetSweep {
 public:
  TargetSweep(const BenchTargetOptions& options, std::stop_token stop) : options_(options), stop_(std::move(stop)) {}

  // What fails with the first measure fails with all.
  absl::Status Run(const Store& target) {
    all_.push_back({.uri = PlaceText(target.location)});
    Measured* const measured = &all_.back();
    if (!options_.common.json) {
      std::cout << measured->uri << "\n" << Line(Head()) << std::endl;
    }
    const int most = static_cast<int>(std::min<int64_t>(options_.batch_size, options_.rows));
    for (const int rows : RowsPerWriteSteps(most)) {
      if (stop_.stop_requested()) return absl::OkStatus();
      ABSL_RETURN_IF_ERROR(Add(target, rows, "", measured));
    }
    const TargetCell* const knee = measured->knee();
    if (knee == nullptr) return absl::OkStatus();
    const int rows = knee->rows_per_write;
    for (const std::string& option : options_.options.empty() ? OptionsWorthTrying(target) : options_.options) {
      if (stop_.stop_requested()) return absl::OkStatus();
      Add(target, rows, option, measured).IgnoreError();  // it is in the table
    }
    return absl::OkStatus();
  }

  const std::vector<Measured>& all() const { return all_; }

 private:
  absl::Status Add(const Store& target, int rows, const std::string& option, Measured* measured) {
    const TargetMeasure measure{.target = target,
                                .dim = options_.dimensions,
                                .rows_per_write = rows,
                                .most_rows = options_.rows,
                                .time = absl::Seconds(options_.common.seconds),
                                .option = option};
    TargetCell cell = MeasureTarget(measure, stop_);
    if (stop_.stop_requested() && cell.rows == 0) return cell.failure;
    Print(cell, options_.common.json);
    measured->cells.push_back(std::move(cell));
    return measured->cells.back().failure;
  }

  const BenchTargetOptions& options_;
  const std::stop_token stop_;
  std::vector<Measured> all_;
};

void PrintSummary(const std::vector<Measured>& all, ExitCode code, bool json) {
  const Measured* best = nullptr;
  for (const Measured& measured : all) {
    if (!json && !measured.cells.empty()) std::cout << Advice(measured) << std::endl;
    const TargetCell* const knee = measured.knee();
    if (knee == nullptr) continue;
    if (best == nullptr || knee->RowsPerSecond() > best->knee()->RowsPerSecond()) best = &measured;
  }
  const auto is_thin = [](const TargetCell& cell) { return cell.failure.ok() && cell.IsThin(); };
  const bool few = std::any_of(all.begin(), all.end(), [&](const Measured& measured) {
    return std::any_of(measured.cells.begin(), measured.cells.end(), is_thin);
  });
  if (!json) {
    if (few) std::cout << "few: rests on less than five writes, and is rough; measure more with --rows or --seconds\n";
    if (all.size() > 1 && best != nullptr) std::cout << "the fastest of them: " << best->uri << std::endl;
    return;
  }
  JsonLine line("summary");
  line.Add("targets", static_cast<int64_t>(all.size()));
  if (best != nullptr) {
    const TargetCell* const faster = FindFasterOption(*best);
    line.Add("best_target", best->uri)
        .Add("best_rows_per_write", best->knee()->rows_per_write)
        .Add("best_rows_per_second", best->knee()->RowsPerSecond())
        .Add("best_option", faster == nullptr ? "" : faster->option)
        .Add("advice", Advice(*best));
  }
  std::cout << line.Add("exit_code", static_cast<int>(code)).ToString() << std::endl;
}

absl::StatusOr<std::vector<Store>> ReadTargets(const BenchTargetOptions& options, const Environment& environment) {
  const SecretVariables variables = {options.common.db_token_env, options.common.db_password_env};
  if (!options.common.report.empty()) ABSL_RETURN_IF_ERROR(CheckReportPath(options.common.report));
  for (const std::string& option : options.options) {
    if (option.find('=') != std::string::npos) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--try ", option, ": expected NAME=VALUE, as it stands in an address"));
  }
  std::vector<Store> targets;
  for (const std::string& uri : options.targets) {
    ABSL_ASSIGN_OR_RETURN(Location location, ParsePlace(uri, variables, environment));
    targets.push_back(StoreOf(std::move(location)));
  }
  return targets;
}

}  // namespace

ExitCode BenchTargetCommand(const BenchTargetOptions& options, const Environment& environment) {
  const bool json = options.common.json;
  StopSignals signals({.command = "bench target",
                       .left = "the temporary place may still exist: its name begins with reembed_bench_",
                       .json = json});
  const auto fail = [&](const absl::Status& status) {
    return Fail("bench target", WithQuotingAdvice(status, options.targets), json);
  };
  const absl::StatusOr<std::vector<Store>> targets = ReadTargets(options, environment);
  if (!targets.ok()) return fail(targets.status());
  if (!json) {
    std::cerr
        << "made-up vectors of " << WithCommas(options.dimensions) << " numbers, at most "
        << Counted(options.rows, "row", "rows") << " or " << DurationText(absl::Seconds(options.common.seconds))
        << " a measure, into places named reembed_bench_..., which are removed; Ctrl-C shows what is measured so far"
        << std::endl;
  }
  // The write that is under way is waited for, and then its place is removed.
  const StopSignals::Work work(&signals, {.wait = absl::Seconds(30)});
  TargetSweep sweep(options, signals.token());
  ExitCode code = kExitDone;
  for (const Store& target : *targets) {
    if (signals.signal() != 0) break;
    const absl::Status measured = sweep.Run(target);
    if (!measured.ok()) code = WorseOf(code, fail(measured));
  }
  if (signals.signal() != 0) code = ExitCodeOfSignal(signals.signal());
  if (!options.common.report.empty()) {
    const absl::Status written = WriteReport(PageOf(sweep.all(), options), options.common.report);
    if (!written.ok()) code = WorseOf(code, fail(written));
  }
  PrintSummary(sweep.all(), code, json);
  return code;
}

}  // namespace reembed
