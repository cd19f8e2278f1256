#ifndef REEMBED_IO_EMBED_OPENAI_CLIENT_H_
#define REEMBED_IO_EMBED_OPENAI_CLIENT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/embedding_client.h"
#include "engine/rate_limiter.h"
#include "engine/retry.h"

namespace reembed {

enum class ReplyFormat { kBase64, kFloat };

// An API that speaks OpenAI's POST /embeddings: OpenAI itself, Ollama, TEI, llama.cpp, vLLM, Voyage, Mistral and
// others.
struct OpenAiOptions {
  std::string api_base = "https://api.openai.com/v1";  // `/embeddings` is added
  std::string api_key;                                 // empty: no Authorization header. Never in any message
  std::string ca_file;                                 // see HttpLoopOptions
  Model model;
  std::optional<int> dimensions;  // sent as `dimensions` when set: only for models that can be cut
  ReplyFormat encoding = ReplyFormat::kBase64;
  RateLimit limit;       // without a limit, the x-ratelimit headers of the API slow us down
  int concurrency = 32;  // requests in the air, waiting for their start or for a retry; more wait inside the client
  bool hedge = false;    // see FlowOptions
  int loop_threads = 1;
  absl::Duration connect_timeout = absl::Seconds(10);
  absl::Duration timeout = absl::Seconds(60);  // of one request, from leaving to the last byte
  RetryPolicy retry;
  uint64_t seed = 0;  // of the jitter
};

// Errors: kInvalidArgument (an option).
absl::StatusOr<std::unique_ptr<EmbeddingClient>> MakeOpenAiClient(OpenAiOptions options);

// Asks for the vector of one short text, whatever options.model.dim is, and returns its width. So it also checks the
// key, the model and its dimensions before a run costs anything. Blocks.
// Errors: as EmbeddingClient::Send; kFailedPrecondition when the API refuses the request; kDataLoss.
absl::StatusOr<int> ProbeWidth(const OpenAiOptions& options);

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_OPENAI_CLIENT_H_
