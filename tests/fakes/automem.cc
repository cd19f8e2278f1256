// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/automem.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/number/float_list.h"
#include "engine/number/json_text.h"
#include "io/store/falkordb/falkordb_graph.h"
#include "io/store/qdrant/qdrant_points.h"
#include "io/system/automem_placeholder.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/old_vector.h"

namespace reembed {
namespace {

constexpr char kName[] = "memories";
constexpr int64_t kRowsAtOnce = 500;
constexpr int kOrphans = 7;

// Tags, and the prefixes that Python makes of them.
struct Tags {
  std::vector<std::string> tags, prefixes;
};
const std::vector<Tags>& AllTags() {
  static const auto* const tags =
      new std::vector<Tags>{{{"Project/Tea:Green", " work "}, {"project", "project:tea", "project:tea:green", "work"}},
                            {{"a:b", "a/c", "A:B"}, {"a", "a:b", "a:c"}},
                            {{"\xC3\x84PFEL/S\xC3\xBC\xC3\x9F"}, {"\xC3\xA4pfel", "\xC3\xA4pfel:s\xC3\xBC\xC3\x9F"}},
                            {{"entity:people:J\"\\o"}, {"entity", "entity:people", "entity:people:j\"\\o"}},
                            {{}, {}}};
  return *tags;
}

constexpr std::array<const char*, 5> kTexts = {"likes tea", "isst gern \xC3\x84pfel",
                                               "\xE4\xBC\x9A\xE8\xAD\xB0 \xF0\x9F\x98\x80", "said \"no\" \\ never",
                                               "two\nlines\t/"};

std::string Quoted(const std::string& text) {
  std::string json;
  AppendJsonString(text, &json);
  return json;
}

std::string Cypher(const std::string& text) {
  std::string literal;
  AppendFalkorText(text, &literal);
  return literal;
}

template <typename Quote>
std::string List(const std::vector<std::string>& texts, Quote quote) {
  return absl::StrCat(
      "[", absl::StrJoin(texts, ",", [&](std::string* out, const std::string& text) { out->append(quote(text)); }),
      "]");
}

enum class Kind {
  kWhole,          // a point as the server writes it
  kArchived,       // likewise, archived by consolidation
  kBounded,        // likewise, with an end of validity
  kStripped,       // a point after AutoMem's own re-embedding script
  kPlaceholder,    // the embedding failed, and a placeholder was stored
  kNoPoint,        // the embedding failed, and nothing was stored
  kLegacy,         // no point, and a vector in the graph
  kBadMetadata,    // no point, and metadata that is no object
  kNoTagPrefixes,  // no point; a node from before tag_prefixes
  kBare,           // no point, and a node with little more than its content
  kEmpty,          // no text
  kNoContent,      // likewise
  kKinds
};

// One memory being made: properties as Cypher, payload as JSON.
struct Draft {
  std::map<std::string, std::string> node, payload;
  void Both(const std::string& name, const std::string& literal) { node[name] = payload[name] = literal; }
};

Draft MakeDraft(Kind kind, int64_t row, const std::string& text) {
  Draft draft;
  const Tags& tags = AllTags()[static_cast<size_t>(row) % AllTags().size()];
  if (kind != Kind::kNoContent) {
    draft.node["content"] = Cypher(text);
    draft.payload["content"] = Quoted(text);
  }
  if (kind == Kind::kBare) {
    for (const auto& [name, json] : std::map<std::string, std::string>{{"tags", "[]"},
                                                                       {"tag_prefixes", "[]"},
                                                                       {"importance", "0.5"},
                                                                       {"type", "\"Memory\""},
                                                                       {"confidence", "0.5"},
                                                                       {"metadata", "{}"},
                                                                       {"relevance_score", "null"}}) {
      draft.payload[name] = json;
    }
    return draft;
  }
  draft.node["tags"] = List(tags.tags, Cypher);
  draft.payload["tags"] = List(tags.tags, Quoted);
  draft.payload["tag_prefixes"] = List(tags.prefixes, Quoted);
  if (kind != Kind::kNoTagPrefixes) draft.node["tag_prefixes"] = List(tags.prefixes, Cypher);
  draft.Both("importance", row % 3 == 0 ? "1.0" : absl::StrCat("0.", 1 + row % 9));
  draft.Both("confidence", "0.85");
  draft.Both("type", row % 11 == 0 ? "\"MetaPattern\"" : "\"Decision\"");
  const std::string time = absl::StrFormat("\"2025-11-%02dT10:%02d:00+00:00\"", 1 + row % 28, row % 60);
  for (const char* const name : {"timestamp", "updated_at", "last_accessed", "t_valid"}) draft.Both(name, time);
  if (kind == Kind::kBounded) draft.Both("t_invalid", "\"2025-12-31T00:00:00+00:00\"");
  if (kind == Kind::kArchived || kind == Kind::kStripped) draft.Both("archived", "true");
  const bool scored = kind == Kind::kArchived || kind == Kind::kStripped || row % 2 == 0;
  draft.payload["relevance_score"] = "null";
  if (scored) draft.Both("relevance_score", absl::StrCat("0.0", 1 + row % 9));
  const std::string metadata = absl::StrCat(R"({"source":"test","entities":{"people":["J\"o"]},"row":)", row, "}");
  draft.node["metadata"] = Cypher(metadata);
  draft.payload["metadata"] = metadata;
  if (kind == Kind::kBadMetadata) {
    draft.node["metadata"] = Cypher(row % 2 == 0 ? "[1, 2]" : "{not json");
    draft.payload["metadata"] = "{}";
  }
  if (kind == Kind::kLegacy) draft.node["embeddings"] = "[0.1, 0.2]";
  draft.node["processed"] = "true";
  draft.node["summary"] = Cypher("short");
  return draft;
}

