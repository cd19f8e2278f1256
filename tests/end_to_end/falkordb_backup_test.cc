// SPDX-License-Identifier: Apache-2.0
// backup and restore of AutoMem's two stores: a real FalkorDB, and a Qdrant by its rules. Python reads what we write,
// and we read what Python writes, as AutoMem's own programs do.

#include <poll.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kMemories = 2500;
constexpr int kKills = 12;

// The same points: payloads to the letter; vectors up to the scaling that a Cosine collection does at each insert.
void ExpectSame(const std::map<std::string, QdrantServer::Point>& found,
                const std::map<std::string, QdrantServer::Point>& wanted) {
  ASSERT_EQ(found.size(), wanted.size());
  for (const auto& [id, point] : wanted) {
    ASSERT_EQ(found.count(id), 1u) << id;
    ASSERT_EQ(found.at(id).payload, point.payload) << id;
    ASSERT_EQ(found.at(id).vectors.size(), point.vectors.size()) << id;
    for (const auto& [name, vector] : point.vectors) {
      ASSERT_THAT(found.at(id).vectors.at(name), ::testing::Pointwise(::testing::FloatNear(1e-6f), vector)) << id;
    }
  }
}

class FalkorBackupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    falkor_.Command({"GRAPH.CONFIG", "SET", "RESULTSET_SIZE", "-1"});
    falkor_.DropGraph("memories");
    MakeGraph();
    MakeCollection();
    // As in AutoMem's image, and worse: answers are cut without a word.
    falkor_.Command({"GRAPH.CONFIG", "SET", "RESULTSET_SIZE", "300"});
  }

  void MakeGraph() {
    falkor_.Run("CREATE INDEX FOR (m:Memory) ON (m.id)", "memories");
    falkor_.Run(absl::StrCat("UNWIND range(1, ", kMemories,
                             ") AS i CREATE (:Memory {id: 'm' + toString(i), content: 'text number ' + toString(i), "
                             "importance: i / 7.0, whole: 2.0, n: i, archived: i % 3 = 0, tags: ['a', 'b:' + "
                             "toString(i)], last_accessed: '2025-01-01T00:00:00Z', metadata: '{\"k\": [1, \"ä\"]}'})"),
                "memories");
    falkor_.Run(R"(CREATE (:Entity:Person {id: 'e1', name: "quote \" backslash \\ line
break ⟂ 你好", `key with space`: '', numbers: [1, 2.5, true, 'x'], v: vecf32([0.1, -2.0, 1e-7])}))",
                "memories");
    falkor_.Run("CREATE ({id: 'bare'})", "memories");
    falkor_.Run("MATCH (m:Memory) WHERE m.n % 5 = 1 DELETE m", "memories");  // ids with gaps
    falkor_.Run("MATCH (a:Memory), (b:Memory) WHERE b.n = a.n + 1 CREATE (a)-[:RELATES_TO {score: 0.25, at: a.n}]->(b)",
                "memories");
    // More from one node than an answer may have, several between the same two, one from a node to itself.
    falkor_.Run("MATCH (a:Entity), (b:Memory) WHERE b.n < 900 CREATE (a)-[:`OF WHOM` {w: b.n}]->(b)", "memories");
    falkor_.Run(
        "MATCH (a:Entity), (b {id: 'bare'}) CREATE (a)-[:X {i: 1}]->(b), (a)-[:X {i: 2}]->(b), (b)-[:SELF]->(b)",
        "memories");
  }

  void MakeCollection() {
    qdrant_.Do("PUT", "/collections/memories", R"({"vectors":{"size":4,"distance":"Cosine"}})");
    for (const char* const field : {"tags", "tag_prefixes"}) {
      qdrant_.Do("PUT", "/collections/memories/index?wait=true",
                 absl::StrCat(R"({"field_name":")", field, R"(","field_schema":"keyword"})"));
    }
    std::string points;
    for (int i = 1; i <= 700; ++i) {
      absl::StrAppend(&points, i > 1 ? "," : "", R"({"id":)", i, R"(,"vector":[)", i, ",1,0.5,-", i % 9,
                      R"(],"payload":{"content":"text )", i, R"( ä\n","archived":true,"tags":["a"],"t_valid":null,)",
                      R"("metadata":{"x":[1,2.5]}}})");
    }
    qdrant_.Do("PUT", "/collections/memories/points?wait=true", absl::StrCat(R"({"points":[)", points, "]}"));
  }

  std::string Graph(const std::string& graph = "memories") {
    falkor_.Command({"GRAPH.CONFIG", "SET", "RESULTSET_SIZE", "-1"});
    std::string all = falkor_.Ask(
        "MATCH (n) RETURN n.id, labels(n), size(keys(n)), n.content, n.importance, typeOf(n.importance), n.whole, "
        "typeOf(n.whole), n.n, n.archived, n.tags, n.last_accessed, n.metadata, n.name, n.`key with space`, n.numbers, "
        "n.v, typeOf(n.v) ORDER BY n.id",
        graph);
    absl::StrAppend(&all, "\n",
                    falkor_.Ask("MATCH (a)-[r]->(b) RETURN a.id, type(r), b.id, size(keys(r)), r.score, r.at, r.w, r.i "
                                "ORDER BY a.id, type(r), b.id, r.i",
                                graph));
    absl::StrAppend(&all, "\n",
                    falkor_.Ask("CALL db.indexes() YIELD label, properties RETURN label, properties", graph));
    falkor_.Command({"GRAPH.CONFIG", "SET", "RESULTSET_SIZE", "300"});
    return all;
  }

  // Another state of both stores.
  void Spoil() {
    falkor_.Run("MATCH (m:Memory) WHERE m.n % 2 = 0 SET m.content = 'spoilt', m.last_accessed = 'now'", "memories");
    falkor_.Run("MATCH (e:Entity) DELETE e", "memories");
    qdrant_.Do("DELETE", "/collections/memories");
    qdrant_.Do("PUT", "/collections/memories", R"({"vectors":{"size":3,"distance":"Dot"}})");
  }

  ProcessResult Run(const std::vector<std::string>& args) { return RunClean(REEMBED_BINARY, folder_.path(), args); }
  std::string FalkorUri() { return falkor_.Uri("", "memories").substr(0, falkor_.Uri("", "memories").find('?')); }
  std::string QdrantUri() { return absl::StrCat("qdrant:", qdrant_.url(), "/memories"); }
  std::vector<std::string> BackupTo(const std::string& name) {
    return {"backup", "--source", FalkorUri(), "--target", QdrantUri(), "--to", folder_ / name, "--json"};
  }

  FalkorServer& falkor_ = TestFalkor();
  QdrantServer qdrant_;
  TempFolder folder_;
};

