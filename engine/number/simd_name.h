// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_NUMBER_SIMD_NAME_H_
#define REEMBED_ENGINE_NUMBER_SIMD_NAME_H_

#include <string>

namespace reembed {

// The best set of SIMD instructions that this processor has, of those that the program was built for: "AVX3", "SSE4".
std::string SimdName();

}  // namespace reembed

#endif  // REEMBED_ENGINE_NUMBER_SIMD_NAME_H_
