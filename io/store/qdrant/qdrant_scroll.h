// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_QDRANT_QDRANT_SCROLL_H_
#define REEMBED_IO_STORE_QDRANT_QDRANT_SCROLL_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "io/store/qdrant/qdrant_client.h"
#include "io/store/qdrant/qdrant_points.h"

namespace reembed {

// Points of a collection in the order of their ids, a page at a time. Pages grow while points are asked for in that
// order, and shrink when they are not, or when their answers are long. Used by one thread.
class QdrantScroll {
 public:
  // `path`: of the collection. `wanted`: members of the request that say what of a point is wanted and which points,
  // as `"with_payload":true,"filter":{...}`. `max_page`: points. The client is borrowed.
  QdrantScroll(QdrantClient* client, std::string path, std::string wanted, int max_page);

  // The next point; nullptr after the last. It lives until the next call.
  absl::StatusOr<const QdrantPoint*> Next();

  // The point with this id; nullptr: there is none. Next() goes on behind it.
  absl::StatusOr<const QdrantPoint*> Find(const QdrantId& id);

  // Next() is the first point behind this id.
  void SeekAfter(const QdrantId& id);

 private:
  absl::Status Fill(const std::optional<QdrantId>& from, int limit);
  // Whether the page would show this point if there were one.
  bool Covers(const QdrantId& id) const;

  QdrantClient* const client_;
  const std::string path_;
  const std::string wanted_;
  int max_page_;
  std::string answer_;  // the page is of it
  QdrantPage page_;
  std::optional<QdrantId> page_from_;  // the page has all points from here on to its last one; nullopt: from the first
  bool has_page_ = false;
  size_t next_ = 0;                // index into page_.points
  bool begun_ = false;             // the page is one of Next()
  std::optional<QdrantId> after_;  // where Next() goes on if it has not begun
  int find_limit_ = 1;
  size_t find_hits_ = 0;  // of the page that Find() read last
};

}  // namespace reembed

#endif  // REEMBED_IO_STORE_QDRANT_QDRANT_SCROLL_H_