// Takes what the script does not write, and what it writes instead. [scripts/reembed_embeddings.py:205-215]
void Strip(std::map<std::string, std::string>* payload) {
  for (const char* const name : {"tag_prefixes", "relevance_score", "t_valid", "t_invalid", "archived"}) {
    payload->erase(name);
  }
  (*payload)["confidence"] = "0.3";
}

std::string ObjectOf(const std::map<std::string, std::string>& fields, const char* quote) {
  return absl::StrCat("{",
                      absl::StrJoin(fields, ",",
                                    [&](std::string* out, const auto& field) {
                                      absl::StrAppend(out, quote, field.first, quote, ":", field.second);
                                    }),
                      "}");
}

bool IsNear(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) { return std::abs(x - y) <= 1e-6; });
}

// Whether the point has the vector of the text; its collection has scaled it.
bool IsVectorOf(const QdrantServer::Point& point, const std::string& text, int dim) {
  const std::string bytes = ExpectedEmbedding(text, dim);
  std::vector<float> wanted(bytes.size() / sizeof(float));
  std::memcpy(wanted.data(), bytes.data(), bytes.size());
  return IsNear(point.vectors.at(""), wanted);
}

class Points {
 public:
  Points(QdrantServer* qdrant, bool there) : qdrant_(qdrant), there_(there) {}
  ~Points() { Send(); }

  void Add(const std::string& id, const std::vector<float>& vector, const std::map<std::string, std::string>& payload) {
    if (!there_) return;
    absl::StrAppend(&points_, points_.empty() ? "" : ",", R"({"id":")", id, R"(","payload":)", ObjectOf(payload, "\""),
                    R"(,"vector":)");
    AppendFloatList(vector, &points_);
    points_ += "}";
    if (points_.size() > (size_t{4} << 20)) Send();
  }

 private:
  void Send() {
    if (points_.empty()) return;
    qdrant_->Do("PUT", absl::StrCat("/collections/", kName, "/points?wait=true"),
                absl::StrCat(R"({"points":[)", points_, "]}"));
    points_.clear();
  }

  QdrantServer* const qdrant_;
  const bool there_;
  std::string points_;
};

void MakeCollection(QdrantServer* qdrant, const AutomemStoreOptions& options) {
  for (const std::string& name : qdrant->Collections()) qdrant->Do("DELETE", "/collections/" + name);
  if (!options.make_points) return;
  const std::string path = absl::StrCat("/collections/", kName);
  qdrant->Do("PUT", path, absl::StrCat(R"({"vectors":{"size":)", options.dim, R"(,"distance":"Cosine"}})"));
  for (const char* const field : {"tags", "tag_prefixes"}) {
    qdrant->Do("PUT", path + "/index?wait=true",
               absl::StrCat(R"({"field_name":")", field, R"(","field_schema":"keyword"})"));
  }
}

}  // namespace

