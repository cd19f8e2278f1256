// SPDX-License-Identifier: Apache-2.0
#include "io/store/falkordb/falkordb_scratch.h"

#include <algorithm>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/status_macros.h"
#include "io/store/falkordb/falkordb_graph.h"

namespace reembed {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);
constexpr int64_t kNodesPerQuery = 10000;

absl::StatusOr<Location> GraphLike(const Location& target, absl::string_view name) {
  ABSL_RETURN_IF_ERROR(ParseFalkorLocation(target, {}).status());
  Location scratch = target;
  scratch.path = absl::StrCat(target.path.substr(0, target.path.rfind('/') + 1), name);
  scratch.parameters = {{"label", "Row"}, {"key", "id"}, {"text", "text"}, {"vector", "embedding"}};
  if (!target.Get("index").empty()) scratch.parameters["index"] = target.Get("index");
  return scratch;
}

absl::StatusOr<std::unique_ptr<FalkorGraph>> Open(const Location& scratch) {
  ABSL_ASSIGN_OR_RETURN(const FalkorLocation place, ParseFalkorLocation(scratch, {.password = scratch.secret}));
  return FalkorGraph::OpenNew(place, kPatience);
}

std::string NameOf(const Location& scratch) { return scratch.path.substr(scratch.path.rfind('/') + 1); }

absl::StatusOr<bool> Exists(FalkorGraph* graph, const std::string& name) {
  ABSL_ASSIGN_OR_RETURN(const RespReply reply, graph->client()->Call({"GRAPH.LIST"}));
  for (size_t i = 0; i < reply.value().size(); ++i) {
    if (reply.value()[i].Text() == name) return true;
  }
  return false;
}

absl::Status Remove(const Location& scratch) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<FalkorGraph> graph, Open(scratch));
  const std::string name = NameOf(scratch);
  ABSL_ASSIGN_OR_RETURN(const bool exists, Exists(graph.get(), name));
  if (!exists) return absl::OkStatus();
  return graph->client()->Call({"GRAPH.DELETE", name}).status();
}

absl::Status Fill(FalkorGraph* graph, int64_t rows) {
  // By this its sink finds the nodes; with them it would have to be made for each.
  ABSL_RETURN_IF_ERROR(graph->Query("CREATE INDEX FOR (n:Row) ON (n.id)", FalkorGraph::Access::kWrite).status());
  std::string text;
  AppendFalkorText(kScratchText, &text);
  for (int64_t begin = 0; begin < rows; begin += kNodesPerQuery) {
    const int64_t end = std::min(rows, begin + kNodesPerQuery);
    ABSL_RETURN_IF_ERROR(graph
                             ->Query(absl::StrCat("UNWIND range(", begin, ", ", end - 1,
                                                  ") AS i CREATE (:Row {id: i, text: ", text, "})"),
                                     FalkorGraph::Access::kWrite)
                             .status());
  }
  return absl::OkStatus();
}

absl::Status Make(const Location& scratch, const Location&, int, int64_t rows) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<FalkorGraph> graph, Open(scratch));
  ABSL_ASSIGN_OR_RETURN(const bool occupied, Exists(graph.get(), NameOf(scratch)));
  if (occupied) return absl::AlreadyExistsError(graph->Message("is there already"));
  absl::Status made = Fill(graph.get(), rows);
  if (!made.ok()) Remove(scratch).IgnoreError();
  return made;
}

}  // namespace

constinit const ScratchWays kFalkorScratch = {.place = GraphLike, .make = Make, .remove = Remove};

}  // namespace reembed
