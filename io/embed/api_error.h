#ifndef REEMBED_IO_EMBED_API_ERROR_H_
#define REEMBED_IO_EMBED_API_ERROR_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/reply_class.h"

namespace reembed {

// Reads the body of an error in any of the forms that embedding APIs use: {"error":{"message",...}} (OpenAI, Azure,
// Gemini also inside an array), {"error":"text"} (Ollama, TEI), flat {"message","type","code"} (Mistral, Cohere),
// {"detail":...} (FastAPI, Jina; text, a list or an object). Empty when it is none of these, as with HTML and with a
// reply that is no error.
ApiError ParseApiError(absl::string_view body);

// `message` with every run of bytes that it shares with `secret` replaced by [...]. Runs of at least `shortest` bytes
// count, or the whole secret if that is shorter; so neither an API key nor a text gets into messages in long pieces.
std::string MaskShared(absl::string_view message, absl::string_view secret, size_t shortest);

// At most `max_bytes` bytes of it, cut between UTF-8 characters, control characters as spaces.
std::string Shorten(absl::string_view message, size_t max_bytes);

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
