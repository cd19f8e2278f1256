// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_STORE_KIND_H_
#define REEMBED_ENGINE_STORE_KIND_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/backup_part.h"
#include "engine/embedding_client.h"
#include "engine/key.h"
#include "engine/location.h"
#include "engine/overwriting.h"
#include "engine/run_record.h"
#include "engine/selection.h"
#include "engine/source.h"
#include "engine/survey.h"
#include "engine/table_catalog.h"
#include "engine/target_lock.h"
#include "engine/undo_log.h"
#include "engine/vector_place.h"
#include "engine/vector_reader.h"
#include "engine/vector_sink.h"

// All that the command knows about a kind of place (a store, a file). Each kind fills one `StoreKind` in its own folder
// (NAME_kind.cc), and tools/registry.cc has one line for it; no other code checks the kind of a place. Functions are
// called by one thread at a time; the caller owns what they return. If a function is null, places of this kind do not
// support it.
namespace reembed {

// The credentials that a place needs.
enum class SecretKind {
  kNone,
  kApiKey,    // always in the kind's own variable
  kToken,     // of a server; a user may name another variable
  kPassword,  // the same; the variable may also hold a URL with the password in it
};

// A parameter of the URI that names a file on this machine.
struct PathParameter {
  const char* name;
  bool only_with_slash = false;  // without a slash its value is a name that is looked up elsewhere
};

// A target that gets its name when it is complete, and not before.
struct WholeFile {
  absl::Span<const char* const> beside;  // the endings of the names of its companion files
  bool grows_beside =
      true;             // each under its own name with `.partial`; false: under the names that go with PATH.partial
  bool goes_on = true;  // a resumed run appends to it; false: it is built again from the job's vectors
};

// For databases with tables of memory systems: lookups before a job begins.
struct TableCatalog {
  // Errors of all functions: those of the database.
  absl::StatusOr<bool> (*has_table)(const Location& source) = nullptr;
  absl::StatusOr<std::vector<VectorColumnName>> (*vector_columns)(const Location& source) = nullptr;
  // kNotFound when no row of `table` has `value` in one of the columns (names the most similar one).
  absl::Status (*check_value)(const Location& source, const std::string& table, const std::vector<std::string>& columns,
                              const std::string& value) = nullptr;
  // Null if all systems on this kind have only one layout of tables.
  absl::StatusOr<TableFacts> (*look_up)(const Location& source) = nullptr;
};

// For places with backup and restore.
struct BackupWays {
  // Saves the place into files and returns them; a part without an origin has the origin `place`.
  absl::StatusOr<std::vector<BackupPart>> (*back_up)(const Location& place, const BackupFiles& files) = nullptr;
  // If the place is occupied: what would be replaced, for messages; empty: it is not occupied. For kinds that are a
  // file, called only if the file exists. `dir`: the backup. Errors: those that restore() would begin with.
  absl::StatusOr<std::string> (*occupant)(const std::string& dir, const Location& place,
                                          const std::vector<BackupPart>& parts) = nullptr;
  // Restores the parts. Current data stay until the restored data are complete. Returns a note for the user, or "".
  // `told`: called now and then with the progress, if the store can count it. Precondition: the parts are of one place,
  // and their files have the checksums of the manifest.
  absl::StatusOr<std::string> (*restore)(const std::string& dir, const Location& place,
                                         const std::vector<BackupPart>& parts, RestoreProgress told) = nullptr;
  // A lock for replacing the data of the place: it keeps jobs from filling a column there. Null: there is no such lock,
  // or data are never replaced. Errors: kAborted (a job fills a column there, or another restore is at work; names it).
  absl::StatusOr<std::unique_ptr<TargetLock>> (*lock)(const Location& place, const LockAsker& asker) = nullptr;
  const char* example = nullptr;  // an example of a URI of a whole place, for messages
  bool takes_tables = false;      // `tables=a,b` in the URI selects tables, as others may belong to other programs

