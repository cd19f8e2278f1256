// SPDX-License-Identifier: Apache-2.0
#include "tools/plan_text.h"

#include <filesystem>
#include <iostream>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "engine/text/long_text.h"
#include "tools/format.h"
#include "tools/place.h"
#include "tools/registry.h"
#include "tools/same_model.h"
#include "tools/spending.h"
#include "tools/undo_plan.h"

namespace reembed {
namespace {

std::string TokensText(const TokenCounting& counting, const PlanNumbers& plan) {
  if (counting.estimator() == nullptr) return absl::StrCat(WithCommas(plan.tokens), ", counted");
  if (!counting.bounded()) return absl::StrCat("about ", WithCommas(plan.tokens));
  return absl::StrCat("about ", WithCommas(plan.tokens), ", certainly between ", WithCommas(plan.tokens_at_least),
                      " and ", WithCommas(plan.tokens_at_most), "; --tokenizer counts them");
}

// What becomes of rows that the job knows.
void PrintChanged(const ResolvedJob& job, const Preflight& preflight, const PlanNumbers& plan,
                  absl::FunctionRef<void(absl::string_view, absl::string_view)> line) {
  if (plan.rows_changed > 0) {
    line(
        "changed",
        Counted(
            plan.rows_changed,
            "row has a new text since its vector was made; it is embedded again, unless --no-changed is given",
            "rows have a new text since their vector was made; they are embedded again, unless --no-changed is given"));
    for (size_t i = 0; i < job.targets.size(); ++i) {
      if (preflight.sinks[i]->row_order() != RowOrder::kAscending || job.targets[i].kind->is_stream) continue;
      line("builds",
           absl::StrCat(
               PlaceText(job.targets[i].location),
               " again from the job's vectors, and then replaces the old one in one step; nothing is bought for that"));
    }
  }
  if (plan.rows_lost > 0) {
    line("lost", Counted(plan.rows_lost, "row lacks the vector that the job has bought for it; it is written again",
                         "rows lack the vector that the job has bought for them; it is written again"));
  }
  if (plan.rows_compared > 0) {
    line("compares", absl::StrCat("the texts of ", Counted(plan.rows_compared, "row", "rows"),
                                  " with what the job knows: ", BytesText(plan.bytes_compared), " to be read",
                                  job.options.no_changed ? "" : ", --no-changed reads less"));
  }
}

}  // namespace

void PrintPlanText(const ResolvedJob& job, const TokenCounting& counting, const Preflight& preflight,
                   const PlanNumbers& plan) {
  const auto line = [](absl::string_view name, absl::string_view value) {
    std::cout << name << std::string(name.size() < 12 ? 12 - name.size() : 1, ' ') << value << "\n";
  };
  if (!job.stream.empty()) line("stream", job.stream);
  line("source", absl::StrCat(job.identity.source, ", ", job.identity.selection));
  for (const Store& target : job.targets) line("target", PlaceText(target.location));
  for (const std::string& change : preflight.changes) line("changes", change);
  for (const std::string& remark : preflight.remarks) line("found", remark);
  for (const Store& target : job.targets) {
    if (!target.kind->is_table() || target.kind->lock != nullptr) continue;
    line("found",
         absl::StrCat(
             PlaceText(target.location),
             " has no lock against other jobs; at its end a run reads back what it has written, and compares it"));
  }
  if (const std::string unknown = UnknownModelText(job, plan.unknown); !unknown.empty()) line("found", unknown);
  line("model", absl::StrCat(job.client.model.name, ", ", job.client.model.dim, " dimensions"));
  line("rows", WithCommas(plan.rows));
  if (plan.rows_rejected > 0) {
    line("rejected",
         absl::StrCat(WithCommas(plan.rows_rejected), " of them (text is NULL, empty, not UTF-8 or too long)"));
  }
  PrintChanged(job, preflight, plan, line);
  line("texts", absl::StrCat(WithCommas(plan.texts), " different, ", BytesText(plan.text_bytes)));
  const LongText policy = job.pipeline.text_limit.policy;
  if (policy != LongText::kReject && counting.limit().meter == nullptr) {
    line("too long", policy == LongText::kSplit
                         ? "of texts that the API refuses as too long the parts are embedded"
                         : "of texts that the API refuses as too long the beginning is embedded");
  } else if (policy != LongText::kReject || plan.rows_too_long > 0) {
    line("too long",
         absl::StrCat(Counted(plan.rows_too_long, "row has", "rows have"), " more than ",
                      Counted(job.pipeline.text_limit.max_tokens, "token", "tokens"), ": ",
                      policy == LongText::kSplit      ? "their parts are embedded, the mean is stored"
                      : policy == LongText::kTruncate ? "only their beginning is embedded"
                                                      : "rejected; --long-text truncate or split embeds them"));
  }
  line("tokens", TokensText(counting, plan));
  line("requests",
       absl::StrCat("about ", WithCommas(plan.requests), ", at most ", job.client.concurrency, " at a time"));
  line("money", PriceText(job, plan.tokens));
  line("time", plan.time == absl::InfiniteDuration()
                   ? "no limit given (--rpm, --tpm); the API decides"
                   : absl::StrCat("at least ", DurationText(plan.time), " at the given limits"));
  line("memory", absl::StrCat("at most ", BytesText(plan.memory_bytes), ", of which ", BytesText(plan.text_map_bytes),
                              " for the map of the texts"));
  line("disk", absl::StrCat("about ", BytesText(plan.disk_bytes)));
  for (const UndoPlan& target : plan.undo) line("overwrites", UndoText(target, job.directory));
  if (const std::string dropped = WithoutWayBack(job); !dropped.empty()) line("no way back", dropped);
  line("job", absl::StrCat(job.directory, std::filesystem::exists(job.directory + "/ledger.db")
                                              ? ": exists; what it has is not bought again"
                                              : ": new"));
  for (const std::string& note : job.notes) line("note", note);
}

void PrintPlanJson(absl::string_view type, const ResolvedJob& job, const std::string& directory,
                   const TokenCounting& counting, const PlanNumbers& plan) {
  JsonLine line(type);
  if (type == "stream") line.Add("stream", job.stream);
  line.Add("rows_selected", plan.rows)
      .Add("rows_rejected", plan.rows_rejected)
      .Add("texts_unique", plan.texts)
      .Add("text_bytes", plan.text_bytes)
      .Add("rows_changed", plan.rows_changed)
      .Add("rows_lost", plan.rows_lost)
      .Add("rows_compared", plan.rows_compared)
      .Add("bytes_compared", plan.bytes_compared)
      .Add("rows_too_long", plan.rows_too_long)
      .Add("tokens", plan.tokens)
      .AddRaw("tokens_exact", counting.estimator() == nullptr ? "true" : "false")
      .Add("tokens_at_least", plan.tokens_at_least)
      .Add("tokens_at_most", plan.tokens_at_most)
      .Add("requests", plan.requests)
      .Add("cost_usd", plan.price_known ? plan.cost_usd : absl::ToDoubleSeconds(absl::InfiniteDuration()))
      .Add("seconds_at_limits", absl::ToDoubleSeconds(plan.time))
      .Add("memory_bytes", plan.memory_bytes)
      .Add("memory_text_map_bytes", plan.text_map_bytes)
      .Add("disk_bytes", plan.disk_bytes)
      .Add("undo_bytes", plan.undo_bytes)
      .Add("unknown_model_rows", plan.unknown.rows)
      .AddRaw("overwrites", UndoJson(plan.undo))
      .Add("without_way_back", WithoutWayBack(job))
      .Add("model", job.client.model.name)
      .Add("dimensions", job.client.model.dim)
      .Add("job", directory);
  std::cout << line.ToString() << std::endl;
}

}  // namespace reembed
