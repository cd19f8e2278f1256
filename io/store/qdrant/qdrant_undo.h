// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_QDRANT_QDRANT_UNDO_H_
#define REEMBED_IO_STORE_QDRANT_QDRANT_UNDO_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/location.h"
#include "engine/undo_log.h"
#include "io/store/qdrant/qdrant_client.h"
#include "io/store/qdrant/qdrant_side.h"

// The way back of a Qdrant collection. Where its points get vectors in place, the log has their old ones as the server
// gave them: a collection with the distance Cosine gives, and keeps, unit length. Where another collection takes its
// place, the log has only their names.
namespace reembed {

// For OldRow::content: the vector `name` in `vector`, which is QdrantPoint::vector. Equal strings are equal vectors;
// empty: the point has no such vector. `dim`: of the vectors that are written.
std::string QdrantOldVector(absl::string_view vector, absl::string_view name, int dim);

// For OldRow::content: there is no such point, and it will be added with this payload.
std::string QdrantNoPoint(absl::string_view payload);

// `with_vector` of a request that wants the vector `name`, as JSON.
std::string AskForQdrantVector(absl::string_view name);

// What is about to be made.
absl::Status LogQdrantSide(const QdrantSide& side, UndoLog* log);
absl::Status LogQdrantCollectionMade(UndoLog* log);
absl::Status LogQdrantVectorMade(UndoLog* log);

// Puts back what the log holds. Points that the job added go if they hold what it wrote and nothing else; a vector name
// that it added goes once no point has such a vector, and a collection that it made once no point is in it; one that
// took another's place stays beside. Notes say so. May be called again after any crash. Errors: of QdrantClient, the
// log and RollBackRows(); kFailedPrecondition (the collection that was replaced has another width now, or is gone; says
// what to do). Of a collection that is gone the rows count as gone.
absl::StatusOr<RollbackReport> RollBackQdrant(const Location& location, UndoReader* old_rows,
                                              const QdrantOptions& options);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_QDRANT_QDRANT_UNDO_H_
