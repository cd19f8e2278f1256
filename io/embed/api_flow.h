// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_API_FLOW_H_
#define REEMBED_IO_EMBED_API_FLOW_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/embed/api_client.h"
#include "io/embed/dialect.h"
#include "io/embed/reply_reader.h"
#include "io/embed/request_flow.h"

// What a client and a probe of an API share: options become requests, and replies are judged the same way.
namespace reembed {

// A short text of our own, for a probe and as a comparison; its estimated tokens.
inline constexpr char kProbeText[] = "How wide are you?";
inline constexpr int64_t kProbeTokens = 5;

// After so many replies without a usable vector for a text its requests get smaller; after so many it is rejected, if
// it was alone in its request.
inline constexpr int kFaultsToHalve = 2;
inline constexpr int kFaultsToReject = 3;

// Errors: kInvalidArgument.
absl::Status CheckApiOptions(const ApiOptions& options);

// Head, tail and texts of a request's body, and the shape of its reply. Precondition: CheckApiOptions() accepts the
// options.
WireForm WireOf(const ApiOptions& options);

// What messages advise if the API cannot be reached, or refuses the key. Precondition: as above.
ReachHints HintsOf(const ApiOptions& options);

// Precondition: as above. `wire`: of these options. `base64_dim`: see FlowOptions. Errors: those of RequestFlow::Make;
// kInvalidArgument (the proxy's address).
absl::StatusOr<std::unique_ptr<RequestFlow>> MakeApiFlow(const ApiOptions& options, const WireForm& wire,
                                                         int base64_dim);

// The tokens of a reply to `texts` texts: `said` by the reply, or the estimate where it says nothing. Each text has at
// least one token, so a smaller number is no count: some gateways always say 0, or 1.
int64_t ChargedTokens(int64_t said, int64_t texts, int64_t estimated);

// What is wrong with the vector of one text in a good reply. Errors: kDataLoss.
absl::Status StatusOfFault(VectorFault fault, int dim);

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_API_FLOW_H_
