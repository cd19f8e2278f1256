// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_TEXT_TOKEN_ESTIMATOR_H_
#define REEMBED_ENGINE_TEXT_TOKEN_ESTIMATOR_H_

#include <atomic>
#include <cstdint>

#include "engine/mutex.h"

namespace reembed {

// Model tokens of texts from their length alone, learning from what the API charges. Thread-safe.
//
// A token of a byte-level vocabulary stands for at least one byte and, in cl100k_base, for at most 128; an estimate
// stays between, and a charge outside is not believed (some gateways count characters, or nothing).
class TokenEstimator {
 public:
  // 0.25 tokens a byte is the middle of what English text, code and JSON cost (measured on cl100k_base: 3.8 to 5.4
  // bytes a token; Chinese and Japanese 2.8, base64 1.4).
  explicit TokenEstimator(double tokens_per_byte = 0.25) : tokens_per_byte_(tokens_per_byte) {}

  // Of one text of `bytes` bytes: at least 1.
  int64_t Estimate(int64_t bytes) const;

  // An API charged `tokens` tokens for `texts` texts of `bytes` bytes together.
  void Learn(int64_t texts, int64_t bytes, int64_t tokens);

  double tokens_per_byte() const { return tokens_per_byte_; }

  // How much of a request's token limit may be filled by estimates: less before the API has said what texts cost.
  double PackedShare() const;

 private:
  std::atomic<double> tokens_per_byte_;
  std::atomic<int64_t> bytes_learnt_{0};
  Mutex mutex_;  // one learns at a time
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_TEXT_TOKEN_ESTIMATOR_H_
