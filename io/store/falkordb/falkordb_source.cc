// SPDX-License-Identifier: Apache-2.0
#include "io/store/falkordb/falkordb_source.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/number/float_list.h"
#include "engine/status_macros.h"
#include "io/store/falkordb/falkordb_nodes.h"
#include "io/store/falkordb/falkordb_scan.h"

namespace reembed {
namespace {

class FalkorSource final : public Source {
 public:
  FalkorSource(FalkorNodes nodes, const std::string& wanted)
      : nodes_(std::move(nodes)),
        wanted_(wanted),
        scan_(&nodes_, nodes_.asked.text, wanted),
        find_(&nodes_, nodes_.asked.text, nodes_.where) {}

  absl::Status SeekToFirst(const std::string& key) {
    if (key.empty()) return absl::OkStatus();
    int64_t number;
    if (!nodes_.integer_keys) {
      from_ = key;
    } else if (absl::SimpleAtoi(key, &number)) {
      from_ = number;
    } else {
      return absl::InvalidArgumentError(
          nodes_.Message(absl::StrCat("`", key, "` cannot be a key `", nodes_.asked.key, "` to resume from")));
    }
    return scan_.SeekTo(ViewOf(*from_));
  }

  absl::StatusOr<std::optional<RowView>> Next() override { return Take(&scan_, scan_.Next()); }
  absl::Status SeekAfter(KeyView key) override { return scan_.SeekAfter(key); }
  absl::StatusOr<std::optional<RowView>> Find(KeyView key) override { return Take(&find_, find_.Find(key)); }

  absl::StatusOr<int64_t> CountRows() override {
    int64_t rows = 0;
    ABSL_RETURN_IF_ERROR(nodes_.graph->client()->Persist([&] {
      std::string cypher;
      if (from_.has_value()) {
        cypher = "CYPHER from=";
        AppendFalkorKey(ViewOf(*from_), &cypher);
      }
      absl::StrAppend(&cypher, " ", nodes_.Match(), " WHERE ",
                      from_.has_value() ? absl::StrCat(nodes_.ComparableKey(), " >= $from AND ") : "", wanted_,
                      " RETURN count(n)");
      const absl::StatusOr<int64_t> counted = nodes_.graph->Count(cypher);
      if (counted.ok()) rows = *counted;
      return counted.status();
    }));
    return rows;
  }

 private:
  absl::StatusOr<std::optional<RowView>> Take(FalkorScan* scan, const absl::StatusOr<bool>& found) {
    ABSL_RETURN_IF_ERROR(found.status());
    if (!*found) return std::nullopt;
    RowView row{.key = scan->key()};
    const FalkorCell cell = scan->cell();
    if (cell.type() == FalkorCell::Type::kText) {
      row.text = cell.Text();
    } else if (cell.type() != FalkorCell::Type::kNull) {
      problem_ = absl::StrCat("expected `", nodes_.asked.text, "` to be a string, got ", NameOf(cell.type()));
      row.problem = problem_;
    }
    return row;
  }

  static absl::string_view NameOf(FalkorCell::Type type) {
    switch (type) {
      case FalkorCell::Type::kInteger:
      case FalkorCell::Type::kDouble:
        return "a number";
      case FalkorCell::Type::kBoolean:
        return "a truth value";
      case FalkorCell::Type::kArray:
        return "a list";
      case FalkorCell::Type::kMap:
        return "a map";
      case FalkorCell::Type::kVector:
        return "a vector";
      case FalkorCell::Type::kNull:
      case FalkorCell::Type::kText:
        break;
    }
    return "something else";
  }

