#ifndef REEMBED_ENGINE_RETRY_BUDGET_H_
#define REEMBED_ENGINE_RETRY_BUDGET_H_

#include <algorithm>

namespace reembed {

// How many requests may be sent again: a share of those that were sent for the first time, and some to begin with, so
// that small jobs have any. It keeps a struggling server from getting more load than it had. Not thread-safe.
class RetryBudget {
 public:
  RetryBudget(double share, double to_begin_with) : share_(share), level_(to_begin_with) {}

  void FirstSent() { level_ += share_; }
  bool Allows() const { return level_ >= 1; }
  void AgainSent() { level_ = std::max(0.0, level_ - 1); }

 private:
  const double share_;
  double level_;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_RETRY_BUDGET_H_
