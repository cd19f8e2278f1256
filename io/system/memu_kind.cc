// SPDX-License-Identifier: Apache-2.0
#include "io/system/memu_kind.h"

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/file/open_elsewhere.h"
#include "io/file/vectors_json_backup.h"
#include "io/store/file_lock.h"
#include "io/store/sqlite/sqlite_kind.h"
#include "io/system/memu_rows.h"
#include "io/system/memu_sink.h"

namespace reembed {
namespace {

using Parts = std::vector<BackupPart>;

constexpr char kRowsParameter[] = "db";
constexpr PathParameter kPathParameters[] = {{kRowsParameter}};

Location RowsOf(const Location& source) {
  return {
      .scheme = kSqliteKind.name, .path = source.Get(kRowsParameter), .parameters = {{"table", source.Get("table")}}};
}

absl::StatusOr<Parts> BackUp(const Location& place, const BackupFiles& files) {
  BackupPart part{.file = std::filesystem::path(place.path).filename().string()};
  ABSL_ASSIGN_OR_RETURN(const std::string path, files.path_of(part.file));
  ABSL_ASSIGN_OR_RETURN(part.rows, BackUpVectorsJson(place.path, path));
  return Parts{std::move(part)};
}

absl::StatusOr<std::string> Occupant(const std::string&, const Location& place, const Parts&) {
  ABSL_RETURN_IF_ERROR(CheckNotOpenElsewhere(place.path));
  return place.path;
}

// A copy and a rename, of which nothing is to be counted.
absl::StatusOr<std::string> Restore(const std::string& dir, const Location& place, const Parts& parts,
                                    RestoreProgress) {
  ABSL_RETURN_IF_ERROR(RestoreVectorsJson(absl::StrCat(dir, "/", parts.front().file), place.path));
  return "";
}

}  // namespace

constinit const StoreKind kMemuKind = {
    .name = "memu",
    .example = "memu:vectors.json?db=memu.db&collection=items&table=memory_items&text=summary",
    .title = "MemU",
    .is_file = true,
    .lies_beside_database = true,
    .path_parameters = kPathParameters,
    .open_source = OpenMemuSource,
    .make_sink = MakeMemuSink,
    .open_reader = OpenMemuReader,
    .survey = SurveyMemu,
    .changes = [](const Location&, const Model&) -> absl::StatusOr<std::vector<std::string>> {
      return std::vector<std::string>();
    },
    .always_in_place = true,
    .rows_parameter = kRowsParameter,
    .catalog = {.has_table = [](const Location& source) { return kSqliteKind.catalog.has_table(RowsOf(source)); },
                .vector_columns =
                    [](const Location& source) { return kSqliteKind.catalog.vector_columns(RowsOf(source)); },
                .check_value =
                    [](const Location& source, const std::string& table, const std::vector<std::string>& columns,
                       const std::string& value) {
                      return kSqliteKind.catalog.check_value(RowsOf(source), table, columns, value);
                    }},
    .vector_place = [](const Location& target) -> VectorPlace {
      return {.store = FileStoreName(target), .table = target.Get("collection")};
    },
    .lock = [](const Location& target, const LockAsker& asker) -> absl::StatusOr<std::unique_ptr<TargetLock>> {
      const std::string collection = target.Get("collection");
      return LockFileColumn(target.path, collection, absl::StrCat(target.path, ": ", collection), asker);
    },
    .roll_back = RollBackMemu,
    .old_number_bytes = 22,  // Python prints a float32 with the digits of a double
    .backup = {.back_up = BackUp,
               .occupant = Occupant,
               .restore = Restore,
               .lock = [](const Location& place, const LockAsker& asker) { return LockWholeFile(place.path, asker); },
               .example = "memu:vectors.json"},
};

}  // namespace reembed
