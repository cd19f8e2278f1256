// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "engine/number/float_list.h"
#include "engine/number/json_reader.h"
#include "engine/number/json_value.h"
#include "engine/status_macros.h"
#include "io/file/gzip.h"
#include "io/store/falkordb/falkordb_backup.h"

namespace reembed {
namespace {

constexpr size_t kNodesAtATime = 250;
constexpr size_t kRelationshipsAtATime = 1000;
constexpr size_t kQueryBytes = size_t{1} << 20;
constexpr size_t kWaitingBytes = size_t{16} << 20;

absl::Status NotOfTheForm(const std::string& path, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": ", what, "; this is no backup of a graph as AutoMem makes it"));
}

// The members of a JSON object, as they stand. false: it is none.
bool Members(absl::string_view object, std::vector<std::pair<std::string, absl::string_view>>* members) {
  JsonScanner scanner(object, JsonScanner::Numbers::kPython);
  members->clear();
  return ForEachMember(&scanner, [members](absl::string_view name, absl::string_view value) {
    members->emplace_back(std::string(name), value);
    return true;
  });
}

bool Elements(absl::string_view array, std::vector<absl::string_view>* elements) {
  JsonScanner scanner(array, JsonScanner::Numbers::kPython);
  elements->clear();
  return ForEachElement(&scanner, [elements](absl::string_view value) {
    elements->push_back(value);
    return true;
  });
}

bool Texts(absl::string_view array, std::vector<std::string>* texts) {
  std::vector<absl::string_view> elements;
  if (!Elements(array, &elements)) return false;
  for (const absl::string_view element : elements) {
    std::string space;
    const auto text = JsonString(element, &space);
    if (!text.has_value()) return false;
    texts->emplace_back(*text);
  }
  return true;
}

bool IsName(absl::string_view name) {
  return !name.empty() && name.find('`') == absl::string_view::npos && name.find('\0') == absl::string_view::npos;
}

// JSON as a literal of Cypher. false: a graph cannot hold it.
bool AppendCypher(absl::string_view token, std::string* out) {
  std::string space;
  if (const auto text = JsonString(token, &space); text.has_value()) {
    if (text->find('\0') != absl::string_view::npos) return false;
    AppendFalkorText(*text, out);
    return true;
  }
  std::vector<absl::string_view> elements;
  if (Elements(token, &elements)) {
    out->push_back('[');
    for (size_t i = 0; i < elements.size(); ++i) {
      if (i > 0) out->push_back(',');
      if (!AppendCypher(elements[i], out)) return false;
    }
    out->push_back(']');
    return true;
  }
  const bool is_word = token == "true" || token == "false" || token == "null";
  if (!is_word && token.find_first_not_of("+-.eE0123456789") != absl::string_view::npos) return false;
  absl::StrAppend(out, token);
  return true;
}

// Whose value is a number list that is to be a vector again.
bool AppendCypherVector(absl::string_view token, std::string* out) {
  std::vector<absl::string_view> elements;
  if (!Elements(token, &elements)) return false;
  std::vector<float> numbers;
  for (const absl::string_view element : elements) {
    const auto number = JsonFloat(element);
    if (!number.has_value()) return false;
    numbers.push_back(*number);
  }
  AppendFloatList(numbers, out);
  return true;
}

struct Index {
  std::string label, entity, property, type;
};

// What the file says of itself.
struct FileFacts {
  int64_t nodes = 0, relationships = 0;
  int64_t said_nodes = -1, said_relationships = -1;
  bool has_indexes = false;
  std::vector<Index> indexes;
};

absl::StatusOr<FileFacts> ReadFacts(const std::string& path) {
  FileFacts facts;
  std::vector<std::pair<std::string, absl::string_view>> members;
  ABSL_RETURN_IF_ERROR(ReadGzipJson(path, [&](absl::string_view name, absl::string_view token, bool element) {
    if (element && name == "nodes") ++facts.nodes;
    if (element && name == "relationships") ++facts.relationships;
    if (name == "stats" && Members(token, &members)) {
      for (const auto& [member, value] : members) {
        if (member == "node_count") facts.said_nodes = JsonInteger(value).value_or(-1);
        if (member == "relationship_count") facts.said_relationships = JsonInteger(value).value_or(-1);
      }
    }
    if (name == "indexes") facts.has_indexes = true;
    if (name == "indexes" && element && Members(token, &members)) {
      Index index;
      for (const auto& [member, value] : members) {
        std::string space;
        std::string* const to = member == "label"      ? &index.label
                                : member == "entity"   ? &index.entity
                                : member == "property" ? &index.property
                                                       : &index.type;
        *to = std::string(JsonString(value, &space).value_or(""));
      }
      facts.indexes.push_back(std::move(index));
    }
    return absl::OkStatus();
  }));
  if (facts.said_nodes != facts.nodes || facts.said_relationships != facts.relationships) {
    return NotOfTheForm(path,
                        absl::StrCat("it says that it has ", facts.said_nodes, " nodes and ", facts.said_relationships,
                                     " relationships, and has ", facts.nodes, " and ", facts.relationships));
  }
  return facts;
}

