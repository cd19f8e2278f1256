// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_QDRANT_QDRANT_SCROLL_H_
#define REEMBED_IO_STORE_QDRANT_QDRANT_SCROLL_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/key.h"
#include "engine/page_walk.h"
#include "io/store/qdrant/qdrant_client.h"
#include "io/store/qdrant/qdrant_points.h"

namespace reembed {

// A walk over points of a collection in the order of their ids, by pages that are a scroll each. Used by one thread.
class QdrantScroll final : private PageReader {
 public:
  // `path`: of the collection. `wanted`: members of the request that say what of a point is wanted and which points,
  // as `"with_payload":true,"filter":{...}`. `max_page`: points. The client is borrowed.
  QdrantScroll(QdrantClient* client, std::string path, std::string wanted, int max_page);

  // The next point; nullptr after the last. It lives until the next call.
  absl::StatusOr<const QdrantPoint*> Next();

  // The point with this id; nullptr: there is none. Next() goes on behind it.
  absl::StatusOr<const QdrantPoint*> Find(const QdrantId& id);

  // Next() is the first point behind this id, or the one with it or the first behind.
  void SeekAfter(const QdrantId& id);
  void SeekTo(const QdrantId& id);

 private:
  absl::StatusOr<Page> ReadPage(const PageStart& start, size_t max_rows) override;
  bool IsTooMuch(const absl::Status&) const override { return too_long_; }
  KeyView KeyAt(size_t row) const override { return ViewOf(keys_[row]); }
  bool IsBefore(KeyView a, KeyView b) const override;

  QdrantClient* const client_;
  const std::string path_;
  const std::string wanted_;
  bool too_long_ = false;  // the answer, and so it was not taken
  std::string answer_;     // points_ are of it
  std::vector<QdrantPoint> points_;
  std::vector<Key> keys_;  // of points_
  PageWalk walk_;
};

}  // namespace reembed

#endif  // REEMBED_IO_STORE_QDRANT_QDRANT_SCROLL_H_
