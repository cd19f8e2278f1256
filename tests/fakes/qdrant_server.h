// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_QDRANT_SERVER_H_
#define REEMBED_TESTS_FAKES_QDRANT_SERVER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "io/net/http_server.h"

namespace reembed {

// A small Qdrant on 127.0.0.1, with the rules of the REST API of version 1.19 that this program relies on, read in
// docs/redoc/v1.19.x/openapi.json and the source of github.com/qdrant/qdrant: what it answers to a wrong width, id,
// collection or key; that an upsert replaces the whole point and an update of vectors nothing else; that Cosine scales
// what it stores; that scrolls begin with their offset, in the order of ids; that a body above 32 MB is refused with
// 400; that wait=false only promises. Not searched, not indexed. Thread-safe; what it holds survives Stop().
class QdrantServer {
 public:
  struct Options {
    std::string api_key;  // empty: none is wanted
    std::string read_only_key;
    int minor_version = 19;  // 1.17 and before cannot add a vector name; before 1.16 there is no metadata
    size_t max_body_bytes = 33554432;
    bool swallow = false;  // for benchmarks: upserts and updates are taken without a look
  };

  // A stored point.
  struct Point {
    std::map<std::string, std::vector<float>> vectors;  // by name; "" has none
    std::map<std::string, std::string> payload;         // field -> JSON
    friend bool operator==(const Point&, const Point&) = default;
  };

  QdrantServer() : QdrantServer(Options()) {}
  explicit QdrantServer(const Options& options);
  ~QdrantServer();

  std::string url() const;  // http://127.0.0.1:PORT, the same after Start()
  void Stop();
  void Start();

  // Sends a request past the network; fails the test if the answer is not 200. Returns the answer.
  std::string Do(const std::string& method, const std::string& path, const std::string& body = "");

  std::vector<std::string> Collections();
  // By id: "42", or a UUID with hyphens.
  std::map<std::string, Point> Points(const std::string& collection);
  // As the collection was when each snapshot was made, in their order.
  std::vector<std::map<std::string, Point>> Snapshots(const std::string& collection);
  int Dim(const std::string& collection, const std::string& vector = "");  // 0: there is no such vector
  int HnswM(const std::string& collection);
  std::set<std::string> Indexes(const std::string& collection);

  // The next `count` requests that `matches` (all, if null) are answered with this status.
  void FailNext(int count, int status,
                std::function<bool(const std::string& method, const std::string& path)> matches = nullptr);

  // From now on a PUT whose body has these bytes in it is refused with 400, as a point that strict mode does not allow.
  void Refuse(const std::string& part);

  // "PUT /collections/{}/points" -> how often.
  std::map<std::string, int> requests();
  size_t largest_body();

 private:
  struct Id;
  struct Collection;
  struct State;
  friend struct Handling;

  HttpServerResponse Handle(const HttpServerRequest& request);

  const Options options_;
  std::unique_ptr<State> state_;
  int port_ = 0;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_QDRANT_SERVER_H_
