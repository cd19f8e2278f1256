// SPDX-License-Identifier: Apache-2.0
// The built-in embedder, and how fast the embedding server gets prepared replies out of the door.
#include <arpa/inet.h>
#include <benchmark/benchmark.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/text/lexical_embedder.h"
#include "io/embed/embedding_server.h"

namespace reembed {
namespace {

constexpr int kDim = 1536;
constexpr int kConnections = 4;

// English enough: words of a Zipf-like frequency.
std::string MakeText(size_t bytes) {
  static constexpr const char* kWords[] = {"the",  "memory",  "of",      "agent",     "user",       "prefers",
                                           "a",    "meeting", "on",      "database",  "embedding",  "Friday",
                                           "with", "vector",  "quarter", "colleague", "discussing", "important"};
  std::string text;
  for (uint32_t state = 1; text.size() < bytes;) {
    state = state * 1664525 + 1013904223;
    const uint32_t pick = (state >> 16) % 18 * ((state >> 8) % 18) / 18;
    absl::StrAppend(&text, kWords[pick], pick == 5 ? absl::StrCat(state % 1000) : "", pick == 3 ? ". " : " ");
  }
  return text.substr(0, bytes);
}

void BM_EmbedLexically(benchmark::State& state) {
  const std::string text = MakeText(static_cast<size_t>(state.range(0)));
  std::vector<float> vector(static_cast<size_t>(state.range(1)));
  for (auto _ : state) {
    EmbedLexically(text, absl::MakeSpan(vector));
    benchmark::DoNotOptimize(vector.data());
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_EmbedLexically)->ArgNames({"bytes", "dim"})->ArgsProduct({{100, 500, 5000, 1 << 20}, {512, kDim}});

// The limit: one multiplicative hash step per byte, no features.
void BM_HashBytes(benchmark::State& state) {
  const std::string text = MakeText(static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    uint64_t hash = 0;
    for (const char byte : text) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001B3;
    benchmark::DoNotOptimize(hash);
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_HashBytes)->ArgNames({"bytes"})->Arg(5000);

int Connect(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return fd;
  close(fd);
  return -1;
}

bool SendAll(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

// Receives one reply and throws it away; its size, or 0 when the connection ended or the status is not 200.
size_t ReceiveReply(int fd, std::string* buffer) {
  size_t received = 0, wanted = 1;
  while (received < wanted) {
    const ssize_t n = recv(fd, buffer->data(), buffer->size(), 0);
    if (n <= 0) return 0;
    if (received == 0) {  // the head comes in one piece
      const absl::string_view bytes(buffer->data(), static_cast<size_t>(n));
      const size_t end = bytes.find("\r\n\r\n");
      const size_t length_at = bytes.find("content-length: ") + 16;
      size_t length = 0;
      if (bytes.substr(9, 3) != "200" || end == absl::string_view::npos) return 0;
      if (!absl::SimpleAtoi(bytes.substr(length_at, bytes.find("\r\n", length_at) - length_at), &length)) return 0;
      wanted = end + 4 + length;
    }
    received += static_cast<size_t>(n);
  }
  return received;
}

// Asks on all connections, then takes all replies: the server always has something to do. One client thread; the CPU
// time that is printed is that of both sides.
void Ask(const std::vector<int>& connections, absl::string_view request, int vectors, benchmark::State& state) {
  std::string buffer(size_t{1} << 20, '\0');
  int64_t bytes = 0;
  for (auto _ : state) {
    for (const int fd : connections) {
      if (!SendAll(fd, request)) return state.SkipWithError("the server hung up");
    }
    for (const int fd : connections) {
      const size_t size = ReceiveReply(fd, &buffer);
      if (size == 0) return state.SkipWithError("no reply");
      bytes += static_cast<int64_t>(size);
    }
  }
  state.SetBytesProcessed(bytes);
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(connections.size()) * vectors);
}

std::string MakeRequest(int inputs, size_t text_bytes) {
  std::string body =
      absl::StrCat("{\"model\":\"m\",\"encoding_format\":\"base64\",\"dimensions\":", kDim, ",\"input\":[");
  for (int i = 0; i < inputs; ++i) absl::StrAppend(&body, i > 0 ? ",\"" : "\"", MakeText(text_bytes), "\"");
  body.append("]}");
  return absl::StrCat("POST /v1/embeddings HTTP/1.1\r\nhost: bench\r\ncontent-length: ", body.size(), "\r\n\r\n", body);
}

void BM_ServerReplies(benchmark::State& state, EmbeddingServerMode mode) {
  EmbeddingServerOptions options;
  options.mode = mode;
  const absl::StatusOr<std::unique_ptr<EmbeddingServer>> server = EmbeddingServer::Start(options);
  if (!server.ok()) return state.SkipWithError("cannot start the server");
  std::vector<int> connections;
  for (int i = 0; i < kConnections; ++i) connections.push_back(Connect((*server)->port()));
  const int inputs = static_cast<int>(state.range(0));
  Ask(connections, MakeRequest(inputs, static_cast<size_t>(state.range(1))), inputs, state);
  for (const int fd : connections) close(fd);
}

void BM_ServePrepared(benchmark::State& state) { BM_ServerReplies(state, EmbeddingServerMode::kPrepared); }
BENCHMARK(BM_ServePrepared)
    ->ArgNames({"inputs", "text_bytes"})
    ->ArgsProduct({{1, 32, 256, 2048}, {200}})
    ->MeasureProcessCPUTime()
    ->UseRealTime();

void BM_ServeLexical(benchmark::State& state) { BM_ServerReplies(state, EmbeddingServerMode::kLexical); }
BENCHMARK(BM_ServeLexical)
    ->ArgNames({"inputs", "text_bytes"})
    ->Args({256, 200})
    ->MeasureProcessCPUTime()
    ->UseRealTime();

// The limit: a thread that answers every request of known size with the same bytes, and looks at nothing.
void BM_LoopbackLimit(benchmark::State& state) {
  const int inputs = static_cast<int>(state.range(0));
  const std::string request = MakeRequest(inputs, static_cast<size_t>(state.range(1)));
  const std::string body(static_cast<size_t>(inputs) * (8192 + 55), 'x');
  const std::string reply = absl::StrCat("HTTP/1.1 200 OK\r\ncontent-length: ", body.size(), "\r\n\r\n", body);
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  if (bind(listener, reinterpret_cast<const sockaddr*>(&address), length) != 0 || listen(listener, 16) != 0 ||
      getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return state.SkipWithError("cannot listen");
  }
  std::vector<int> connections, peers;
  for (int i = 0; i < kConnections; ++i) {
    connections.push_back(Connect(ntohs(address.sin_port)));
    peers.push_back(accept(listener, nullptr, nullptr));
  }
  std::thread server([&] {
    std::string buffer(request.size(), '\0');
    for (size_t i = 0;; ++i) {
      const int fd = peers[i % peers.size()];
      if (recv(fd, buffer.data(), buffer.size(), MSG_WAITALL) != static_cast<ssize_t>(buffer.size())) return;
      if (!SendAll(fd, reply)) return;
    }
  });
  Ask(connections, request, inputs, state);
  for (const int fd : connections) close(fd);
  server.join();
  for (const int fd : peers) close(fd);
  close(listener);
}
BENCHMARK(BM_LoopbackLimit)
    ->ArgNames({"inputs", "text_bytes"})
    ->Args({256, 200})
    ->MeasureProcessCPUTime()
    ->UseRealTime();

}  // namespace
}  // namespace reembed
