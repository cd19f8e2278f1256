// SPDX-License-Identifier: Apache-2.0
#include "io/net/http_transfer.h"

#include <curl/curl.h>

#include <algorithm>
#include <tuple>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "io/net/http_head.h"
#include "io/net/proxy.h"
#include "io/net/url.h"

namespace reembed {
namespace {

constexpr long kReceiveBufferBytes = 128L * 1024;  // fewer and larger reads that stay in the processor's cache
constexpr long kSendBufferBytes = 64L * 1024;
constexpr long kKeepAliveSeconds = 15;
constexpr uint64_t kMostReserved = uint64_t{16} << 20;  // of a reply before it is there

static_assert(std::tuple_size_v<decltype(HttpTransfer::error)> >= CURL_ERROR_SIZE);

size_t OnHeader(char* line, size_t size, size_t count, void* user) {
  auto* const transfer = static_cast<HttpTransfer*>(user);
  const absl::string_view text(line, size * count);
  HttpReply& reply = transfer->reply;
  const size_t before = reply.headers.size();
  if (!TakeHttpHeadLine(text, &transfer->head_bytes, &reply.headers)) {
    transfer->too_long = true;
    return CURL_WRITEFUNC_ERROR;
  }
  uint64_t length = 0;
  if (transfer->request.read_body == nullptr && reply.headers.size() > before &&
      reply.headers.back().first == "content-length" && absl::SimpleAtoi(reply.headers.back().second, &length)) {
    // What is announced need not come.
    reply.body.reserve(std::min<uint64_t>(length, kMostReserved) + kReplySlackBytes);
  }
  return text.size();
}

size_t OnBody(char* bytes, size_t size, size_t count, void* user) {
  auto* const transfer = static_cast<HttpTransfer*>(user);
  const size_t length = size * count;
  transfer->body_bytes += length;
  if (transfer->body_bytes > transfer->request.max_reply_bytes) {
    transfer->too_long = true;
    return CURL_WRITEFUNC_ERROR;
  }
  if (transfer->request.read_body != nullptr && HttpStatusOf(*transfer) == 200) {
    transfer->request.read_body({bytes, length}, &transfer->reply.body);
  } else {
    transfer->reply.body.append(bytes, length);
  }
  return length;
}

// libcurl sends a request again by itself, a POST too, when a connection that was kept alive ends without an answer.
// The server may have worked on it by then, and charged for it: whoever sent it decides, and counts (lib/transfer.c,
// Curl_retry_request; called before each sending: CURLOPT_PREREQFUNCTION).
int OnSending(void* user, char*, char*, int, int) {
  return ++static_cast<HttpTransfer*>(user)->sendings == 1 ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

}  // namespace

HttpTransfer::~HttpTransfer() { curl_slist_free_all(headers); }

void SetCurlOptions(HttpTransfer* transfer, const HttpLoopOptions& options, const TrustStore& trust) {
  CURL* const easy = transfer->easy;
  const HttpRequest& request = transfer->request;
  for (const std::string& header : request.headers) {
    transfer->headers = curl_slist_append(transfer->headers, header.c_str());
  }
  transfer->headers = curl_slist_append(transfer->headers, "Expect:");  // no round trip before the body
  // Some gateways compress what nobody asked to be compressed; libcurl undoes what it could have asked for ("": all).
  transfer->headers =
      curl_slist_append(transfer->headers, options.accept_gzip ? "Accept-Encoding: gzip" : "Accept-Encoding:");
  curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_2TLS);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "reembed");
  if (request.method == "POST" || !request.body.empty()) {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.empty() ? "" : request.body.data());
  }
  if (request.method == "HEAD") curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  if (request.method != "POST") curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  // libcurl has built-in places for both; null takes them away.
  curl_easy_setopt(easy, CURLOPT_CAINFO, trust.file.empty() ? nullptr : trust.file.c_str());
  curl_easy_setopt(easy, CURLOPT_CAPATH, trust.folder.empty() ? nullptr : trust.folder.c_str());
  // Said outright, so that messages name what was used; libcurl itself would ask the environment.
  transfer->proxy = ProxyFor(request.url, options.proxy);
  curl_easy_setopt(easy, CURLOPT_PROXY, transfer->proxy.c_str());
  curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
  curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");

  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
  // A peer that vanished is noticed within about a minute, however long a reply may take.
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, kKeepAliveSeconds);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, kKeepAliveSeconds);
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, kReceiveBufferBytes);
  curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, kSendBufferBytes);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CurlMilliseconds(request.connect_timeout));
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, CurlMilliseconds(request.total_timeout));

  curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(request.max_reply_bytes));
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &OnHeader);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &OnBody);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, &OnSending);
  curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error.data());
  curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
}

int HttpStatusOf(const HttpTransfer& transfer) {
  long status = 0;
  curl_easy_getinfo(transfer.easy, CURLINFO_RESPONSE_CODE, &status);
  return static_cast<int>(status);
}

int64_t BytesMoved(const HttpTransfer& transfer) {
  curl_off_t up = 0, down = 0;
  long head = 0;
  curl_easy_getinfo(transfer.easy, CURLINFO_SIZE_UPLOAD_T, &up);
  curl_easy_getinfo(transfer.easy, CURLINFO_SIZE_DOWNLOAD_T, &down);
  curl_easy_getinfo(transfer.easy, CURLINFO_HEADER_SIZE, &head);
  return up + down + head;
}

absl::Status StatusOfEnd(int code, const HttpTransfer& transfer) {
  const std::string url = UrlForMessages(transfer.request.url);
  if (!absl::StartsWith(url, "http://") && !absl::StartsWith(url, "https://")) {
    return absl::InvalidArgumentError(absl::StrCat("`", url, "`: expected an address with http:// or https://"));
  }
  const std::string what =
      absl::StrCat(url, ProxyForMessages(transfer.proxy), ": ",
                   transfer.error[0] != '\0' ? transfer.error.data() : curl_easy_strerror(static_cast<CURLcode>(code)));
  if (transfer.too_long || code == CURLE_FILESIZE_EXCEEDED) {
    return absl::DataLossError(absl::StrCat(url, ": expected a reply of at most ", transfer.request.max_reply_bytes,
                                            " bytes, got a longer one"));
  }
  if (transfer.sendings > 1)
    return absl::UnavailableError(
        absl::StrCat(url, ProxyForMessages(transfer.proxy), ": the connection ended without an answer"));
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return absl::DeadlineExceededError(what);
    case CURLE_URL_MALFORMAT:
      return absl::InvalidArgumentError(what);
    case CURLE_BAD_CONTENT_ENCODING:
      return absl::DataLossError(what);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
      return absl::FailedPreconditionError(absl::StrCat(what, "; check the address and the CA certificates"));
    case CURLE_OUT_OF_MEMORY:
      return absl::InternalError(what);
    case CURLE_UNSUPPORTED_PROTOCOL:
      return absl::UnavailableError(absl::StrCat(url, ": got an answer that is not HTTP"));
    default:
      return absl::UnavailableError(what);
  }
}

long CurlMilliseconds(absl::Duration duration) {
  if (duration >= absl::Hours(24 * 20)) return 0;
  return std::max<long>(1, absl::ToInt64Milliseconds(absl::Ceil(duration, absl::Milliseconds(1))));
}

}  // namespace reembed
