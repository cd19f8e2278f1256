// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/status_macros.h"
#include "tools/commands.h"
#include "tools/embedder.h"
#include "tools/format.h"
#include "tools/live/report_page.h"
#include "tools/output.h"
#include "tools/resolve.h"
#include "tools/signals.h"
#include "tools/streams.h"
#include "tools/sweep.h"

namespace reembed {
namespace {

constexpr int kDefaultMaxConcurrency = 32;
constexpr int kMaxBatchSize = 2048;
constexpr int64_t kDefaultMaxTokens = 200000;
constexpr int64_t kProbeTokens = 64;   // what the first, single text may take at most
constexpr size_t kLongestLine = 2000;  // of --texts: the rest of a line is left out

// A job without rows: only its embedder matters here.
absl::StatusOr<ResolvedJob> ResolveEmbedderOnly(CommandOptions options, const Environment& environment) {
  options.source = "-";
  options.targets = {"-"};
  options.batch_size = 0;
  options.concurrency = 0;
  return Resolve(options, environment);
}

absl::StatusOr<std::vector<std::string>> ReadLines(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("--texts ", path, ": cannot be read"));
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    size_t end = std::min(line.size(), kLongestLine);
    while (end > 0 && end < line.size() && (static_cast<unsigned char>(line[end]) & 0xC0) == 0x80) --end;
    line.resize(end);  // not inside a character
    if (!absl::StripAsciiWhitespace(line).empty()) lines.push_back(std::move(line));
  }
  if (lines.empty()) return absl::InvalidArgumentError(absl::StrCat("--texts ", path, ": has no text, one a line"));
  return lines;
}

double Milliseconds(absl::Duration duration) { return absl::ToDoubleMilliseconds(duration); }

void PrintCell(const SweepCell& cell, bool json) {
  if (json) {
    JsonLine line("cell");
    line.Add("concurrency", cell.concurrency).Add("batch_size", cell.batch_size);
    if (!cell.skipped.empty()) {
      std::cout << line.Add("skipped", cell.skipped).ToString() << std::endl;
      return;
    }
    line.Add("rows_per_second", cell.TextsPerSecond())
        .Add("tokens_per_second", cell.TokensPerSecond())
        .Add("p50_ms", Milliseconds(Percentile(cell.latencies, 0.50)))
        .Add("p95_ms", Milliseconds(Percentile(cell.latencies, 0.95)))
        .Add("p99_ms", Milliseconds(Percentile(cell.latencies, 0.99)))
        .Add("requests", cell.requests)
        .Add("tokens", cell.tokens)
        .Add("errors", cell.errors)
        .Add("http_429", cell.http_429)
        .AddRaw("too_few_requests", cell.IsThin() ? "true" : "false");
    if (!cell.failure.ok()) line.Add("failure", cell.failure.message());
    std::cout << line.ToString() << std::endl;
    return;
  }
  std::cout << absl::StrFormat("%11d %6d", cell.concurrency, cell.batch_size);
  if (!cell.skipped.empty()) {
    std::cout << "  skipped: " << cell.skipped << std::endl;
    return;
  }
  std::cout << absl::StrFormat(
                   " %10s %10s %9.1f %9.1f %9.1f %8d %7d %5d", WithCommas(std::llround(cell.TextsPerSecond())),
                   WithCommas(std::llround(cell.TokensPerSecond())), Milliseconds(Percentile(cell.latencies, 0.50)),
                   Milliseconds(Percentile(cell.latencies, 0.95)), Milliseconds(Percentile(cell.latencies, 0.99)),
                   cell.requests, cell.errors, cell.http_429)
            << (cell.IsThin() ? "  few" : "") << std::endl;
  if (cell.requests == 0 && !cell.failure.ok()) std::cout << "            " << cell.failure.message() << std::endl;
}

