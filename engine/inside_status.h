// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_INSIDE_STATUS_H_
#define REEMBED_ENGINE_INSIDE_STATUS_H_

#include "engine/pace/reply_class.h"

namespace reembed {

// The HTTP status that an error should have had which came with a 200: its code, if that is one; what its words are
// about (key 401, money or a budget of days 402, address 404, pace 429, overload 503); else as good as a 500.
// Words of Baidu Qianfan (error_code), MiniMax (base_resp), DashScope, SiliconFlow and LM Studio, 2026.
int StatusInside(const ApiError& error);

}  // namespace reembed

#endif  // REEMBED_ENGINE_INSIDE_STATUS_H_
