// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_BACKUP_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_BACKUP_H_

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/location.h"
#include "io/file/backup_folder.h"

// The rows of tables as PostgreSQL's own COPY BINARY, and beside them what a restore must find: tables.jsonl, a line
// for each table with its columns and their types. Tables, indexes, functions and rights are not saved: pg_dump does.
namespace reembed {

// Which tables: that of `table`, those of `tables=a,b` as far as they are there, or all ordinary ones of `schema`
// (default public). Errors: as ParsePostgresLocation.
struct PostgresTables {
  Location place;  // without `tables`
  std::string schema;
  std::vector<std::string> tables;  // empty: all
};
absl::StatusOr<PostgresTables> ParsePostgresTables(const Location& place);

// Reads the tables at one moment (one repeatable-read transaction; writers are not held up) into files below
// `postgres/`. `path_of`: where a file is to be written. Returns the parts, without origin.
// Errors: as PostgresConnection; kNotFound (no such table, or none at all); of the file system.
absl::StatusOr<std::vector<BackupPart>> BackUpPostgres(
    const PostgresTables& from, absl::FunctionRef<absl::StatusOr<std::string>(const std::string& file)> path_of);

// What will be replaced, for people. Errors: as RestorePostgres, before it changes anything.
absl::StatusOr<std::string> DescribePostgres(const std::string& dir, const std::vector<BackupPart>& parts,
                                             const PostgresTables& to);

// Replaces the rows of these tables by those of the backup in one transaction, without firing their triggers: until its
// end, and after a crash, everybody sees the old. Numbers that sequences give out next lie behind those of the rows.
// Errors: as PostgresConnection; kNotFound (a table is not there); kFailedPrecondition (a column is not, or has another
// type: says which; a table that is not meant refers to one that is); kUnavailable (somebody holds a table for more
// than five seconds); kDataLoss.
absl::Status RestorePostgres(const std::string& dir, const std::vector<BackupPart>& parts, const PostgresTables& to,
                             RestoreProgress told);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_BACKUP_H_