TEST_F(FalkorBackupTest, GraphAndCollectionComeBackAsTheyWere) {
  const std::string graph = Graph();
  const auto points = qdrant_.Points("memories");
  const ProcessResult backup = Run(BackupTo("saved"));
  ASSERT_EQ(backup.exit_code, 0) << backup.err;
  EXPECT_EQ(Graph(), graph) << "a backup changes nothing";
  Spoil();
  EXPECT_EQ(Run({"restore", folder_ / "saved"}).exit_code, 2) << "there was no yes";
  const ProcessResult restore = Run({"restore", folder_ / "saved", "--yes"});
  ASSERT_EQ(restore.exit_code, 0) << restore.err;
  EXPECT_EQ(Graph(), graph);
  EXPECT_EQ(falkor_.Ask("RETURN 1", "memories"), "1");
  ExpectSame(qdrant_.Points("memories"), points);
  EXPECT_EQ(qdrant_.Dim("memories"), 4);
  EXPECT_THAT(qdrant_.Indexes("memories"), ElementsAre("tag_prefixes", "tags"));
  EXPECT_THAT(qdrant_.Collections(), ElementsAre("memories")) << "what was beside it is still there";
  // Elsewhere, where nothing is.
  falkor_.DropGraph("copy");
  const ProcessResult other =
      Run({"restore", folder_ / "saved", "--yes", "--db", FalkorUri().substr(0, FalkorUri().rfind('/')) + "/copy",
           "--target", absl::StrCat("qdrant:", qdrant_.url(), "/copy")});
  ASSERT_EQ(other.exit_code, 0) << other.err;
  EXPECT_EQ(Graph("copy"), graph);
  ExpectSame(qdrant_.Points("copy"), points);
  falkor_.DropGraph("copy");
}

