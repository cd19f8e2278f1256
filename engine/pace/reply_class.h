// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PACE_REPLY_CLASS_H_
#define REEMBED_ENGINE_PACE_REPLY_CLASS_H_

#include <cstdint>
#include <string>

#include "absl/types/span.h"

namespace reembed {

// What a provider's answer means for the request that got it. Pure logic; io/ reads the bodies.
enum class ReplyClass {
  kOk,
  kRetry,       // something broke on the way: send it again after a backoff
  kRetryWait,   // the provider is over its limit, or we are: everybody waits, then send it again
  kSplit,       // too much at once, or one of several texts is bad: send it in parts
  kRejectText,  // this one text will never be taken
  kStop,        // key, quota, model or address: no request of this run will succeed
};

// What the body of an error says, each empty where it says nothing.
struct ApiError {
  std::string code;     // "insufficient_quota", or a number as text
  std::string type;     // "invalid_request_error"
  std::string param;    // the field of the request that is wrong
  std::string message;  // for people
  std::string status;   // Google's word for the HTTP status: "RESOURCE_EXHAUSTED"
  std::string wait;     // how long to wait, where the body has a field for it: "34s"

  bool empty() const { return code.empty() && type.empty() && param.empty() && message.empty() && status.empty(); }
};

// What an error that a rule knows is about.
enum class ErrorMeaning {
  kRetry,          // as ReplyClass::kRetry
  kRetryWait,      // as ReplyClass::kRetryWait
  kBadText,        // a text is not taken: split to find it, reject it when it is alone
  kTextTooLong,    // likewise, for its length
  kTooManyTexts,   // for one request: split, and the flow remembers; likewise the next two
  kTooManyTokens,  // of one request; alone it is a text that is too long
  kTooManyBytes,
  kStop,  // as ReplyClass::kStop
};

// "An error with this status, this word and this message means that." What is empty or 0 is not looked at.
struct ErrorRule {
  int http_status = 0;
  const char* word = "";     // the whole of the error's code, type, param or status
  const char* message = "";  // a part of its message, in lower case; compared without regard to case
  ErrorMeaning meaning = ErrorMeaning::kStop;
};

// Where one API's errors differ from everybody's. Its rules are asked first, in their order. They live as long as the
// program: a table of constants beside the rest of what is special about the API.
struct ErrorTraits {
  absl::Span<const ErrorRule> rules;
};

// Classifies the answer to a request of `texts` texts. An error inside a 200 counts as an error, as some gateways do
// that. A refused request (400, 422) of several texts is split, so that halving finds the bad one.
ReplyClass ClassifyReply(int http_status, const ApiError& error, int texts, const ErrorTraits& traits = {});

// Whether a rule knows the error, or its status alone says what it may mean. What only the status says of one request
// may be true of all: a wrong option looks like a bad text.
bool IsKnownError(int http_status, const ApiError& error, const ErrorTraits& traits = {});

// Of which measure a request that is to be split has too much.
enum class Measure {
  kNone,  // not too much, but a bad text in it
  kTexts,
  kTokens,
  kBytes,
  kTextTokens,  // not the request, but one text in it
};

struct Excess {
  Measure measure = Measure::kNone;
  int64_t limit = 0;      // as the API names it, in its own count; 0: it does not
  int64_t requested = 0;  // likewise
};

// For an answer that ClassifyReply calls kSplit or kRejectText.
Excess ExcessOf(int http_status, const ApiError& error, const ErrorTraits& traits = {});

// Whether a kStop is for want of money or of quota that does not come back by waiting.
bool IsOutOfQuota(int http_status, const ApiError& error);

// Whether a kStop is for a key that is wrong, or missing.
bool IsBadKey(int http_status, const ApiError& error);

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_REPLY_CLASS_H_
