// SPDX-License-Identifier: Apache-2.0
#include "io/system/automem_record.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"
#include "io/store/falkordb/falkordb_graph.h"
#include "io/system/automem_payload.h"

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

absl::StatusOr<std::unique_ptr<Source>> SaveAutomemRecord(const Location& location, const RunRecord& record,
                                                          const AutomemLogin& login) {
  ABSL_ASSIGN_OR_RETURN(AutomemLocation asked, ParseAutomemLocation(location));
  ABSL_ASSIGN_OR_RETURN(const FalkorLocation place, ParseFalkorLocation(asked.nodes, login.graph));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<FalkorGraph> graph, FalkorGraph::Open(place, login.graph.patience));
  const std::vector<std::string> tags = {"migration", "config", "embeddings"};
  // As Python prints a moment in UTC. [automem/utils/time.py:utc_now]
  const std::string time = Literal(absl::FormatTime("%Y-%m-%dT%H:%M:%E6S+00:00", record.time, absl::UTCTimeZone()));
  std::vector<std::string> sets;
  for (const auto& [property, value] : std::vector<std::pair<std::string, std::string>>{
           {place.text, Literal(record.text)},
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
  const std::string key = absl::StrCat(FalkorName(place.key), ":", Literal(record.id));
  ABSL_RETURN_IF_ERROR((graph)
                           ->Query(absl::StrCat("MERGE (n:", FalkorName(place.label), " {", key, "}) ON CREATE SET ",
                                                absl::StrJoin(sets, ", ")),
                                   FalkorGraph::Access::kWrite)
                           .status());
  // A server that cannot say whether it is on the disk keeps it as safely as it keeps everything else.
  ABSL_RETURN_IF_ERROR(graph->Sync().status());
  return OpenAutomemSource(location, {.where = absl::StrCat("n.", FalkorName(place.key), " = ", Literal(record.id))},
                           login);
}

}  // namespace reembed
