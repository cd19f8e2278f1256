// SPDX-License-Identifier: Apache-2.0
#include "engine/wait_meter.h"

#include <algorithm>

namespace reembed {
namespace {

void SortByLooks(std::vector<WaitShare>* shares) {
  std::stable_sort(shares->begin(), shares->end(),
                   [](const WaitShare& a, const WaitShare& b) { return a.share > b.share; });
}

}  // namespace

std::optional<WaitedFor> SlowestOf(const BatchCounts& counts, const std::vector<std::string>& names) {
  std::optional<WaitedFor> slowest;
  int most = 0;
  const auto take = [&](int batches, WaitPart part, const std::string& target) {
    if (batches <= most) return;
    most = batches;
    slowest = WaitedFor{part, target};
  };
  // Of equals the last on the way: what is before it has its work done.
  for (size_t i = 0; i < counts.targets.size(); ++i) take(counts.targets[i], WaitPart::kTarget, names[i]);
  take(counts.disk, WaitPart::kDisk, "");
  take(counts.processor, WaitPart::kProcessor, "");
  take(counts.api, counts.quota ? WaitPart::kQuota : WaitPart::kApi, "");
  take(counts.source, WaitPart::kSource, "");
  return slowest;
}

void WaitMeter::Note(const std::optional<WaitedFor>& found) {
  const MutexLock lock(&mutex_);
  constexpr double kStays = 1 - 1 / kRecentLooks;
  for (Entry& entry : entries_) entry.recent *= kStays;
  recent_ = recent_ * kStays + 1;
  ++looks_;
  if (!found.has_value()) return;
  auto place = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.what == *found; });
  if (place == entries_.end()) place = entries_.insert(entries_.end(), Entry{.what = *found});
  ++place->looks;
  place->recent += 1;
}

std::vector<WaitShare> WaitMeter::Sorted(bool recent) const {
  std::vector<WaitShare> shares;
  const MutexLock lock(&mutex_);
  for (const Entry& entry : entries_) {
    const double share =
        recent ? entry.recent / recent_ : static_cast<double>(entry.looks) / static_cast<double>(looks_);
    shares.push_back({entry.what, entry.looks, looks_, share});
  }
  SortByLooks(&shares);
  return shares;
}

std::vector<WaitShare> WaitMeter::Shares() const { return Sorted(/*recent=*/false); }

std::vector<WaitShare> WaitMeter::RecentShares() const { return Sorted(/*recent=*/true); }

void Add(const std::vector<WaitShare>& from, std::vector<WaitShare>* to) {
  const int64_t all = (from.empty() ? 0 : from.front().of) + (to->empty() ? 0 : to->front().of);
  for (const WaitShare& added : from) {
    const auto same =
        std::find_if(to->begin(), to->end(), [&](const WaitShare& one) { return one.what == added.what; });
    if (same != to->end()) {
      same->looks += added.looks;
    } else {
      to->push_back(added);
    }
  }
  for (WaitShare& one : *to) {
    one.of = all;
    one.share = static_cast<double>(one.looks) / static_cast<double>(all);
  }
  SortByLooks(to);
}

}  // namespace reembed
