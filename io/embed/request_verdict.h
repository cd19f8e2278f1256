#ifndef REEMBED_IO_EMBED_REQUEST_VERDICT_H_
#define REEMBED_IO_EMBED_REQUEST_VERDICT_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/batch.h"
#include "engine/pacer.h"
#include "engine/reply_class.h"
#include "io/embed/api_error.h"
#include "io/net/http_loop.h"

namespace reembed {

// What becomes of the answer to one request.
struct RequestVerdict {
  ReplyClass reply_class = ReplyClass::kOk;
  SendOutcome outcome = SendOutcome::kOk;
  absl::Status status;                       // what the request ends with, when it does
  std::optional<absl::Duration> named_wait;  // that the server asked for
  bool give_up = false;                      // it is not to be asked again
  bool may_cost = false;                     // it may be charged for: answered with vectors, or nobody knows
  Excess excess;                             // for kSplit and kRejectText
  std::string unknown_words;                 // of a kRejectText that no rule knows: they may be about all texts
};

// Reads answers as one API means them, and says so in words that hold neither the key nor a text. Thread-safe.
class RequestJudge {
 public:
  // `url`: of requests. `through`: which proxy they take, as ProxyForMessages() has it. `secret`: what is masked, one
  // secret a line.
  RequestJudge(absl::string_view url, absl::string_view through, std::string secret, const ErrorTraits& errors,
               ReachHints hints);

  // Of a request with these texts.
  RequestVerdict Judge(const absl::StatusOr<HttpReply>& answer, absl::Span<const BatchText> texts) const;

  // The address as messages may show it, with its proxy.
  const std::string& where() const { return where_; }

 private:
  std::string WhatItSaid(const ApiError& error, absl::Span<const BatchText> texts) const;

  std::string Redirected(const HttpReply& reply) const;

  const std::string url_;  // without what may be secret
  const std::string where_;
  const std::string secret_;
  const ErrorTraits errors_;
  const ReachHints hints_;
};

// Notices that what looks like bad texts is a bad request: an endpoint that has never taken a text refuses several
// different ones, each alone, in the same words, which no rule knows. Not thread-safe.
class AlikeRefusals {
 public:
  void TextTaken() { ever_taken_ = true; }

  // A text alone was refused. Returns whether the request is to blame.
  bool Add(absl::string_view unknown_words);

  static constexpr int kEnough = 3;

 private:
  bool ever_taken_ = false;
  std::string words_;  // of the first, without digits
  int alike_ = 0;
};

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_REQUEST_VERDICT_H_
