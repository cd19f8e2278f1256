// SPDX-License-Identifier: Apache-2.0
#include "io/store/falkordb/falkordb_nodes.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/counted.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

absl::StatusOr<std::vector<std::string>> Names(FalkorGraph* graph, absl::string_view procedure,
                                               absl::string_view column) {
  // As one list: RESULTSET_SIZE would cut rows off.
  ABSL_ASSIGN_OR_RETURN(const FalkorRows rows, graph->Query(absl::StrCat("CALL ", procedure, "() YIELD ", column,
                                                                         " RETURN collect(", column, ")")));
  if (rows.size() == 0) return absl::DataLossError(graph->Message("no answer; set RESULTSET_SIZE to -1 there"));
  std::vector<std::string> names;
  const FalkorCell list = (rows)(0, 0);
  for (size_t i = 0; i < list.size(); ++i) names.emplace_back(list[i].Text());
  return names;
}

std::string Suggestion(absl::string_view word, const std::vector<std::string>& names) {
  const std::string near = NearestName(word, names);
  return near.empty() ? absl::StrCat("; the graph has ", names.size()) : absl::StrCat("; did you mean `", near, "`?");
}

constexpr size_t kMaxIndexedBytes = 1024;  // of a key; some thousand more are too many

// Whether all keys are of ASCII characters without blanks, letters of one case only, and such that their order stays
// when case is ignored. False also where the server does not know the function.
bool IndexOrders(const FalkorNodes& nodes) {
  for (const char* const odd : {"[^!-@\\\\[-~]", "[^!-Z{-~]"}) {
    const absl::StatusOr<int64_t> others = nodes.graph->Count(absl::StrCat(
        nodes.Match(), " WHERE ", nodes.where, " AND (", nodes.Key(), " = '' OR size(", nodes.Key(), ") > ",
        kMaxIndexedBytes, " OR size(string.matchRegEx(", nodes.Key(), ", '", odd, "')) > 0) RETURN count(n)"));
    if (!others.ok()) return false;
    if (*others == 0) return true;
  }
  return false;
}

// Looks at every selected node once.
absl::Status CheckKeys(FalkorNodes* nodes) {
  const absl::StatusOr<FalkorRows> types =
      nodes->graph->Query(absl::StrCat(nodes->Match(), " WHERE ", nodes->where, " WITH typeOf(", nodes->Key(),
                                       ") AS type, count(n) AS nodes RETURN collect([type, nodes])"));
  if (!types.ok()) {
    if (nodes->where == "true" || !absl::IsInvalidArgument(types.status())) return types.status();
    return absl::InvalidArgumentError(absl::StrCat(types.status().message(), " in where=", nodes->where));
  }
  if (types->size() != 1) return absl::DataLossError(nodes->Message("no answer; set RESULTSET_SIZE to -1 there"));
  const FalkorCell list = (*types)(0, 0);
  int64_t texts = 0, integers = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    const absl::string_view type = list[i][0].Text();
    const int64_t count = list[i][1].Integer();
    if (type == "String") {
      texts = count;
    } else if (type == "Integer") {
      integers = count;
    } else {
      return absl::FailedPreconditionError(nodes->Message(
          type == "Null" ? absl::StrCat(Counted(count, "node `", "nodes `"), nodes->asked.label,
                                        count == 1 ? "` has no `" : "` have no `", nodes->asked.key,
                                        "`, which is their key; leave them out with &where=n.`", nodes->asked.key,
                                        "` IS NOT NULL, or name another property")
                         : absl::StrCat(Counted(count, "node `", "nodes `"), nodes->asked.label,
                                        count == 1 ? "` has a key `" : "` have a key `", nodes->asked.key, "` of type ",
                                        type, "; expected texts or integers")));
    }
  }
  if (texts > 0 && integers > 0) {
    return absl::FailedPreconditionError(nodes->Message(absl::StrCat(
        "key `", nodes->asked.key, "` is a text in ", Counted(texts, "node", "nodes"), " and an integer in ", integers,
        "; select one kind with &where=typeOf(n.`", nodes->asked.key, "`) = 'String'")));
  }
  nodes->integer_keys = integers > 0;
  nodes->rows = texts + integers;
  nodes->index_orders = texts == 0 || IndexOrders(*nodes);
  ABSL_ASSIGN_OR_RETURN(const FalkorRows twice, nodes->graph->Query(absl::StrCat(
                                                    nodes->Match(), " WHERE ", nodes->where, " WITH ", nodes->Key(),
                                                    " AS k, count(n) AS c WHERE c > 1 RETURN k, c LIMIT 1")));
  if (twice.size() == 0) return absl::OkStatus();
  const FalkorCell key = (twice)(0, 0);
  return absl::FailedPreconditionError(nodes->Message(
      absl::StrCat((twice)(0, 1).Integer(), " nodes `", nodes->asked.label, "` have the key ",
                   key.type() == FalkorCell::Type::kInteger ? absl::StrCat(key.Integer()) : std::string(key.Text()),
                   "; name a property that is unique")));
}

}  // namespace

