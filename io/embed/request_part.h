// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_REQUEST_PART_H_
#define REEMBED_IO_EMBED_REQUEST_PART_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/batch.h"
#include "engine/done.h"
#include "engine/pace/alibi.h"
#include "engine/pace/pacer.h"
#include "io/embed/request_flow.h"
#include "io/embed/vector_stream.h"
#include "io/net/http_loop.h"

// What RequestFlow keeps of its work: for its own files only.

namespace reembed {

// One Send() under way.
struct RequestFlow::Call {
  Batch* batch = nullptr;
  Done done;
  int open_parts = 0;
  int64_t tokens = 0;    // of all its parts, at the start
  bool funded = false;   // the money for all its parts has been taken
  SpendHold money;       // of that, what has not left: what a call has begun it can end
  absl::Status failure;  // the first
};

// One request: the texts [first, first + count) of a call's batch. Guarded by mutex_ while more than one thread may
// have it: from Submit() to the answer that is taken.
struct RequestFlow::Part {
  Call* call = nullptr;   // gone when its answer has been taken
  int64_t first_row = 0;  // ordinal, of the batch
  int first = 0;
  int count = 0;
  std::vector<int> order;  // as Reply::order
  int64_t tokens = 0;
  size_t max_reply_bytes = 0;
  std::string body;
  bool is_again = false;    // the API has been asked for these texts before, in another request
  bool is_control = false;  // a text of our own, see RequestFlow::SendControl
  SendReason reason = SendReason::kFirst;
  int attempts = 0;                                 // sendings so far, but for hedges
  Moment failing_since = absl::InfiniteDuration();  // for how long it goes wrong
  Moment failed_at;                                 // the last time
  Trial trial;                                      // in which this is shown to be the fault of its texts, or not
  bool is_probe = false;
  int in_air = 0;  // sendings under way: two when hedged
  bool hedged = false;
  bool answered = false;                // an answer has been taken: that of the twin is dropped
  Moment left_at;                       // the last time, but for hedges
  std::optional<VectorStream> vectors;  // of the sending under way
  std::vector<DecodedVector> decoded;   // of the answer
  std::vector<HttpLoop::Ticket> tickets;
};

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_REQUEST_PART_H_
