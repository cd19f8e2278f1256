// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/simulation.h"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/simulation/invariants.h"
#include "tests/simulation/simulation_flags.h"

namespace reembed {
namespace {

// Of the normal run: always the same, so that a change is to blame for what they find. Other seeds soak
// (tests/README.md).
constexpr uint64_t kFirstSeed = 910'000'000;
constexpr int64_t kSeeds = 2000;

TEST(SimulationTest, EveryInvariantHolds) {
  const SimulationFlags& flags = TheSimulationFlags();
  const uint64_t first = flags.seed.value_or(kFirstSeed);
  const int64_t seeds = flags.seeds.value_or(flags.seed.has_value() ? 1 : kSeeds);
  absl::Duration time;
  int64_t lives = 0, kills = 0, requests = 0;
  for (int64_t i = 0; i < seeds; ++i) {
    const Simulated simulated = Simulate(first + i);
    for (const Simulated::Broken& broken : simulated.broken) ADD_FAILURE() << broken.message;
    time += simulated.time;
    lives += simulated.lives;
    kills += simulated.kills;
    requests += simulated.requests;
  }
  std::cout << seeds << " seeds from " << first << ": " << absl::ToDoubleHours(time) / 24 << " simulated days, "
            << lives << " runs, " << kills << " kills, " << requests << " requests\n";
}

TEST(SimulationTest, ASeedIsARun) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Simulated once = Simulate(seed), again = Simulate(seed);
    EXPECT_EQ(once.print, again.print) << "seed " << seed;
    EXPECT_EQ(once.time, again.time) << "seed " << seed;
  }
}

struct Planted {
  Plant plant;
  const char* invariant;
};

class PlantedTest : public testing::TestWithParam<Planted> {};

TEST_P(PlantedTest, IsSeenByItsInvariant) {
  constexpr uint64_t kSeeds = 300;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const Simulated simulated = Simulate(seed, GetParam().plant);
    for (const Simulated::Broken& broken : simulated.broken) {
      if (broken.invariant != GetParam().invariant) continue;
      std::cout << "found with seed " << seed << ": " << broken.message << "\n";
      EXPECT_THAT(broken.message, testing::HasSubstr(absl::StrCat("seed ", seed)));
      return;
    }
  }
  ADD_FAILURE() << GetParam().invariant << " has seen nothing in " << kSeeds << " seeds";
}

INSTANTIATE_TEST_SUITE_P(
    , PlantedTest,
    testing::Values(Planted{Plant::kLostRow, "NoLostRow"}, Planted{Plant::kForeignVector, "NoForeignVector"},
                    Planted{Plant::kBuyAgain, "PayOnce"}, Planted{Plant::kOverwrite, "TheOldStays"},
                    Planted{Plant::kRosyReport, "TheReportTellsTheTruth"}, Planted{Plant::kQuota, "WithinTheQuota"},
                    Planted{Plant::kNoBudget, "FewAreSentAgain"}, Planted{Plant::kSpendCap, "WithinTheSpendCap"},
                    Planted{Plant::kOrder, "InOrder"}, Planted{Plant::kBatches, "NoMoreAtATime"},
                    Planted{Plant::kDeafToStop, "StopsInTime"}, Planted{Plant::kNoEnd, "ItEnds"}),
    [](const auto& info) { return std::string(info.param.invariant); });

}  // namespace
}  // namespace reembed
