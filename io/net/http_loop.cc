// SPDX-License-Identifier: Apache-2.0
#include "io/net/http_loop.h"

#include <curl/curl.h>
#include <signal.h>

#include <algorithm>
#include <future>
#include <thread>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/contained.h"
#include "engine/mutex.h"
#include "io/net/http_head.h"
#include "io/net/proxy.h"
#include "io/net/trust_store.h"
#include "io/net/unsent.h"

namespace reembed {
namespace {

constexpr long kReceiveBufferBytes = 128L * 1024;  // fewer and larger reads that stay in the processor's cache
constexpr long kSendBufferBytes = 64L * 1024;
constexpr long kIdleConnections = 512;  // kept alive per loop
constexpr long kKeepAliveSeconds = 15;
constexpr uint64_t kMostReserved = uint64_t{16} << 20;  // of a reply before it is there
constexpr absl::Duration kIdlePoll = absl::Minutes(1);  // a new request wakes the loop, so this may be long

// One request on its way, owned by its loop.
struct Transfer {
  HttpRequest request;
  HttpLoop::Callback callback;
  HttpReply reply;
  std::string proxy;  // empty: none
  HttpLoop::Ticket ticket = 0;
  size_t place = 0;  // among the active ones
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  size_t head_bytes = 0;
  size_t body_bytes = 0;
  bool too_long = false;
  int sendings = 0;
  Moment silent_since;     // as far as known at the last look
  int64_t bytes_then = 0;  // see BytesMoved
  char error[CURL_ERROR_SIZE] = "";