void PrintHead(const ResolvedJob& job, size_t cells, absl::Duration time, int64_t max_tokens) {
  std::cerr << "measuring " << (job.client.api_base.empty() ? "the built-in embedder" : job.client.api_base) << ", "
            << job.client.model.name << ", " << cells << " cells of " << DurationText(time) << ", "
            << (max_tokens > 0 ? absl::StrCat("at most ", Counted(max_tokens, "token", "tokens"))
                               : "any number of tokens")
            << "; Ctrl-C shows what is measured so far\n";
  std::cout << absl::StrFormat("%11s %6s %10s %10s %9s %9s %9s %8s %7s %5s\n", "concurrency", "batch", "rows/s",
                               "tokens/s", "p50 ms", "p95 ms", "p99 ms", "requests", "errors", "429s")
            << std::flush;
}

std::string FlagsOf(const SweepCell& knee) {
  return absl::StrCat("--concurrency ", knee.concurrency, " --batch-size ", knee.batch_size);
}

void PrintSummary(const std::vector<SweepCell>& cells, int64_t tokens, int64_t max_tokens, ExitCode code, bool json) {
  const SweepCell* const knee = FindKnee(cells);
  const std::string flags = knee == nullptr ? "" : FlagsOf(*knee);
  if (json) {
    JsonLine line("summary");
    line.Add("cells", static_cast<int64_t>(cells.size())).Add("tokens", tokens);
    if (knee != nullptr) {
      line.Add("knee_concurrency", knee->concurrency)
          .Add("knee_batch_size", knee->batch_size)
          .Add("knee_rows_per_second", knee->TextsPerSecond())
          .AddRaw("knee_too_few_requests", knee->IsThin() ? "true" : "false")
          .Add("flags", flags);
    }
    std::cout << line.Add("exit_code", static_cast<int>(code)).ToString() << std::endl;
    return;
  }
  if (knee == nullptr) {
    std::cout << "nothing could be measured\n";
  } else {
    std::cout << "the knee (smallest concurrency within 5 % of the best throughput): "
              << WithCommas(std::llround(knee->TextsPerSecond())) << " rows/s with\n  reembed run " << flags
              << " ...\n";
    if (knee->IsThin()) std::cout << "  this rests on " << Counted(knee->requests, "request", "requests") << " only\n";
  }
  const auto is_thin = [](const SweepCell& cell) { return cell.skipped.empty() && cell.IsThin(); };
  if (const auto few = std::count_if(cells.begin(), cells.end(), is_thin); few > 0) {
    std::cout << "few: " << Counted(few, "cell rests", "cells rest")
              << " on less than 20 requests, or on less than two for each at a time, and is rough; measure longer with "
                 "--seconds"
              << (max_tokens > 0 ? ", or with more --max-tokens" : "") << "\n";
  }
  std::cout << Counted(tokens, "token was used", "tokens were used") << std::endl;
}

std::vector<std::string> RowOf(const SweepCell& cell) {
  const auto milliseconds = [&cell](double share) {
    return absl::StrFormat("%.1f", Milliseconds(Percentile(cell.latencies, share)));
  };
  return {WithCommas(cell.concurrency),
          WithCommas(cell.batch_size),
          WithCommas(std::llround(cell.TextsPerSecond())),
          WithCommas(std::llround(cell.TokensPerSecond())),
          milliseconds(0.50),
          milliseconds(0.95),
          milliseconds(0.99),
          WithCommas(cell.requests),
          WithCommas(cell.errors),
          WithCommas(cell.http_429),
          !cell.skipped.empty() ? "skipped: " + cell.skipped
          : cell.requests == 0  ? std::string(cell.failure.message())
          : cell.IsThin()       ? "few requests"
                                : ""};
}

// A line for each size of a request, over the requests at a time.
Plot PlotOf(const std::vector<SweepCell>& cells, const char* title, const char* unit,
            absl::FunctionRef<double(const SweepCell&)> value) {
  Plot plot{.title = title, .unit = unit, .across = " requests at a time", .begin = 1, .is_log = true};
  for (const SweepCell& cell : cells) {
    if (cell.requests == 0) continue;
    const std::string name = Counted(cell.batch_size, "text a request", "texts a request");
    if (plot.lines.empty() || plot.lines.back().name != name) plot.lines.push_back({.name = name});
    plot.lines.back().seconds.push_back(cell.concurrency);
    plot.lines.back().values.push_back(value(cell));
  }
  return plot;
}

