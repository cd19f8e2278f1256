#include "io/store/automem_record.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "io/store/automem_payload.h"
#include "io/store/falkordb_graph.h"

namespace reembed {
namespace {

std::string Literal(absl::string_view text) {
  std::string literal;
  AppendFalkorText(text, &literal);
  return literal;
}

std::string Literal(const std::vector<std::string>& texts) {
  return absl::StrCat(
      "[", absl::StrJoin(texts, ",", [](std::string* out, const std::string& text) { *out += Literal(text); }), "]");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Source>> KeepAutomemRecord(const Location& location, const RunRecord& record,
                                                          const AutomemLogin& login) {
  absl::StatusOr<AutomemLocation> asked = ParseAutomemLocation(location);
  if (!asked.ok()) return asked.status();
  const absl::StatusOr<FalkorLocation> place = ParseFalkorLocation(asked->nodes, login.graph);
  if (!place.ok()) return place.status();
  const absl::StatusOr<std::unique_ptr<FalkorGraph>> graph = FalkorGraph::Open(*place, login.graph.patience);
  if (!graph.ok()) return graph.status();
  const std::vector<std::string> tags = {"migration", "config", "embeddings"};
  // As Python prints a moment in UTC. [automem/utils/time.py:utc_now]
  const std::string time = Literal(absl::FormatTime("%Y-%m-%dT%H:%M:%E6S+00:00", record.time, absl::UTCTimeZone()));
  std::vector<std::string> sets;
  for (const auto& [property, value] : std::vector<std::pair<std::string, std::string>>{
           {place->text, Literal(record.text)},
           {"tags", Literal(tags)},
           {"tag_prefixes", Literal(AutomemTagPrefixes(tags))},
           {"importance", "0.8"},
           {"type", Literal("Context")},
           {"confidence", "0.9"},  // of a type that is given and not guessed
           {"metadata", Literal(record.facts)},
           {"timestamp", time},
           {"t_valid", time},
           {"updated_at", time},
           {"last_accessed", time},
           {"processed", "false"}}) {
    sets.push_back(absl::StrCat("n.", FalkorName(property), "=", value));
  }
  const std::string key = absl::StrCat(FalkorName(place->key), ":", Literal(record.id));
  const absl::Status made = (*graph)
                                ->Query(absl::StrCat("MERGE (n:", FalkorName(place->label), " {", key,
                                                     "}) ON CREATE SET ", absl::StrJoin(sets, ", ")),
                                        FalkorGraph::Access::kWrite)
                                .status();
  if (!made.ok()) return made;
  // A server that cannot say whether it is on the disk keeps it as safely as it keeps everything else.
  if (const absl::StatusOr<bool> synced = (*graph)->Sync(); !synced.ok()) return synced.status();
  return OpenAutomemSource(location, {.where = absl::StrCat("n.", FalkorName(place->key), " = ", Literal(record.id))},
                           login);
}

}  // namespace reembed
