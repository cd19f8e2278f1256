// SPDX-License-Identifier: Apache-2.0
#include "tools/job_parts.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/embedding_client.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "engine/text/token_estimator.h"
#include "tools/embedder.h"
#include "tools/endpoints.h"
#include "tools/format.h"
#include "tools/place.h"
#include "tools/registry.h"
#include "tools/spending.h"
#include "tools/sweep.h"
#include "tools/target_bench.h"

namespace reembed {
namespace {

constexpr size_t kLongestText = 2000;  // that a sweep sends
constexpr double kSameWidth = 0.95;

std::string PlaceOfEmbedder(const ResolvedJob& job) {
  if (job.embedder == Embedder::kBuiltin) return "the built-in embedder";
  if (job.endpoints.size() > 1)
    return absl::StrCat(job.endpoints.front().name, " and ", job.endpoints.size() - 1, " more");
  return job.client.api_base;
}

// The n-th text for the embedder: as long as one of the source's, and nothing of it.
std::string TextLike(const SourceReading& reading, int64_t number) {
  if (reading.lengths.empty()) return SampleText(number);
  // Lengths are sorted; steps of a prime take them from all over.
  constexpr int64_t kStep = 7919;
  const auto length = static_cast<size_t>(
      std::max<int64_t>(1, reading.lengths[static_cast<size_t>(number * kStep) % reading.lengths.size()]));
  const size_t wanted = std::min(length, kLongestText);
  std::string text = SampleText(number);
  while (text.size() < wanted) absl::StrAppend(&text, " ", SampleText(number + 1));
  size_t end = wanted;
  while (end < text.size() && end > 1 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return text;
}

// Measures with fewer texts or requests where the tokens do not suffice for those of the job.
SweepCell MeasureWithin(Sweeper* sweeper, int concurrency, int batch_size, bool is_bounded,
                        const std::stop_token& stop) {
  SweepCell first;
  if (is_bounded) {
    // What a text costs is not known before the API has said it; until then each byte might be a token.
    do {
      first = sweeper->Measure(1, batch_size, 4, stop);
      if (first.skipped.empty() || batch_size == 1) break;
      batch_size = std::max(1, batch_size / 2);
    } while (true);
    if (!first.skipped.empty() || first.requests == 0) return first;
  }
  for (int at_once = concurrency; at_once >= 1 && !stop.stop_requested(); at_once /= 2) {
    SweepCell cell = sweeper->Measure(at_once, batch_size, 1, stop);
    if (cell.skipped.empty()) return cell;
    if (at_once == 1 && !is_bounded) return cell;
  }
  return first;
}

absl::Status Embed(ResolvedJob* job, const SourceReading& reading, const PartsOptions& options, StopSignals* signals,
                   SweepCell* cell, int64_t* tokens) {
  if (job->embedder != Embedder::kBuiltin) {
    ABSL_ASSIGN_OR_RETURN(const ApiProbe probe, ProbeApi(job->client));
    job->client.model.dim = probe.width;
    job->client.encoding = probe.encoding;
    *tokens = probe.stats.tokens;
  }
  job->client.retry = {.max_attempts = 1, .max_wait = absl::ZeroDuration(), .outage_waits = 0};
  job->client.fixed_concurrency = true;
  ABSL_ASSIGN_OR_RETURN(const RunningEmbedder embedder, StartEmbedder(job->client));
  EmbeddingClient* const client = embedder.client.get();
  const StopSignals::Work work(signals, {.wait = StopWait(job->options),
                                         .stop = [client] { client->StopSending(absl::CancelledError("stopped")); },
                                         .in_the_air = [client] { return client->stats().in_the_air; },
                                         .drop = [client] { client->Cancel(); }});
  Sweeper sweeper(client, {.time_per_cell = options.time,
                           .max_tokens = options.max_tokens,
                           .tokens_used = *tokens,
                           .extra_bytes_per_text = job->client.text_prefix.size(),
                           .text = [&reading](int64_t number) { return TextLike(reading, number); }});
  *cell = MeasureWithin(&sweeper, job->client.concurrency, job->pipeline.batch.max_texts, options.max_tokens > 0,
                        signals->token());
  *tokens = sweeper.tokens_used();
  if (!cell->skipped.empty()) return absl::ResourceExhaustedError(cell->skipped);
  if (cell->requests > 0) return absl::OkStatus();
  return cell->failure.ok() ? absl::CancelledError("stopped") : cell->failure;
}

// Where an index is built at the end, that is a part of its own: it begins when all rows are written.
bool BuildsIndex(const Store& target) {
  const std::string index = target.location.Get("index");
  return target.kind->is_held_in_memory || (!index.empty() && index != "none");
}

}  // namespace

const char* PartName(JobPart::Kind kind) {
  switch (kind) {
    case JobPart::Kind::kSource:
      return "source";
    case JobPart::Kind::kQuota:
      return "quota";
    case JobPart::Kind::kEndpoint:
      return "endpoint";
    case JobPart::Kind::kTarget:
      return "target";
    case JobPart::Kind::kIndex:
      return "index";
  }
  return "";
}

bool EmbedsForFree(const ResolvedJob& job) {
  const std::optional<double> price = UsdPerToken(job);
  return price.has_value() && *price <= 0;
}

SourceParts MeasureJobSource(const ResolvedJob& job, const PartsOptions& options, const std::stop_token& stop) {
  SourceParts parts{.part = {.kind = JobPart::Kind::kSource, .place = PlaceText(job.source.location)}};
  const auto measure = [&]() -> absl::Status {
    if (job.source.kind->is_stream) {
      return absl::InvalidArgumentError("standard input can be read only once");
    }
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Source> todo, OpenSource(job.source, job.selection));
    ABSL_ASSIGN_OR_RETURN(parts.rows, todo->CountRows());
    if (job.options.limit > 0) parts.rows = std::min(parts.rows, job.options.limit);
    Selection all = job.selection;
    all.rows = Selection::Rows::kAll;  // there may be few that lack a vector
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Source> source, OpenSource(job.source, all));
    ABSL_ASSIGN_OR_RETURN(parts.reading, MeasureSource(source.get(), options.time, 0, stop));
    if (parts.reading.rows == 0) return absl::NotFoundError("it has no rows to read");
    return absl::OkStatus();
  };
  parts.part.failure = measure();
  parts.part.rows_per_second = parts.reading.RowsPerSecond();
  parts.part.how = absl::StrCat(Counted(parts.reading.rows, "row", "rows"), " read, ",
                                BytesText(std::llround(parts.reading.BytesPerSecond())), "/s");
  parts.part.advice = "--shard reads it from several machines at once";
  return parts;
}