ReportPage PageOf(const ResolvedJob& job, const std::vector<SweepCell>& cells, absl::Duration time, int64_t tokens) {
  const SweepCell* const knee = FindKnee(cells);
  ReportPage page{
      .title = "reembed: how fast an API embeds",
      .text = absl::StrCat(
          job.client.api_base.empty() ? "The built-in embedder" : job.client.api_base, ", ", job.client.model.name,
          ", ", DurationText(time), " a measure, ", Counted(tokens, "token", "tokens"), " in all. ",
          knee == nullptr
              ? "Nothing could be measured"
              : absl::StrCat("The knee, the smallest concurrency within 5 % of the best throughput: ",
                             WithCommas(std::llround(knee->TextsPerSecond())), " rows/s with ", FlagsOf(*knee)),
          ". By reembed ", REEMBED_VERSION, ".")};
  ReportSection section{.title = "Measures",
                        .head = {"concurrency", "batch", "rows/s", "tokens/s", "p50 ms", "p95 ms", "p99 ms", "requests",
                                 "errors", "429s", ""}};
  for (const SweepCell& cell : cells) section.rows.push_back(RowOf(cell));
  if (knee != nullptr) {
    section.plots = {PlotOf(cells, "Rows a second", "", [](const SweepCell& cell) { return cell.TextsPerSecond(); }),
                     PlotOf(cells, "Half of the answers come within", " ms",
                            [](const SweepCell& cell) { return Milliseconds(Percentile(cell.latencies, 0.50)); })};
  }
  page.sections.push_back(std::move(section));
  return page;
}

struct Sweep {
  std::vector<SweepCell> cells;
  absl::Status failure;  // why it ended early
};

Sweep MeasureAll(Sweeper* sweeper, const std::vector<int>& batch_sizes, const std::vector<int>& concurrencies,
                 bool json, const std::stop_token& stop) {
  Sweep sweep;
  size_t left = batch_sizes.size() * concurrencies.size();
  for (const int batch_size : batch_sizes) {
    size_t row_left = concurrencies.size();
    for (const int concurrency : concurrencies) {
      if (stop.stop_requested()) return sweep;
      SweepCell cell = sweeper->Measure(concurrency, batch_size, static_cast<int>(left), stop);
      --left;
      --row_left;
      if (cell.requests == 0 && cell.errors == 0 && cell.skipped.empty()) return sweep;  // stopped
      PrintCell(cell, json);
      const bool all_failed = cell.requests == 0 && cell.skipped.empty();
      const absl::Status failure = cell.failure;
      sweep.cells.push_back(std::move(cell));
      if (!all_failed) continue;
      if (absl::IsUnauthenticated(failure) || absl::IsPermissionDenied(failure)) {
        sweep.failure = failure;
        return sweep;
      }
      left -= row_left;
      break;  // more at a time will not help
    }
  }
  return sweep;
}

// What is measured, ascending.
struct Steps {
  std::vector<int> concurrencies, batch_sizes;
};

absl::StatusOr<Steps> StepsOf(const BenchEndpointOptions& options, const DialectLimits& limits) {
  const int api_limit = limits.inputs > 0 ? limits.inputs : kMaxBatchSize;
  if (options.embedder.batch_size > api_limit) {
    return absl::InvalidArgumentError(
        absl::StrCat("--batch-size ", options.embedder.batch_size, ": a request takes at most ", api_limit, " texts"));
  }
  return Steps{
      .concurrencies =
          ConcurrencySteps(options.embedder.concurrency > 0 ? options.embedder.concurrency : kDefaultMaxConcurrency),
      .batch_sizes = BatchSizeSteps(options.embedder.batch_size > 0 ? options.embedder.batch_size : api_limit)};
}

