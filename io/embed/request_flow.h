#ifndef REEMBED_IO_EMBED_REQUEST_FLOW_H_
#define REEMBED_IO_EMBED_REQUEST_FLOW_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/batch.h"
#include "engine/done.h"
#include "engine/embedding_client.h"
#include "engine/rate_limiter.h"
#include "engine/retry.h"

namespace reembed {

class HttpLoop;
struct HttpReply;

struct FlowOptions {
  std::string url;
  std::vector<std::string> headers;  // "name: value"
  std::string secret;                // what is secret in the headers: masked in whatever the API says
  std::string ca_file;               // see HttpLoopOptions
  std::string proxy;                 // likewise
  bool accept_gzip = false;          // likewise
  int max_texts = 0;                 // in one request; 0: as many as the batch has
  RateLimit limit;                   // without one, the API's x-ratelimit headers slow the flow down
  int concurrency = 32;              // requests in the air, or waiting for their start or for a retry
  int loop_threads = 1;
  absl::Duration connect_timeout = absl::Seconds(10);
  absl::Duration timeout = absl::Seconds(60);  // of one request, from leaving to the last byte
  RetryPolicy retry;
  uint64_t seed = 0;  // of the jitter
};

// Writes the request body for these texts over *body.
using BodyWriter = absl::AnyInvocable<void(absl::Span<const BatchText> texts, std::string* body) const>;

// The part of an EmbeddingClient that all JSON APIs share: from a batch to its replies. It paces, retries, splits what
// is too large, finds the texts that the API refuses, and gives up in words that people understand. Thread-safe.
class RequestFlow {
 public:
  static absl::StatusOr<std::unique_ptr<RequestFlow>> Make(FlowOptions options, BodyWriter write_body);
  ~RequestFlow();  // as Cancel(), and waits until all is answered

  // As EmbeddingClient::Send. Texts that have a reject already are left out.
  void Send(Batch* batch, Done done);

  // As EmbeddingClient::Cancel.
  void Cancel();

  ClientStats stats() const;

  // For Decode: what a reply cost, and its buffer back for the next one.
  void CountTokens(int64_t tokens) { tokens_ += tokens; }
  void Recycle(std::vector<Reply>* replies);

  // The address as messages may show it.
  const std::string& where() const { return where_; }

 private:
  struct Call;
  struct Part;
  using PartPtr = std::unique_ptr<Part>;

  RequestFlow(FlowOptions options, BodyWriter write_body, std::unique_ptr<HttpLoop> loop);

  PartPtr MakePart(Call* call, int first, int count);
  void Submit(PartPtr part);
  void Launch(PartPtr part, Moment start);
  Moment Admit(Part* part, Moment now);
  void OnAnswer(PartPtr part, absl::StatusOr<HttpReply> answer);
  void OnReply(PartPtr part, HttpReply reply);
  void Keep(PartPtr part, HttpReply reply);
  void Reject(PartPtr part, const ApiError& error, int http_status);
  void Split(PartPtr part);
  void PauseAndRetry(PartPtr part, const HttpReply& reply, const ApiError& error);
  void Retry(PartPtr part, const RetryWait& wait, absl::StatusCode code, absl::string_view failure);
  void End(PartPtr part, absl::Status status);
  RetryWait WaitFor(const Part& part, const WaitHints& hints);
  void SlowDownByHeaders(const HttpReply& reply, int64_t tokens);
  std::string WhatItSaid(const ApiError& error, const Part& part) const;

  const FlowOptions options_;
  const BodyWriter write_body_;
  const std::string where_;
  RateLimiter limiter_;

  std::atomic<int64_t> requests_{0};
  std::atomic<int64_t> retried_{0};
  std::atomic<int64_t> http_429_{0};
  std::atomic<int64_t> tokens_{0};
  std::atomic<int64_t> requests_in_air_{0};
  std::atomic<int64_t> tokens_in_air_{0};

  std::mutex mutex_;  // guards what follows, and the calls and their batches while several parts are out
  bool cancelled_ = false;
  int slots_used_ = 0;
  std::deque<PartPtr> queue_;  // of those that wait for a slot
  std::mt19937_64 random_;
  std::vector<PartPtr> spare_parts_;        // for the memory of their bodies
  std::vector<std::string> spare_replies_;  // likewise

  std::unique_ptr<HttpLoop> loop_;  // last: while it ends, its callbacks use all of the above
  HttpLoop* const http_;            // the same
};

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_REQUEST_FLOW_H_