  ~Transfer() { curl_slist_free_all(headers); }
};
using TransferPtr = std::unique_ptr<Transfer>;

size_t OnHeader(char* line, size_t size, size_t count, void* user) {
  auto* const transfer = static_cast<Transfer*>(user);
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

int StatusCode(CURL* easy) {
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  return static_cast<int>(status);
}

size_t OnBody(char* bytes, size_t size, size_t count, void* user) {
  auto* const transfer = static_cast<Transfer*>(user);
  const size_t length = size * count;
  transfer->body_bytes += length;
  if (transfer->body_bytes > transfer->request.max_reply_bytes) {
    transfer->too_long = true;
    return CURL_WRITEFUNC_ERROR;
  }
  if (transfer->request.read_body != nullptr && StatusCode(transfer->easy) == 200) {
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
  return ++static_cast<Transfer*>(user)->sendings == 1 ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

int64_t BytesMoved(CURL* easy) {
  curl_off_t up = 0, down = 0;
  long head = 0;
  curl_easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, &up);
  curl_easy_getinfo(easy, CURLINFO_SIZE_DOWNLOAD_T, &down);
  curl_easy_getinfo(easy, CURLINFO_HEADER_SIZE, &head);
  return up + down + head;
}

// libcurl's way to say "none" is 0.
long CurlMilliseconds(absl::Duration duration) {
  if (duration >= absl::Hours(24 * 20)) return 0;
  return std::max<long>(1, absl::ToInt64Milliseconds(absl::Ceil(duration, absl::Milliseconds(1))));
}

void SetOptions(Transfer* transfer, const HttpLoopOptions& options, const TrustStore& trust) {
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
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
  curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
}

absl::Status StatusOf(CURLcode code, const Transfer& transfer) {
  const std::string url = UrlForMessages(transfer.request.url);
  if (!absl::StartsWith(url, "http://") && !absl::StartsWith(url, "https://")) {
    return absl::InvalidArgumentError(absl::StrCat("`", url, "`: expected an address with http:// or https://"));
  }
  const std::string what = absl::StrCat(url, ProxyForMessages(transfer.proxy), ": ",
                                        transfer.error[0] != '\0' ? transfer.error : curl_easy_strerror(code));
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

}  // namespace

// One CURLM and its thread. Members with neither a mutex nor `const` belong to that thread.
class HttpLoop::Loop {
 public:
  // `trust`: an error ends requests to https:// alone.
  Loop(CURLM* multi, const HttpLoopOptions& options, absl::StatusOr<TrustStore> trust,
       absl::AnyInvocable<void()> on_timer)
      : multi_(multi), options_(options), trust_(std::move(trust)), on_timer_(std::move(on_timer)), thread_([this] {
          Run();
        }) {}

  ~Loop() {
    for (CURL* const easy : idle_) curl_easy_cleanup(easy);
    curl_multi_cleanup(multi_);
  }

  void Start(TransferPtr transfer) {
    bool wake = false;
    {
      const MutexLock lock(&mutex_);
      wake = inbox_.empty();
      inbox_.push_back(std::move(transfer));
    }
    if (wake) curl_multi_wakeup(multi_);
  }

  void Abandon(Ticket ticket) {
    {
      const MutexLock lock(&mutex_);
      abandoned_.push_back(ticket);
    }
    curl_multi_wakeup(multi_);
  }

  void SetTimer(Moment when) {
    {
      const MutexLock lock(&mutex_);
      if (when >= timer_) return;
      timer_ = when;
    }
    if (std::this_thread::get_id() != thread_.get_id()) curl_multi_wakeup(multi_);
  }

  void Cancel() {
    {
      const MutexLock lock(&mutex_);
      cancelled_ = true;
    }
    curl_multi_wakeup(multi_);
  }

  // Cancels and ends the thread.
  void Quit() {
    {
      const MutexLock lock(&mutex_);
      quit_ = true;
    }
    curl_multi_wakeup(multi_);
    thread_.join();
  }

  // After Quit(): cancels what was started since. Returns whether there was any.
  bool CancelLate() {
    TakeInbox();
    const bool any = !arrived_.empty();
    EndAll();
    return any;
  }

 private:
  enum class Next { kGoOn, kCancelAll, kQuit };

  void Run() {
    // Signals are the main thread's; and a TLS write to a dead connection must not end the process.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    for (;;) {
      const Next next = TakeInbox();
      if (next != Next::kGoOn) EndAll();
      if (next == Next::kQuit) return;
      EndAbandoned();
      for (TransferPtr& transfer : std::exchange(arrived_, {})) Leave(std::move(transfer));
      const absl::Duration pause = RunTimer();
      int running = 0;
      curl_multi_perform(multi_, &running);
      const absl::Duration stall = EndStalled();
      if (!FinishDone()) {
        curl_multi_poll(multi_, nullptr, 0, static_cast<int>(CurlMilliseconds(std::min(pause, stall))), nullptr);
      }
    }
  }

  Next TakeInbox() {
    const MutexLock lock(&mutex_);
    for (TransferPtr& transfer : inbox_) arrived_.push_back(std::move(transfer));
    inbox_.clear();
    abandoned_now_.swap(abandoned_);
    abandoned_.clear();
    return quit_ ? Next::kQuit : cancelled_ ? Next::kCancelAll : Next::kGoOn;
  }

  void EndAbandoned() {
    for (const Ticket ticket : std::exchange(abandoned_now_, {})) {
      for (auto* const list : {&arrived_, &active_}) {
        const auto it =
            std::find_if(list->begin(), list->end(), [ticket](const auto& t) { return t->ticket == ticket; });
        if (it == list->end()) continue;
        TransferPtr taken;
        if (list == &active_) {
          taken = TakeActive(it->get());
        } else {
          taken = std::move(*it);
          list->erase(it);
        }
        Answer(std::move(taken), absl::CancelledError("abandoned"));
        break;
      }
    }
  }

  // Returns how long until the next call.
  absl::Duration RunTimer() {
    const Moment now = MonotonicNow();
    {
      const MutexLock lock(&mutex_);
      if (timer_ > now) return std::min(kIdlePoll, timer_ - now);
      timer_ = absl::InfiniteDuration();
    }
    if (on_timer_ != nullptr) on_timer_();
    const MutexLock lock(&mutex_);
    // What the callback started is in the inbox.
    return inbox_.empty() ? std::clamp(timer_ - now, absl::ZeroDuration(), kIdlePoll) : absl::ZeroDuration();
  }

  void Leave(TransferPtr transfer) {
    if (!trust_.ok() && absl::StartsWithIgnoreCase(transfer->request.url, "https:")) {
      const std::string url = UrlForMessages(transfer->request.url);
      return Answer(std::move(transfer), Prefixed(absl::StrCat(url, ": "), trust_.status()));
    }
    if (idle_.empty()) {
      transfer->easy = curl_easy_init();
    } else {
      transfer->easy = idle_.back();
      idle_.pop_back();
    }
    if (transfer->easy == nullptr) return Answer(std::move(transfer), absl::InternalError("libcurl has no memory"));
    transfer->reply.body = std::move(transfer->request.reply_buffer);
    transfer->reply.body.clear();
    SetOptions(transfer.get(), options_, trust_.ok() ? *trust_ : TrustStore());
    transfer->place = active_.size();
    transfer->silent_since = MonotonicNow();
    active_.push_back(std::move(transfer));
    Transfer* const added = active_.back().get();
    if (const CURLMcode code = curl_multi_add_handle(multi_, added->easy); code != CURLM_OK) {
      Answer(TakeActive(added), absl::InternalError(absl::StrCat("libcurl: ", curl_multi_strerror(code))));
    }
  }

  // Whether there was any: their callbacks may have started new requests.
  bool FinishDone() {
    bool any = false;
    int left = 0;
    while (const CURLMsg* const message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      any = true;
      const CURLcode code = message->data.result;  // the message dies with the next call
      Transfer* transfer = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
      transfer->reply.status = StatusCode(message->easy_handle);
      Answer(TakeActive(transfer), code == CURLE_OK ? absl::OkStatus() : StatusOf(code, *transfer));
    }
    return any;
  }

  // libcurl's own low-speed limit averages over seconds. Returns how long until the next look.
  absl::Duration EndStalled() {
    const Moment now = MonotonicNow();
    absl::Duration next = kIdlePoll;
    for (size_t i = 0; i < active_.size();) {
      Transfer* const transfer = active_[i].get();
      const absl::Duration limit = transfer->request.stall_timeout;
      if (now - transfer->silent_since >= limit && !Moved(transfer, now)) {
        const std::string url = UrlForMessages(transfer->request.url);
        Answer(TakeActive(transfer), absl::DeadlineExceededError(absl::StrCat(url, ": no byte came or went for ",
                                                                              absl::FormatDuration(limit))));
        continue;  // another one is at place i now
      }
      next = std::min(next, transfer->silent_since + limit - now);
      ++i;
    }
    return next;
  }

  static bool Moved(Transfer* transfer, Moment now) {
    const int64_t bytes = BytesMoved(transfer->easy);
    if (bytes == transfer->bytes_then) return false;
    transfer->bytes_then = bytes;
    transfer->silent_since = now;
    return true;
  }

  TransferPtr TakeActive(Transfer* transfer) {
    const size_t place = transfer->place;
    std::swap(active_[place], active_.back());
    active_[place]->place = place;
    TransferPtr taken = std::move(active_.back());
    active_.pop_back();
    curl_multi_remove_handle(multi_, taken->easy);
    curl_easy_reset(taken->easy);
    idle_.push_back(std::exchange(taken->easy, nullptr));
    return taken;
  }

  static void Answer(TransferPtr transfer, absl::Status status) {
    Callback callback = std::move(transfer->callback);
    HttpReply reply = std::move(transfer->reply);
    if (!status.ok() && transfer->sendings == 0) status = Unsent(std::move(status));
    transfer.reset();
    if (status.ok()) {
      std::move(callback)(std::move(reply));
    } else {
      std::move(callback)(std::move(status));
    }
  }

  void EndAll() {
    while (!active_.empty()) Answer(TakeActive(active_.back().get()), absl::CancelledError("cancelled"));
    for (TransferPtr& transfer : std::exchange(arrived_, {})) {
      Answer(std::move(transfer), absl::CancelledError("cancelled"));
    }
  }

  CURLM* const multi_;
  const HttpLoopOptions options_;
  const absl::StatusOr<TrustStore> trust_;
  absl::AnyInvocable<void()> on_timer_;
  Mutex mutex_;
  std::vector<TransferPtr> inbox_ ABSL_GUARDED_BY(mutex_);
  std::vector<Ticket> abandoned_ ABSL_GUARDED_BY(mutex_);
  Moment timer_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteDuration();
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool quit_ ABSL_GUARDED_BY(mutex_) = false;

  std::vector<TransferPtr> arrived_;
  std::vector<Ticket> abandoned_now_;
  std::vector<TransferPtr> active_;
  std::vector<CURL*> idle_;

  std::thread thread_;  // last: it uses all of the above
};

absl::StatusOr<std::unique_ptr<HttpLoop>> HttpLoop::Make(const HttpLoopOptions& options,
                                                         absl::AnyInvocable<void()> on_timer) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  const absl::StatusOr<TrustStore> trust =
      options.ca_file.empty() ? FindTrustStore() : TrustStore{.file = options.ca_file};
  std::vector<std::unique_ptr<Loop>> loops;
  for (int i = 0; i < std::max(1, options.threads); ++i) {
    CURLM* const multi = curl_multi_init();
    if (multi == nullptr) return absl::InternalError("libcurl could not be started");
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, kIdleConnections);
    loops.push_back(std::make_unique<Loop>(multi, options, trust, std::exchange(on_timer, nullptr)));
  }
  return std::unique_ptr<HttpLoop>(new HttpLoop(std::move(loops)));
}

HttpLoop::HttpLoop(std::vector<std::unique_ptr<Loop>> loops) : loops_(std::move(loops)) {}

HttpLoop::~HttpLoop() {
  for (const auto& loop : loops_) loop->Quit();
  // The last callbacks may have started requests, on a loop that had quit before; so may those of these.
  for (bool any = true; any;) {
    any = false;
    for (const auto& loop : loops_) any |= loop->CancelLate();
  }
}

HttpLoop::Ticket HttpLoop::Start(HttpRequest request, Callback callback) {
  auto transfer = std::make_unique<Transfer>();
  transfer->request = std::move(request);
  transfer->callback = std::move(callback);
  const Ticket ticket = transfer->ticket = next_.fetch_add(1, std::memory_order_relaxed);
  loops_[ticket % loops_.size()]->Start(std::move(transfer));
  return ticket;
}

void HttpLoop::Abandon(Ticket ticket) { loops_[ticket % loops_.size()]->Abandon(ticket); }

void HttpLoop::SetTimer(Moment when) { loops_[0]->SetTimer(when); }

absl::StatusOr<HttpReply> HttpLoop::Call(HttpRequest request) {
  std::promise<absl::StatusOr<HttpReply>> promise;
  Start(std::move(request), [&promise](absl::StatusOr<HttpReply> reply) { promise.set_value(std::move(reply)); });
  return promise.get_future().get();
}

void HttpLoop::Cancel() {
  for (const auto& loop : loops_) loop->Cancel();
}

absl::string_view HttpReply::Header(absl::string_view name) const {
  for (const auto& [header, value] : headers) {
    if (header == name) return value;
  }
  return "";
}

}  // namespace reembed
