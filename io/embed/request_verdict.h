// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_REQUEST_VERDICT_H_
#define REEMBED_IO_EMBED_REQUEST_VERDICT_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/batch.h"
#include "engine/pace/pacer.h"
#include "engine/pace/reply_class.h"
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
  bool unknown = false;    // a refusal (kSplit, kRejectText) that no rule knows: it may be about all texts
  bool timed_out = false;  // there was no answer in time
};

// Reads answers as one API means them, and says so in words that hold neither the key nor a text. Thread-safe.
class RequestJudge {
 public:
  // `url`: of requests. `through`: which proxy they take, as ProxyForMessages() has it. `secrets`: what is masked in
  // whatever the API says.
  RequestJudge(absl::string_view url, absl::string_view through, std::vector<std::string> secrets,
               const ErrorTraits& errors, ReachHints hints);

  // Of a request with these texts.
  RequestVerdict Judge(const absl::StatusOr<HttpReply>& answer, absl::Span<const BatchText> texts) const;

  // The address as messages may show it, with its proxy.
  const std::string& where() const { return where_; }

 private:
  std::string WhatItSaid(absl::string_view message, absl::Span<const BatchText> texts) const;

  std::string Redirected(const HttpReply& reply) const;

  const std::string url_;  // without what may be secret
  const std::string where_;
  const std::vector<std::string> secrets_;
  const ErrorTraits errors_;
  const ReachHints hints_;
};

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_REQUEST_VERDICT_H_
