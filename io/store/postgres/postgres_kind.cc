// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_kind.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/output_form.h"
#include "engine/status_macros.h"
#include "io/store/postgres/postgres_backup.h"
#include "io/store/postgres/postgres_cut.h"
#include "io/store/postgres/postgres_import.h"
#include "io/store/postgres/postgres_import_undo.h"
#include "io/store/postgres/postgres_lock.h"
#include "io/store/postgres/postgres_lookup.h"
#include "io/store/postgres/postgres_reader.h"
#include "io/store/postgres/postgres_scratch.h"
#include "io/store/postgres/postgres_security.h"
#include "io/store/postgres/postgres_sink.h"
#include "io/store/postgres/postgres_source.h"
#include "io/store/postgres/postgres_undo.h"

namespace reembed {
namespace {

using Parts = std::vector<BackupPart>;

constexpr const char* kOtherNames[] = {"postgresql"};
constexpr const char* kPasswordVariables[] = {"PGPASSWORD"};
constexpr const char* kWorthTrying[] = {"type=halfvec"};
constexpr PathParameter kPathParameters[] = {{"schema_file"}};

bool IsImport(const Location& target) { return target.Get("mode") == "insert"; }

absl::StatusOr<std::unique_ptr<VectorSink>> MakeSink(const Location& target, const Model& model,
                                                     const Location& source) {
  return IsImport(target) ? MakePostgresImportSink(target, model, source) : MakePostgresSink(target, model);
}

// Vectors of the place may be shorter than the model's: dim=.
absl::StatusOr<Model> Narrowed(const Location& target, Model model) {
  ABSL_ASSIGN_OR_RETURN(model.dim, OutputDim(target, model.dim));
  return model;
}

absl::StatusOr<Selection> Narrowed(const Location& source, Selection selection) {
  ABSL_ASSIGN_OR_RETURN(selection.dim, OutputDim(source, selection.dim));
  return selection;
}

absl::StatusOr<std::unique_ptr<Source>> OpenSource(const Location& source, const Selection& asked) {
  ABSL_ASSIGN_OR_RETURN(const Selection selection, Narrowed(source, asked));
  return OpenPostgresSource(source, selection);
}

absl::StatusOr<Survey> SurveyRows(const Location& source, const Selection& asked) {
  ABSL_ASSIGN_OR_RETURN(const Selection selection, Narrowed(source, asked));
  return SurveyPostgres(source, selection);
}

absl::StatusOr<std::vector<std::string>> Changes(const Location& target, const Model& asked) {
  ABSL_ASSIGN_OR_RETURN(const Model model, Narrowed(target, asked));
  return IsImport(target) ? PostgresImportChanges(target, model) : PostgresChanges(target, model);
}

absl::StatusOr<RollbackReport> RollBack(const Location& target, UndoReader* old_rows) {
  return IsImport(target) ? RollBackPostgresImport(target, old_rows) : RollBackPostgres(target, old_rows);
}

absl::StatusOr<Overwriting> WhatIsOverwritten(const Location& target, const Model& asked) {
  ABSL_ASSIGN_OR_RETURN(const Model model, Narrowed(target, asked));
  return IsImport(target) ? PostgresImportOverwriting(target, model) : PostgresOverwriting(target, model);
}

// As SQLAlchemy (postgresql+asyncpg://) and Prisma (?pgbouncer=true) have it, without what is said to them alone.
absl::StatusOr<std::optional<Location>> ReadDatabase(absl::string_view text, bool) {
  const size_t colon = text.find("://");
  if (colon == absl::string_view::npos) return std::nullopt;
  const absl::string_view scheme = text.substr(0, std::min(text.find('+'), colon));
  if (!kPostgresKind.has_name(scheme)) return std::nullopt;
  static constexpr const StoreKind* kSelf[] = {&kPostgresKind};
  ABSL_ASSIGN_OR_RETURN(Location location, ParseLocation(absl::StrCat(scheme, text.substr(colon)), kSelf));
  for (const char* const other :
       {"connection_limit", "pool_timeout", "pgbouncer", "statement_cache_size", "socket_timeout", "ssl"}) {
    location.parameters.erase(other);
  }
  return std::optional(std::move(location));
}

Location DatabaseOfParts(const ServerParts& parts) {
  const bool is_socket = absl::StartsWith(parts.host, "/");
  Location location{.scheme = kPostgresKind.name,
                    .path = absl::StrCat("//", is_socket ? "" : parts.host, is_socket || parts.port.empty() ? "" : ":",
                                         is_socket ? "" : parts.port, "/", parts.name)};
  if (is_socket) location.parameters["host"] = parts.host;
  if (is_socket && !parts.port.empty()) location.parameters["port"] = parts.port;
  if (!parts.user.empty()) location.parameters["user"] = parts.user;
  return location;
}

absl::StatusOr<bool> HasTable(const Location& source) {
  ABSL_ASSIGN_OR_RETURN(const TableFacts facts, LookUpPostgresTable(source));
  return facts.exists;
}

absl::Status CheckValue(const Location& source, const std::string& table, const std::vector<std::string>& columns,
                        const std::string& value) {
  Location asked = source;
  asked.parameters["table"] = table;
  return CheckPostgresValueExists(asked, columns, value);
}

absl::StatusOr<HiddenRows> FindHidden(const Location& place) {
  ABSL_ASSIGN_OR_RETURN(const PostgresRowSecurity security, LookUpPostgresRowSecurity(place));
  return HiddenRows{.may_be = security.is_active, .known = security.is_active ? security.rows_known : -1};
}

VectorPlace PlaceOf(const Location& target) {
  std::string host = target.Get("host");
  if (absl::StartsWith(host, "/")) host.clear();  // a socket, and so this machine
  const std::string port = target.Get("port", "5432");
  // Where no schema is named the search path decides, which is `public` unless somebody changed it.
  return {.store = ServerStoreName("postgres", target.path, host.empty() ? "localhost" : host, port),
          .table = absl::StrCat(target.Get("schema", "public"), ".", target.Get("table")),
          .column = target.Get("vector")};
}

absl::StatusOr<Parts> BackUp(const Location& place, const BackupFiles& files) {
  ABSL_ASSIGN_OR_RETURN(const PostgresTables tables, ParsePostgresTables(place));
  return BackUpPostgres(tables, files.path_of);
}

absl::StatusOr<std::string> Occupant(const std::string& dir, const Location& place, const Parts& parts) {
  ABSL_ASSIGN_OR_RETURN(const PostgresTables tables, ParsePostgresTables(place));
  return DescribePostgres(dir, parts, tables);
}

absl::StatusOr<std::string> Restore(const std::string& dir, const Location& place, const Parts& parts,
                                    RestoreProgress told) {
  ABSL_ASSIGN_OR_RETURN(const PostgresTables tables, ParsePostgresTables(place));
  ABSL_RETURN_IF_ERROR(RestorePostgres(dir, parts, tables, told));
  return "";
}

}  // namespace

constinit const StoreKind kPostgresKind = {
    .name = "postgres",
    .other_names = kOtherNames,
    .example = "postgres://USER@HOST/DATABASE?table=T&key=K&text=C&vector=V",
    .title = "PostgreSQL",
    .is_database = true,
    .read_database = ReadDatabase,
    .database_of_parts = DatabaseOfParts,
    .path_parameters = kPathParameters,
    .secret = SecretKind::kPassword,
    .secret_variables = kPasswordVariables,
    .open_source = OpenSource,
    .make_sink = MakeSink,
    .open_reader = [](const Location& place, int dim) { return OpenPostgresReader(place, {.dim = dim}); },
    .cut = CutPostgres,
    .survey = SurveyRows,
    .changes = Changes,
    .find_hidden_rows = FindHidden,
    .catalog = {.has_table = HasTable,
                .vector_columns = PostgresVectorColumns,
                .check_value = CheckValue,
                .look_up = LookUpPostgresTable},
    .vector_place = PlaceOf,
    .scratch = &kPostgresScratch,
    .worth_trying = kWorthTrying,
    .takes_output_forms = true,
    .lock = LockPostgresColumn,
    .shares_lock = true,
    .imports = {.drop_tables = DropPostgresTables, .log_dropped = LogPostgresTablesDropped},
    .roll_back = RollBack,
    .overwriting = WhatIsOverwritten,
    .backup = {.back_up = BackUp,
               .occupant = Occupant,
               .restore = Restore,
               .lock = LockPostgresPlace,
               .example = "postgres://USER@HOST/DATABASE",
               .takes_tables = true},
};

}  // namespace reembed