  // For a system that makes its own backups: describes a folder with such backups as one of ours, with the newest
  // backup of each place, or with `only`, the path of an older one in `dir`. Their origins are unknown. nullopt: the
  // folder has none.
  std::optional<BackupManifest> (*find_others)(const std::string& dir, const std::string& only) = nullptr;
};

// For tables into which rows of any source can be imported as new rows (mode=insert).
struct ImportWays {
  // Drops those that exist. Errors: of the database; kFailedPrecondition (they could not be created again).
  absl::Status (*drop_tables)(const Location& place, const std::vector<std::string>& tables) = nullptr;
  // Logs that they were dropped, which a rollback cannot undo. Errors: of the log.
  absl::Status (*log_dropped)(absl::Span<const std::string> tables, UndoLog* log) = nullptr;
};

// For targets that `bench` fills and removes again. Files need none of this.
struct ScratchWays {
  // A place like `target` with another `name`, so that no existing data are changed. It may ask the target for its
  // settings. Errors: of the URI; kUnimplemented (no such place can be made for this target).
  absl::StatusOr<Location> (*place)(const Location& target, absl::string_view name) = nullptr;
  // Creates at `scratch`, which place() gave for `target`, what no sink creates: if a sink needs rows, `rows` of them
  // with the keys 0, 1, 2 ... and a text. After an error nothing is left. Errors: kAlreadyExists (the name is in use),
  // and those of the place. `dim`: the width of the vectors that will be written.
  absl::Status (*make)(const Location& scratch, const Location& target, int dim, int64_t rows) = nullptr;
  // Removes it with all its contents; OK if it does not exist.
  absl::Status (*remove)(const Location& scratch) = nullptr;
};

// The text of the rows that make() adds, as long as the texts of most memories.
inline constexpr absl::string_view kScratchText =
    "A row that was made up for a measure. It is as long as the rows of memory systems mostly are, about two hundred "
    "bytes, because a row that gets a vector is written whole by most databases that there are.";

// A server as variables of other programs name it, in parts; empty: not given.
struct ServerParts {
  std::string host, port, user, name;  // `host` may be the folder of a socket; `name`: of the database
};

// How Selection::where is written.
struct ConditionWays {
  // The condition that a field of a row has this value, as text. Null: in SQL.
  std::string (*equals)(absl::string_view field, absl::string_view value) = nullptr;
  // The condition that both of two conditions, which are not empty, hold. Null: (A) AND (B).
  std::string (*both)(absl::string_view a, absl::string_view b) = nullptr;
};

struct StoreKind {
  // Whether URIs with this scheme are of this kind.
  bool has_name(absl::string_view scheme) const {
    return scheme == name || std::find(other_names.begin(), other_names.end(), scheme) != other_names.end();
  }

  // The URI.
  const char* name = "";                           // the scheme of its URIs
  absl::Span<const char* const> other_names = {};  // schemes that mean the same
  const char* example = "";                        // an example of a URI, for messages
  const char* title = "";                          // its name in messages
  // Endings of the names of its files. For a path without a scheme, the kind with the longest matching ending is the
  // likely one; "" matches all.
  absl::Span<const char* const> file_endings = {};
  bool is_file = false;      // the path names a file on this machine
  bool is_stream = false;    // standard input or output: cannot be read twice
  bool is_database = false;  // memory systems' own programs use this kind as their database
  // Understands the names that other programs give a database of this kind; a file's path is taken as they have it.
  // `in_variable`: from one of their variables, not from our arguments. nullopt: none. Errors: kInvalidArgument.
  absl::StatusOr<std::optional<Location>> (*read_database)(absl::string_view text, bool in_variable) = nullptr;
  Location (*database_of_parts)(const ServerParts& parts) = nullptr;
  bool lies_beside_database = false;  // a file in the database's folder, where programs look for it
  absl::Span<const PathParameter> path_parameters = {};

  // The secret.
  SecretKind secret = SecretKind::kNone;
  absl::Span<const char* const> secret_variables = {};  // variables with it; the first one that is set is used
  // For a place that consists of several others: their kinds, and one secret made from theirs, in this order.
  absl::Span<const StoreKind* const> parts = {};
  std::string (*join_secrets)(absl::Span<const std::string> secrets) = nullptr;

  // What it can be used as.
  absl::StatusOr<std::unique_ptr<Source>> (*open_source)(const Location&, const Selection&) = nullptr;
  absl::StatusOr<std::unique_ptr<VectorSink>> (*make_sink)(const Location&, const Model&,
                                                           const Location& source) = nullptr;
  absl::StatusOr<std::unique_ptr<VectorReader>> (*open_reader)(const Location&, int dim) = nullptr;
  bool has_strict = false;  // as a source: Selection::strict
  // As a source: the boundaries of `shares` shares with about equally many rows, for Selection::range: shares - 1 keys,
  // ascending, with equal ones if there are too few rows. Found by a sample if the store can seek; Selection::rows is
  // ignored. A row that is added later is in exactly one share. Null: it cannot be sharded. Errors: of the place;
  // kFailedPrecondition (this one cannot be sharded: why, and what to do).
  absl::StatusOr<std::vector<Key>> (*cut)(const Location&, const Selection&, int shares) = nullptr;
  ConditionWays conditions;

