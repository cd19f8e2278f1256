// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_QDRANT_QDRANT_BACKUP_H_
#define REEMBED_IO_STORE_QDRANT_QDRANT_BACKUP_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/file/backup_folder.h"
#include "io/store/qdrant/qdrant_client.h"
#include "io/store/qdrant/qdrant_collection.h"

// A collection as a gzip file of JSON, in the form of AutoMem's own backups, which read ours, as we read theirs:
//   {"timestamp": "20260131_120000", "collection_name": "memories",
//    "points": [{"id": "...", "vector": [...], "payload": {...}}, ...],
//    "stats": {"points_count": 1, "vector_size": 1536}}
// Ours also say, where AutoMem does not look, how the collection was set up ("collection").
// Source: github.com/verygoodplugins/automem, scripts/backup_automem.py, scripts/restore_from_backup.py.
namespace reembed {

// Reads all points with vectors and payload into the new file `to`, in the order of their ids.
// Errors: as QdrantClient; kNotFound (no such collection); kFailedPrecondition (it has sparse vectors); kAborted
// (points were deleted meanwhile).
absl::StatusOr<RowCounts> BackUpQdrantCollection(const QdrantLocation& from, const QdrantOptions& options,
                                                 const std::string& timestamp, const std::string& to);

// Puts the points of the file `from` into the place of the collection `to`, with its payload indexes (in a file of
// AutoMem's: `tags` and `tag_prefixes`, as its server makes them). They are loaded and counted beside it, in
// COLLECTION__restore. Where `to` is an alias, it is then moved there in one step. A collection cannot be renamed: it
// is made anew and filled from the file, and what is beside it goes last; whoever is killed in between gives the same
// command again. Returns what a user should know besides, or nothing.
// Errors: as QdrantClient; kDataLoss (the file is not whole, or not of this form).
absl::StatusOr<std::string> RestoreQdrantCollection(const std::string& from, const QdrantLocation& to,
                                                    const QdrantOptions& options, RestoreProgress told);

// How many points there are; -1: there is no such collection.
absl::StatusOr<int64_t> CountQdrantCollection(const QdrantLocation& place, const QdrantOptions& options);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_QDRANT_QDRANT_BACKUP_H_
