// SPDX-License-Identifier: Apache-2.0
#include "tools/spending.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "engine/status_macros.h"
#include "tools/format.h"

namespace reembed {
namespace {

bool IsOnThisMachine(const ResolvedJob& job) {
  if (job.embedder == Embedder::kBuiltin) return true;
  const auto is_loopback = [](const ResolvedEndpoint& endpoint) { return IsLoopback(endpoint.client.api_base); };
  return job.endpoints.empty() ? IsLoopback(job.client.api_base)
                               : std::all_of(job.endpoints.begin(), job.endpoints.end(), is_loopback);
}

}  // namespace

std::optional<double> UsdPerToken(const ResolvedJob& job) {
  if (job.embedder == Embedder::kBuiltin) return 0;
  if (job.known_model.has_value() && job.known_model->usd_per_million_tokens.has_value()) {
    return *job.known_model->usd_per_million_tokens / 1e6;
  }
  if (IsOnThisMachine(job)) return 0;
  return std::nullopt;
}

std::string PriceText(const ResolvedJob& job, int64_t tokens) {
  const std::optional<double> price = UsdPerToken(job);
  if (!price.has_value()) return "not known: the model has no price in models.toml";
  if (*price <= 0) {
    return IsOnThisMachine(job) ? "none, the embedder runs on this machine" : "none, by its price in models.toml";
  }
  return absl::StrCat("about ", MoneyText(static_cast<double>(tokens) * *price), " at the list price in models.toml",
                      IsOnThisMachine(job) ? ", should the server on this machine pass texts on to who charges" : "");
}

absl::StatusOr<MaxSpend> ParseMaxSpend(const std::string& text) {
  absl::string_view number = text;
  MaxSpend spend{.adds = absl::ConsumePrefix(&number, "+")};
  absl::ConsumePrefix(&number, "$");
  if (!absl::SimpleAtod(number, &spend.usd) || !std::isfinite(spend.usd) || spend.usd <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--max-spend ", text,
                     ": expected US dollars above 0 that all runs of the job together may "
                     "spend, as 10, or +5 for 5 more than are spent so far"));
  }
  return spend;
}

absl::Status CheckMaxSpend(const ResolvedJob& job) {
  if (job.options.max_spend.empty()) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(ParseMaxSpend(job.options.max_spend).status());
  if (UsdPerToken(job).has_value()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--max-spend: nobody knows what ", job.client.model.name,
                                                 " costs, so no cap could hold; copy models.toml into ",
                                                 "$XDG_CONFIG_HOME/reembed, give the model its usd_per_million_tokens "
                                                 "there (0 where it costs nothing), or leave the "
                                                 "flag out"));
}

double SpentBefore(const JobStats& stats) {
  double usd = stats.unreceipted_usd;
  for (const Receipt& receipt : stats.receipts) usd += receipt.cost_usd;
  return usd;
}

absl::StatusOr<std::unique_ptr<Spending>> Spending::Make(const ResolvedJob& job, double spent_usd,
                                                         std::function<void(const std::string&)> say) {
  auto spending = std::make_unique<Spending>();
  const double price = UsdPerToken(job).value_or(0);
  if (price <= 0 && job.options.max_tokens == 0) return spending;
  SpendOptions options{.usd_per_token = price, .spent_usd = spent_usd};
  if (job.options.max_tokens > 0) options.cap_tokens = static_cast<double>(job.options.max_tokens);
  if (!job.options.max_spend.empty()) {
    ABSL_ASSIGN_OR_RETURN(const MaxSpend max, ParseMaxSpend(job.options.max_spend));
    options.cap_usd = max.usd + (max.adds ? spent_usd : 0);
    spending->max_text_ = absl::StrFormat("%.10g", options.cap_usd);
    // Where nobody counts for all shares, each has its part.
    if (job.share.has_value() && !job.shared.quota.has_value()) options.cap_usd /= job.share->shard.of;
    spending->max_usd_ = options.cap_usd;
    options.warn = [say = std::move(say)](double spent, double cap) {
      say(absl::StrFormat("%s of --max-spend %s are spent, or in the air (%d %%)", MoneyText(spent), MoneyText(cap),
                          static_cast<int>(100 * spent / cap)));
    };
  }
  spending->cap_ = std::make_unique<SpendCap>(std::move(options));
  return spending;
}

std::string Spending::Overrun() const {
  constexpr char kWhy[] = ": the last requests cost more than was estimated";
  if (has_cap() && spent_usd() > max_usd()) {
    return absl::StrCat(MoneyText(spent_usd()), " are spent, ", MoneyText(spent_usd() - max_usd()),
                        " above --max-spend", kWhy);
  }
  if (cap_ != nullptr && cap_->used_tokens() > cap_->cap_tokens()) {
    return absl::StrFormat("%.0f tokens are used, %.0f above --max-tokens%s", cap_->used_tokens(),
                           cap_->used_tokens() - cap_->cap_tokens(), kWhy);
  }
  return "";
}

void Spending::ChargeTo(JobStore* store) {
  if (cap_ == nullptr) return;
  SpendAccount& account = accounts_[store];
  if (!account.note) account.note = [store](double usd) { return store->NoteSpending(usd); };
  cap_->ChargeTo(&account);
}

absl::Status Spending::Close(JobStore* store) {
  if (cap_ == nullptr || accounts_[store].noted_usd == 0) return absl::OkStatus();
  return store->NoteSpending(cap_->spent_usd(accounts_[store]));
}

}  // namespace reembed
