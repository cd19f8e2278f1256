// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/selection.h"
#include "engine/status_macros.h"
#include "engine/text/token_estimator.h"
#include "tools/bench_commands.h"
#include "tools/format.h"
#include "tools/live/report_page.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/registry.h"
#include "tools/signals.h"
#include "tools/source_bench.h"
#include "tools/streams.h"

namespace reembed {
namespace {

struct ReadSource {
  std::string place;
  SourceReading reading;
  int64_t texts() const { return static_cast<int64_t>(reading.lengths.size()); }
  double MeanLength() const {
    return texts() == 0 ? 0 : static_cast<double>(reading.text_bytes) / static_cast<double>(texts());
  }
};

int64_t Tokens(double bytes) { return TokenEstimator().Estimate(std::llround(bytes)); }

std::vector<std::vector<std::string>> Figures(const ReadSource& measured) {
  const SourceReading& reading = measured.reading;
  std::vector<std::vector<std::string>> rows = {
      {"rows a second", WithCommas(std::llround(reading.RowsPerSecond()))},
      {"bytes a second", BytesText(std::llround(reading.BytesPerSecond()))},
      {"read", absl::StrCat(Counted(reading.rows, "row", "rows"), reading.whole ? ", all of them" : "", ", in ",
                            DurationText(reading.elapsed))},
      {"first row after", absl::StrCat(absl::ToInt64Milliseconds(reading.first_row), " ms")},
      {"without a text", WithCommas(reading.without_text)}};
  if (measured.texts() == 0) return rows;
  rows.push_back({"length of a text, bytes",
                  absl::StrCat("median ", WithCommas(reading.Length(0.5)), ", mean ",
                               WithCommas(std::llround(measured.MeanLength())), ", 95 % up to ",
                               WithCommas(reading.Length(0.95)), ", longest ", WithCommas(reading.Length(1)))});
  rows.push_back(
      {"tokens of a text, about", absl::StrCat("mean ", WithCommas(Tokens(measured.MeanLength())), ", longest ",
                                               WithCommas(Tokens(static_cast<double>(reading.Length(1)))))});
  return rows;
}

// What a request of so many texts takes: by this the batch size is chosen where an API limits its tokens.
std::string Advice(const ReadSource& measured) {
  const int64_t mean = Tokens(measured.MeanLength());
  if (measured.texts() == 0) return "it has no texts";
  return absl::StrCat("requests hold about ", WithCommas(mean * 64), " tokens with --batch-size 64, ",
                      WithCommas(mean * 256), " with 256, ", WithCommas(mean * 1024), " with 1,024; with --tpm ",
                      "1000000 an API takes about ", WithCommas(1000000 / 60 / std::max<int64_t>(1, mean)),
                      " rows/s of these, and this source gives ",
                      WithCommas(std::llround(measured.reading.RowsPerSecond())));
}

ReportPage PageOf(const ReadSource& measured) {
  const SourceReading& reading = measured.reading;
  ReportPage page{.title = "reembed: how fast a source is read",
                  .text = absl::StrCat(measured.place, ", read and not changed. By reembed ", REEMBED_VERSION, ".")};
  ReportSection section{.title = "Figures", .text = Advice(measured), .rows = Figures(measured)};
  Plot course{.title = "Rows read", .lines = {{.name = "rows", .seconds = {0}, .values = {0}}}};
  for (const auto& [seconds, rows] : reading.course) {
    course.lines[0].seconds.push_back(seconds);
    course.lines[0].values.push_back(static_cast<double>(rows));
  }
  // One text that is longer than all others would hide them.
  Plot lengths{.title = "Length of texts without the longest of a hundred",
               .unit = " bytes",
               .lines = {{.name = "bytes"}},
               .across = " % of the texts"};
  constexpr int kSteps = 100;
  for (int percent = 0; percent < kSteps && measured.texts() > 0; ++percent) {
    lengths.lines[0].seconds.push_back(percent);
    lengths.lines[0].values.push_back(static_cast<double>(reading.Length(percent / double{kSteps})));
  }
  section.plots = {std::move(course), std::move(lengths)};
  page.sections.push_back(std::move(section));
  return page;
}

void Print(const ReadSource& measured, ExitCode code, bool json) {
  const SourceReading& reading = measured.reading;
  if (!json) {
    std::cout << measured.place << "\n";
    for (const auto& row : Figures(measured)) std::cout << absl::StrCat("  ", row[0], ": ", row[1], "\n");
    std::cout << Advice(measured) << std::endl;
    return;
  }
  JsonLine line("summary");
  line.Add("source", measured.place)
      .Add("rows_per_second", reading.RowsPerSecond())
      .Add("bytes_per_second", reading.BytesPerSecond())
      .Add("rows", reading.rows)
      .AddRaw("whole", reading.whole ? "true" : "false")
      .Add("rows_without_text", reading.without_text)
      .Add("elapsed_seconds", absl::ToDoubleSeconds(reading.elapsed))
      .Add("first_row_ms", absl::ToDoubleMilliseconds(reading.first_row))
      .Add("text_bytes_mean", measured.MeanLength())
      .Add("text_bytes_p50", reading.Length(0.50))
      .Add("text_bytes_p95", reading.Length(0.95))
      .Add("text_bytes_p99", reading.Length(0.99))
      .Add("text_bytes_max", reading.Length(1))
      .Add("exit_code", static_cast<int>(code));
  std::cout << line.ToString() << std::endl;
}

absl::StatusOr<ReadSource> MeasureAll(const BenchSourceOptions& options, const Environment& environment,
                                      const std::stop_token& stop) {
  if (!options.common.report.empty()) ABSL_RETURN_IF_ERROR(CheckReportPath(options.common.report));
  ABSL_ASSIGN_OR_RETURN(
      Location location,
      ParsePlace(options.source, {options.common.db_token_env, options.common.db_password_env}, environment));
  ReadSource measured{.place = PlaceText(location)};
  const Store store = StoreOf(std::move(location));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Source> source, OpenSource(store, {.where = options.where}));
  ABSL_ASSIGN_OR_RETURN(measured.reading,
                        MeasureSource(source.get(), absl::Seconds(options.common.seconds), options.rows, stop));
  return measured;
}

}  // namespace

ExitCode BenchSourceCommand(const BenchSourceOptions& options, const Environment& environment) {
  const bool json = options.common.json;
  StopSignals signals({.command = "bench source", .left = "nothing was changed", .json = json});
  const auto fail = [&](const absl::Status& status) {
    return Fail("bench source", WithQuotingAdvice(status, {options.source}), json);
  };
  const StopSignals::Work work(&signals, {.wait = absl::Seconds(5)});
  const absl::StatusOr<ReadSource> measured = MeasureAll(options, environment, signals.token());
  if (!measured.ok()) return fail(measured.status());
  ExitCode code = signals.signal() != 0 ? ExitCodeOfSignal(signals.signal()) : kExitDone;
  if (!options.common.report.empty()) {
    const absl::Status written = WriteReport(PageOf(*measured), options.common.report);
    if (!written.ok()) code = WorseOf(code, fail(written));
  }
  Print(*measured, code, json);
  return code;
}

}  // namespace reembed
