// SPDX-License-Identifier: Apache-2.0
#include "tools/live/dashboard.h"

#include <arpa/inet.h>

#include <cstdint>
#include <random>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/status_macros.h"
#include "io/embed/embedding_server.h"
#include "io/net/http_server.h"
#include "tools/format.h"

namespace reembed {
namespace {

constexpr absl::Duration kBetweenLooks = absl::Seconds(1);

// 128 bits of the system's own generator.
std::string MakeToken() {
  std::random_device device;
  std::string token;
  for (int i = 0; i < 4; ++i) absl::StrAppendFormat(&token, "%08x", static_cast<uint32_t>(device()));
  return token;
}

// A name may lead anywhere by tomorrow (DNS rebinding); an address is where the browser really is.
bool IsTrustedHost(absl::string_view host) {
  const size_t end = absl::StartsWith(host, "[") ? host.find(']') : host.find(':');
  std::string name(host.substr(0, end));
  if (absl::StartsWith(name, "[")) name.erase(0, 1);
  in6_addr address;
  return absl::EqualsIgnoreCase(name, "localhost") || inet_pton(AF_INET, name.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, name.c_str(), &address) == 1;
}

absl::string_view TokenOf(absl::string_view target) {
  const size_t query = target.find('?');
  if (query == absl::string_view::npos) return "";
  for (absl::string_view parameter : absl::StrSplit(target.substr(query + 1), '&')) {
    if (absl::ConsumePrefix(&parameter, "token=")) return parameter;
  }
  return "";
}

// As long as it takes, however much is right.
bool Same(absl::string_view a, absl::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned char differs = 0;
  for (size_t i = 0; i < a.size(); ++i) differs |= static_cast<unsigned char>(a[i] ^ b[i]);
  return differs == 0;
}

HttpServerResponse Answer(int status, std::string type, std::string body) {
  HttpServerResponse response;
  response.status = status;
  response.content_type = std::move(type);
  response.body = std::move(body);
  response.headers = {{"cache-control", "no-store"},
                      {"x-content-type-options", "nosniff"},
                      {"x-frame-options", "DENY"},
                      {"referrer-policy", "no-referrer"},
                      {"content-security-policy",
                       "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
                       "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}};
  return response;
}

constexpr char kJson[] = "application/json; charset=utf-8";
constexpr char kPlain[] = "text/plain; charset=utf-8";

std::string Event(absl::string_view name, absl::string_view data) {
  return absl::StrCat("event: ", name, "\ndata: ", data, "\n\n");
}

}  // namespace

class DashboardServer::Service {
 public:
  explicit Service(DashboardFeed feed) : feed_(std::move(feed)), token_(MakeToken()) {}

  const std::string& token() const { return token_; }

  HttpServerResponse Handle(const HttpServerRequest& request) {
    const absl::string_view host = request.Header("host");
    const absl::string_view origin = request.Header("origin");
    if (!IsTrustedHost(host)) return Answer(403, kPlain, "this host name is not allowed\n");
    if (!origin.empty() && origin != absl::StrCat("http://", host)) {
      return Answer(403, kPlain, "requests from other pages are not allowed\n");
    }
    if (!Same(TokenOf(request.target), token_)) {
      return Answer(403, kPlain, "the address of the page lacks its token; take the whole address that was printed\n");
    }
    const bool reads = request.method == "GET" || request.method == "HEAD";
    if (request.path == "/obey" && request.method == "POST") return Obey(request.body);
    if (request.path == "/obey" || !reads) return Answer(405, kPlain, "this method is not allowed here\n");
    if (request.path == "/") return Answer(200, "text/html; charset=utf-8", std::string(DashboardPage()));
    if (request.path == "/look") return Answer(200, kJson, feed_.look());
    if (request.path == "/events") return Events();
    return Answer(404, kPlain, "there is no such page\n");
  }

 private:
  HttpServerResponse Events() {
    HttpServerResponse response = Answer(200, "text/event-stream", "");
    // A proxy before the page would hold the events back until it has some kilobytes of them.
    response.headers.emplace_back("x-accel-buffering", "no");
    response.body = absl::StrCat("retry: 2000\n\n", Event("points", feed_.points()), LookEvent());
    response.every = kBetweenLooks;
    response.next = [this](std::string* piece) {
      piece->append(LookEvent());
      return true;
    };
    return response;
  }

  std::string LookEvent() const {
    const std::string look = feed_.look();
    // A comment tells that the line is alive.
    return look.empty() ? ": nothing to see yet\n\n" : Event("look", look);
  }

  HttpServerResponse Obey(absl::string_view words) {
    absl::StatusOr<std::string> answer =
        feed_.obey ? feed_.obey(words)
                   : absl::FailedPreconditionError("the run is over; it cannot be controlled any more");
    if (answer.ok()) return Answer(200, kJson, *std::move(answer));
    return Answer(absl::IsInvalidArgument(answer.status()) ? 400 : 409, kJson,
                  JsonLine("error").Add("message", answer.status().message()).ToString());
  }

  const DashboardFeed feed_;
  const std::string token_;
};

absl::StatusOr<std::unique_ptr<DashboardServer>> DashboardServer::Start(const ListenAddress& listen,
                                                                        DashboardFeed feed) {
  HttpServerOptions options{.address = listen.address, .port = listen.port, .max_connections = 64};
  options.limits = {.max_head_bytes = 16 << 10, .max_body_bytes = 4 << 10};
  options.stop_timeout = absl::Seconds(1);
  auto service = std::make_unique<Service>(std::move(feed));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<HttpServer> http,
                        HttpServer::Start(options, [service = service.get()](const HttpServerRequest& request) {
                          return service->Handle(request);
                        }));
  std::string place = absl::StrCat("http://", HostAndPort(listen.address, http->port()), "/");
  return std::unique_ptr<DashboardServer>(new DashboardServer(std::move(place), std::move(service), std::move(http)));
}

DashboardServer::DashboardServer(std::string place, std::unique_ptr<Service> service, std::unique_ptr<HttpServer> http)
    : place_(std::move(place)), service_(std::move(service)), http_(std::move(http)) {}

DashboardServer::~DashboardServer() { http_->Stop(); }

std::string DashboardServer::url() const { return absl::StrCat(place_, "?token=", service_->token()); }

}  // namespace reembed
