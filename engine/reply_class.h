#ifndef REEMBED_ENGINE_REPLY_CLASS_H_
#define REEMBED_ENGINE_REPLY_CLASS_H_

#include <string>

namespace reembed {

// What a provider's answer means for the request that got it. Pure logic; io/ reads the bodies.
enum class ReplyClass {
  kOk,
  kRetry,       // something broke on the way: send it again after a backoff
  kRetryWait,   // the provider is over its limit, or we are: everybody waits, then send it again
  kSplit,       // too much at once, or one of several texts is bad: send it in halves
  kRejectText,  // this one text will never be taken
  kStop,        // key, quota, model or address: no request of this run will succeed
};

// What the body of an error says, each empty where it says nothing.
struct ApiError {
  std::string code;     // "insufficient_quota", or a number as text
  std::string type;     // "invalid_request_error"
  std::string param;    // the field of the request that is wrong
  std::string message;  // for people

  bool empty() const { return code.empty() && type.empty() && param.empty() && message.empty(); }
};

// Classifies the answer to a request of `texts` texts. An error inside a 200 counts as an error, as some gateways do
// that. A refused request (400, 422) of several texts is split, so that halving finds the bad one.
ReplyClass ClassifyReply(int http_status, const ApiError& error, int texts);

}  // namespace reembed

#endif  // REEMBED_ENGINE_REPLY_CLASS_H_