// Fills a new graph from the file.
class GraphLoader {
 public:
  GraphLoader(FalkorGraph* graph, std::string path, int64_t total, RestoreProgress told)
      : graph_(graph), path_(std::move(path)), total_(total), told_(told) {}

  absl::Status Load() {
    ABSL_RETURN_IF_ERROR(ReadGzipJson(path_, [this](absl::string_view name, absl::string_view token, bool element) {
      if (!element || (name != "nodes" && name != "relationships")) return absl::OkStatus();
      if (name == "nodes") return AddNode(token);
      ABSL_RETURN_IF_ERROR(FlushNodes());
      return AddRelationship(token);
    }));
    ABSL_RETURN_IF_ERROR(FlushNodes());
    return FlushRelationships();
  }

  int64_t loose() const { return loose_; }  // relationships with an end that is not in the file

 private:
  struct Rows {
    std::string text;
    size_t rows = 0;
  };

  absl::Status AddNode(absl::string_view token) {
    std::vector<std::pair<std::string, absl::string_view>> members, properties;
    std::vector<std::string> labels, vectors;
    std::optional<int64_t> id;
    bool sound = Members(token, &members);
    for (const auto& [name, value] : members) {
      if (name == "id") id = JsonInteger(value);
      if (name == "labels") sound = sound && Texts(value, &labels);
      if (name == "properties") sound = sound && Members(value, &properties);
      if (name == "vectors") sound = sound && Texts(value, &vectors);
    }
    if (!sound || !id.has_value()) return NotOfTheForm(path_, "a node is not whole");
    std::string group, row = absl::StrCat("{k:", *id, ",p:{"), numbers;
    for (const std::string& label : labels) {
      if (!IsName(label)) return NotOfTheForm(path_, absl::StrCat("node ", *id, " has a label that is no name"));
      absl::StrAppend(&group, ":", FalkorName(label));
    }
    group += ")";
    bool first = true;
    for (const auto& [name, value] : properties) {
      if (value == "null") continue;
      if (!IsName(name)) return NotOfTheForm(path_, absl::StrCat("node ", *id, " has a property that is no name"));
      if (std::find(vectors.begin(), vectors.end(), name) != vectors.end()) {
        const std::string parameter = absl::StrCat("v", std::count(group.begin(), group.end(), '='));
        absl::StrAppend(&group, " SET n.", FalkorName(name), "=vecf32(r.", parameter, ")");
        absl::StrAppend(&numbers, ",", parameter, ":");
        if (!AppendCypherVector(value, &numbers)) return BadProperty(*id, name);
        continue;
      }
      absl::StrAppend(&row, std::exchange(first, false) ? "" : ",", FalkorName(name), ":");
      if (!AppendCypher(value, &row)) return BadProperty(*id, name);
    }
    Rows& rows = nodes_[group];
    const size_t before = rows.text.size();
    absl::StrAppend(&rows.text, rows.rows++ > 0 ? "," : "", row, "}", numbers, "}");
    waiting_bytes_ += rows.text.size() - before;
    if (rows.rows >= kNodesAtATime || rows.text.size() >= kQueryBytes) return MakeNodes(group, &rows);
    return waiting_bytes_ < kWaitingBytes ? absl::OkStatus() : FlushNodes();
  }

  absl::Status BadProperty(int64_t id, absl::string_view name) const {
    return NotOfTheForm(path_, absl::StrCat("node ", id, ": a graph cannot hold the value of `", name, "`"));
  }

  absl::Status FlushNodes() {
    for (auto& [group, rows] : nodes_) {
      ABSL_RETURN_IF_ERROR(MakeNodes(group, &rows));
    }
    return absl::OkStatus();
  }

