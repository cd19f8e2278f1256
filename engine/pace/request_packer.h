// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PACE_REQUEST_PACKER_H_
#define REEMBED_ENGINE_PACE_REQUEST_PACKER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "engine/batch.h"
#include "engine/pace/learned_caps.h"
#include "engine/pace/rate_limiter.h"
#include "engine/pace/reply_class.h"
#include "engine/text/token_estimator.h"

// The one place that decides how large a request is, from what the API is known to take (BatchLimits), the quota, and
// what its refusals teach in this run (LearnedCaps). RequestPacker says where a batch ends while rows are read, so that
// a batch is a request; CutIntoRequests() and CutRefused() say how a batch leaves that was filled before something was
// learned, or is larger for another reason.
namespace reembed {

// The tokens of one request where the quota is given: half a second of the tokens, as
// some providers count in windows of a second, or as many as the requests want so that both quotas are used up. 0: any.
int64_t QuotaTokensPerRequest(const RateLimit& limit);

struct RequestSize {
  int texts = 0;
  int64_t tokens = 0;
  int64_t bytes = 0;  // of the texts alone
};

using LearnedCapsOfAll = std::vector<std::shared_ptr<const LearnedCaps>>;

// Where one request ends and the next begins: within the limit of a request and what has been learned, and so that
// requests are even.
// A request that has three quarters of its texts is closed early rather than made a tenth larger than the mean. With
// text lengths that are log-normal (sigma 1) and 256 texts to a request the largest is 1.17 times the mean then,
// against 1.37 when only texts are counted, for 0.6 % more requests; where lengths drift along the source it is 3 to 6
// % more requests for nothing (bench/packing_bench.cc). Not thread-safe.
class RequestPacker {
 public:
  // `estimator`: nullptr if tokens are counted exactly, else borrowed. `quota_tokens`: of one request, that the quota
  // wants; 0: any. `learned`: of each endpoint that the request may go to; the least of all counts.
  RequestPacker(const BatchLimits& limits, const TokenEstimator* estimator, int64_t quota_tokens = 0,
                LearnedCapsOfAll learned = {});

  // Looks at what has been learned by now. Precondition: the request has no text yet.
  void Begin();

  // Whether a request that has `size` takes `more` texts.
  bool Takes(const RequestSize& size, const RequestSize& more) const;

  // The same for one more text, where bytes do not matter.
  bool Takes(int texts, int64_t tokens, int64_t more_tokens) const {
    return Takes({.texts = texts, .tokens = tokens}, {.texts = 1, .tokens = more_tokens});
  }

  // A request went off like this.
  void Close(int texts, int64_t tokens);

 private:
  const int max_texts_;
  const int64_t max_tokens_;
  const int64_t quota_tokens_;
  const TokenEstimator* const estimator_;
  const LearnedCapsOfAll learned_;
  RequestCaps caps_;        // as of Begin()
  double mean_tokens_ = 0;  // of a text, over the last requests; 0: none yet
};

// The texts [first, first + count) of a batch, which leave together.
struct RequestSpan {
  int first = 0;
  int count = 0;
};

// The requests for those texts of the batch that still need one: not refused, not answered, in no reply. One, unless
// there are more than a request takes (`max_texts`, 0: any; the batch's tokens, the quota, what has been learned), a
// text must be asked for with few others (ReplyTrouble::most), or texts between them need none.
std::vector<RequestSpan> CutIntoRequests(const Batch& batch, int max_texts, const RateLimit& quota,
                                         const LearnedCaps& learned);

// A request of these texts was refused as too large: teaches `learned` that, and returns how many texts go into each of
// the requests in its place, from the first on; halves, where it says nothing of use. Precondition: two texts or more.
std::vector<int> CutRefused(absl::Span<const BatchText> texts, const Excess& excess, LearnedCaps* learned);

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_REQUEST_PACKER_H_