  // For tables that are filled in place.
  absl::StatusOr<Survey> (*survey)(const Location&, const Selection&) = nullptr;  // counts what its rows hold now
  // What a run will change in a target besides adding vectors, one line each, for messages.
  absl::StatusOr<std::vector<std::string>> (*changes)(const Location&, const Model&) = nullptr;
  bool is_table() const { return survey != nullptr; }

  // For sources: where the vectors of their own rows are written. By default to the place in the parameter `vector`,
  // and nowhere without it.
  bool always_in_place = false;             // the URI always names a place for them
  const char* vectors_parameter = nullptr;  // the parameter with the URI of that place
  const char* rows_parameter = nullptr;     // the parameter with the path of the database of the rows
  // For sources with a vectors_parameter: whether `target` is that place, and a sink for it, which gives new points
  // what the system stores beside a vector. `source` is of this kind.
  bool (*holds_vectors)(const Location& source, const Location& target) = nullptr;
  absl::StatusOr<std::unique_ptr<VectorSink>> (*make_own_sink)(const Location& target, const Model&,
                                                               const Location& source) = nullptr;
  // Whether a stored vector is a placeholder, which the system's programs store when their API fails.
  bool (*is_placeholder)(absl::string_view text, absl::Span<const float> vector) = nullptr;
  // For a place that may hide rows from its user. Errors: of the place.
  absl::StatusOr<HiddenRows> (*find_hidden_rows)(const Location&) = nullptr;
  // For a system that records its migrations: inserts the record as a row, unless it is there already, and returns a
  // source of this one row.
  absl::StatusOr<std::unique_ptr<Source>> (*save_record)(const Location& source, const RunRecord& record) = nullptr;
  TableCatalog catalog;

  // For targets.
  // If not every key fits: kInvalidArgument says why and what to do.
  absl::Status (*check_key)(const Location& target, KeyView key) = nullptr;
  // If a minimum number of rows is needed: kInvalidArgument says why.
  absl::Status (*check_rows)(const Location& target, int64_t rows) = nullptr;
  const WholeFile* whole_file = nullptr;  // null: it is filled in place, or a stream
  // If each of several machines writes its own part: the scheme of the parts. Null: the same scheme.
  const char* part_scheme = nullptr;
  // The place of the vectors in a canonical form, used to find jobs that wrote to the same place. Null: the file.
  VectorPlace (*vector_place)(const Location& target) = nullptr;
  const ScratchWays* scratch = nullptr;  // null: files need none; other kinds cannot be measured
  // Parameters of the URI, such as "type=float16", with which it may be faster or smaller: `bench` tries them if the
  // URI does not have them.
  absl::Span<const char* const> worth_trying = {};
  bool takes_output_forms = false;  // smaller vectors: `type=` and `dim=`, see engine/output_form.h
  // The lock on the target's column, which one job holds at a time. A null lock, or a null function: there is none.
  // Errors: kAborted (another job has it; names it).
  absl::StatusOr<std::unique_ptr<TargetLock>> (*lock)(const Location& target, const LockAsker& asker) = nullptr;
  bool shares_lock = false;  // it supports LockAsker::shared
  ImportWays imports;
  // Rolls back: writes the contents that its sink has logged over what the job has written. May be repeated, also after
  // a kill. A row that does not hold the written vector any more is left, and reported.
  absl::StatusOr<RollbackReport> (*roll_back)(const Location& target, UndoReader* old_rows) = nullptr;
  // What a run overwrites, for kinds that do not always replace vectors row by row. Reads only. Null: they do.
  absl::StatusOr<Overwriting> (*overwriting)(const Location& target, const Model&) = nullptr;

  // The least cosine between a vector and what is read back from the target; 0: the bits are the same.
  double least_cosine = 0;

  // Bytes that it takes, for estimates.
  int64_t number_bytes = 4;        // a number of a vector, on the disk
  int64_t old_number_bytes = 4;    // the same in the undo log; tables whose `encoding` is text say so there
  int64_t row_bytes = 16;          // a row besides its vector, on the disk
  bool is_held_in_memory = false;  // until it is complete
  int64_t held_number_bytes = 4;   // a number of a vector that is held in memory
  int64_t held_row_bytes = 0;      // a row that is held in memory, besides its vector and row_bytes
  // Temporary bytes on the disk until the target is complete. Null: none.
  int64_t (*scratch_bytes)(const Location& target, int64_t rows, int dim) = nullptr;

  BackupWays backup;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_STORE_KIND_H_
