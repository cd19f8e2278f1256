// SPDX-License-Identifier: Apache-2.0
#include "io/net/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/number/json_text.h"
#include "engine/number/json_writer.h"
#include "engine/status_macros.h"
#include "io/net/http_server_worker.h"

namespace reembed {
namespace {

struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t length = 0;
};

absl::StatusOr<SocketAddress> ParseAddress(const std::string& address, int port) {
  if (port < 0 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("expected a port from 0 to 65535, got ", port));
  }
  SocketAddress result;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&result.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&result.storage);
  if (inet_pton(AF_INET, address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<uint16_t>(port));
    result.length = sizeof(*v4);
  } else if (inet_pton(AF_INET6, address.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<uint16_t>(port));
    result.length = sizeof(*v6);
  } else {
    return absl::InvalidArgumentError(absl::StrCat("expected an address such as 127.0.0.1 or ::1, got ", address));
  }
  return result;
}

absl::Status SocketError(const HttpServerOptions& options, absl::string_view what) {
  return absl::UnavailableError(absl::StrCat(options.address, ":", options.port, ": ", what, ": ", std::strerror(errno),
                                             "; choose another port, or 0 for any"));
}

absl::StatusOr<OwnedFd> Listen(const HttpServerOptions& options, int* port) {
  ABSL_ASSIGN_OR_RETURN(const SocketAddress address, ParseAddress(options.address, options.port));
  OwnedFd fd(socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (fd.get() < 0 || setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) {
    return SocketError(options, "cannot make a socket");
  }
  const auto* bound_to = reinterpret_cast<const sockaddr*>(&address.storage);
  if (bind(fd.get(), bound_to, address.length) != 0 || listen(fd.get(), SOMAXCONN) != 0) {
    return SocketError(options, "cannot listen");
  }
  SocketAddress bound;
  bound.length = sizeof(bound.storage);
  if (getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound.storage), &bound.length) != 0) {
    return SocketError(options, "cannot read the port");
  }
  // The port lies at the same place in both families.
  *port = ntohs(reinterpret_cast<const sockaddr_in*>(&bound.storage)->sin_port);
  return fd;
}

}  // namespace

class HttpServer::Shared {
 public:
  ~Shared() { Stop(); }

  absl::Status Start(const HttpServerOptions& options, HttpHandler handler) {
    if (options.threads < 1 || options.threads > 256 || options.max_connections < 1) {
      return absl::InvalidArgumentError(absl::StrCat("expected 1 to 256 threads and at least 1 connection, got ",
                                                     options.threads, " and ", options.max_connections));
    }
    ABSL_ASSIGN_OR_RETURN(OwnedFd listener, Listen(options, &port_));
    common_.options = options;
    common_.handler = std::move(handler);
    for (int i = 0; i < options.threads; ++i) {
      common_.workers.push_back(std::make_unique<HttpServerWorker>(&common_, i));
      // The first of them listens.
      ABSL_RETURN_IF_ERROR(common_.workers.back()->Open(std::exchange(listener, OwnedFd())));
    }
    try {
      for (const auto& worker : common_.workers) threads_.emplace_back([&worker] { worker->Run(); });
    } catch (const std::system_error& error) {
      return absl::UnavailableError(absl::StrCat("cannot start a thread: ", error.what()));
    }
    return absl::OkStatus();
  }

  void Stop() {
    for (const auto& worker : common_.workers) worker->Stop();
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

  int port() const { return port_; }

 private:
  HttpServerWorker::Common common_;
  std::vector<std::thread> threads_;
  int port_ = 0;
};

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpServerOptions& options, HttpHandler handler) {
  auto shared = std::make_unique<Shared>();
  ABSL_RETURN_IF_ERROR(shared->Start(options, std::move(handler)));
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(shared)));
}

HttpServer::HttpServer(std::unique_ptr<Shared> shared) : shared_(std::move(shared)) {}
HttpServer::~HttpServer() = default;
int HttpServer::port() const { return shared_->port(); }
void HttpServer::Stop() { shared_->Stop(); }

std::string OpenAiErrorBody(absl::string_view message, absl::string_view type, absl::string_view param,
                            absl::string_view code) {
  JsonWriter error;
  for (const auto& [name, text] :
       {std::pair("message", message), std::pair("type", type), std::pair("param", param), std::pair("code", code)}) {
    error.AddRaw(name, text.empty() ? "null" : JsonQuoted(text));
  }
  return JsonWriter().AddRaw("error", error.ToString()).ToString();
}

}  // namespace reembed
