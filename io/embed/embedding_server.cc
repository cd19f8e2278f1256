// SPDX-License-Identifier: Apache-2.0
#include "io/embed/embedding_server.h"

#include <atomic>
#include <chrono>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/mutex.h"
#include "engine/status_macros.h"
#include "engine/text/lexical_embedder.h"
#include "io/embed/embedding_server_reply.h"
#include "io/embed/embedding_server_request.h"
#include "io/net/http_server.h"

namespace reembed {
namespace {

// Clients choose n and dim; this bounds what that may cost.
constexpr size_t kMaxPreparedBytes = size_t{512} << 20;

HttpServerResponse ErrorResponse(const EmbeddingServerError& error) {
  HttpServerResponse response;
  response.status = error.status;
  response.body = OpenAiErrorBody(error.message, error.type, error.param, error.code);
  return response;
}

HttpServerResponse JsonResponse(std::string body) {
  HttpServerResponse response;
  response.body = std::move(body);
  return response;
}

// Like the API itself, lets the old and the bare form pass.
absl::string_view WithoutVersion(absl::string_view path) {
  absl::ConsumePrefix(&path, "/v1");
  return path;
}

// The replies of kPrepared. Thread-safe.
class PreparedReplies {
 public:
  std::shared_ptr<const std::string> Get(int vectors, int dim, EmbeddingEncoding encoding) {
    const Key key(vectors, dim, encoding);
    {
      const MutexLock lock(&mutex_);
      if (const auto it = replies_.find(key); it != replies_.end()) return it->second;
    }
    auto made = std::make_shared<const std::string>(Make(vectors, dim, encoding));  // twice if two ask at once
    const MutexLock lock(&mutex_);
    if (bytes_ + made->size() > kMaxPreparedBytes) {
      replies_.clear();  // what is being sent lives on until it is sent
      bytes_ = 0;
    }
    const auto [it, inserted] = replies_.try_emplace(key, std::move(made));
    if (inserted) bytes_ += it->second->size();
    return it->second;
  }

 private:
  using Key = std::tuple<int, int, EmbeddingEncoding>;

  static std::string Make(int vectors, int dim, EmbeddingEncoding encoding) {
    EmbeddingReplyWriter writer(encoding, vectors, dim);
    std::vector<float> vector(dim);
    for (int i = 0; i < vectors; ++i) {
      EmbedLexically(absl::StrCat("prepared vector ", i), absl::MakeSpan(vector));
      writer.Add(vector);
    }
    return std::move(writer).TakeVectors();
  }

  Mutex mutex_;
  absl::flat_hash_map<Key, std::shared_ptr<const std::string>> replies_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace

// Answers requests; called by the threads of the HTTP server.
class EmbeddingServer::Service {
 public:
  explicit Service(const EmbeddingServerOptions& options)
      : options_(options), quota_(options.limits), load_(options.speed), scratch_(options.threads) {}

  HttpServerResponse Handle(const HttpServerRequest& request) {
    if (request.path == "/health") return OnlyGet(request, "{\"status\":\"ok\"}");
    if (!options_.api_key.empty() && !HasKey(request.Header("authorization"))) {
      return ErrorResponse({.status = 401,
                            .message = "expected the API key of this server, got none or another one",
                            .param = "",
                            .code = "invalid_api_key"});
    }
    const absl::string_view path = WithoutVersion(request.path);
    if (path == "/embeddings") return OnlyPost(request);
    if (path == "/models") {
      return OnlyGet(request, absl::StrCat("{\"object\":\"list\",\"data\":[{\"id\":\"", kLexicalModelName,
                                           "\",\"object\":\"model\",\"created\":0,\"owned_by\":\"reembed\"}]}"));
    }
    return ErrorResponse({.status = 404,
                          .message = absl::StrCat("there is no ", request.method, " ", request.path,
                                                  "; this server has /v1/embeddings, /v1/models and /health"),
                          .param = "",
                          .code = "unknown_url"});
  }

  EmbeddingServerCounts counts() const {
    return {
        .requests = requests_.load(), .refused = refused_.load(), .limited = limited_.load(), .texts = texts_.load()};
  }

  void SetOutage(EmbeddingServerOutage outage) { outage_ = outage; }

 private:
  // What a thread keeps between requests.
  struct Scratch {
    EmbeddingServerRequestParser parser;
    EmbeddingServerRequest request;
    std::vector<float> vector;
  };

  // The scheme is the same in any case: RFC 9110, section 11.1.
  bool HasKey(absl::string_view authorization) const {
    const size_t space = authorization.find(' ');
    if (space == absl::string_view::npos || !absl::EqualsIgnoreCase(authorization.substr(0, space), "bearer"))
      return false;
    return absl::StripAsciiWhitespace(authorization.substr(space)) == options_.api_key;
  }

  static HttpServerResponse WrongMethod(const HttpServerRequest& request, absl::string_view allowed) {
    HttpServerResponse response =
        ErrorResponse({.status = 405,
                       .message = absl::StrCat("expected ", allowed, " ", request.path, ", got ", request.method),
                       .param = "",
                       .code = "method_not_allowed"});
    response.headers.emplace_back("allow", allowed);
    return response;
  }

