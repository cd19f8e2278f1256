// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_SQLITE_VEC_WIDTH_H_
#define REEMBED_IO_STORE_SQLITE_SQLITE_VEC_WIDTH_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/undo_log.h"
#include "engine/vector_sink.h"
#include "io/store/sqlite/sqlite_db.h"
#include "io/store/sqlite/sqlite_sink.h"
#include "io/store/sqlite/sqlite_target.h"

// Another width for the vectors of a vec0 table. All rows of such a table have one width, it has no ALTER TABLE, and to
// rename it breaks it. So new vectors go into a plain table beside it, TABLE__reembed_WIDTH, and the table is made anew
// with its own columns in one transaction when each of its rows has one: until then whoever searches finds the old.
namespace reembed {

// `target` is a vec0 table of another width than `model`. Errors: kFailedPrecondition (somebody has a table of the name
// of that beside), also of Open(); of Publish(): kFailedPrecondition (rows of the table have no new vector of this
// model; it stays as it is).
absl::StatusOr<std::unique_ptr<VectorSink>> MakeVec0WidthSink(const Location& location, SqliteTarget target,
                                                              std::unique_ptr<SqliteDb> db, const Model& model,
                                                              const SqliteSinkOptions& options);

// What such a sink is about to do, for people. Errors: as above.
absl::StatusOr<std::string> Vec0WidthChange(const SqliteDb& db, const SqliteTarget& target, int old_dim, int dim);

// Puts the table back as it was, with its old width, if all its vectors are those that the job wrote: it has one width,
// so it is all of them or none. nullopt: the job has not changed the width. Errors: those of the database and the log.
absl::StatusOr<std::optional<RollbackReport>> RollBackVec0Width(const SqliteDb& db, const SqliteTarget& target,
                                                                UndoReader* old_rows);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_SQLITE_VEC_WIDTH_H_