std::optional<JobPart> QuotaPart(const ResolvedJob& job, const SourceReading& reading, double tokens_per_text) {
  const RateLimit limit = TotalLimit(job);
  if (limit.requests_per_minute <= 0 && limit.tokens_per_minute <= 0) return std::nullopt;
  if (tokens_per_text <= 0) {
    const double texts = static_cast<double>(std::max<size_t>(1, reading.lengths.size()));
    tokens_per_text =
        std::max(1.0, TokenEstimator().tokens_per_byte() * static_cast<double>(reading.text_bytes) / texts);
  }
  JobPart part{.kind = JobPart::Kind::kQuota, .place = PlaceOfEmbedder(job), .rows_per_second = HUGE_VAL};
  const int batch = job.pipeline.batch.max_texts;
  if (limit.requests_per_minute > 0) {
    part.rows_per_second = limit.requests_per_minute / 60 * batch;
    part.how =
        absl::StrFormat("%s requests a minute of %d texts", WithCommas(std::llround(limit.requests_per_minute)), batch);
    part.advice = "a larger --batch-size, a higher quota, or --endpoint for a second account";
  }
  const double by_tokens = limit.tokens_per_minute / 60 / tokens_per_text;
  if (limit.tokens_per_minute > 0 && by_tokens < part.rows_per_second) {
    part.rows_per_second = by_tokens;
    part.how = absl::StrFormat("%s tokens a minute, about %s a text", WithCommas(std::llround(limit.tokens_per_minute)),
                               WithCommas(std::llround(tokens_per_text)));
    part.advice = "a higher quota, or --endpoint for a second account";
  }
  return part;
}