  absl::Status MakeNodes(const std::string& group, Rows* rows) {
    if (rows->rows == 0) return absl::OkStatus();
    const size_t close = group.find(')');
    // One row as answer: RESULTSET_SIZE would cut others off.
    ABSL_ASSIGN_OR_RETURN(
        const FalkorRows made,
        graph_->Query(absl::StrCat("CYPHER rows=[", rows->text, "] UNWIND $rows AS r CREATE (n", group.substr(0, close),
                                   ") SET n = r.p", group.substr(close + 1), " RETURN collect([r.k, id(n)])"),
                      FalkorGraph::Access::kWrite));
    const size_t answered = made.size() == 1 ? (made)(0, 0).size() : 0;
    if (answered != rows->rows) {
      return absl::DataLossError(
          graph_->Message(absl::StrCat("expected ", rows->rows, " nodes to be made, got ", answered)));
    }
    for (size_t i = 0; i < answered; ++i) ids_[(made)(0, 0)[i][0].Integer()] = (made)(0, 0)[i][1].Integer();
    Made(rows);
    return absl::OkStatus();
  }

  void Made(Rows* rows) {
    waiting_bytes_ -= std::min(waiting_bytes_, rows->text.size());
    made_ += static_cast<int64_t>(rows->rows);
    told_(kPuttingBack, made_, total_, RestoreUnit::kRows);
    *rows = {};
  }

  absl::Status AddRelationship(absl::string_view token) {
    std::vector<std::pair<std::string, absl::string_view>> members, properties;
    std::optional<int64_t> from, to;
    std::string type, space;
    bool sound = Members(token, &members);
    for (const auto& [name, value] : members) {
      if (name == "source_id") from = JsonInteger(value);
      if (name == "target_id") to = JsonInteger(value);
      if (name == "type") type = std::string(JsonString(value, &space).value_or(""));
      if (name == "properties" && value != "null") sound = sound && Members(value, &properties);
    }
    if (!sound || !from.has_value() || !to.has_value() || !IsName(type)) {
      return NotOfTheForm(path_, "a relationship is not whole");
    }
    const auto source = ids_.find(*from), target = ids_.find(*to);
    if (source == ids_.end() || target == ids_.end()) {
      ++loose_;
      return absl::OkStatus();
    }
    std::string map = "{";
    for (const auto& [name, value] : properties) {
      if (value == "null") continue;
      absl::StrAppend(&map, map.size() > 1 ? "," : "", FalkorName(name), ":");
      if (!IsName(name) || !AppendCypher(value, &map)) {
        return NotOfTheForm(
            path_, absl::StrCat("a relationship of node ", *from, ": a graph cannot hold the value of `", name, "`"));
      }
    }
    Rows& rows = relationships_[type];
    const size_t before = rows.text.size();
    absl::StrAppend(&rows.text, rows.rows++ > 0 ? ",[" : "[", source->second, ",", target->second, ",", map, "}]");
    waiting_bytes_ += rows.text.size() - before;
    if (rows.rows >= kRelationshipsAtATime || rows.text.size() >= kQueryBytes) return MakeRelationships(type, &rows);
    return waiting_bytes_ < kWaitingBytes ? absl::OkStatus() : FlushRelationships();
  }

  absl::Status FlushRelationships() {
    for (auto& [type, rows] : relationships_) {
      ABSL_RETURN_IF_ERROR(MakeRelationships(type, &rows));
    }
    return absl::OkStatus();
  }

  absl::Status MakeRelationships(const std::string& type, Rows* rows) {
    if (rows->rows == 0) return absl::OkStatus();
    // FalkorDB looks nodes up by their ids only where these have names of their own; of r[0] it looks at all nodes.
    absl::Status made =
        graph_
            ->Query(
                absl::StrCat("CYPHER rows=[", rows->text, "] UNWIND $rows AS r WITH r[0] AS s, r[1] AS t, r[2] AS p ",
                             "MATCH (a) WHERE id(a)=s MATCH (b) WHERE id(b)=t CREATE (a)-[e:", FalkorName(type),
                             "]->(b) SET e=p"),
                FalkorGraph::Access::kWrite)
            .status();
    Made(rows);
    return made;
  }

  FalkorGraph* const graph_;
  const std::string path_;
  const int64_t total_;  // nodes and relationships
  const RestoreProgress told_;
  int64_t made_ = 0;
  absl::flat_hash_map<std::string, Rows> nodes_;  // by labels, and what sets vectors
  size_t waiting_bytes_ = 0;
  absl::flat_hash_map<int64_t, int64_t> ids_;             // in the file -> in the graph
  absl::flat_hash_map<std::string, Rows> relationships_;  // by type
  int64_t loose_ = 0;
};

absl::StatusOr<std::vector<std::string>> GraphNames(RespClient* client) {
  ABSL_ASSIGN_OR_RETURN(const RespReply reply, client->Call({"GRAPH.LIST"}));
  std::vector<std::string> names;
  for (size_t i = 0; i < reply.value().size(); ++i) names.emplace_back(reply.value()[i].Text());
  return names;
}

