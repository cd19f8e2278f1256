// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_ENDPOINT_REPORT_H_
#define REEMBED_ENGINE_ENDPOINT_REPORT_H_

#include <cstdint>
#include <string>

#include "engine/embedding_client.h"
#include "engine/pace/endpoint_chooser.h"

namespace reembed {

// What an endpoint has done so far.
struct EndpointReport {
  std::string name;
  EndpointState state = EndpointState::kUnchecked;
  std::string trouble;  // its last failure; empty: none
  ClientStats stats;
  int64_t texts = 0;             // that it gave vectors
  double tokens_per_second = 0;  // when busy, lately
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_ENDPOINT_REPORT_H_