std::string FalkorNodes::Match() const { return absl::StrCat("MATCH (n:", FalkorName(asked.label), ")"); }

absl::StatusOr<std::vector<std::string>> FalkorPropertyNames(FalkorGraph* graph) {
  return Names(graph, "db.propertyKeys", "propertyKey");
}

absl::Status CheckFalkorProperty(FalkorGraph* graph, absl::string_view parameter, absl::string_view name) {
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> names, FalkorPropertyNames(graph));
  if (std::find(names.begin(), names.end(), name) != names.end()) return absl::OkStatus();
  return absl::NotFoundError(
      graph->Message(absl::StrCat("no property `", name, "` for ", parameter, "=", Suggestion(name, names))));
}

std::string FalkorNodes::KeyIs(absl::string_view value, bool in_index) const {
  if (integer_keys) return absl::StrCat(Key(), " = ", value);
  const std::string same = absl::StrCat(Key(), " + '' = ", value);
  return in_index ? absl::StrCat(Key(), " = ", value, " AND ", same) : same;
}

std::string FalkorNodes::OnProperty(absl::string_view property) const {
  return absl::StrCat("FOR (n:", FalkorName(asked.label), ") ON (", Property(property), ")");
}

absl::StatusOr<FalkorNodes> OpenFalkorNodes(FalkorLocation asked, absl::string_view where, absl::Duration patience) {
  ABSL_ASSIGN_OR_RETURN(auto graph, FalkorGraph::Open(asked, patience));
  FalkorNodes nodes{.asked = std::move(asked), .graph = std::move(graph), .where = "true"};
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> labels, Names(nodes.graph.get(), "db.labels", "label"));
  if (std::find(labels.begin(), labels.end(), nodes.asked.label) == labels.end()) {
    return absl::NotFoundError(
        nodes.Message(absl::StrCat("no label `", nodes.asked.label, "`", Suggestion(nodes.asked.label, labels))));
  }
  ABSL_RETURN_IF_ERROR(CheckFalkorProperty(nodes.graph.get(), "key", nodes.asked.key));
  if (!nodes.asked.where.empty() && !where.empty()) {
    nodes.where = absl::StrCat("(", nodes.asked.where, ") AND (", where, ")");
  } else if (!nodes.asked.where.empty() || !where.empty()) {
    nodes.where = absl::StrCat("(", nodes.asked.where, where, ")");
  }
  ABSL_RETURN_IF_ERROR(CheckKeys(&nodes));
  return nodes;
}

bool CanBeFalkorKey(const FalkorNodes& nodes, KeyView key) {
  if (std::holds_alternative<int64_t>(key)) return nodes.integer_keys || nodes.rows == 0;
  return !nodes.integer_keys && !absl::StrContains(std::get<absl::string_view>(key), '\0');
}

bool IsInFalkorIndex(KeyView key) {
  const absl::string_view* const text = std::get_if<absl::string_view>(&key);
  if (text == nullptr) return true;
  return !text->empty() && text->size() <= kMaxIndexedBytes && !absl::StrContains(*text, '\x01') &&
         !absl::ascii_isspace(static_cast<unsigned char>(text->front())) &&
         !absl::ascii_isspace(static_cast<unsigned char>(text->back()));
}

}  // namespace reembed