EndpointParts MeasureJobEndpoint(ResolvedJob job, const SourceReading& reading, const PartsOptions& options,
                                 StopSignals* signals) {
  EndpointParts parts{.part = {.kind = JobPart::Kind::kEndpoint, .place = PlaceOfEmbedder(job)}};
  const int concurrency = job.client.concurrency;
  const int batch = job.pipeline.batch.max_texts;
  const auto endpoints = static_cast<double>(std::max<size_t>(1, job.endpoints.size()));
  SweepCell cell;
  parts.part.failure = Embed(&job, reading, options, signals, &cell, &parts.tokens);
  const int64_t texts = cell.requests * cell.batch_size;
  parts.quota = QuotaPart(job, reading, texts > 0 ? static_cast<double>(cell.tokens) / static_cast<double>(texts) : 0);
  if (!parts.part.failure.ok()) return parts;
  parts.part.projected = cell.concurrency < concurrency || endpoints > 1;
  // As long as requests do not wait for each other. That they do is what a whole sweep would show.
  parts.part.rows_per_second = cell.TextsPerSecond() * endpoints * concurrency / std::max(1, cell.concurrency);
  parts.part.how = absl::StrFormat(
      "%s at a time of %s, p95 %.0f ms%s%s", WithCommas(cell.concurrency), Counted(cell.batch_size, "text", "texts"),
      absl::ToDoubleMilliseconds(Percentile(cell.latencies, 0.95)),
      cell.errors > 0 ? absl::StrCat(", ", Counted(cell.errors, "request", "requests"), " of ",
                                     WithCommas(cell.requests + cell.errors),
                                     " failed and are not counted: ", cell.failure.message())
                      : "",
      parts.part.projected
          ? absl::StrFormat(", extrapolated to %d at a time of %d", static_cast<int>(concurrency * endpoints), batch)
          : "");
  parts.part.advice = "`reembed bench endpoint` finds the best --concurrency and --batch-size";
  return parts;
}

std::vector<JobPart> MeasureJobTarget(const ResolvedJob& job, const Store& target, const PartsOptions& options,
                                      const std::stop_token& stop) {
  const int batch = static_cast<int>(std::min<int64_t>(job.pipeline.batch.max_texts, options.most_rows));
  const TargetCell cell = MeasureTarget({.target = target,
                                         .dim = job.client.model.dim,
                                         .rows_per_write = batch,
                                         .most_rows = options.most_rows,
                                         .time = options.time},
                                        stop);
  JobPart part{.kind = JobPart::Kind::kTarget,
               .place = PlaceText(target.location),
               .rows_per_second = cell.RowsPerSecond(),
               .how = absl::StrCat(Counted(cell.rows, "row", "rows"), " written, ", WithCommas(cell.rows_per_write),
                                   " at a time"),
               .advice = "`reembed bench target` finds how many rows a write should have, and options of its address",
               .failure = cell.failure};
  if (part.failure.ok() && cell.rows == 0) part.failure = absl::CancelledError("stopped");
  if (!part.failure.ok() || !cell.finished || !BuildsIndex(target)) return {std::move(part)};
  JobPart index{.kind = JobPart::Kind::kIndex,
                .place = part.place,
                .rows_per_second = cell.finish > absl::ZeroDuration()
                                       ? static_cast<double>(cell.rows) / absl::ToDoubleSeconds(cell.finish)
                                       : HUGE_VAL,
                .how = absl::StrCat("built of ", Counted(cell.rows, "row", "rows"), " at the end in ",
                                    DurationText(cell.finish), "; more rows take longer each"),
                .advice = "`reembed bench index` finds the one that is built and searched fastest"};
  return {std::move(part), std::move(index)};
}

const JobPart* FindNarrowest(absl::Span<const JobPart> parts) {
  const JobPart* narrowest = nullptr;
  for (const JobPart& part : parts) {
    if (!part.failure.ok() || part.rows_per_second <= 0) continue;
    if (narrowest == nullptr || part.rows_per_second < kSameWidth * narrowest->rows_per_second) narrowest = &part;
  }
  return narrowest;
}

}  // namespace reembed