// AutoMem's programs are Python: gzip.open, json.load, then these names and no others.
TEST_F(FalkorBackupTest, PythonReadsOursAndWeReadPythons) {
  const std::string graph = Graph();
  const auto points = qdrant_.Points("memories");
  ASSERT_EQ(Run(BackupTo("saved")).exit_code, 0);
  std::ofstream(folder_ / "again.py") << R"(
import gzip, json, pathlib, re, sys
old, new = map(pathlib.Path, sys.argv[1:])
times = set()
for kind, counts in (("falkordb", ("nodes", "relationships")), ("qdrant", ("points",))):
    [path] = (old / kind).glob("*.json.gz")
    assert re.fullmatch(kind + r"_\d{8}_\d{6}\.json\.gz", path.name), path.name
    times.add(path.name[len(kind):])
    with gzip.open(path, "rt", encoding="utf-8") as f:
        data = json.load(f)
    if kind == "falkordb":
        out = {"timestamp": data["timestamp"], "graph_name": data["graph_name"],
               "nodes": [{"id": n["id"], "labels": n["labels"], "properties": n["properties"]} for n in data["nodes"]],
               "relationships": [{k: r[k] for k in ("source_id", "type", "target_id", "properties")}
                                 for r in data["relationships"]],
               "stats": {"node_count": len(data["nodes"]), "relationship_count": len(data["relationships"])}}
        assert data["stats"] == out["stats"]
        assert all(isinstance(n["properties"].get("whole", 2.0), float) for n in data["nodes"])
    else:
        out = {"timestamp": data["timestamp"], "collection_name": data["collection_name"],
               "points": [{"id": p["id"], "vector": p["vector"], "payload": p["payload"]} for p in data["points"]],
               "stats": {"points_count": len(data["points"]), "vector_size": data["stats"]["vector_size"]}}
        assert data["stats"] == out["stats"] and len(data["points"][0]["vector"]) == out["stats"]["vector_size"]
    (new / kind).mkdir(parents=True)
    with gzip.open(new / kind / (kind + "_20250131_120000.json.gz"), "wt", encoding="utf-8") as f:
        json.dump(out, f, indent=2, default=str)
    (new / kind / (kind + "_20240131_120000.json.gz")).write_bytes(b"an older one")
assert len(times) == 1, "its restore looks for both under one time"
)";
  const ProcessResult python =
      RunProcess({"/usr/bin/env", "python3", folder_ / "again.py", folder_ / "saved", folder_ / "automem"});
  ASSERT_EQ(python.exit_code, 0) << python.err;
  Spoil();
  const ProcessResult unsaid = Run({"restore", folder_ / "automem", "--yes"});
  EXPECT_EQ(unsaid.exit_code, 2);
  EXPECT_THAT(unsaid.err, HasSubstr("--db falkordb://"));
  const ProcessResult restore =
      Run({"restore", folder_ / "automem", "--yes", "--db", FalkorUri(), "--target", QdrantUri()});
  ASSERT_EQ(restore.exit_code, 0) << restore.err;
  ExpectSame(qdrant_.Points("memories"), points);
  EXPECT_THAT(qdrant_.Indexes("memories"), ElementsAre("tag_prefixes", "tags"));
  const ProcessResult older = Run({"restore", folder_ / "automem", "--yes", "--target", QdrantUri(), "--only",
                                   "qdrant/qdrant_20240131_120000.json.gz"});
  EXPECT_EQ(older.exit_code, 1) << older.err;
  EXPECT_THAT(older.err, HasSubstr("qdrant_20240131_120000.json.gz"));
  ExpectSame(qdrant_.Points("memories"), points);
  // That form knows neither vectors nor indexes; everything else is the same.
  falkor_.Run("MATCH (e:Entity) SET e.v = vecf32(e.v)", "memories");
  falkor_.Run("CREATE INDEX FOR (m:Memory) ON (m.id)", "memories");
  EXPECT_EQ(Graph(), graph);
}

