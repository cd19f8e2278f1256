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

// All that the command knows of a kind of place (a store, a file). Each kind fills one `StoreKind` in its own room
// (NAME_kind.cc), and tools/registry.cc has one line for it; no other code asks which kind a place is of. Functions are
// called by one thread at a time; what they return belongs to the caller. A function that is null: places of this kind
// cannot do that.
namespace reembed {

// What a place asks for as credentials.
enum class SecretKind {
  kNone,
  kApiKey,    // always in the kind's own variable
  kToken,     // of a server; a user may name another variable
  kPassword,  // the same; the variable may also hold a URL with the password in it
};

// A parameter of the address that names a file of this machine.
struct PathParameter {
  const char* name;
  bool only_with_slash = false;  // without one its value is a name that is looked for elsewhere
};

// A target that appears under its name when it is complete, and not before.
struct WholeFile {
  absl::Span<const char* const> beside;  // what the names of the files that go with it end with
  bool grows_beside =
      true;             // each under its own name with `.partial`; false: under the names that go with PATH.partial
  bool goes_on = true;  // a resumed run appends to it; false: it is made anew from the job's vectors
};

// Of databases in whose tables memory systems keep their rows: small questions before a job begins.
struct TableCatalog {
  // Errors, of all: of the database.
  absl::StatusOr<bool> (*has_table)(const Location& source) = nullptr;
  absl::StatusOr<std::vector<VectorColumnName>> (*vector_columns)(const Location& source) = nullptr;
  // kNotFound when no row of `table` has `value` in one of the columns (names the nearest that there is).
  absl::Status (*check_value)(const Location& source, const std::string& table, const std::vector<std::string>& columns,
                              const std::string& value) = nullptr;
  // Null where the tables of a system have one layout.
  absl::StatusOr<TableFacts> (*look_up)(const Location& source) = nullptr;
};

// Of places that can be saved and put back.
struct BackupWays {
  // Saves the place into files and returns them; the origin of a part that names none is `place`.
  absl::StatusOr<std::vector<BackupPart>> (*back_up)(const Location& place, const BackupFiles& files) = nullptr;
  // If the place is occupied: what is there and would be replaced, for people; empty: it is not. For kinds that are a
  // file, called only if the file exists. `dir`: the backup. Errors: those that restore() would begin with.
  absl::StatusOr<std::string> (*occupant)(const std::string& dir, const Location& place,
                                          const std::vector<BackupPart>& parts) = nullptr;
  // Restores the parts. What is there stays whole until the new is. Returns what else a user should know, or nothing.
  // `told`: now and then, where the store's way lets it be counted. Precondition: the parts are of one place, and their
  // files have the checksums of the manifest.
  absl::StatusOr<std::string> (*restore)(const std::string& dir, const Location& place,
                                         const std::vector<BackupPart>& parts, RestoreProgress told) = nullptr;
  // A lock for replacing what is at the place: no job fills a column there meanwhile. Null: there is no such lock, or
  // nothing is ever replaced. Errors: kAborted (a job fills a column there, or another restore is at work; names it).
  absl::StatusOr<std::unique_ptr<TargetLock>> (*lock)(const Location& place, const LockAsker& asker) = nullptr;
  const char* example = nullptr;  // of an address of a whole place, for people
  bool takes_tables = false;      // `tables=a,b` in the address says which, as others may be of other programs

