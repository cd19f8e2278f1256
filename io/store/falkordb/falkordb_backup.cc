// SPDX-License-Identifier: Apache-2.0
#include "io/store/falkordb/falkordb_backup.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/number/json_text.h"
#include "engine/number/number_text.h"
#include "engine/status_macros.h"
#include "io/file/gzip.h"

namespace reembed {
namespace {

// Ids in one question, so that the server sorts no more than these.
constexpr int64_t kWindow = 1000;

// A property as JSON. false: the form cannot hold it.
bool AppendCell(const FalkorCell& cell, std::string* out) {
  switch (cell.type()) {
    case FalkorCell::Type::kNull:
      out->append("null");
      return true;
    case FalkorCell::Type::kText:
      if (!IsValidUtf8(cell.Text())) return false;
      AppendJsonString(cell.Text(), out);
      return true;
    case FalkorCell::Type::kInteger:
      absl::StrAppend(out, cell.Integer());
      return true;
    case FalkorCell::Type::kBoolean:
      absl::StrAppend(out, cell.Text());
      return true;
    case FalkorCell::Type::kDouble: {
      const absl::string_view number = cell.Text();
      if (number.find_first_not_of("+-.e0123456789") != absl::string_view::npos) return false;
      // A whole one would come back as an integer.
      absl::StrAppend(out, number, number.find_first_of(".e") == absl::string_view::npos ? ".0" : "");
      return true;
    }
    case FalkorCell::Type::kArray:
      out->push_back('[');
      for (size_t i = 0; i < cell.size(); ++i) {
        if (i > 0) out->push_back(',');
        if (!AppendCell(cell[i], out)) return false;
      }
      out->push_back(']');
      return true;
    case FalkorCell::Type::kVector: {
      std::vector<float> numbers(cell.size());
      if (cell.Vector(absl::MakeSpan(numbers)) < 0) return false;
      out->push_back('[');
      for (size_t i = 0; i < numbers.size(); ++i) {
        if (i > 0) out->push_back(',');
        AppendPythonNumber(numbers[i], out);
      }
      out->push_back(']');
      return true;
    }
    default:
      return false;
  }
}

// Writes a graph while it is read.
class GraphWriter {
 public:
  GraphWriter(FalkorGraph* graph, GzipWriter* file) : graph_(graph), file_(file) {}

  absl::Status WriteNodes() {
    ABSL_ASSIGN_OR_RETURN(const int64_t before, graph_->Count("MATCH (n) RETURN count(n)"));
    ABSL_RETURN_IF_ERROR(ForEachWindow(
        "MATCH (n) WHERE id(n) > $last AND id(n) < $end RETURN id(n), labels(n), properties(n) ORDER BY id(n) LIMIT "
        "1000",
        [](int64_t begin, int64_t) { return begin - 1; },
        [this](const FalkorRows& rows, size_t row) {
          last_ = rows(row, 0).Integer();
          return WriteNode(rows(row, 0).Integer(), rows(row, 1), rows(row, 2));
        }));
    ABSL_ASSIGN_OR_RETURN(const int64_t after, graph_->Count("MATCH (n) RETURN count(n)"));
    if (static_cast<int64_t>(nodes_.size()) >= std::min(before, after)) return absl::OkStatus();
    return absl::AbortedError(graph_->Message(absl::StrCat("expected ", after, " nodes, got ", nodes_.size(),
                                                           "; nodes were deleted meanwhile, run this again")));
  }

  absl::Status WriteRelationships() {
    first_ = true;
    return ForEachWindow(
        "MATCH (a)-[r]->(b) WHERE id(a) >= $begin AND id(a) < $end AND id(r) > $last RETURN id(r), id(a), type(r), "
        "id(b), "
        "properties(r) ORDER BY id(r) LIMIT 1000",
        [](int64_t, int64_t) { return int64_t{-1}; },
        [this](const FalkorRows& rows, size_t row) {
          last_ = rows(row, 0).Integer();
          // Made after its nodes were read.
          if (nodes_.count(rows(row, 1).Integer()) == 0 || nodes_.count(rows(row, 3).Integer()) == 0) {
            return absl::OkStatus();
          }
          std::string json =
              absl::StrCat(R"({"source_id":)", rows(row, 1).Integer(), R"(,"type":)", JsonQuoted(rows(row, 2).Text()),
                           R"(,"target_id":)", rows(row, 3).Integer(), R"(,"properties":)");
          ABSL_RETURN_IF_ERROR(AppendProperties("relationship", last_, rows(row, 4), &json, nullptr));
          ++relationships_;
          return Write(json + "}");
        });
  }