  static HttpServerResponse OnlyGet(const HttpServerRequest& request, std::string body) {
    if (request.method != "GET" && request.method != "HEAD") return WrongMethod(request, "GET");
    return JsonResponse(std::move(body));
  }

  HttpServerResponse OnlyPost(const HttpServerRequest& request) {
    if (request.method != "POST") return WrongMethod(request, "POST");
    HttpServerResponse response =
        outage_ == EmbeddingServerOutage::kNone ? Embed(request.body, &scratch_[request.worker]) : Outage();
    ++requests_;
    if (response.status != 200 || response.reset) ++refused_;
    if (response.status == 429) ++limited_;
    return response;
  }

  HttpServerResponse Outage() const {
    HttpServerResponse response = ErrorResponse(
        {.status = 503, .message = "The server is overloaded or not ready yet.", .type = "server_error", .param = ""});
    response.reset = outage_ == EmbeddingServerOutage::kReset;
    return response;
  }

  HttpServerResponse Embed(absl::string_view body, Scratch* scratch) {
    const bool prepared = options_.mode == EmbeddingServerMode::kPrepared;
    EmbeddingServerRequest& request = scratch->request;
    EmbeddingServerError error = scratch->parser.Parse(
        body, prepared ? EmbeddingServerRequestParser::Texts::kCount : EmbeddingServerRequestParser::Texts::kRead,
        &request);
    if (error.status != 0) return ErrorResponse(error);
    std::vector<std::pair<std::string, std::string>> headers;
    const absl::Duration now = absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
    error = quota_.Admit(request.model, request.tokens, now, &headers);
    HttpServerResponse response;
    if (error.status != 0) {
      response = ErrorResponse(error);
    } else {
      const int dim = request.dim != 0 ? request.dim : options_.dim;
      response.delay = load_.DelayOf(now);
      response.body = EmbeddingReplyTail(request.model, request.tokens);
      if (prepared) {
        response.shared_body = prepared_.Get(request.inputs, dim, request.encoding);
      } else {
        response.body.insert(0, EmbedTexts(request, dim, &scratch->vector));
      }
      texts_ += request.inputs;
    }
    response.headers = std::move(headers);
    return response;
  }

  static std::string EmbedTexts(const EmbeddingServerRequest& request, int dim, std::vector<float>* vector) {
    EmbeddingReplyWriter writer(request.encoding, request.inputs, dim);
    vector->resize(dim);
    for (const absl::string_view text : request.texts) {
      EmbedLexically(text, absl::MakeSpan(*vector));
      writer.Add(*vector);
    }
    return std::move(writer).TakeVectors();
  }

  const EmbeddingServerOptions options_;
  EmbeddingServerQuota quota_;
  EmbeddingServerLoad load_;
  std::atomic<EmbeddingServerOutage> outage_{EmbeddingServerOutage::kNone};
  std::vector<Scratch> scratch_;  // one per thread
  PreparedReplies prepared_;
  std::atomic<int64_t> requests_{0};
  std::atomic<int64_t> refused_{0};
  std::atomic<int64_t> limited_{0};
  std::atomic<int64_t> texts_{0};
};

bool EmbeddingServer::IsLoopback(absl::string_view address) {
  return absl::StartsWith(address, "127.") || address == "::1";
}

absl::StatusOr<std::unique_ptr<EmbeddingServer>> EmbeddingServer::Start(const EmbeddingServerOptions& options) {
  if (options.dim < kMinLexicalDim || options.dim > kMaxLexicalDim) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected ", kMinLexicalDim, " to ", kMaxLexicalDim, " dimensions, got ", options.dim));
  }
  if (options.threads < 1) {
    return absl::InvalidArgumentError(absl::StrCat("expected at least 1 thread, got ", options.threads));
  }
  auto service = std::make_unique<Service>(options);
  HttpServerOptions http_options;
  http_options.address = options.address;
  http_options.port = options.port;
  http_options.threads = options.threads;
  // A page that does not know the key gets nowhere; and proxies before a server may hand on their own name.
  http_options.only_local_hosts = options.api_key.empty() && IsLoopback(options.address);
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<HttpServer> http,
                        HttpServer::Start(http_options, [service = service.get()](const HttpServerRequest& request) {
                          return service->Handle(request);
                        }));
  return std::unique_ptr<EmbeddingServer>(new EmbeddingServer(options.address, std::move(service), std::move(http)));
}

EmbeddingServer::EmbeddingServer(std::string address, std::unique_ptr<Service> service,
                                 std::unique_ptr<HttpServer> http)
    : address_(std::move(address)), service_(std::move(service)), http_(std::move(http)) {}

EmbeddingServer::~EmbeddingServer() = default;
int EmbeddingServer::port() const { return http_->port(); }
EmbeddingServerCounts EmbeddingServer::counts() const { return service_->counts(); }
void EmbeddingServer::SetOutage(EmbeddingServerOutage outage) { service_->SetOutage(outage); }
void EmbeddingServer::Stop() { http_->Stop(); }

std::string EmbeddingServer::base_url() const {
  const bool v6 = absl::StrContains(address_, ':');
  return absl::StrCat("http://", v6 ? "[" : "", address_, v6 ? "]" : "", ":", port(), "/v1");
}

}  // namespace reembed
