// SPDX-License-Identifier: Apache-2.0
#include "tools/run_summary.h"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/place_name.h"
#include "tools/endpoints.h"
#include "tools/format.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/registry.h"
#include "tools/spending.h"
#include "tools/waits.h"

namespace reembed {

namespace {

// What several streams did, together.
void Add(const JobStats& from, JobStats* to) {
  to->rows += from.rows;
  to->rows_pending += from.rows_pending;
  to->rejected_rows += from.rejected_rows;
  to->refused_rows += from.refused_rows;
  to->rows_refused += from.rows_refused;
  to->rows_gone += from.rows_gone;
  to->texts += from.texts;
  to->kept_texts += from.kept_texts;
  to->texts_possibly_rebought += from.texts_possibly_rebought;
  to->texts_damaged += from.texts_damaged;
}

std::string RejectedKeysJson(const std::vector<RejectedRow>& rejects) {
  std::string keys;
  for (const RejectedRow& row : rejects) absl::StrAppend(&keys, keys.empty() ? "" : ",", KeyJson(ViewOf(row.key)));
  return absl::StrCat("[", keys, "]");
}

// Not rounded up: 100 is all.
double PercentBelow(int64_t part, int64_t whole) {
  return std::floor(static_cast<double>(part) * 1e4 / static_cast<double>(whole)) / 100;
}

// How many rows of the table have a vector now.
std::string CoverageText(const RunOutcome& outcome) {
  std::string text = absl::StrCat(WithCommas(outcome.table_rows_with_vector), " of ",
                                  Counted(outcome.table_rows, "row has", "rows have"), " a vector now");
  // A share of what is seen would be taken for one of the whole.
  if (!outcome.hidden.may_be) {
    absl::StrAppendFormat(&text, " (%.2f %%)", PercentBelow(outcome.table_rows_with_vector, outcome.table_rows));
    return text;
  }
  absl::StrAppend(&text, ", of those that row-level security lets this user see");
  if (outcome.hidden.known >= 0) {
    absl::StrAppend(&text, "; the statistics know about ", WithCommas(outcome.hidden.known), " in all");
  }
  return text;
}

}  // namespace

void Add(const RunOutcome& from, RunOutcome* to) {
  Add(from.run, &to->run);
  Add(from.before, &to->before);
  Add(from.after, &to->after);
  to->rows_unaccounted += from.rows_unaccounted;
  to->rows_emptied += from.rows_emptied;
  to->rows_foreign += from.rows_foreign;
  if (to->foreign.empty()) to->foreign = from.foreign;
  to->in_place = to->in_place || from.in_place;
  to->may_hide_rows = to->may_hide_rows || from.may_hide_rows;
  to->table_rows += from.table_rows;
  to->table_rows_with_vector += from.table_rows_with_vector;
  to->hidden.may_be = to->hidden.may_be || from.hidden.may_be;
  if (from.hidden.known >= 0) to->hidden.known = std::max<int64_t>(0, to->hidden.known) + from.hidden.known;
  to->unknown_model_rows += from.unknown_model_rows;
  if (to->unknown_model_job.empty()) to->unknown_model_job = from.unknown_model_job;
  to->sample.compared += from.sample.compared;
  to->sample.same += from.sample.same;
  for (const RejectedRow& row : from.rejects) {
    if (static_cast<int64_t>(to->rejects.size()) < kRejectsNamed) to->rejects.push_back(row);
  }
  to->targets.insert(to->targets.end(), from.targets.begin(), from.targets.end());
}

JobCounts CountsOf(const JobStats& stats) {
  return {.rows = stats.rows,
          .rows_done = DoneRows(stats),
          .rows_rejected = RejectedRows(stats),
          .rows_gone = stats.rows_gone,
          .rows_pending = stats.rows_pending,
          .texts = stats.texts,
          .texts_kept = stats.kept_texts,
          .texts_possibly_rebought = stats.texts_possibly_rebought,
          .texts_damaged = stats.texts_damaged};
}

int64_t DoneRows(const JobStats& stats) {
  return stats.rows - stats.rows_pending - RejectedRows(stats) - stats.rows_gone;
}

int64_t RejectedRows(const JobStats& stats) { return stats.rejected_rows + stats.rows_refused; }

ExitCode CodeOf(const RunOutcome& outcome) {
  if (IsSpendCapReached(outcome.status)) return kExitSpendCap;
  ExitCode code = ExitCodeOf(outcome.status);
  if (code == kExitDone && outcome.after.rejected_rows + outcome.after.refused_rows > 0) code = kExitRejectedRows;
  if (outcome.status.ok() && (outcome.rows_unaccounted > 0 || !outcome.record.ok())) code = kExitTemporary;
  if (outcome.status.ok() && !outcome.foreign.empty()) code = kExitMismatch;
  // What failed for a while was cut off by the signal, or would have been tried again without it.
  const bool by_signal = outcome.signal != 0 && (IsInterrupted(code) || code == kExitTemporary);
  return by_signal ? ExitCodeOfSignal(outcome.signal) : code;
}

std::string SummaryJson(absl::string_view type, absl::string_view stream, const std::string& directory,
                        const RunOutcome& outcome, ExitCode code) {
  const RunSnapshot& run = outcome.run;
  JsonLine line(type);
  if (!stream.empty()) line.Add("stream", stream);
  line.AddRaw("endpoints", EndpointsJson(run.endpoints))
      .Add("rows_selected", run.now.rows)
      .Add("rows_embedded", run.rows_new())
      .Add("rows_rejected", run.now.rows_rejected)
      .Add("rows_gone", run.now.rows_gone)
      .Add("rows_skipped", run.before.rows_done)
      .Add("rows_pending", run.rows_left)
      .AddRaw("targets", TargetStatesJson(outcome.targets))
      .AddRaw("rejected_keys", RejectedKeysJson(outcome.rejects));
  if (outcome.in_place) {
    line.Add("table_rows", outcome.table_rows).Add("table_rows_with_vector", outcome.table_rows_with_vector);
    if (outcome.may_hide_rows) {
      line.AddRaw("row_level_security", outcome.hidden.may_be ? "true" : "false")
          .AddRaw("table_rows_known", outcome.hidden.known < 0 ? "null" : absl::StrCat(outcome.hidden.known));
    }
    line.Add("rows_emptied", outcome.rows_emptied)
        .Add("rows_foreign", outcome.rows_foreign)
        .Add("unknown_model_rows", outcome.unknown_model_rows)
        .Add("sample_compared", outcome.sample.compared)
        .Add("sample_same", outcome.sample.same);
  }
  line.Add("texts_unique", run.now.texts)
      .Add("texts_embedded", run.texts_embedded)
      .Add("texts_possibly_rebought", run.now.texts_possibly_rebought)
      .Add("texts_dropped", run.client.texts_dropped)
      .Add("texts_damaged", run.texts_damaged)
      .Add("rows_changed", run.rows_changed)
      .Add("passes", run.passes)
      .Add("rows_truncated", run.rows_truncated)
      .Add("rows_split", run.rows_split)
      .Add("requests", run.client.requests)
      .Add("requests_retried", run.client.requests_retried)
      .Add("requests_hedged", run.client.requests_hedged)
      .Add("http_429", run.client.http_429)
      .Add("tokens", run.client.tokens)
      .Add("cost_usd", run.cost_usd);
  if (run.max_spend_usd.has_value()) {
    line.Add("spent_usd", run.spent_usd).Add("max_spend_usd", *run.max_spend_usd);
  }
  line.AddRaw("waited_for", WaitJson(run.waits))
      .Add("elapsed_seconds", absl::ToDoubleSeconds(run.elapsed))
      .Add("rows_per_second", run.rows_per_second)
      .Add("job", directory)
      .Add("exit_code", static_cast<int>(code));
  return line.ToString();
}

namespace {

// What was bought, or why nothing was.
void PrintBought(const ResolvedJob& job, const RunOutcome& outcome, std::ostream& out) {
  const RunSnapshot& run = outcome.run;
  const int64_t embedded = run.rows_new();
  if (outcome.status.ok() && embedded == 0 && run.client.requests == 0 && outcome.rows_unaccounted > 0) {
    out << "nothing was bought, and "
        << Counted(outcome.rows_unaccounted, "row lacks its vector", "rows lack their vectors") << "\n";
  } else if (outcome.status.ok() && embedded == 0 && run.client.requests == 0) {
    if (outcome.table_rows > 0 && (run.now.rows == 0 || outcome.unknown_model_rows > 0)) {
      out << "nothing to buy: no row lacks a vector";
      if (outcome.unknown_model_rows > 0) {
        out << "; " << WithCommas(outcome.unknown_model_rows) << (outcome.unknown_model_rows == 1 ? " has" : " have")
            << " one, of a model that is not recorded"
            << (outcome.unknown_model_job.empty()
                    ? ""
                    : absl::StrCat("; an earlier job has written there: ", outcome.unknown_model_job))
            << "; --all replaces them";
      }
      out << "\n";
    } else {
      out << "nothing to buy: " << (run.now.rows_done == 1 ? "" : "all ")
          << Counted(run.now.rows_done, "row has its vector", "rows have their vectors") << "\n";
    }
  } else {
    out << "embedded " << Counted(embedded, "row", "rows") << " ("
        << Counted(run.texts_embedded, "different text", "different texts") << ") in " << DurationText(run.elapsed)
        << ", " << WithCommas(static_cast<int64_t>(run.rows_per_second)) << " rows/s\n"
        << Counted(run.client.requests, "request", "requests") << ", "
        << Counted(run.client.requests_retried, "retry", "retries") << ", "
        << Counted(run.client.tokens, "token", "tokens");
    if (UsdPerToken(job).value_or(0) > 0) out << ", " << MoneyText(run.cost_usd);
    out << "\n";
    if (const std::string waits = WaitLine(run.waits); !waits.empty()) out << waits << "\n";
  }
}

// What may be paid for twice.
void PrintBoughtAgain(const RunSnapshot& run, std::ostream& out) {
  if (run.client.texts_dropped > 0) {
    out << Counted(run.client.texts_dropped, "text was", "texts were")
        << " in flight when this run ended; the API may charge for them, and they are bought again\n";
  }
  if (run.texts_damaged > 0) {
    out << Counted(run.texts_damaged, "kept vector was", "kept vectors were")
        << " damaged on the disk, and bought again where a row needs it\n";
  }
  const int64_t rebought = run.now.texts_possibly_rebought - run.now.texts_damaged - run.client.texts_dropped;
  if (rebought > 0) {
    out << "runs or connections were cut off: at most " << Counted(rebought, "text was", "texts were")
        << " in flight, and bought a second time\n";
  }
}

void PrintLongTexts(const ResolvedJob& job, const RunSnapshot& run, std::ostream& out) {
  for (const auto& [rows, what] : {std::pair(run.rows_truncated, "only the beginning of their text is embedded"),
                                   std::pair(run.rows_split, "their vector is the mean of the text's parts")}) {
    if (rows == 0) continue;
    const int64_t limit = job.pipeline.text_limit.max_tokens;
    out << Counted(rows, "row is", "rows are") << " longer than the model "
        << (limit > 0 ? absl::StrCat("takes (", Counted(limit, "token", "tokens"), "): ") : "takes: ") << what << "\n";
  }
}

}  // namespace

void PrintSummaryText(const ResolvedJob& job, const RunOutcome& outcome) {
  const RunSnapshot& run = outcome.run;
  const int64_t rejected = outcome.after.rejected_rows + outcome.after.refused_rows;
  const bool takes_output =
      std::any_of(job.targets.begin(), job.targets.end(), [](const Store& target) { return target.kind->is_stream; });
  std::ostream& out = takes_output ? std::cerr : std::cout;
  if (!job.stream.empty()) out << job.stream << ": ";
  PrintBought(job, outcome, out);
  if (run.rows_changed > 0) {
    out << Counted(run.rows_changed, "row had a new text since its vector was made",
                   "rows had a new text since their vector was made")
        << "\n";
  }
  if (run.max_spend_usd.has_value()) {
    out << MoneyText(run.spent_usd) << " of --max-spend " << MoneyText(*run.max_spend_usd)
        << " are spent by all runs\n";
  }
  if (run.rows_left > 0) out << Counted(run.rows_left, "row is", "rows are") << " still to do\n";
  PrintBoughtAgain(run, out);
  PrintLongTexts(job, run, out);
  if (rejected > 0) {
    out << Counted(rejected, "row has", "rows have") << " no vector:";
    for (const RejectedRow& row : outcome.rejects) out << " " << KeyText(ViewOf(row.key));
    const int64_t more = rejected - static_cast<int64_t>(outcome.rejects.size());
    if (more > 0) out << " and " << WithCommas(more) << " more";
    out << "; why: reembed status " << job.directory << "\n";
  }
  if (run.endpoints.size() > 1) {
    for (const EndpointReport& endpoint : run.endpoints) out << EndpointLine(endpoint) << "\n";
  }
  for (size_t i = 0; i < outcome.targets.size(); ++i) {
    out << "target " << PlaceText(job.targets[i].location) << ": " << TargetStateText(outcome.targets[i]);
    if (i == 0 && outcome.table_rows > 0) out << "; " << CoverageText(outcome);
    out << "\n";
  }
  if (outcome.record.ok() && !outcome.record->empty()) {
    out << "the receipt is the memory " << *outcome.record << "\n";
  }
  out << "job    " << job.directory << std::endl;
}

}  // namespace reembed
