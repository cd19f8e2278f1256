// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_kind.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/counted.h"
#include "engine/number/json_text.h"
#include "engine/status_macros.h"
#include "io/store/qdrant/qdrant_backup.h"
#include "io/store/qdrant/qdrant_cut.h"
#include "io/store/qdrant/qdrant_reader.h"
#include "io/store/qdrant/qdrant_scratch.h"
#include "io/store/qdrant/qdrant_sink.h"
#include "io/store/qdrant/qdrant_source.h"
#include "io/store/qdrant/qdrant_target.h"
#include "io/store/qdrant/qdrant_undo.h"

namespace reembed {
namespace {

using Parts = std::vector<BackupPart>;

constexpr const char* kKeyVariables[] = {"QDRANT_API_KEY"};

// A database may scale vectors, or keep fewer bits, but another text's vector is not so near.
constexpr double kSameVectorCosine = 0.99999;

// The last part of an address is the collection.
VectorPlace PlaceOf(const Location& target) {
  std::string server = ServerStoreName("qdrant", target.path, "localhost", "6333");
  const size_t slash = server.rfind('/');
  if (slash == std::string::npos) return {.store = std::move(server)};
  return {.store = server.substr(0, slash), .table = server.substr(slash + 1), .column = target.Get("vector")};
}

std::string Equals(absl::string_view field, absl::string_view value) {
  return absl::StrCat(R"({"must":[{"key":)", JsonQuoted(field), R"(,"match":{"value":)", JsonQuoted(value), "}}]}");
}

std::string Both(absl::string_view a, absl::string_view b) {
  return AllQdrantFilters({std::string(a), std::string(b)});
}

absl::StatusOr<QdrantLocation> CollectionOf(const Location& place) {
  return ParseQdrantLocation({.scheme = place.scheme, .path = place.path});
}

absl::StatusOr<Parts> BackUp(const Location& place, const BackupFiles& files) {
  ABSL_ASSIGN_OR_RETURN(const QdrantLocation collection, CollectionOf(place));
  const std::string timestamp = BackupTimestamp(files.begun);
  BackupPart part{.file = absl::StrCat("qdrant/qdrant_", timestamp, ".json.gz"),
                  .origin = Location{.scheme = place.scheme, .path = place.path}.ToString()};
  ABSL_ASSIGN_OR_RETURN(const std::string path, files.path_of(part.file));
  ABSL_ASSIGN_OR_RETURN(part.rows, BackUpQdrantCollection(collection, {.api_key = place.secret}, timestamp, path));
  return Parts{std::move(part)};
}

absl::StatusOr<std::string> Occupant(const std::string&, const Location& place, const Parts&) {
  ABSL_ASSIGN_OR_RETURN(const QdrantLocation collection, CollectionOf(place));
  ABSL_ASSIGN_OR_RETURN(const int64_t points, CountQdrantCollection(collection, {.api_key = place.secret}));
  if (points < 0) return "";
  return absl::StrCat(place.ToString(), " (", Counted(points, "point", "points"), ")");
}

absl::StatusOr<std::string> Restore(const std::string& dir, const Location& place, const Parts& parts,
                                    RestoreProgress told) {
  ABSL_ASSIGN_OR_RETURN(const QdrantLocation collection, CollectionOf(place));
  return RestoreQdrantCollection(absl::StrCat(dir, "/", parts.front().file), collection, {.api_key = place.secret},
                                 told);
}

}  // namespace

QdrantOptions QdrantLogin(const Location& location) {
  QdrantOptions options{.api_key = location.secret};
  if (location.answered != nullptr) options.answered = location.answered;
  return options;
}

constinit const StoreKind kQdrantKind = {
    .name = "qdrant",
    .example = "qdrant:http://HOST:6333/COLLECTION?text=content",
    .title = "Qdrant",
    .secret = SecretKind::kApiKey,
    .secret_variables = kKeyVariables,
    .open_source = [](const Location& l, const Selection& rows) { return OpenQdrantSource(l, rows, QdrantLogin(l)); },
    .make_sink =
        [](const Location& target, const Model& model, const Location& source) {
          return MakeQdrantSink(target, model, IsSameQdrantCollection(source, target), QdrantLogin(target));
        },
    .open_reader = [](const Location& l, int dim) { return OpenQdrantReader(l, dim, QdrantLogin(l)); },
    .cut = [](const Location& l, const Selection&, int shares) { return CutQdrant(l, shares, QdrantLogin(l)); },
    .conditions = {.equals = Equals, .both = Both},
    .survey = [](const Location& l, const Selection& rows) { return SurveyQdrant(l, rows, QdrantLogin(l)); },
    .changes = [](const Location& l, const Model& model) { return QdrantChanges(l, model, QdrantLogin(l)); },
    .check_key = CheckQdrantKey,
    .vector_place = PlaceOf,
    .scratch = &kQdrantScratch,
    .roll_back = [](const Location& l, UndoReader* old_rows) { return RollBackQdrant(l, old_rows, QdrantLogin(l)); },
    .overwriting = [](const Location& l, const Model& model) { return QdrantOverwriting(l, model, QdrantLogin(l)); },
    .least_cosine = kSameVectorCosine,
    .backup = {.back_up = BackUp,
               .occupant = Occupant,
               .restore = Restore,
               .example = "qdrant:http://HOST:6333/memories"},
};

}  // namespace reembed
