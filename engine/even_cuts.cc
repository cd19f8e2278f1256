// SPDX-License-Identifier: Apache-2.0
#include "engine/even_cuts.h"

#include <algorithm>
#include <utility>

#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr size_t kLook = 64;  // rows
constexpr size_t kHalfLook = kLook / 2;
constexpr int kLooksPerShare = 32;
constexpr int kLeastLooks = 512;
constexpr int kMostLooks = 8192;
// A stretch is not looked into any more when it holds less than so much of a share.
constexpr double kFinestShare = 1.0 / 16;

// Rows that follow each other: places in [from, to].
struct Stretch {
  absl::uint128 from = 0, to = 0;
  double rows = 0;                    // about
  std::vector<absl::uint128> places;  // of all its rows, where they are known
  bool known() const { return !places.empty() || rows == 0; }
};

double Distance(absl::uint128 from, absl::uint128 to) { return static_cast<double>(to - from); }

// A stretch from the first row at or behind `from`.
absl::StatusOr<Stretch> LookAt(absl::uint128 from, absl::uint128 to, PlacesFrom places) {
  Stretch stretch{.from = from, .to = to};
  ABSL_ASSIGN_OR_RETURN(std::vector<absl::uint128> found, places(from, kLook));
  const bool has_more = found.size() >= kLook && found.back() <= to;
  found.erase(std::upper_bound(found.begin(), found.end(), to), found.end());
  stretch.rows = static_cast<double>(found.size());
  if (found.empty()) return stretch;
  stretch.from = found.front();
  if (!has_more || found.back() == to) {
    stretch.places = std::move(found);
    return stretch;
  }
  // The denser half counts: what is too much is looked into and mended, what is too little is not.
  const double near = static_cast<double>(kLook) / (Distance(found.front(), found.back()) + 1);
  const double far = static_cast<double>(kHalfLook) / (Distance(found[kHalfLook - 1], found.back()) + 1);
  const double rest = Distance(found.back(), to);
  stretch.rows += std::min(rest, rest * std::max(near, far));
  return stretch;
}

// The place in front of which so many of the stretch's rows lie.
absl::uint128 PlaceBehind(const Stretch& stretch, double rows) {
  if (!stretch.places.empty()) {
    const auto at = static_cast<size_t>(std::max(rows + 0.5, 0.0));
    return stretch.places[std::min(at, stretch.places.size() - 1)];
  }
  const double part = stretch.rows > 0 ? std::clamp(rows / stretch.rows, 0.0, 1.0) : 0;
  return stretch.from + static_cast<absl::uint128>(part * Distance(stretch.from, stretch.to));
}

}  // namespace

absl::StatusOr<std::vector<absl::uint128>> CutEvenly(int shares, PlacesFrom places) {
  const auto by_rows = [](const Stretch& a, const Stretch& b) { return a.rows < b.rows; };
  std::vector<Stretch> known, heap;
  double total = 0;
  const auto add = [&](Stretch stretch) {
    total += stretch.rows;
    if (stretch.known()) {
      known.push_back(std::move(stretch));
      return;
    }
    heap.push_back(std::move(stretch));
    std::push_heap(heap.begin(), heap.end(), by_rows);
  };
  ABSL_ASSIGN_OR_RETURN(Stretch all, LookAt(0, absl::Uint128Max(), places));
  add(std::move(all));
  const int most = std::clamp(kLooksPerShare * shares, kLeastLooks, kMostLooks);
  for (int looks = 1; looks < most && !heap.empty(); ++looks) {
    if (heap.front().rows < kFinestShare * total / shares) break;
    std::pop_heap(heap.begin(), heap.end(), by_rows);
    const Stretch whole = std::move(heap.back());
    heap.pop_back();
    total -= whole.rows;
    const absl::uint128 middle = whole.from + (whole.to - whole.from) / 2;
    ABSL_ASSIGN_OR_RETURN(Stretch left, LookAt(whole.from, middle, places));
    ABSL_ASSIGN_OR_RETURN(Stretch right, LookAt(middle + 1, whole.to, places));
    add(std::move(left));
    add(std::move(right));
  }
  known.insert(known.end(), std::make_move_iterator(heap.begin()), std::make_move_iterator(heap.end()));
  std::sort(known.begin(), known.end(), [](const Stretch& a, const Stretch& b) { return a.from < b.from; });
  total = 0;
  for (const Stretch& stretch : known) total += stretch.rows;
  std::vector<absl::uint128> cuts;
  double before = 0;
  size_t at = 0;
  const absl::uint128 last = known.empty() ? 0 : known.back().from;
  for (int share = 1; share < shares; ++share) {
    const double wanted = total * share / shares;
    while (at + 1 < known.size() && before + known[at].rows <= wanted) before += known[at++].rows;
    absl::uint128 cut = known.empty() ? 0 : PlaceBehind(known[at], wanted - before);
    // A place that a row has is one that the store can name.
    ABSL_ASSIGN_OR_RETURN(const std::vector<absl::uint128> row, places(cut, 1));
    cut = row.empty() ? last : row.front();
    if (!cuts.empty()) cut = std::max(cut, cuts.back());
    cuts.push_back(cut);
  }
  return cuts;
}

void ThinnedKeys::Add(KeyView key) {
  if (seen_++ % step_ != 0) return;
  if (keys_.size() == most_) {
    for (size_t i = 0; 2 * i < keys_.size(); ++i) keys_[i] = std::move(keys_[2 * i]);
    keys_.resize((keys_.size() + 1) / 2);
    step_ *= 2;
    if ((seen_ - 1) % step_ != 0) return;
  }
  keys_.push_back(Own(key));
}

std::vector<Key> ThinnedKeys::Cut(int shares) const {
  std::vector<Key> cuts;
  for (int share = 1; share < shares; ++share) {
    cuts.push_back(keys_[keys_.size() * static_cast<size_t>(share) / static_cast<size_t>(shares)]);
  }
  return cuts;
}

}  // namespace reembed