AutomemStore MakeAutomem(FalkorServer* graph, QdrantServer* qdrant, const AutomemStoreOptions& options) {
  std::mt19937_64 random(options.seed);
  const auto new_id = [&] {
    const uint64_t high = random(), low = random();
    return absl::StrFormat("%08x-%04x-4%03x-%04x-%012x", high >> 32, high >> 16 & 0xffff, high & 0xfff,
                           0x8000 | (low >> 48 & 0x3fff), low & 0xffffffffffff);
  };
  MakeCollection(qdrant, options);
  graph->DropGraph(kName);
  graph->Run("CREATE INDEX FOR (m:Memory) ON (m.id)", kName);
  AutomemStore store;
  {
    Points points(qdrant, options.make_points);
    std::string rows;
    for (int64_t row = 0; row < options.rows; ++row) {
      // Half of them are as they should be.
      const uint64_t drawn = random() % (2 * static_cast<uint64_t>(Kind::kKinds));
      const Kind kind = drawn < static_cast<uint64_t>(Kind::kKinds) ? static_cast<Kind>(drawn) : Kind::kWhole;
      const std::string id = new_id();
      const bool empty = kind == Kind::kEmpty || kind == Kind::kNoContent;
      const std::string text =
          empty ? "" : absl::StrCat("memory ", row / 2, " ", kTexts[static_cast<size_t>(row / 2) % kTexts.size()]);
      Draft draft = MakeDraft(kind, row, text);
      draft.node["id"] = Cypher(id);
      absl::StrAppend(&rows, rows.empty() ? "" : ",", ObjectOf(draft.node, "`"));
      AutomemMemory memory{.text = text};
      if (kind <= Kind::kPlaceholder) {
        memory.placeholder = kind == Kind::kPlaceholder && options.make_points;
        memory.has_vector = !memory.placeholder && options.make_points;
        std::vector<float> numbers = OldVector(text, options.dim);
        if (memory.placeholder) MakeAutomemPlaceholder(text, absl::MakeSpan(numbers));
        std::map<std::string, std::string> payload = draft.payload;
        if (kind == Kind::kStripped) Strip(&payload);
        points.Add(id, numbers, payload);
        store.stripped += kind == Kind::kStripped && payload["tags"] != "[]" ? 1 : 0;
        // What a point has, stays.
        if (options.make_points) {
          for (const auto& [name, json] : payload) draft.payload[name] = json;
        }
      }
      memory.payload = std::move(draft.payload);
      store.empty += empty ? 1 : 0;
      store.placeholders += memory.placeholder ? 1 : 0;
      store.needed += !empty && !memory.has_vector ? 1 : 0;
      store.memories[id] = std::move(memory);
      if ((row + 1) % kRowsAtOnce != 0 && row + 1 != options.rows) continue;
      graph->Run(absl::StrCat("CYPHER rows=[", rows, "] UNWIND $rows AS r CREATE (n:Memory) SET n = r"), kName);
      rows.clear();
    }
    for (int i = 0; i < kOrphans; ++i) {
      points.Add(new_id(), OldVector("gone", options.dim), MakeDraft(Kind::kWhole, i, "gone").payload);
      store.orphans += options.make_points ? 1 : 0;
    }
  }
  graph->Run("CREATE (:Entity {id: 'no uuid', name: 'tea'})", kName);
  graph->Run("MATCH (a:Memory), (b:Memory) WITH a, b LIMIT 20 CREATE (a)-[:SIMILAR_TO {score: 0.9}]->(b)", kName);
  if (options.make_points) store.points = qdrant->Points(kName);
  return store;
}

AutomemCheck CheckAutomem(const AutomemStore& store, const std::map<std::string, QdrantServer::Point>& points, int dim,
                          AutomemRun run) {
  AutomemCheck check;
  const auto wrong = [&](const std::string& id, const char* what) {
    if (check.changed++ == 0) check.first_problem = absl::StrCat("point ", id, ": ", what);
  };
  size_t expected = 0;
  for (const auto& [id, memory] : store.memories) {
    const auto found = points.find(id);
    const auto old = store.points.find(id);
    if (memory.text.empty() && (run == AutomemRun::kBeside || old == store.points.end())) {
      if (found != points.end()) wrong(id, "a memory without a text got one");
      continue;
    }
    ++expected;
    const bool embedded = run != AutomemRun::kInPlace || !memory.has_vector;
    check.needed += embedded ? 1 : 0;
    if (found == points.end()) {
      wrong(id, "is not there");
      continue;
    }
    if (!embedded) {
      if (!(found->second == old->second)) wrong(id, "was right, and has changed");
      continue;
    }
    check.right += IsVectorOf(found->second, memory.text, dim) ? 1 : 0;
    const bool keeps = run != AutomemRun::kBeside && old != store.points.end();
    if (found->second.payload != (keeps ? old->second.payload : memory.payload)) wrong(id, "has another payload");
  }
  for (const auto& [id, point] : store.points) {
    if (store.memories.count(id) > 0 || run == AutomemRun::kBeside) continue;
    ++expected;
    const auto found = points.find(id);
    if (found == points.end() || !(found->second == point)) wrong(id, "has no memory, and has changed");
  }
  if (points.size() != expected && check.changed == 0) wrong("?", "nobody has asked for it");
  return check;
}

bool IsCopyOfAutomem(const AutomemStore& store, const std::map<std::string, QdrantServer::Point>& points) {
  return std::equal(points.begin(), points.end(), store.points.begin(), store.points.end(),
                    [](const auto& copy, const auto& point) {
                      return copy.first == point.first && copy.second.payload == point.second.payload &&
                             IsNear(copy.second.vectors.at(""), point.second.vectors.at(""));
                    });
}

}  // namespace reembed