// One text shows how wide the vectors are, and how they come.
absl::Status Probe(SweepOptions* sweep, ApiOptions* client) {
  if (sweep->max_tokens != 0 && sweep->max_tokens < kProbeTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("--max-tokens: expected at least ", kProbeTokens, ", or 0 for no limit"));
  }
  ABSL_ASSIGN_OR_RETURN(const ApiProbe probe, ProbeApi(*client));
  client->model.dim = probe.width;
  client->encoding = probe.encoding;
  sweep->tokens_used = probe.stats.tokens;
  return absl::OkStatus();
}

}  // namespace

ExitCode BenchEndpointCommand(const BenchEndpointOptions& options, const Environment& environment) {
  const bool json = options.embedder.json;
  StopSignals signals({.command = "bench endpoint", .left = "nothing was measured", .json = json});
  const auto fail = [&](const absl::Status& status) { return Fail("bench endpoint", status, json); };
  if (!options.report.empty()) {
    if (const absl::Status path = CheckReportPath(options.report); !path.ok()) return fail(path);
  }
  absl::StatusOr<ResolvedJob> job = ResolveEmbedderOnly(options.embedder, environment);
  if (!job.ok()) return fail(job.status());
  const bool builtin = job->embedder == Embedder::kBuiltin;
  const bool free = builtin || IsLoopback(job->client.api_base);
  const DialectLimits& limits = FindDialect(job->client.dialect)->limits;

  SweepOptions sweep{.time_per_cell = absl::Seconds(options.seconds),
                     .max_tokens = options.max_tokens >= 0 ? options.max_tokens
                                   : free                  ? 0
                                                           : kDefaultMaxTokens,
                     .extra_bytes_per_text = job->client.text_prefix.size()};
  std::vector<std::string> lines;
  if (!options.texts.empty()) {
    absl::StatusOr<std::vector<std::string>> read = ReadLines(options.texts);
    if (!read.ok()) return fail(read.status());
    lines = *std::move(read);
    sweep.even_texts = false;
    sweep.text = [&lines](int64_t number) { return lines[static_cast<size_t>(number) % lines.size()]; };
  }
  const absl::StatusOr<Steps> steps = StepsOf(options, limits);
  if (!steps.ok()) return fail(steps.status());
  if (!builtin) {
    if (const absl::Status probed = Probe(&sweep, &job->client); !probed.ok()) return fail(probed);
  }
  // What the API answers is the measure, so nothing is tried again, and nobody waits for a refusal's pause.
  job->client.retry = {.max_attempts = 1, .max_wait = absl::ZeroDuration(), .outage_waits = 0};
  job->client.concurrency = steps->concurrencies.back();
  job->client.fixed_concurrency = true;
  absl::StatusOr<RunningEmbedder> embedder = StartEmbedder(job->client);
  if (!embedder.ok()) return fail(embedder.status());
  EmbeddingClient* const client = embedder->client.get();
  const StopSignals::Work work(&signals, {.wait = StopWait(job->options),
                                          .stop = [client] { client->StopSending(absl::CancelledError("stopped")); },
                                          .in_the_air = [client] { return client->stats().in_the_air; },
                                          .drop = [client] { client->Cancel(); }});

  if (!json)
    PrintHead(*job, steps->concurrencies.size() * steps->batch_sizes.size(), sweep.time_per_cell, sweep.max_tokens);
  Sweeper sweeper(client, sweep);
  const Sweep measured = MeasureAll(&sweeper, steps->batch_sizes, steps->concurrencies, json, signals.token());
  ExitCode code = kExitDone;
  if (FindKnee(measured.cells) == nullptr) code = kExitTemporary;
  if (!measured.failure.ok()) code = fail(measured.failure);
  if (signals.signal() != 0) code = ExitCodeOfSignal(signals.signal());
  if (!options.report.empty()) {
    const absl::Status written =
        WriteReport(PageOf(*job, measured.cells, sweep.time_per_cell, sweeper.tokens_used()), options.report);
    if (!written.ok()) code = WorseOf(code, fail(written));
  }
  PrintSummary(measured.cells, sweeper.tokens_used(), sweep.max_tokens, code, json);
  return code;
}

}  // namespace reembed
