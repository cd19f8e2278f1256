// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_API_ERROR_H_
#define REEMBED_IO_EMBED_API_ERROR_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/pace/reply_class.h"

namespace reembed {

// Reads the body of an error in any of the forms that embedding APIs and what stands before them use:
// {"error":{"message",...}} (OpenAI, Azure, Gemini also inside an array), {"error":"text"} (Ollama, TEI), flat
// {"message","type","code"} (Mistral, Cohere; the message may be an object or a list that has the reason inside),
// {"detail":...} (FastAPI, Jina; text, a list or an object), {"errors":[...]}, {"fault":{"faultstring"}},
// {"title","detail"} (RFC 9457), {"Message"} (AWS), {"code","msg"}, {"error_code","error_msg"} (Baidu),
// {"base_resp":{"status_code","status_msg"}} (MiniMax). Empty when it is none of these, as with HTML, and when the body
// has vectors and says nothing of an error.
ApiError ParseApiError(absl::string_view body);

// What a message can add where an API cannot be reached as it should, in words for the user; each empty where there is
// nothing to say.
struct ReachHints {
  std::string address;  // what is probably wrong with the address
  std::string key;      // no key was sent, and where one would be looked for
};

// The status of a run that ends because of this answer: `where` is the address, `what` what the API said.
// kUnauthenticated (the key) or kFailedPrecondition (all else).
absl::Status StopStatus(int http_status, const ApiError& error, absl::string_view where, absl::string_view what,
                        const ReachHints& hints = {});

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_API_ERROR_H_
