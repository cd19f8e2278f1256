// SPDX-License-Identifier: Apache-2.0
// Receiving replies of the size of 256 base64 vectors of 1,536 numbers from a loopback server in the same process.
// Contender and limit: a bare curl_multi loop with the same socket settings, on the benchmark's own thread.

#include <benchmark/benchmark.h>
#include <curl/curl.h>

#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "io/net/http_loop.h"
#include "tests/fakes/scripted_server.h"

namespace reembed {
namespace {

constexpr int kRowsPerReply = 256;
constexpr int kInAir = 8;
constexpr int kRequests = 200;  // per iteration

class Fixture {
 public:
  Fixture()
      : reply_(kRowsPerReply * (8192 + 50), 'x'),
        request_(kRowsPerReply * 100, 'y'),
        server_([this](const ServerRequest&) { return ServerReply{.shared_body = reply_}; },
                ScriptedServer::Recording::kOff) {}

  const std::string& request() const { return request_; }
  std::string url() const { return server_.url(); }
  size_t reply_bytes() const { return reply_.size(); }

  void Report(benchmark::State& state) const {
    state.SetItemsProcessed(state.iterations() * kRequests * kRowsPerReply);
    state.SetBytesProcessed(state.iterations() * kRequests * static_cast<int64_t>(reply_.size()));
  }

 private:
  const std::string reply_;
  const std::string request_;
  ScriptedServer server_;
};

void BM_HttpLoopReceive(benchmark::State& state) {
  const Fixture fixture;
  const auto loop = HttpLoop::Make({});
  std::mutex mutex;
  std::condition_variable done;
  int left = 0, open = 0;
  const std::function<void(std::string)> start = [&](std::string buffer) {
    HttpRequest request{.url = fixture.url(), .body = fixture.request(), .reply_buffer = std::move(buffer)};
    (*loop)->Start(std::move(request), [&](absl::StatusOr<HttpReply> reply) {
      if (!reply.ok() || reply->body.size() != fixture.reply_bytes()) std::abort();
      const std::lock_guard lock(mutex);
      if (left > 0) {
        --left;
        start(std::move(reply->body));
      } else if (--open == 0) {
        done.notify_one();
      }
    });
  };
  for (auto _ : state) {
    std::unique_lock lock(mutex);
    left = kRequests - kInAir;
    open = kInAir;
    for (int i = 0; i < kInAir; ++i) start("");
    done.wait(lock, [&] { return open == 0; });
  }
  fixture.Report(state);
}

size_t Append(char* bytes, size_t size, size_t count, void* reply) {
  static_cast<std::string*>(reply)->append(bytes, size * count);
  return size * count;
}

void BM_BareCurlReceive(benchmark::State& state) {
  const Fixture fixture;
  CURLM* const multi = curl_multi_init();
  curl_slist* const headers = curl_slist_append(nullptr, "Expect:");
  std::vector<std::string> replies(kInAir);
  std::vector<CURL*> easies;
  for (std::string& reply : replies) {
    CURL* const easy = easies.emplace_back(curl_easy_init());
    curl_easy_setopt(easy, CURLOPT_URL, fixture.url().c_str());
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, static_cast<long>(fixture.request().size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, fixture.request().c_str());
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 512L * 1024);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Append);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &reply);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, &reply);
  }
  for (auto _ : state) {
    int left = kRequests - kInAir, open = kInAir;
    for (CURL* const easy : easies) curl_multi_add_handle(multi, easy);
    while (open > 0) {
      int running = 0, messages = 0;
      curl_multi_perform(multi, &running);
      while (const CURLMsg* const message = curl_multi_info_read(multi, &messages)) {
        CURL* const easy = message->easy_handle;
        std::string* reply = nullptr;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &reply);
        if (message->data.result != CURLE_OK || reply->size() != fixture.reply_bytes()) std::abort();
        reply->clear();
        curl_multi_remove_handle(multi, easy);
        if (left > 0) {
          --left;
          curl_multi_add_handle(multi, easy);
        } else {
          --open;
        }
      }
      if (open > 0) curl_multi_poll(multi, nullptr, 0, 1000, nullptr);
    }
  }
  for (CURL* const easy : easies) curl_easy_cleanup(easy);
  curl_slist_free_all(headers);
  curl_multi_cleanup(multi);
  fixture.Report(state);
}

BENCHMARK(BM_BareCurlReceive)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(BM_HttpLoopReceive)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace reembed
