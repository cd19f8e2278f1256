// SPDX-License-Identifier: Apache-2.0
#include "io/store/falkordb/falkordb_fetch.h"

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

FalkorValue ValueOf(const FalkorCell& cell) {
  FalkorValue result;
  switch (cell.type()) {
    case FalkorCell::Type::kText:
      result.value = std::string(cell.Text());
      break;
    case FalkorCell::Type::kInteger:
      result.value = cell.Integer();
      break;
    case FalkorCell::Type::kBoolean:
      result.value = cell.Text() == "true";
      break;
    case FalkorCell::Type::kDouble: {
      double number;
      if (absl::SimpleAtod(cell.Text(), &number)) result.value = number;
      break;
    }
    case FalkorCell::Type::kArray: {
      FalkorValue::List list;
      for (size_t i = 0; i < cell.size(); ++i) list.push_back(ValueOf(cell[i]));
      result.value = std::move(list);
      break;
    }
    default:
      break;
  }
  return result;
}

// Asks for the nodes with these keys and gives each that is there to `take`, with its place in `keys`. Asks again for
// those that did not come, until none comes: the server may cut any answer (RESULTSET_SIZE).
absl::Status ForEachNode(const FalkorNodes& nodes, absl::string_view where, absl::Span<const KeyView> keys,
                         const std::string& result, absl::FunctionRef<void(size_t, const FalkorRows&, size_t)> take) {
  absl::flat_hash_map<Key, std::vector<size_t>> missing;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (CanBeFalkorKey(nodes, keys[i])) missing[Own(keys[i])].push_back(i);
  }
  while (!missing.empty()) {
    std::string cypher = "CYPHER keys=[";
    bool indexed = true;
    for (const auto& [key, places] : missing) {
      indexed = indexed && IsInFalkorIndex(ViewOf(key));
      if (cypher.back() != '[') cypher.push_back(',');
      AppendFalkorKey(ViewOf(key), &cypher);
    }
    // IN binds closer than +.
    const std::string key_to_find = indexed ? nodes.Key() : absl::StrCat("(", nodes.Key(), " + '')");
    absl::StrAppend(&cypher, "] ", nodes.Match(), " WHERE ", key_to_find, " IN $keys AND ", where, " RETURN ",
                    nodes.Key(), result);
    bool any = false;
    ABSL_RETURN_IF_ERROR(nodes.graph->client()->Persist([&] {
      ABSL_ASSIGN_OR_RETURN(const FalkorRows rows, nodes.graph->Query(cypher));
      for (size_t row = 0; row < rows.size(); ++row) {
        const FalkorCell cell = (rows)(row, 0);
        const auto found = missing.find(cell.type() == FalkorCell::Type::kInteger ? Key(cell.Integer())
                                                                                  : Key(std::string(cell.Text())));
        if (found == missing.end()) continue;
        any = true;
        for (const size_t place : found->second) take(place, rows, row);
        missing.erase(found);
      }
      return absl::OkStatus();
    }));
    if (!any) break;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<FalkorFetch>> FalkorFetch::Open(const Location& location, const FalkorOptions& options) {
  ABSL_ASSIGN_OR_RETURN(FalkorLocation asked, ParseFalkorLocation(location, options));
  ABSL_ASSIGN_OR_RETURN(FalkorNodes nodes, OpenFalkorNodes(std::move(asked), "", options.patience));
  return std::unique_ptr<FalkorFetch>(new FalkorFetch(std::move(nodes)));
}

absl::StatusOr<std::vector<std::optional<FalkorProperties>>> FalkorFetch::Fetch(
    absl::Span<const KeyView> keys, absl::Span<const std::string> properties) {
  std::string result;
  for (const std::string& property : properties) {
    if (absl::StrContains(property, '`')) {
      return absl::InvalidArgumentError(nodes_.Message("a name with a backtick cannot be written in Cypher"));
    }
    absl::StrAppend(&result, ", ", nodes_.Property(property));
  }
  std::vector<std::optional<FalkorProperties>> found(keys.size());
  ABSL_RETURN_IF_ERROR(
      ForEachNode(nodes_, nodes_.where, keys, result, [&](size_t place, const FalkorRows& rows, size_t row) {
        FalkorProperties values;
        for (size_t i = 0; i < properties.size(); ++i) values.push_back(ValueOf(rows(row, i + 1)));
        found[place] = std::move(values);
      }));
  return found;
}

absl::Status ForEachFalkorNode(const FalkorNodes& nodes, absl::Span<const KeyView> keys,
                               absl::Span<const std::string> expressions,
                               absl::FunctionRef<void(size_t place, const FalkorRows& answer, size_t row)> take) {
  std::string result;
  for (const std::string& expression : expressions) absl::StrAppend(&result, ", ", expression);
  return ForEachNode(nodes, "true", keys, result, take);
}

absl::StatusOr<std::vector<bool>> FindFalkorKeys(const FalkorNodes& nodes, absl::Span<const KeyView> keys) {
  std::vector<bool> found(keys.size());
  ABSL_RETURN_IF_ERROR(
      ForEachNode(nodes, "true", keys, "", [&](size_t place, const FalkorRows&, size_t) { found[place] = true; }));
  return found;
}

}  // namespace reembed