// What AutoMem's restore does with a folder of ours: it finds both files under one time, makes the nodes by their
// labels and the relationships by the `id` of their ends, and upserts 250 points at a time into a collection of
// `vector_size`. It passes over nodes without a label, and sets last_accessed. [scripts/restore_from_backup.py]
TEST_F(FalkorBackupTest, AutomemsRestoreTakesOurs) {
  const auto points = qdrant_.Points("memories");
  ASSERT_EQ(Run(BackupTo("saved")).exit_code, 0);
  std::ofstream(folder_ / "restore.py") << R"(
import collections, gzip, json, pathlib, socket, sys, urllib.request
folder, port, qdrant = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
[newest] = (folder / "falkordb").glob("*.json.gz")
time = newest.name[len("falkordb_"):-len(".json.gz")]
def load(kind):
    with gzip.open(folder / kind / f"{kind}_{time}.json.gz", "rt", encoding="utf-8") as f:
        return json.load(f)

server = socket.create_connection(("127.0.0.1", port))
replies = server.makefile("rb")
def reply():
    line = replies.readline()
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        sys.exit(rest.decode())
    if kind == b"$":
        return None if rest == b"-1" else replies.read(int(rest) + 2)[:-2].decode()
    return [reply() for _ in range(int(rest))] if kind == b"*" else rest.decode()
def query(cypher, rows):
    words = [b"GRAPH.QUERY", b"loaded", f"CYPHER rows={literal(rows)} UNWIND $rows AS row {cypher}".encode()]
    server.sendall(b"*3\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
    return reply()
def literal(value):
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, dict):
        return "{" + ",".join(f"`{key}`:{literal(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(literal, value)) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)

graph = load("falkordb")
groups, ends = collections.defaultdict(list), {}
for node in graph["nodes"]:
    if not node["labels"]:
        continue
    properties = dict(node["properties"])
    if "Memory" in node["labels"]:
        properties["last_accessed"] = "now"
    ends[node["id"]] = (node["labels"][0], properties["id"])
    groups[tuple(node["labels"])].append({"props": properties})
for labels, rows in groups.items():
    for begin in range(0, len(rows), 250):
        query(f"CREATE (n:{':'.join(labels)}) SET n += row.props", rows[begin:begin + 250])
groups = collections.defaultdict(list)
for each in graph["relationships"]:
    if each["source_id"] in ends and each["target_id"] in ends:
        (a, source), (b, target) = ends[each["source_id"]], ends[each["target_id"]]
        groups[a, b, each["type"]].append({"source_id": source, "target_id": target, "props": each["properties"]})
for (a, b, kind), rows in groups.items():
    for begin in range(0, len(rows), 500):
        query(f"MATCH (a:{a} {{id: row.source_id}}) MATCH (b:{b} {{id: row.target_id}}) CREATE (a)-[r:`{kind}`]->(b) "
              "SET r += row.props", rows[begin:begin + 500])

collection = load("qdrant")
def put(path, body):
    request = urllib.request.Request(qdrant + path, json.dumps(body).encode(), {"Content-Type": "application/json"},
                                     method="PUT")
    assert json.load(urllib.request.urlopen(request))["status"] == "ok"
put("/collections/loaded", {"vectors": {"size": collection["stats"]["vector_size"], "distance": "Cosine"}})
for begin in range(0, len(collection["points"]), 250):
    batch = [{key: point[key] for key in ("id", "vector", "payload")} for point in
             collection["points"][begin:begin + 250]]
    put("/collections/loaded/points?wait=true", {"points": batch})
)";
  falkor_.DropGraph("loaded");
  falkor_.Run("CREATE INDEX FOR (m:Memory) ON (m.id)", "loaded");
  const std::string uri = FalkorUri();
  const std::string port = uri.substr(uri.rfind(':') + 1, uri.rfind('/') - uri.rfind(':') - 1);
  const ProcessResult python =
      RunProcess({"/usr/bin/env", "python3", folder_ / "restore.py", folder_ / "saved", port, qdrant_.url()}, {});
  ASSERT_EQ(python.exit_code, 0) << python.err;
  ExpectSame(qdrant_.Points("loaded"), points);
  // What that restore cannot bring is taken out of the graph that it is compared with.
  falkor_.Run("MATCH (n {id: 'bare'}) DELETE n", "memories");
  falkor_.Run("MATCH (m:Memory) SET m.last_accessed = 'now'", "memories");
  falkor_.Run("MATCH (e:Entity) REMOVE e.v", "memories");
  falkor_.Run("MATCH (e:Entity) REMOVE e.v", "loaded");
  EXPECT_EQ(Graph("loaded"), Graph());
  falkor_.DropGraph("loaded");
}