absl::Status DropGraph(RespClient* client, const std::string& name) {
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> names, GraphNames(client));
  if (std::find(names.begin(), names.end(), name) == names.end()) return absl::OkStatus();
  return client->Call({"GRAPH.DELETE", name}).status();
}

// `side` becomes `name` in one step, and what had the name is gone after it.
absl::Status Switch(RespClient* client, const std::string& side, const std::string& name) {
  const std::string before = name + "__before_restore";
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> names, GraphNames(client));
  const bool occupied = std::find(names.begin(), names.end(), name) != names.end();
  ABSL_RETURN_IF_ERROR(DropGraph(client, before));
  std::vector<std::vector<absl::string_view>> commands = {{"MULTI"}};
  if (occupied) commands.push_back({"RENAME", name, before});
  commands.push_back({"RENAME", side, name});
  for (const std::vector<absl::string_view>& command : commands) {
    ABSL_RETURN_IF_ERROR(client->Call(command).status());
  }
  ABSL_ASSIGN_OR_RETURN(const RespReply done, client->Call({"EXEC"}));
  for (size_t i = 0; i < done.value().size(); ++i) {
    if (done.value()[i].IsError()) return client->ErrorOf(done.value()[i].Text());
  }
  return DropGraph(client, before);
}

// Returns those that were not made, in words.
absl::StatusOr<std::string> MakeIndexes(FalkorGraph* graph, const std::vector<Index>& indexes) {
  std::vector<std::string> left;
  for (const Index& index : indexes) {
    if (index.type != "RANGE" || !IsName(index.label) || !IsName(index.property)) {
      left.push_back(absl::StrCat(index.type, " on ", index.label, ".", index.property));
      continue;
    }
    const bool node = index.entity == "NODE";
    const absl::Status made =
        graph
            ->Query(absl::StrCat("CREATE INDEX FOR ", node ? "(e:" : "()-[e:", FalkorName(index.label),
                                 node ? ")" : "]-()", " ON (e.", FalkorName(index.property), ")"),
                    FalkorGraph::Access::kWrite)
            .status();
    if (!made.ok() && !absl::StrContains(made.message(), "already indexed")) return made;
  }
  return left.empty() ? "" : absl::StrCat("indexes that are yours to make again: ", absl::StrJoin(left, ", "));
}

}  // namespace

absl::StatusOr<std::string> RestoreFalkorGraph(const std::string& from, const FalkorLocation& to,
                                               RestoreProgress told) {
  ABSL_ASSIGN_OR_RETURN(FileFacts facts, ReadFacts(from));
  FalkorLocation beside = to;
  const std::string prefix = to.graph + "__restore_";
  // A name of its own: a question of a process that was killed may still be under way at the server.
  beside.graph = absl::StrCat(prefix, absl::ToUnixMicros(absl::Now()));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<FalkorGraph> side, FalkorGraph::OpenNew(beside, absl::ZeroDuration()));
  RespClient* const client = side->client();
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> names, GraphNames(client));
  for (const std::string& name : names) {
    if (!absl::StartsWith(name, prefix)) continue;
    ABSL_RETURN_IF_ERROR(DropGraph(client, name));
  }
  // Made also when the file has no node.
  ABSL_RETURN_IF_ERROR(side->Query("RETURN 1", FalkorGraph::Access::kWrite).status());
  // AutoMem's own files say nothing of indexes; its server makes them when it starts.
  ABSL_ASSIGN_OR_RETURN(const std::string left, MakeIndexes(side.get(), facts.indexes));
  GraphLoader loader(side.get(), from, facts.nodes + facts.relationships, told);
  ABSL_RETURN_IF_ERROR(loader.Load());
  const int64_t relationships = facts.relationships - loader.loose();
  for (const auto& [query, expected] : {std::pair("MATCH (n) RETURN count(n)", facts.nodes),
                                        std::pair("MATCH ()-[r]->() RETURN count(r)", relationships)}) {
    ABSL_ASSIGN_OR_RETURN(const int64_t found, side->Count(query));
    if (found != expected) {
      return absl::DataLossError(side->Message(absl::StrCat("expected ", expected, " of `", query, "`, got ", found)));
    }
  }
  ABSL_RETURN_IF_ERROR(Switch(client, beside.graph, to.graph));
  std::vector<std::string> notes;
  if (!left.empty()) notes.push_back(left);
  if (loader.loose() > 0) {
    notes.push_back(absl::StrCat(loader.loose(), " relationships are left out, whose nodes the file does not have"));
  }
  return absl::StrJoin(notes, "; ");
}

}  // namespace reembed
