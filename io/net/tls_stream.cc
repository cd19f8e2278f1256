// SPDX-License-Identifier: Apache-2.0
#include "io/net/tls_stream.h"

#include <curl/curl.h>
#include <poll.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/status_macros.h"

namespace reembed {

absl::StatusOr<std::unique_ptr<TlsStream>> TlsStream::Connect(const std::string& host, int port,
                                                              const std::string& ca_file, absl::Duration timeout) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
  CURL* const curl = curl_easy_init();
  if (curl == nullptr) return absl::ResourceExhaustedError("out of memory");
  std::unique_ptr<TlsStream> stream(new TlsStream(curl));
  char why[CURL_ERROR_SIZE] = "";
  const std::string named = absl::StrContains(host, ':') ? absl::StrCat("[", host, "]") : host;
  curl_easy_setopt(curl, CURLOPT_URL, absl::StrCat("https://", named, ":", port).c_str());
  curl_easy_setopt(curl, CURLOPT_CONNECT_ONLY, 1L);
  curl_easy_setopt(curl, CURLOPT_SSL_ENABLE_ALPN, 0L);
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(timeout)));
  if (!ca_file.empty()) curl_easy_setopt(curl, CURLOPT_CAINFO, ca_file.c_str());
  const CURLcode code = curl_easy_perform(curl);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, nullptr);
  if (code == CURLE_OK) return stream;
  const std::string words = *why != '\0' ? why : curl_easy_strerror(code);
  const bool for_good = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
  return for_good ? absl::FailedPreconditionError(words) : absl::UnavailableError(words);
}

TlsStream::~TlsStream() { curl_easy_cleanup(curl_); }

absl::Status TlsStream::Await(bool to_write, absl::Time deadline) {
  curl_socket_t socket = CURL_SOCKET_BAD;
  if (curl_easy_getinfo(curl_, CURLINFO_ACTIVESOCKET, &socket) != CURLE_OK || socket == CURL_SOCKET_BAD) {
    return absl::UnavailableError("closed");
  }
  const absl::Duration left = deadline - absl::Now();
  if (left <= absl::ZeroDuration()) return absl::UnavailableError("no answer in time");
  pollfd one{.fd = socket, .events = static_cast<short>(to_write ? POLLIN | POLLOUT : POLLIN)};
  poll(&one, 1, static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(left) + 1, 60'000)));
  return absl::OkStatus();
}

absl::Status TlsStream::Write(absl::string_view bytes, absl::Time deadline) {
  while (!bytes.empty()) {
    size_t sent = 0;
    const CURLcode code = curl_easy_send(curl_, bytes.data(), bytes.size(), &sent);
    if (code == CURLE_AGAIN) {
      ABSL_RETURN_IF_ERROR(Await(/*to_write=*/true, deadline));
    } else if (code != CURLE_OK) {
      return absl::UnavailableError(curl_easy_strerror(code));
    }
    bytes.remove_prefix(sent);
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> TlsStream::Read(char* bytes, size_t size, absl::Time deadline) {
  while (true) {
    size_t read = 0;
    const CURLcode code = curl_easy_recv(curl_, bytes, size, &read);
    if (code == CURLE_AGAIN) {
      ABSL_RETURN_IF_ERROR(Await(/*to_write=*/false, deadline));
    } else if (code != CURLE_OK) {
      return absl::UnavailableError(curl_easy_strerror(code));
    } else if (read == 0) {
      return absl::UnavailableError("the server closed the connection");
    } else {
      return read;
    }
  }
}

}  // namespace reembed