  // Of a system that makes backups of its own: a folder that holds some, as one of ours, with the newest of each of its
  // places, or an older one that is `only` (its path in `dir`). They do not say where they came from. nullopt: it holds
  // none.
  std::optional<BackupManifest> (*find_others)(const std::string& dir, const std::string& only) = nullptr;
};

// Of tables into which rows of any source can be imported as new rows (mode=insert).
struct ImportWays {
  // Drops those that are there. Errors: of the database; kFailedPrecondition (they could not be made again).
  absl::Status (*drop_tables)(const Location& place, const std::vector<std::string>& tables) = nullptr;
  // Logs that they were dropped, which a rollback cannot undo. Errors: of the log.
  absl::Status (*log_dropped)(absl::Span<const std::string> tables, UndoLog* log) = nullptr;
};

// Of targets that a measure fills and removes again. Files need nothing of this.
struct ScratchWays {
  // A place like `target` under a `name` of its own, so that nothing that is there is touched. It may ask the target
  // how it is made. Errors: of the address; kUnimplemented (this one has no like).
  absl::StatusOr<Location> (*place)(const Location& target, absl::string_view name) = nullptr;
  // Makes what no sink makes at `scratch`, which place() gave for `target`: where rows must be there, `rows` of them
  // with the keys 0, 1, 2 ... and a text. Nothing is left after an error. Errors: kAlreadyExists (something has the
  // name), and of the place. `dim`: of the vectors that will come.
  absl::Status (*make)(const Location& scratch, const Location& target, int dim, int64_t rows) = nullptr;
  // Removes it with all that is in it; OK if it is not there.
  absl::Status (*remove)(const Location& scratch) = nullptr;
};

// The text of the rows that it makes: as long as the texts of memories mostly are.
inline constexpr absl::string_view kScratchText =
    "A row that was made up for a measure. It is as long as the rows of memory systems mostly are, about two hundred "
    "bytes, because a row that gets a vector is written whole by most databases that there are.";

// A server as variables of programs name it, part by part; empty: it is not said.
struct ServerParts {
  std::string host, port, user, name;  // `host` may be the folder of a socket; `name`: of the database
};

// How Selection::where is worded.
struct ConditionWays {
  // That a field of a row has this value, as text. Null: as SQL has it.
  std::string (*equals)(absl::string_view field, absl::string_view value) = nullptr;
  // That two conditions, of which none is empty, both hold. Null: (A) AND (B).
  std::string (*both)(absl::string_view a, absl::string_view b) = nullptr;
};

struct StoreKind {
  // Whether URIs of this scheme mean it.
  bool has_name(absl::string_view scheme) const {
    return scheme == name || std::find(other_names.begin(), other_names.end(), scheme) != other_names.end();
  }

  // The address.
  const char* name = "";                           // the scheme of its URIs
  absl::Span<const char* const> other_names = {};  // schemes that mean the same
  const char* example = "";                        // of a URI, for people
  const char* title = "";                          // how people call it
  // How names of its files end, for a path without a scheme; of all kinds the longest that fits says what it most
  // likely is, and "" fits all.
  absl::Span<const char* const> file_endings = {};
  bool is_file = false;      // the path is one of a file on this machine
  bool is_stream = false;    // standard input and output: nothing can be read twice
  bool is_database = false;  // what a memory system's own programs are told of as their database
  // What other programs call a database of this kind and is no URI of ours, with the path of a file as they have it.
  // `in_variable`: in a variable of theirs, not as an argument of ours. nullopt: it is none. Errors: kInvalidArgument.
  absl::StatusOr<std::optional<Location>> (*read_database)(absl::string_view text, bool in_variable) = nullptr;
  Location (*database_of_parts)(const ServerParts& parts) = nullptr;
  bool lies_beside_database = false;  // a file in the folder of the database, where programs look for it
  absl::Span<const PathParameter> path_parameters = {};

  // The secret.
  SecretKind secret = SecretKind::kNone;
  absl::Span<const char* const> secret_variables = {};  // that hold it; the first that is set counts
  // Of a place that is several others: their kinds, and one secret made of theirs, in the same order.
  absl::Span<const StoreKind* const> parts = {};
  std::string (*join_secrets)(absl::Span<const std::string> secrets) = nullptr;

  // What it can be.
  absl::StatusOr<std::unique_ptr<Source>> (*open_source)(const Location&, const Selection&) = nullptr;
  absl::StatusOr<std::unique_ptr<VectorSink>> (*make_sink)(const Location&, const Model&,
                                                           const Location& source) = nullptr;
  absl::StatusOr<std::unique_ptr<VectorReader>> (*open_reader)(const Location&, int dim) = nullptr;
  bool has_strict = false;  // as a source: Selection::strict
  // As a source: where `shares` shares of about as many rows meet, for Selection::range: shares - 1 ends, ascending,
  // equal ones where there are too few rows. By a sample where the store can seek; what the selection says of rows is
  // passed over. Rows that come later fall into one share each. Null: no share can be given. Errors: of the place;
  // kFailedPrecondition (this one has none: why, and what to do).
  absl::StatusOr<std::vector<Key>> (*cut)(const Location&, const Selection&, int shares) = nullptr;
  ConditionWays conditions;