TEST_F(FalkorBackupTest, RefusesWhatIsNotWhole) {
  ASSERT_EQ(Run(BackupTo("saved")).exit_code, 0);
  const std::string now = Graph();
  std::string file;
  for (const auto& entry : std::filesystem::directory_iterator(folder_ / "saved/falkordb")) file = entry.path();
  std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
  const ProcessResult ours = Run({"restore", folder_ / "saved", "--yes"});
  EXPECT_EQ(ours.exit_code, 1) << ours.err;
  // Without the manifest, as of AutoMem: the file itself tells.
  std::filesystem::remove(folder_ / "saved/manifest.json");
  const ProcessResult automems =
      Run({"restore", folder_ / "saved", "--yes", "--db", FalkorUri(), "--target", QdrantUri()});
  EXPECT_EQ(automems.exit_code, 1) << automems.err;
  EXPECT_THAT(automems.err, HasSubstr("cut short"));
  EXPECT_EQ(Graph(), now);
  falkor_.Run("CREATE (:Memory {id: 'there', where: point({latitude: 1.5, longitude: 2.5})})", "memories");
  const ProcessResult point = Run(BackupTo("point"));
  EXPECT_EQ(point.exit_code, 6) << point.err;
  EXPECT_THAT(point.err, HasSubstr("`where`"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "point"));
  falkor_.Run("MATCH (n {id: 'there'}) SET n.where = [[1], [2]]", "memories");
  const ProcessResult lists = Run(BackupTo("lists"));
  EXPECT_EQ(lists.exit_code, 6) << lists.err;
  EXPECT_THAT(lists.err, HasSubstr("lists in lists"));
}

TEST_F(FalkorBackupTest, ACollectionThatFailsHalfwayIsDoneByTheSameCommand) {
  const auto points = qdrant_.Points("memories");
  const std::vector<std::string> backup = {"backup", "--source", QdrantUri(), "--to", folder_ / "saved"};
  ASSERT_EQ(Run(backup).exit_code, 0);
  const std::vector<std::string> restore = {"restore", folder_ / "saved", "--yes"};
  const auto writes = [](const std::string& part) {
    return [part](const std::string& method, const std::string& path) {
      return method == "PUT" && absl::StrContains(path, part);
    };
  };
  // While it is loaded beside: what is there stays.
  qdrant_.FailNext(1, 403, writes("memories__restore/points"));
  EXPECT_NE(Run(restore).exit_code, 0);
  ExpectSame(qdrant_.Points("memories"), points);
  // While it is filled: all points are beside it.
  qdrant_.FailNext(1, 403, writes("memories/points"));
  const ProcessResult halfway = Run(restore);
  EXPECT_NE(halfway.exit_code, 0);
  EXPECT_THAT(halfway.err, HasSubstr("run the same command again"));
  ExpectSame(qdrant_.Points("memories__restore"), points);
  ASSERT_EQ(Run(restore).exit_code, 0);
  ExpectSame(qdrant_.Points("memories"), points);
  EXPECT_THAT(qdrant_.Collections(), ElementsAre("memories"));
  // An alias is moved, and what it stood for stays.
  qdrant_.Do("POST", "/collections/aliases",
             R"({"actions":[{"create_alias":{"collection_name":"memories","alias_name":"current"}}]})");
  const ProcessResult alias =
      Run({"restore", folder_ / "saved", "--yes", "--target", absl::StrCat("qdrant:", qdrant_.url(), "/current")});
  ASSERT_EQ(alias.exit_code, 0) << alias.err;
  EXPECT_THAT(alias.out, HasSubstr("stands for current__restore now"));
  ExpectSame(qdrant_.Points("current__restore"), points);
  ExpectSame(qdrant_.Points("memories"), points);
}

