// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <iostream>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"
#include "tools/bench_commands.h"
#include "tools/consent.h"
#include "tools/format.h"
#include "tools/job_parts.h"
#include "tools/live/report_page.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/resolve.h"
#include "tools/signals.h"
#include "tools/spending.h"
#include "tools/streams.h"

namespace reembed {
namespace {

struct Measured {
  std::vector<JobPart> parts;
  int64_t rows = -1;
  int64_t tokens = 0;
  std::vector<std::string> left_out;  // names of parts that were not asked for
};

bool Has(const std::vector<std::string>& words, absl::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// The tokens that may be sent; 0: any number. Says the price first, and has a yes, where they cost something.
absl::StatusOr<int64_t> TokensAllowed(const ResolvedJob& job, int64_t tokens) {
  if (EmbedsForFree(job)) return 0;
  ABSL_RETURN_IF_ERROR(CheckMaxSpend(job));
  if (job.options.max_tokens > 0) tokens = std::min(tokens, job.options.max_tokens);
  const std::optional<double> price = UsdPerToken(job);
  if (!job.options.max_spend.empty() && price.has_value() && *price > 0) {
    ABSL_ASSIGN_OR_RETURN(const MaxSpend max, ParseMaxSpend(job.options.max_spend));
    tokens = std::min(tokens, static_cast<int64_t>(std::min(max.usd / *price, 1e15)));
  }
  const std::string what = absl::StrCat("bench all sends made-up texts of at most ", Counted(tokens, "token", "tokens"),
                                        " to ", job.client.api_base, "; price: ", PriceText(job, tokens));
  ABSL_RETURN_IF_ERROR(AskConsent(what, "to go on, say --yes; to measure all else, say --without endpoint",
                                  {job.options.yes, job.options.no_input}));
  // Who said it beforehand hears the price all the same.
  if (job.options.yes) Note(what, job.options.json);
  return std::max<int64_t>(tokens, 1);
}

std::string RateText(const JobPart& part) {
  if (!part.failure.ok()) return "-";
  if (!std::isfinite(part.rows_per_second)) return "any";
  return absl::StrCat(part.projected ? "~" : "", WithCommas(std::llround(part.rows_per_second)));
}

std::string HowText(const JobPart& part) {
  return part.failure.ok() ? part.how : absl::StrCat("not measured: ", part.failure.message());
}

void Print(const JobPart& part, bool json) {
  if (!json) {
    std::cout << absl::StrFormat("%-9s %12s  %s", PartName(part.kind), RateText(part), part.place) << ": "
              << HowText(part) << std::endl;
    return;
  }
  JsonLine line("part");
  line.Add("part", PartName(part.kind)).Add("place", part.place);
  if (part.failure.ok()) {
    line.Add("rows_per_second", part.rows_per_second)
        .AddRaw("projected", part.projected ? "true" : "false")
        .Add("how", part.how);
  } else {
    line.Add("failure", part.failure.message());
  }
  std::cout << line.ToString() << std::endl;
}

// Without its parameters, which are in the table.
std::string Bare(const std::string& place) { return place.substr(0, place.find('?')); }

// "the bottleneck is the endpoint URL with 1,200 rows/s; the source gives 45,000, ..."
std::string Sentence(const Measured& measured) {
  const JobPart* const narrowest = FindNarrowest(measured.parts);
  if (narrowest == nullptr) return "no part could be measured";
  std::vector<std::string> others;
  for (const JobPart& part : measured.parts) {
    if (&part == narrowest || !part.failure.ok()) continue;
    others.push_back(absl::StrCat("the ", PartName(part.kind), " ", Bare(part.place), " ", RateText(part)));
  }
  std::string text = absl::StrCat("the bottleneck is the ", PartName(narrowest->kind), " ", Bare(narrowest->place),
                                  " with ", RateText(*narrowest), " rows/s", others.empty() ? "" : " (");
  if (!others.empty()) absl::StrAppend(&text, absl::StrJoin(others, ", "), ")");
  if (measured.rows > 0) {
    absl::StrAppend(&text, ": ", Counted(measured.rows, "row", "rows"), " take about ",
                    DurationText(absl::Seconds(static_cast<double>(measured.rows) / narrowest->rows_per_second)));
  }
  std::vector<std::string> unknown = measured.left_out;
  for (const JobPart& part : measured.parts) {
    if (!part.failure.ok()) unknown.push_back(PartName(part.kind));
  }
  if (!unknown.empty()) absl::StrAppend(&text, "; not measured: ", absl::StrJoin(unknown, ", "));
  return text;
}

class JobMeasure {
 public:
  JobMeasure(const BenchAllOptions& options, const ResolvedJob& job, int64_t max_tokens, StopSignals* signals)
      : options_(options),
        job_(job),
        limits_{.time = absl::Seconds(options.seconds), .most_rows = options.rows, .max_tokens = max_tokens},
        signals_(signals) {}

  Measured Run() {
    SourceReading reading;
    if (Wants("source")) {
      const StopSignals::Work work(signals_, {.wait = absl::Seconds(5)});
      SourceParts source = MeasureJobSource(job_, limits_, signals_->token());
      measured_.rows = source.rows;
      reading = std::move(source.reading);
      Add(std::move(source.part));
    }
    if (Wants("endpoint")) {
      EndpointParts endpoint = MeasureJobEndpoint(job_, reading, limits_, signals_);
      measured_.tokens = endpoint.tokens;
      if (endpoint.quota.has_value()) Add(*std::move(endpoint.quota));
      Add(std::move(endpoint.part));
    } else if (std::optional<JobPart> quota = QuotaPart(job_, reading, 0); quota.has_value()) {
      Add(*std::move(quota));
    }
    if (!Wants("target")) return std::move(measured_);
    for (const Store& target : job_.targets) {
      if (signals_->signal() != 0) break;
      const StopSignals::Work work(signals_, {.wait = absl::Seconds(30)});
      for (JobPart& part : MeasureJobTarget(job_, target, limits_, signals_->token())) Add(std::move(part));
    }
    return std::move(measured_);
  }

 private:
  bool Wants(const std::string& part) {
    if (signals_->signal() != 0) return false;
    if (!Has(options_.without, part)) return true;
    measured_.left_out.push_back(part);
    return false;
  }

  void Add(JobPart part) {
    Print(part, job_.options.json);
    measured_.parts.push_back(std::move(part));
  }

  const BenchAllOptions& options_;
  const ResolvedJob& job_;
  const PartsOptions limits_;
  StopSignals* const signals_;
  Measured measured_;
};

// What a line above a bar has room for.
std::string EndOf(const std::string& place) {
  constexpr size_t kRoom = 40;
  std::string bare = Bare(place);
  if (bare.size() <= kRoom) return bare;
  size_t begin = bare.size() - kRoom;
  while (begin < bare.size() && (static_cast<unsigned char>(bare[begin]) & 0xC0) == 0x80) ++begin;
  return absl::StrCat("...", bare.substr(begin));
}

ReportPage PageOf(const Measured& measured) {
  ReportPage page{.title = "reembed: the parts of a job, and the bottleneck",
                  .text = absl::StrCat(Sentence(measured), ". By reembed ", REEMBED_VERSION, ".")};
  ReportSection table{.title = "Figures", .head = {"part", "rows/s", "place", "how"}};
  Plot plot{.title = "Rows a second of each part", .unit = " rows/s", .is_bars = true};
  const JobPart* const narrowest = FindNarrowest(measured.parts);
  for (const JobPart& part : measured.parts) {
    table.rows.push_back({PartName(part.kind), RateText(part), part.place, HowText(part)});
    if (!part.failure.ok() || !std::isfinite(part.rows_per_second)) continue;
    plot.lines.push_back({.name = absl::StrCat(PartName(part.kind), " ", EndOf(part.place)),
                          .values = {part.rows_per_second},
                          .is_limit = &part == narrowest});
  }
  if (plot.lines.size() > 1) table.plots.push_back(std::move(plot));
  page.sections.push_back(std::move(table));
  return page;
}

void PrintSummary(const Measured& measured, ExitCode code, bool json) {
  const JobPart* const narrowest = FindNarrowest(measured.parts);
  if (!json) {
    std::cout << Sentence(measured) << std::endl;
    if (narrowest != nullptr) std::cout << "what makes it wider: " << narrowest->advice << std::endl;
    if (measured.tokens > 0) std::cout << Counted(measured.tokens, "token was used", "tokens were used") << std::endl;
    return;
  }
  JsonLine line("summary");
  line.Add("rows", measured.rows).Add("tokens", measured.tokens).Add("sentence", Sentence(measured));
  if (narrowest != nullptr) {
    line.Add("narrowest", PartName(narrowest->kind))
        .Add("narrowest_place", narrowest->place)
        .Add("narrowest_rows_per_second", narrowest->rows_per_second)
        .Add("advice", narrowest->advice);
    if (measured.rows >= 0) {
      line.Add("seconds", static_cast<double>(measured.rows) / narrowest->rows_per_second);
    }
  }
  std::cout << line.Add("exit_code", static_cast<int>(code)).ToString() << std::endl;
}

absl::StatusOr<ResolvedJob> ResolveFirst(const BenchAllOptions& options, const Environment& environment) {
  for (const std::string& report : options.job.reports) ABSL_RETURN_IF_ERROR(CheckReportPath(report));
  const KeyNeed need = Has(options.without, "endpoint") ? KeyNeed::kNone : KeyNeed::kWanted;
  ABSL_ASSIGN_OR_RETURN(std::vector<ResolvedJob> jobs, ResolveStreams(options.job, environment, need));
  if (jobs.size() > 1) {
    Note(absl::StrCat("of ", jobs.size(), " streams `", jobs.front().stream, "` is measured; --stream names another"),
         options.job.json);
  }
  return std::move(jobs.front());
}

}  // namespace

ExitCode BenchAllCommand(const BenchAllOptions& options, const Environment& environment) {
  const bool json = options.job.json;
  StopSignals signals({.command = "bench all",
                       .left = "the temporary place may still exist: its name begins with reembed_bench_",
                       .json = json});
  const auto fail = [&](const absl::Status& status) {
    std::vector<std::string> uris = options.job.targets;
    uris.push_back(options.job.source);
    return Fail("bench all", WithQuotingAdvice(status, uris), json);
  };
  const absl::StatusOr<ResolvedJob> job = ResolveFirst(options, environment);
  if (!job.ok()) return fail(job.status());
  int64_t max_tokens = 0;
  if (!Has(options.without, "endpoint")) {
    const absl::StatusOr<int64_t> allowed = TokensAllowed(*job, options.tokens);
    if (!allowed.ok()) return fail(allowed.status());
    max_tokens = *allowed;
  }
  if (!json) std::cout << absl::StrFormat("%-9s %12s\n", "part", "rows/s") << std::flush;
  const Measured measured = JobMeasure(options, *job, max_tokens, &signals).Run();
  ExitCode code = kExitDone;
  for (const JobPart& part : measured.parts) {
    // That a part cannot be measured at all is no failure of the measure: the words of the command were checked before.
    const bool counts = !part.failure.ok() && !absl::IsCancelled(part.failure) &&
                        !absl::IsInvalidArgument(part.failure) && !absl::IsUnimplemented(part.failure);
    if (counts) code = WorseOf(code, ExitCodeOf(part.failure));
  }
  if (signals.signal() != 0) code = ExitCodeOfSignal(signals.signal());
  for (const std::string& report : options.job.reports) {
    const absl::Status written = WriteReport(PageOf(measured), report);
    if (!written.ok()) code = WorseOf(code, fail(written));
  }
  PrintSummary(measured, code, json);
  return code;
}

}  // namespace reembed
