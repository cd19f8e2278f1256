// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_PRESETS_H_
#define REEMBED_TOOLS_PRESETS_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/environment.h"

namespace reembed {

// Rows of one kind with the place of their vectors: one table, in most systems. A preset has one without a name, or
// several with names, which are done one after the other. URIs here are templates, see uri_template.h.
struct PresetStream {
  std::string name;
  bool by_default = true;              // done when no --stream is given
  bool optional = false;               // passed over where its table is not there
  std::vector<std::string> databases;  // the kinds of database, by scheme, that it is for; empty: all
  std::vector<std::string> sources;    // where the rows are; the first that has all its values
  std::vector<std::string> targets;    // likewise, where the vectors go that do not go into the rows themselves
  std::string named_target;            // a URI that --target names in their place; empty: none
  std::string new_target;              // what is lost where --target names a file that is not there yet
  std::map<std::string, std::string> parameters;  // of the source, in place of those that `sources` say
  std::map<std::string, std::string> recipes;     // other templates of texts by name, for --recipe
  std::string updated_column;                     // a parameter of the source with --updated-at now-iso only
  std::string user, agent;                        // fields that say whose row it is, for --user and --agent
  std::string needed_column;                      // where the table lacks it, all rows are needed

  // Whether the vectors go where the source itself says, in the place {target}.
  bool has_target_in_source() const;
};

// One of the embedding APIs that a system can be told to use.
struct PresetProvider {
  std::string name;      // as the system's own variable has it
  std::string embedder;  // as --embedder has it
  std::string model, model_env;
  int dim = 0;             // of `model`; 0: as the preset says
  std::string api_base;    // where it is, unless its variable says so
  std::string input_type;  // as the flag
  int max_dim = 0;         // wider vectors are of `wider_model` instead of `model`; 0: never
  std::string wider_model;
  std::string api_base_env, api_key_env;
  std::string refused;  // why it cannot be used; empty: it can
};

// Where the names of users are turned into the ids that rows have.
struct UserTable {
  std::string table;  // empty: rows have what --user says
  std::string id, name;
};

// What tells one of several shapes of a table from the others, for a note.
struct PresetLayout {
  std::string name, table;
  std::map<std::string, std::string> columns;  // column -> its type in PostgreSQL, or the type without its (...)
};

// Where rows of a database in SQLite go when the target is a PostgreSQL server: see postgres_import.h.
struct PresetInsert {
  std::string table;  // empty: the preset has no such place
  std::string vector, text, index;
  std::string schema_file;          // absolute
  std::vector<std::string> fields;  // of postgres_import.h
  std::map<std::string, std::string> sets;
  std::vector<std::string> drop;  // tables that --force-recreate drops
};

// Variables that name a server in parts, as ServerParts.
struct ServerVariables {
  std::string host, port, user, password, name;
};

// A memory system that is served out of the box; the text of one is in data/systems/.
struct SystemPreset {
  std::string name;
  std::string title;
  std::string summary;                     // one line, for `reembed systems`
  std::vector<std::string> databases;      // where its own programs keep them, the first that exists is meant
  std::vector<std::string> database_env;   // variables that name it; the first that is set wins over `databases`
  ServerVariables server_env;              // likewise, in parts, behind them
  std::vector<std::string> database_urls;  // templates, see uri_template.h; behind those
  std::string database_expected;       // what --db should name, for people; empty: that is said of the streams' kinds
  std::vector<std::string> env_files;  // the first that is there is read, never two; default: .env
  bool env_search_up = false;          // relative ones are looked for in the folders above, too
  bool env_read_all = false;           // all are read, and an earlier one wins
  std::vector<std::string> notes;      // what its users should know before a run
  std::vector<PresetStream> streams;   // at least one
  UserTable users;
  std::vector<PresetLayout> layouts;
  PresetInsert insert;
  std::string embedder;  // empty: openai
  std::string model;
  int dim = 0;
  std::map<int, std::string> model_of_dim;  // where the database asks for another width than `dim`
  std::vector<std::string> dim_env;         // variables with the width; the first that is set wins over `dim`
  // Names of variables, here and in the providers, may be several with a | between; the first that is set is meant.
  std::string provider_env;               // that names a provider; empty or `auto`: the first that is set up
  std::string provider;                   // the one that is meant where that is not set
  std::vector<PresetProvider> providers;  // in the order of `auto`; see ChooseProvider()
  std::string normalize;                  // as the flag
  std::string api_base_env, api_key_env;
  std::string api_base, input_type;  // of the chosen provider, see there
  std::string file;                  // where it was read
  std::string toml;                  // its whole text
};

// One entry of data/models.toml.
struct KnownModel {
  std::string name;
  int dim = 0;
  bool resizable = false;          // another width can be asked for
  int max_dim = 0;                 // the largest one
  int64_t max_tokens = 0;          // of one input
  std::string tokenizer;           // kCl100k, or empty: another, or not known
  int64_t max_request_tokens = 0;  // of one request, where that is the model's own; 0: as the API's
  enum class UnitLength { kUnknown, kAlways, kFullWidth, kNever };
  UnitLength unit_length = UnitLength::kUnknown;  // of its vectors; kFullWidth: unless it is asked for a smaller width
  std::string document_prefix, query_prefix;      // what it wants before each text
  std::vector<std::string> aliases;               // other names of the same
  std::optional<double> usd_per_million_tokens;
};

// Folders that may hold systems/*.toml and models.toml, the user's own first: $REEMBED_DATA,
// $XDG_CONFIG_HOME/reembed, ../share/reembed beside the program, the source tree it was built from.
std::vector<std::string> DataFolders(const Environment& environment);

// `file` may be a job file with the sections of a preset: its other names are options of a job, see options.h.
// Errors: kInvalidArgument (names file, line and what is wrong or unknown).
absl::StatusOr<SystemPreset> ParseSystemPreset(absl::string_view toml, const std::string& file);

// By name, or by the path of a file that ends in .toml.
// Errors: kNotFound (no such system; names the nearest and lists all).
absl::StatusOr<SystemPreset> FindSystem(const std::string& name, const Environment& environment);

// All, by name; a system of the user's own hides a built-in one of the same name.
absl::StatusOr<std::vector<SystemPreset>> ListSystems(const Environment& environment);

absl::StatusOr<std::vector<KnownModel>> LoadModels(const Environment& environment);

// Ollama takes `name` for `name:latest`.
absl::string_view WithoutTag(absl::string_view model);

// Whether `name` is one of the model's, with or without that tag.
bool IsNameOf(const KnownModel& known, absl::string_view name);

}  // namespace reembed

#endif  // REEMBED_TOOLS_PRESETS_H_
