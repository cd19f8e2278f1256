// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SPENDING_H_
#define REEMBED_TOOLS_SPENDING_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/pace/spend_cap.h"
#include "io/job/job_store.h"
#include "tools/resolve.h"

// Money: what a job costs, and how much of it may be spent. The one price rule is here.
namespace reembed {

// US dollars for a model token; 0: what embeds costs nothing; nullopt: nobody knows. The list price of models.toml
// counts wherever the model is served, as a server on this machine may pass requests on to one that charges.
std::optional<double> UsdPerToken(const ResolvedJob& job);

// The price for people, of so many tokens: "about $0.0210 at the list price in models.toml".
std::string PriceText(const ResolvedJob& job, int64_t tokens);

// --max-spend: US dollars, or more of them than are spent so far.
struct MaxSpend {
  double usd = 0;
  bool adds = false;
};
// Errors: kInvalidArgument.
absl::StatusOr<MaxSpend> ParseMaxSpend(const std::string& text);

// Whether --max-spend goes with the job: it needs a price. Errors: kInvalidArgument (says what to do).
absl::Status CheckMaxSpend(const ResolvedJob& job);

// The money, and the tokens, of one command, of all its streams and endpoints, over all runs of the job.
class Spending {
 public:
  // `all`: what the job and its other streams have spent so far. `say`: see SpendOptions::warn.
  static absl::StatusOr<std::unique_ptr<Spending>> Make(const ResolvedJob& job, double spent_usd,
                                                        std::function<void(const std::string&)> say);

  // What clients get; nullptr: what embeds costs nothing, or nobody knows what, and no number of tokens is the limit.
  SpendCap* cap() { return cap_.get(); }
  bool has_cap() const { return max_usd_.has_value(); }
  double max_usd() const { return *max_usd_; }
  // What was spent above a cap, in words; empty: nothing was.
  std::string Overrun() const;
  double spent_usd() const { return cap_ == nullptr ? 0 : cap_->spent_usd(); }
  // For job.toml: the dollars of the cap, of all shares where the job is one of them; empty: there is none.
  const std::string& max_spend_text() const { return max_text_; }

  // From now on the money is written down in this job.
  void ChargeTo(JobStore* store);
  // Nothing is in the air any more: writes down what this run has spent there.
  absl::Status Close(JobStore* store);

 private:
  std::optional<double> max_usd_;
  std::string max_text_;
  std::unique_ptr<SpendCap> cap_;
  std::map<JobStore*, SpendAccount> accounts_;
};

// What a job has spent so far, as far as is known: receipts, and what may have been charged beyond them.
double SpentBefore(const JobStats& stats);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SPENDING_H_