TEST_F(FalkorBackupTest, ARestoreCanBeStopped) {
  const auto points = qdrant_.Points("memories");
  ASSERT_EQ(Run({"backup", "--source", QdrantUri(), "--to", folder_ / "saved"}).exit_code, 0);
  const std::vector<std::string> args = {REEMBED_BINARY, "restore", folder_ / "saved", "--yes"};
  std::atomic<Process*> restore = nullptr;
  // In the middle of its work.
  qdrant_.FailNext(1, 503, [&](const std::string& method, const std::string& path) {
    if (method != "PUT" || !absl::StrContains(path, "memories__restore/points")) return false;
    while (restore == nullptr) std::this_thread::yield();
    restore.load()->Signal(SIGINT);
    return true;
  });
  Process process(args);
  restore = &process;
  const ProcessResult stopped = process.Wait();
  EXPECT_EQ(stopped.exit_code, 130) << stopped.err;
  EXPECT_THAT(stopped.err, HasSubstr("stopped; run the same command again"));
  ExpectSame(qdrant_.Points("memories"), points);
  EXPECT_EQ(RunProcess(args).exit_code, 0);
  ExpectSame(qdrant_.Points("memories"), points);
  EXPECT_THAT(qdrant_.Collections(), ElementsAre("memories"));
}

TEST_F(FalkorBackupTest, KilledAtAnyMomentARestoreLeavesTheOldGraphOrTheNew) {
  const std::string wanted = Graph();
  const std::vector<std::string> backup = {"backup", "--source", FalkorUri(), "--to", folder_ / "saved"};
  ASSERT_EQ(Run(backup).exit_code, 0);
  falkor_.Run("MATCH (m:Memory) WHERE m.n % 2 = 0 DELETE m", "memories");
  falkor_.Command({"GRAPH.COPY", "memories", "spoilt"});
  const std::string old = Graph();
  const std::vector<std::string> args = {REEMBED_BINARY, "restore", folder_ / "saved", "--yes"};
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(RunProcess(args).exit_code, 0);
  const auto whole_run =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start).count();
  EXPECT_EQ(Graph(), wanted);
  const uint64_t seed = std::random_device{}();
  std::mt19937_64 random(seed);
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  int stayed = 0;
  for (int i = 0; i < kKills; ++i) {
    falkor_.DropGraph("memories");
    falkor_.Command({"GRAPH.COPY", "spoilt", "memories"});
    Process process(args);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(random() % (whole_run + 1));
    pollfd none{.fd = -1, .events = 0, .revents = 0};
    while (process.IsRunning() && std::chrono::steady_clock::now() < deadline) poll(&none, 1, 1);
    process.Signal(SIGKILL);
    process.Wait();
    const std::string left = Graph();
    EXPECT_TRUE(left == old || left == wanted) << "neither the old nor the new, kill " << i;
    stayed += left == old ? 1 : 0;
  }
  EXPECT_GT(stayed, 0) << "no kill came in the middle";
  const ProcessResult last = RunProcess(args);
  ASSERT_EQ(last.exit_code, 0) << last.err;
  EXPECT_EQ(Graph(), wanted);
  falkor_.DropGraph("spoilt");
}

}  // namespace
}  // namespace reembed
