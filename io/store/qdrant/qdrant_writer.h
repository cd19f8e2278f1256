// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_QDRANT_QDRANT_WRITER_H_
#define REEMBED_IO_STORE_QDRANT_QDRANT_WRITER_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "io/store/qdrant/qdrant_client.h"

namespace reembed {

// Sends points in requests of a good size, several at a time: {"points":[...]}, each answered when it is done and
// durable (wait=true). A request that the server finds too long or wrong is sent in halves, down to the point that is.
// Used by one thread.
class QdrantWriter {
 public:
  // Called, from Add() or Finish(), for points that the server did not take, with their tags.
  using Failed = std::function<void(absl::Span<const size_t> tags, const absl::Status& status)>;

  // `path`: what to PUT to, without query. The client is borrowed.
  QdrantWriter(QdrantClient* client, absl::string_view path, Failed failed);

  // The next point. Its JSON must be appended to the string, which is good until the next call.
  std::string* Add(size_t tag);

  // Sends the rest and waits for all answers.
  void Finish();

 private:
  // The points of one request, one behind the other in its body.
  struct Points {
    std::vector<size_t> tags;
    std::vector<size_t> begins;  // of their JSON in the body
    std::shared_ptr<std::string> body;
  };

  static std::shared_ptr<Points> NoPoints();
  static void CloseLast(Points* points);
  // The points [begin, end) as a request of their own.
  static std::shared_ptr<Points> Part(const Points& points, size_t begin, size_t end);
  void Send(std::shared_ptr<Points> points);
  void Take(std::shared_ptr<Points> points, const absl::Status& status);

  QdrantClient* const client_;
  const std::string path_;
  const Failed failed_;
  std::shared_ptr<Points> next_;
};

}  // namespace reembed

#endif  // REEMBED_IO_STORE_QDRANT_QDRANT_WRITER_H_