  const FalkorNodes nodes_;
  const std::string wanted_;  // Cypher: this node is selected
  std::optional<Key> from_;
  FalkorScan scan_, find_;
  std::string problem_;
};

// Cypher behind another condition: the key is in the range.
absl::StatusOr<std::string> RangeCypher(const FalkorNodes& nodes, const KeyRange& range) {
  std::string cypher;
  for (const auto& [bound, comparison] : {std::pair(&range.from, " >= "), std::pair(&range.before, " < ")}) {
    if (!bound->has_value()) continue;
    if (std::holds_alternative<int64_t>(**bound) != nodes.integer_keys && nodes.rows > 0) {
      return absl::InvalidArgumentError(
          nodes.Message(absl::StrCat("`", KeyText(ViewOf(**bound)), "` cannot be a key `", nodes.asked.key,
                                     "`, so it ends no range of keys there")));
    }
    absl::StrAppend(&cypher, " AND ", nodes.ComparableKey(), comparison);
    AppendFalkorKey(ViewOf(**bound), &cypher);
  }
  return cypher;
}

absl::StatusOr<bool> HasProperty(const FalkorNodes& nodes, const std::string& name) {
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> names, FalkorPropertyNames(nodes.graph.get()));
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string IsVector(const FalkorNodes& nodes) {
  return absl::StrCat("typeOf(", nodes.Property(nodes.asked.vector), ") = 'Vectorf32'");
}

// Whether all vectors are `dim` wide. Cypher has no function for the width, but a distance insists on equal ones.
absl::StatusOr<bool> AllHaveWidth(const FalkorNodes& nodes, int dim) {
  std::string zeros;
  AppendFloatList(std::vector<float>(static_cast<size_t>(std::max(dim, 1))), &zeros);
  const absl::StatusOr<FalkorRows> tried = nodes.graph->Query(
      absl::StrCat("CYPHER z=", zeros, " ", nodes.Match(), " WHERE ", nodes.where, " AND ", IsVector(nodes),
                   " RETURN max(vec.euclideanDistance(", nodes.Property(nodes.asked.vector), ", vecf32($z)))"));
  if (tried.ok()) return true;
  if (absl::StrContains(tried.status().message(), "dimension mismatch")) return false;
  return tried.status();
}

// Which models the nodes with a vector name.
absl::Status CountModels(const FalkorNodes& nodes, Survey* survey) {
  if (nodes.asked.model_property.empty() || survey->rows_with_vector == 0) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(const bool there, HasProperty(nodes, nodes.asked.model_property));
  if (!there) {
    survey->AddModel("", survey->rows_with_vector);
    return absl::OkStatus();
  }
  ABSL_ASSIGN_OR_RETURN(
      const FalkorRows models,
      nodes.graph->Query(absl::StrCat(nodes.Match(), " WHERE ", nodes.where, " AND ", IsVector(nodes),
                                      " RETURN coalesce(toString(", nodes.Property(nodes.asked.model_property),
                                      "), ''), count(n) ORDER BY count(n) DESC LIMIT ", Survey::kMaxGroups)));
  for (size_t row = 0; row < models.size(); ++row) {
    survey->AddModel(std::string((models)(row, 0).Text()), (models)(row, 1).Integer());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Source>> OpenFalkorSource(const Location& location, const Selection& selection,
                                                         const FalkorOptions& options) {
  ABSL_ASSIGN_OR_RETURN(FalkorLocation asked, ParseFalkorLocation(location, options));
  if (asked.text.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(asked.address.name, "/", asked.graph, ": no property of texts; add &text=NAME"));
  }
  ABSL_ASSIGN_OR_RETURN(FalkorNodes nodes, OpenFalkorNodes(std::move(asked), selection.where, options.patience));
  ABSL_RETURN_IF_ERROR(CheckFalkorProperty(nodes.graph.get(), "text", nodes.asked.text));
  ABSL_ASSIGN_OR_RETURN(const std::string range, RangeCypher(nodes, selection.range));
  std::string wanted = absl::StrCat(nodes.where, range);
  const bool with = selection.rows == Selection::Rows::kWithVector;
  if (selection.rows != Selection::Rows::kAll && !nodes.asked.vector.empty()) {
    ABSL_ASSIGN_OR_RETURN(const bool right, AllHaveWidth(nodes, selection.dim));
    if (!right) {
      return absl::FailedPreconditionError(nodes.Message(
          absl::StrCat("some vectors in `", nodes.asked.vector, "` are not ", selection.dim,
                       " numbers wide, and a query cannot tell which; select all rows, or fill another property")));
    }
    absl::StrAppend(&wanted, with ? " AND " : " AND NOT ", "coalesce(", IsVector(nodes), ", false)");
  }
  auto source = std::make_unique<FalkorSource>(std::move(nodes), wanted);
  ABSL_RETURN_IF_ERROR(source->SeekToFirst(selection.resume_from));
  return source;
}

absl::StatusOr<Survey> SurveyFalkor(const Location& location, const Selection& selection,
                                    const FalkorOptions& options) {
  ABSL_ASSIGN_OR_RETURN(FalkorLocation asked, ParseFalkorLocation(location, options));
  ABSL_ASSIGN_OR_RETURN(FalkorNodes nodes, OpenFalkorNodes(std::move(asked), selection.where, options.patience));
  if (!selection.range.empty()) {
    ABSL_ASSIGN_OR_RETURN(const std::string range, RangeCypher(nodes, selection.range));
    absl::StrAppend(&nodes.where, range);
    ABSL_ASSIGN_OR_RETURN(nodes.rows,
                          nodes.graph->Count(absl::StrCat(nodes.Match(), " WHERE ", nodes.where, " RETURN count(n)")));
  }
  Survey survey{.rows_selected = nodes.rows, .rows_null = nodes.rows};
  if (nodes.asked.vector.empty()) return survey;
  const absl::StatusOr<bool> there = HasProperty(nodes, nodes.asked.vector);
  if (!there.ok() || !*there) return there.ok() ? absl::StatusOr<Survey>(survey) : there.status();
  const std::string something = absl::StrCat(nodes.where, " AND ", nodes.Property(nodes.asked.vector), " IS NOT NULL");
  const std::string count = absl::StrCat(nodes.Match(), " WHERE ", something);
  ABSL_ASSIGN_OR_RETURN(const int64_t filled, nodes.graph->Count(absl::StrCat(count, " RETURN count(n)")));
  ABSL_ASSIGN_OR_RETURN(const int64_t vectors,
                        nodes.graph->Count(absl::StrCat(count, " AND ", IsVector(nodes), " RETURN count(n)")));
  survey.rows_null -= filled;
  if (filled > vectors) survey.AddWidth(-1, filled - vectors);
  ABSL_ASSIGN_OR_RETURN(const bool right, AllHaveWidth(nodes, selection.dim));
  if (right) {
    survey.rows_with_vector = vectors;
    if (vectors > 0) survey.AddWidth(selection.dim, vectors);
    ABSL_RETURN_IF_ERROR(CountModels(nodes, &survey));
    return survey;
  }
  FalkorScan scan(&nodes, nodes.asked.vector, absl::StrCat(nodes.where, " AND ", IsVector(nodes)));
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool more, scan.Next());
    if (!more) return survey;
    const int64_t dim = static_cast<int64_t>(scan.cell().size());
    if (dim == selection.dim) ++survey.rows_with_vector;
    survey.AddWidth(dim, 1);
  }
}

}  // namespace reembed
