// SPDX-License-Identifier: Apache-2.0
#include "engine/number/simd_name.h"

#include "hwy/highway.h"
#include "hwy/targets.h"

namespace reembed {

std::string SimdName() {
  const int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return hwy::TargetName(targets & -targets);  // better ones have lower bits
}

}  // namespace reembed
