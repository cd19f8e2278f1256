// SPDX-License-Identifier: Apache-2.0
#include "io/store/falkordb/falkordb_kind.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/counted.h"
#include "engine/status_macros.h"
#include "io/store/falkordb/falkordb_backup.h"
#include "io/store/falkordb/falkordb_cut.h"
#include "io/store/falkordb/falkordb_graph.h"
#include "io/store/falkordb/falkordb_lock.h"
#include "io/store/falkordb/falkordb_reader.h"
#include "io/store/falkordb/falkordb_scratch.h"
#include "io/store/falkordb/falkordb_sink.h"
#include "io/store/falkordb/falkordb_source.h"
#include "io/store/falkordb/falkordb_undo.h"

namespace reembed {
namespace {

using Parts = std::vector<BackupPart>;

constexpr const char* kPasswordVariables[] = {"FALKORDB_PASSWORD"};

FalkorOptions LoginOf(const Location& location) { return {.password = location.secret}; }

std::string Equals(absl::string_view property, absl::string_view value) {
  std::string cypher = absl::StrCat("n.", FalkorName(property), " = ");
  AppendFalkorText(value, &cypher);
  return cypher;
}

absl::StatusOr<Parts> BackUp(const Location& place, const BackupFiles& files) {
  ABSL_ASSIGN_OR_RETURN(const FalkorLocation graph, ParseFalkorGraph(place, LoginOf(place)));
  const std::string timestamp = BackupTimestamp(files.begun);
  BackupPart part{.file = absl::StrCat("falkordb/falkordb_", timestamp, ".json.gz"),
                  .origin = Location{.scheme = place.scheme, .path = place.path}.ToString()};
  ABSL_ASSIGN_OR_RETURN(const std::string path, files.path_of(part.file));
  ABSL_ASSIGN_OR_RETURN(part.rows, BackUpFalkorGraph(graph, timestamp, path));
  return Parts{std::move(part)};
}

absl::StatusOr<std::string> Occupant(const std::string&, const Location& place, const Parts&) {
  ABSL_ASSIGN_OR_RETURN(const FalkorLocation graph, ParseFalkorGraph(place, LoginOf(place)));
  ABSL_ASSIGN_OR_RETURN(const int64_t nodes, CountFalkorNodes(graph));
  if (nodes < 0) return "";
  return absl::StrCat(place.ToString(), " (", Counted(nodes, "node", "nodes"), ")");
}

absl::StatusOr<std::string> Restore(const std::string& dir, const Location& place, const Parts& parts,
                                    RestoreProgress told) {
  ABSL_ASSIGN_OR_RETURN(const FalkorLocation graph, ParseFalkorGraph(place, LoginOf(place)));
  return RestoreFalkorGraph(absl::StrCat(dir, "/", parts.front().file), graph, told);
}

}  // namespace

constinit const StoreKind kFalkorKind = {
    .name = "falkordb",
    .example = "falkordb://HOST/GRAPH?label=L&key=P&text=P&vector=P",
    .title = "FalkorDB",
    .is_database = true,
    .secret = SecretKind::kPassword,
    .secret_variables = kPasswordVariables,
    .open_source = [](const Location& l, const Selection& rows) { return OpenFalkorSource(l, rows, LoginOf(l)); },
    .make_sink = [](const Location& target, const Model& model,
                    const Location&) { return MakeFalkorSink(target, model, LoginOf(target)); },
    .open_reader = [](const Location& l, int dim) { return OpenFalkorReader(l, dim, LoginOf(l)); },
    .cut = [](const Location& l, const Selection&, int shares) { return CutFalkor(l, shares, LoginOf(l)); },
    .conditions = {.equals = Equals},
    .survey = [](const Location& l, const Selection& rows) { return SurveyFalkor(l, rows, LoginOf(l)); },
    .changes = [](const Location& l, const Model& model) { return FalkorChanges(l, model, LoginOf(l)); },
    .vector_place = [](const Location& target) -> VectorPlace {
      return {.store = ServerStoreName("falkordb", target.path, "localhost", "6379"),
              .table = target.Get("label"),
              .column = target.Get("vector")};
    },
    .scratch = &kFalkorScratch,
    .lock = [](const Location& target,
               const LockAsker& asker) { return LockFalkorProperty(target, asker, LoginOf(target)); },
    .shares_lock = true,
    .roll_back = [](const Location& l, UndoReader* old_rows) { return RollBackFalkor(l, old_rows, LoginOf(l)); },
    .backup = {.back_up = BackUp,
               .occupant = Occupant,
               .restore = Restore,
               .lock = [](const Location& place, const LockAsker&) { return LockFalkorGraph(place, LoginOf(place)); },
               .example = "falkordb://HOST:6379/memories"},
};

}  // namespace reembed
