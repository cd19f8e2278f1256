// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_DIALECT_SERVER_H_
#define REEMBED_TESTS_FAKES_DIALECT_SERVER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/fakes/scripted_server.h"

namespace reembed {

// What an API has to say about a request: a status and its own words.
struct Refusal {
  int status = 0;  // 0: none
  std::string code;
  std::string message;
};

// One API as its documents describe it: what it insists on, where it puts vectors and complaints. What a row leaves out
// is OpenAI's.
struct FakeApi {
  enum class Reply { kOpenAi, kTotalTokensOnly, kOllama, kBareArray, kByType, kGemini };
  enum class Errors { kOpenAi, kAzure, kOneString, kWithErrorType, kMessage, kDetail, kCodeAndDetail, kGoogle, kFlat };

  std::string dialect;                       // as --embedder
  std::string base;                          // what stands between the server's address and `path` in the API base
  std::string path = "/embeddings";          // the only one that is answered, the model in it
  std::string key_header = "authorization";  // in lower case
  std::string key_prefix = "Bearer ";        // before the key
  std::string inputs = "input";              // the field with the texts
  std::vector<std::string> required = {"input", "model"};
  // Whatever is in neither list is refused.
  std::vector<std::string> optional = {"dimensions", "encoding_format", "user"};
  int max_inputs = 2048;         // 0: any number
  std::string cut_field;         // the switch for cutting long texts; empty: there is none
  std::string cut_word;          // the value with which it cuts, as JSON
  bool cuts_by_default = false;  // without the switch
  int long_status = 400;         // of the refusal of a long text
  // Its words; $LIMIT and $TOKENS stand for the figures, where it names them.
  std::string long_message =
      "This model's maximum context length is $LIMIT tokens, however you requested $TOKENS tokens ($TOKENS in your "
      "prompt; 0 for the completion). Please reduce your prompt; or completion length.";
  std::string base64_field = "encoding_format";  // the field that asks for base64; empty: it knows none
  std::string width_field = "dimensions";        // that asks for a width; empty: it has one only
  Reply reply = Reply::kOpenAi;
  Errors errors = Errors::kOpenAi;
  Refusal bad_key = {401, "invalid_api_key", "Incorrect API key provided"};
  Refusal no_model = {404, "model_not_found", "The model does not exist"};
};

// All APIs that are faked; names as --embedder.
const FakeApi& FakeApiOf(absl::string_view dialect);

// A server that speaks one API, as strictly as the API is documented: a wrong path, key, model, field, type or number
// of inputs is refused in the API's own words. Its vectors are TextVector()s; those of long texts, if it cuts them, are
// the vectors of what is left. Replies with an index come in reverse order.
class DialectServer {
 public:
  static constexpr char kKey[] = "sk-fake-0123456789abcdef";
  static constexpr char kModel[] = "fake-model";
  static constexpr int kDim = 8;
  static constexpr size_t kMaxTextBytes = 400;  // of one text; longer ones are cut or refused

  explicit DialectServer(absl::string_view dialect);

  // What a client takes for the API base.
  std::string api_base() const;

  // "Tokens" of a text, as the replies charge them.
  static int64_t Tokens(absl::string_view text) { return static_cast<int64_t>(text.size() + 3) / 4; }

  std::vector<ServerRequest> requests() const { return server_->requests(); }
  int refusals() const { return refusals_; }
  int64_t tokens() const { return tokens_; }  // charged so far
  int largest_request() const { return largest_request_; }
  // Every text that got a vector, as it was embedded; and how many of them were cut for that.
  std::vector<std::string> embedded() const;
  int cut() const { return cut_; }

 private:
  ServerReply Answer(const ServerRequest& request);

  const FakeApi& api_;
  std::atomic<int> refusals_{0};
  std::atomic<int64_t> tokens_{0};
  std::atomic<int> largest_request_{0};
  std::atomic<int> cut_{0};
  mutable std::mutex mutex_;
  std::vector<std::string> embedded_;       // guarded by mutex_
  std::unique_ptr<ScriptedServer> server_;  // last: it calls Answer() until it ends
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_DIALECT_SERVER_H_