  // Of tables, where a source is filled in place.
  absl::StatusOr<Survey> (*survey)(const Location&, const Selection&) = nullptr;  // what its rows hold now
  // What a target will change besides adding vectors, one line each, for people.
  absl::StatusOr<std::vector<std::string>> (*changes)(const Location&, const Model&) = nullptr;
  bool is_table() const { return survey != nullptr; }

  // Of sources: where the vectors of their own rows go. Where nothing is said here: where the parameter `vector` says,
  // and nowhere without one.
  bool always_in_place = false;             // the address names one place for them
  const char* vectors_parameter = nullptr;  // has the URI of that place as its value
  const char* rows_parameter = nullptr;     // has the path of the database with the rows as its value
  // Of sources with a vectors_parameter: whether `target` is that place, and a sink for it, which gives new points what
  // the system keeps beside a vector. `source` is of this kind.
  bool (*holds_vectors)(const Location& source, const Location& target) = nullptr;
  absl::StatusOr<std::unique_ptr<VectorSink>> (*make_own_sink)(const Location& target, const Model&,
                                                               const Location& source) = nullptr;
  // Whether a stored vector says nothing of its text: what the system's programs store when their API fails.
  bool (*is_placeholder)(absl::string_view text, absl::Span<const float> vector) = nullptr;
  // Of a place that may show its user some rows only. Errors: of the place.
  absl::StatusOr<HiddenRows> (*find_hidden_rows)(const Location&) = nullptr;
  // Of a system that records its migrations: inserts the record as a row, unless it is there already, and returns a
  // source of this one row.
  absl::StatusOr<std::unique_ptr<Source>> (*save_record)(const Location& source, const RunRecord& record) = nullptr;
  TableCatalog catalog;

  // Of targets.
  // That not every key fits: kInvalidArgument says why and what to do.
  absl::Status (*check_key)(const Location& target, KeyView key) = nullptr;
  // That want a least number of rows: kInvalidArgument says why.
  absl::Status (*check_rows)(const Location& target, int64_t rows) = nullptr;
  const WholeFile* whole_file = nullptr;  // null: it is filled in place, or a stream
  // Where each of several machines writes a part of its own: the scheme of the parts, if it is another. Null: the same.
  const char* part_scheme = nullptr;
  // Where the vectors are, in one canonical form, by which jobs that wrote to the same place are found. Null: the file.
  VectorPlace (*vector_place)(const Location& target) = nullptr;
  const ScratchWays* scratch = nullptr;  // null: a file needs none, and of others no measure is made
  // Parameters of the address, as "type=float16", with which it may be faster or smaller: worth a measure where the
  // address does not have them.
  absl::Span<const char* const> worth_trying = {};
  bool takes_output_forms = false;  // vectors that take less room: `type=` and `dim=`, see engine/output_form.h
  // The lock on the column that it names, which one job holds at a time. A null lock, or null here: there is none.
  // Errors: kAborted (another job has it; names it).
  absl::StatusOr<std::unique_ptr<TargetLock>> (*lock)(const Location& target, const LockAsker& asker) = nullptr;
  bool shares_lock = false;  // it knows LockAsker::shared
  ImportWays imports;
  // Rolls back: writes the contents that its sink has logged over what the job has written. May be repeated, also after
  // a kill. A row that does not hold the written vector any more stays as it is, and is reported.
  absl::StatusOr<RollbackReport> (*roll_back)(const Location& target, UndoReader* old_rows) = nullptr;
  // That do not replace vectors row by row, or not always. Reads only. Null: they do.
  absl::StatusOr<Overwriting> (*overwriting)(const Location& target, const Model&) = nullptr;

  // What is read back: the least cosine between a vector and what the target has made of it; 0: the same bits.
  double least_cosine = 0;

  // What it takes, in bytes, for estimates.
  int64_t number_bytes = 4;        // a number of a vector, on the disk
  int64_t old_number_bytes = 4;    // the same in the undo log; tables whose `encoding` is text say so there
  int64_t row_bytes = 16;          // a row besides its vector, on the disk
  bool is_held_in_memory = false;  // until it is complete
  int64_t held_number_bytes = 4;   // a number of a vector, in memory, of what is held there
  int64_t held_row_bytes = 0;      // a row besides its vector and row_bytes, of what is held there
  // On the disk besides the target itself, until that is complete. Null: nothing.
  int64_t (*scratch_bytes)(const Location& target, int64_t rows, int dim) = nullptr;

  BackupWays backup;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_STORE_KIND_H_
