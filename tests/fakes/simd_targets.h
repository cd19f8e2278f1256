// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_SIMD_TARGETS_H_
#define REEMBED_TESTS_FAKES_SIMD_TARGETS_H_

#include <cstdint>

#include "gtest/gtest.h"
#include "hwy/highway.h"

namespace reembed {

// Runs `check` once for every SIMD target that this processor has and the library was built for, plain code included.
template <typename Check>
void ForEachSimdTarget(const Check& check) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
    check();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().DeInit();
}

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_SIMD_TARGETS_H_