  int64_t nodes() const { return static_cast<int64_t>(nodes_.size()); }
  int64_t relationships() const { return relationships_; }
  const std::map<std::string, int64_t>& labels() const { return labels_; }

 private:
  // Asks `cypher` again and again, as the server may cut any answer short, until it has no more rows; by windows of
  // node ids. `start`: of $last in a window [begin, end).
  absl::Status ForEachWindow(absl::string_view cypher, absl::FunctionRef<int64_t(int64_t, int64_t)> start,
                             absl::FunctionRef<absl::Status(const FalkorRows&, size_t)> take) {
    ABSL_ASSIGN_OR_RETURN(const int64_t max, graph_->Count("MATCH (n) RETURN coalesce(max(id(n)), -1)"));
    for (int64_t begin = 0; begin <= max; begin += kWindow) {
      last_ = start(begin, begin + kWindow);
      while (true) {
        const absl::StatusOr<FalkorRows> rows =
            graph_->Query(absl::StrCat("CYPHER last=", last_, " begin=", begin, " end=", begin + kWindow, " ", cypher));
        if (!rows.ok() && absl::StrContains(rows.status().message(), "nested multi bulk")) {
          return absl::FailedPreconditionError(graph_->Message(absl::StrCat(
              "nodes ", begin, " to ", begin + kWindow - 1, " or their relationships: a property has lists ",
              "in lists, which this program cannot read; copy the server's own files instead")));
        }
        ABSL_RETURN_IF_ERROR(rows.status());
        if (rows->size() == 0) break;
        for (size_t row = 0; row < rows->size(); ++row) {
          ABSL_RETURN_IF_ERROR(take(*rows, row));
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status WriteNode(int64_t id, const FalkorCell& labels, const FalkorCell& properties) {
    std::string json = absl::StrCat(R"({"id":)", id, R"(,"labels":[)");
    for (size_t i = 0; i < labels.size(); ++i) absl::StrAppend(&json, i > 0 ? "," : "", JsonQuoted(labels[i].Text()));
    json += R"(],"properties":)";
    std::string vectors;
    ABSL_RETURN_IF_ERROR(AppendProperties("node", id, properties, &json, &vectors));
    if (!vectors.empty()) absl::StrAppend(&json, R"(,"vectors":[)", vectors, "]");
    nodes_.insert(id);
    ++labels_[labels.size() == 0 ? "(no label)" : std::string(labels[0].Text())];
    return Write(json + "}");
  }

  // `vectors`: gets the names of those that are vectors.
  absl::Status AppendProperties(absl::string_view what, int64_t id, const FalkorCell& map, std::string* json,
                                std::string* vectors) {
    json->push_back('{');
    for (size_t i = 0; i < map.size() / 2; ++i) {
      absl::StrAppend(json, i > 0 ? "," : "", JsonQuoted(map.MapKey(i)), ":");
      if (!AppendCell(map.MapValue(i), json)) {
        return absl::FailedPreconditionError(graph_->Message(absl::StrCat(
            what, " ", id, ": property `", map.MapKey(i), "` has a value of type ",
            static_cast<int>(map.MapValue(i).type()), " (a point, a time, or no number or text at all) that ",
            "AutoMem's form of a backup cannot hold; copy the server's own files instead")));
      }
      if (vectors != nullptr && map.MapValue(i).type() == FalkorCell::Type::kVector) {
        absl::StrAppend(vectors, vectors->empty() ? "" : ",", JsonQuoted(map.MapKey(i)));
      }
    }
    json->push_back('}');
    return absl::OkStatus();
  }

  absl::Status Write(absl::string_view json) {
    return file_->Append(absl::StrCat(std::exchange(first_, false) ? "\n" : ",\n", json));
  }

  FalkorGraph* const graph_;
  GzipWriter* const file_;
  std::set<int64_t> nodes_;
  std::map<std::string, int64_t> labels_;
  int64_t relationships_ = 0;
  int64_t last_ = -1;
  bool first_ = true;
};

// [{"label":"Memory","entity":"NODE","property":"id","type":"RANGE"}, ...]
absl::StatusOr<std::string> IndexesJson(FalkorGraph* graph) {
  // As one flat list: RESULTSET_SIZE would cut rows off, and hiredis takes replies of nine levels only.
  ABSL_ASSIGN_OR_RETURN(const FalkorRows rows, graph->Query("CALL db.indexes() YIELD label, types, entitytype UNWIND "
                                                            "keys(types) AS property UNWIND types[property] AS type "
                                                            "RETURN collect([label, entitytype, property, type])"));
  if (rows.size() != 1) return absl::DataLossError(graph->Message("no answer; set RESULTSET_SIZE to -1 there"));
  std::string json = "[";
  std::set<std::string> seen;  // an index that is being rebuilt is there twice
  const FalkorCell list = (rows)(0, 0);
  for (size_t i = 0; i < list.size(); ++i) {
    const FalkorCell index = list[i];
    const std::string member =
        absl::StrCat(R"({"label":)", JsonQuoted(index[0].Text()), R"(,"entity":)", JsonQuoted(index[1].Text()),
                     R"(,"property":)", JsonQuoted(index[2].Text()), R"(,"type":)", JsonQuoted(index[3].Text()), "}");
    if (seen.insert(member).second) absl::StrAppend(&json, json.size() > 1 ? "," : "", member);
  }
  return json + "]";
}

}  // namespace

absl::StatusOr<FalkorLocation> ParseFalkorGraph(const Location& place, const FalkorOptions& options) {
  Location whole = place;
  whole.parameters = {{"label", "any"}, {"key", "any"}};
  return ParseFalkorLocation(whole, options);
}

absl::StatusOr<int64_t> CountFalkorNodes(const FalkorLocation& place) {
  const absl::StatusOr<std::unique_ptr<FalkorGraph>> graph = FalkorGraph::Open(place, absl::ZeroDuration());
  if (absl::IsNotFound(graph.status())) return -1;
  ABSL_RETURN_IF_ERROR(graph.status());
  return (*graph)->Count("MATCH (n) RETURN count(n)");
}

absl::StatusOr<RowCounts> BackUpFalkorGraph(const FalkorLocation& from, const std::string& timestamp,
                                            const std::string& to) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<FalkorGraph> graph, FalkorGraph::Open(from, absl::ZeroDuration()));
  ABSL_ASSIGN_OR_RETURN(const std::string indexes, IndexesJson(graph.get()));
  ABSL_ASSIGN_OR_RETURN(GzipWriter file, GzipWriter::Create(to));
  GraphWriter writer(graph.get(), &file);
  absl::Status status = file.Append(absl::StrCat(R"({"timestamp":)", JsonQuoted(timestamp),
                                                 ",\n\"graph_name\":", JsonQuoted(from.graph), ",\n\"nodes\":["));
  if (status.ok()) status = writer.WriteNodes();
  if (status.ok()) status = file.Append("],\n\"relationships\":[");
  if (status.ok()) status = writer.WriteRelationships();
  if (status.ok()) {
    status = file.Append(absl::StrCat("],\n\"stats\":{\"node_count\":", writer.nodes(), ",\"relationship_count\":",
                                      writer.relationships(), "},\n\"indexes\":", indexes, "}\n"));
  }
  if (status.ok()) status = file.Close();
  ABSL_RETURN_IF_ERROR(status);
  RowCounts counts(writer.labels().begin(), writer.labels().end());
  counts.emplace_back("relationships", writer.relationships());
  return counts;
}

}  // namespace reembed
