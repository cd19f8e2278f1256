// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_EVEN_CUTS_H_
#define REEMBED_ENGINE_EVEN_CUTS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/numeric/int128.h"
#include "absl/status/statusor.h"
#include "engine/key.h"

// Where shares of about as many rows meet, found by looking at few of them.
namespace reembed {

// Rows in an order that is known by numbers, their places: ids, or what else a store can seek by. Gives the places of
// the first rows at or behind `from`, ascending, `most` of them; fewer: there are no more.
using PlacesFrom = absl::FunctionRef<absl::StatusOr<std::vector<absl::uint128>>(absl::uint128 from, size_t most)>;

// `shares` - 1 places, ascending: share k is what lies from the place k - 1 up to, and without, the place k. Each is a
// row's, or 0 where there is none at all. Looks at 64 rows at a time, about 64 times a share at most: first at all,
// then where most rows seem to be. Where there are few rows the shares are even to a row. Precondition: shares >= 1.
// Errors: those of `places`.
absl::StatusOr<std::vector<absl::uint128>> CutEvenly(int shares, PlacesFrom places);

// The keys of a walk over all rows that an even cut needs, in memory that does not grow with the rows: every one at
// first, then every second, and so on.
class ThinnedKeys {
 public:
  explicit ThinnedKeys(int shares) : most_(static_cast<size_t>(shares) * 256) {}
  void Add(KeyView key);
  // shares - 1 of the keys, in the order of the walk, as StoreKind::cut gives them. Precondition: there is one.
  std::vector<Key> Cut(int shares) const;
  bool empty() const { return keys_.empty(); }

 private:
  const size_t most_;
  size_t step_ = 1;
  size_t seen_ = 0;
  std::vector<Key> keys_;
};

// Integer keys as places, in their order.
inline absl::uint128 PlaceOfInteger(int64_t key) { return static_cast<uint64_t>(key) ^ (uint64_t{1} << 63); }
inline int64_t IntegerAtPlace(absl::uint128 place) {
  return static_cast<int64_t>(absl::Uint128Low64(place) ^ (uint64_t{1} << 63));
}

}  // namespace reembed

#endif  // REEMBED_ENGINE_EVEN_CUTS_H_
