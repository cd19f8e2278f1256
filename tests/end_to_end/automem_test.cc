// SPDX-License-Identifier: Apache-2.0
// The preset for AutoMem: a graph in a real FalkorDB and points in a Qdrant, as the system and its faults leave them.

#include "tests/fakes/automem.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/system_measure.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDim = 64;
constexpr int kWider = 96;

int64_t Rows() { return TestRows(1500); }

class AutomemTest : public ::testing::Test {
 protected:
  void SetUp() override { StartEmbedder(kDim); }

  void StartEmbedder(int dim) {
    auto server = EmbeddingServer::Start({.dim = dim});
    ASSERT_THAT(server, IsOk());
    embedder_ = *std::move(server);
  }

  // As the system's container starts it, with a limit that these rows exceed.
  void LimitAnswers() {
    graph_.Command({"GRAPH.CONFIG", "SET", "RESULTSET_SIZE", absl::StrCat(std::min<int64_t>(10000, Rows() / 2))});
    graph_.Command({"GRAPH.CONFIG", "SET", "TIMEOUT", "1000"});
  }

  std::string Database() const {
    const std::string uri = graph_.Uri("", "memories");
    return uri.substr(0, uri.find('?'));
  }
  std::string Collection() const { return absl::StrCat("qdrant:", qdrant_.url(), "/memories"); }

  ProcessResult Run(const std::vector<std::string>& more, const std::string& command = "run", int dim = kDim) {
    std::vector<std::string> args = {command,          "--system",          "automem",
                                     "--db",           Database(),          "--target",
                                     Collection(),     "--api-base",        embedder_->base_url(),
                                     "--model",        "reembed-lexical-1", "--dimensions",
                                     absl::StrCat(dim)};
    args.insert(args.end(), more.begin(), more.end());
    return RunClean(REEMBED_BINARY, folder_.path(), args, clean_);
  }

  AutomemCheck ExpectRight(const AutomemStore& store, AutomemRun run, int dim = kDim) {
    AutomemCheck check = CheckAutomem(store, qdrant_.Points("memories"), dim, run);
    EXPECT_GT(check.needed, 0);
    EXPECT_EQ(check.right, check.needed);
    EXPECT_EQ(check.changed, 0) << check.first_problem;
    return check;
  }

  // After a second run.
  void Print(const std::string& name, const AutomemCheck& check, int64_t requests_before) {
    PrintMeasure(name, check.needed, check.right, check.changed, embedder_->counts().requests - requests_before);
  }

  std::string Job() const {
    return std::filesystem::directory_iterator(folder_ / "state/reembed/jobs")->path().string();
  }

  TempFolder folder_;
  FalkorServer graph_;
  QdrantServer qdrant_;
  std::unique_ptr<EmbeddingServer> embedder_;
  // None of the system's own variables.
  std::map<std::string, std::string> clean_ = [] {
    std::map<std::string, std::string> clean;
    for (const char* const name :
         {"FALKORDB_HOST", "FALKORDB_PORT", "FALKORDB_PASSWORD", "FALKORDB_GRAPH", "QDRANT_URL", "QDRANT_HOST",
          "QDRANT_PORT", "QDRANT_API_KEY", "QDRANT_COLLECTION", "VECTOR_SIZE", "QDRANT_VECTOR_SIZE", "EMBEDDING_MODEL",
          "EMBEDDING_PROVIDER", "VOYAGE_API_KEY", "VOYAGE_MODEL", "OLLAMA_BASE_URL", "OLLAMA_MODEL",
          "RAILWAY_PRIVATE_DOMAIN", "RAILWAY_PUBLIC_DOMAIN"}) {
      clean[name] = "";
    }
    return clean;
  }();
};

TEST_F(AutomemTest, EveryMemoryWithoutAVectorGetsItsOwnAndNoPayloadChanges) {
  const AutomemStore store = MakeAutomem(&graph_, &qdrant_, {.rows = Rows(), .dim = kDim});
  LimitAnswers();
  ASSERT_GT(store.placeholders, 0);
  const ProcessResult plan = Run({}, "plan");
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_THAT(plan.out, AllOf(HasSubstr(absl::StrCat(store.placeholders, " points have a placeholder")),
                              HasSubstr(absl::StrCat(store.stripped, " points have tags without tag_prefixes")),
                              HasSubstr(absl::StrCat("nothing of ", store.orphans, " vectors")),
                              HasSubstr("SIMILAR_TO"), HasSubstr("stop AutoMem")));
  EXPECT_EQ(LastNumber(Run({"--json"}, "plan"), "rows_selected"), store.needed + store.empty);
  EXPECT_EQ(qdrant_.Points("memories"), store.points) << "plan changed something";

  const ProcessResult run = Run({"--json"});
  EXPECT_EQ(run.exit_code, store.empty > 0 ? 3 : 0) << run.out << run.err;
  EXPECT_EQ(LastNumber(run, "rows_embedded"), store.needed);
  EXPECT_EQ(LastNumber(run, "rows_rejected"), store.empty);
  const AutomemCheck check = ExpectRight(store, AutomemRun::kInPlace);
  EXPECT_THAT(qdrant_.Collections(), ElementsAre("memories"));

  const int64_t requests = embedder_->counts().requests;
  EXPECT_EQ(Run({"--json"}).exit_code, 3);
  EXPECT_EQ(embedder_->counts().requests, requests) << "a second run asked for something";
  Print("automem, width stays", check, requests);
  const ProcessResult verify = RunClean(REEMBED_BINARY, folder_.path(), {"verify", Job()}, clean_);
  EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
  EXPECT_THAT(verify.out, AllOf(HasSubstr("vectors whose rows are gone"), HasSubstr("without tag_prefixes")));
  EXPECT_THAT(run.err + verify.out, AllOf(HasSubstr("automem://127.0.0.1"), Not(HasSubstr(" //127.0.0.1"))));
}

TEST_F(AutomemTest, AnotherWidthIsBuiltBesideWithPayloadsThatLackNothing) {
  const AutomemStore store = MakeAutomem(&graph_, &qdrant_, {.rows = Rows(), .dim = kDim});
  LimitAnswers();
  StartEmbedder(kWider);
  const ProcessResult refused = Run({}, "run", kWider);
  EXPECT_EQ(refused.exit_code, 6) << refused.err;
  EXPECT_THAT(refused.err, AllOf(HasSubstr("of 64 dimensions, and this job makes 96"), HasSubstr("--all")));
  EXPECT_EQ(Run({"--all"}, "run", kWider).exit_code, 2) << "without consent";
  EXPECT_EQ(embedder_->counts().requests, 0);
  const ProcessResult plan = Run({"--all"}, "plan", kWider);
  EXPECT_THAT(plan.out, AllOf(HasSubstr("memories__reembed_96"), HasSubstr("memories__before_64"))) << plan.err;

  const ProcessResult run = Run({"--all", "--yes", "--json"}, "run", kWider);
  EXPECT_EQ(run.exit_code, 3) << run.out << run.err;
  EXPECT_THAT(qdrant_.Collections(), ElementsAre("memories", "memories__before_64"));
  EXPECT_EQ(qdrant_.Dim("memories"), kWider);
  EXPECT_THAT(qdrant_.Indexes("memories"), ElementsAre("tag_prefixes", "tags"));
  EXPECT_TRUE(IsCopyOfAutomem(store, qdrant_.Points("memories__before_64"))) << "orphans too";
  const AutomemCheck check = ExpectRight(store, AutomemRun::kBeside, kWider);
  const int64_t requests = embedder_->counts().requests;
  EXPECT_EQ(Run({"--all", "--yes"}, "run", kWider).exit_code, 3);
  EXPECT_EQ(embedder_->counts().requests, requests);
  Print("automem, another width", check, requests);
}

TEST_F(AutomemTest, ACollectionThatIsNotThereIsMadeAsTheServerMakesIt) {
  const AutomemStore store = MakeAutomem(&graph_, &qdrant_, {.rows = 300, .dim = kDim, .make_points = false});
  const ProcessResult run = Run({"--json"});
  EXPECT_EQ(run.exit_code, 3) << run.out << run.err;
  ExpectRight(store, AutomemRun::kInPlace);
  EXPECT_EQ(qdrant_.Dim("memories"), kDim);
  EXPECT_THAT(qdrant_.Do("GET", "/collections/memories"), HasSubstr(R"("distance":"Cosine")"));
  EXPECT_THAT(qdrant_.Indexes("memories"), ElementsAre("tag_prefixes", "tags"));
  EXPECT_EQ(qdrant_.HnswM("memories"), 16);
}

TEST_F(AutomemTest, AllGivesEveryMemoryItsVectorAndKeepsEveryPayload) {
  const AutomemStore store = MakeAutomem(&graph_, &qdrant_, {.rows = 300, .dim = kDim});
  ASSERT_EQ(Run({"--all", "--yes"}).exit_code, 3);
  ExpectRight(store, AutomemRun::kAll);
}

TEST_F(AutomemTest, MistakesAreFoundBeforeTheFirstRequest) {
  MakeAutomem(&graph_, &qdrant_, {.rows = 40, .dim = kDim});
  const auto points = qdrant_.Points("memories");
  const auto expect = [&](const std::string& db, const std::string& target, const std::string& message) {
    const ProcessResult run =
        RunClean(REEMBED_BINARY, folder_.path(),
                 {"run", "--system", "automem", "--db", db, "--target", target, "--api-base", embedder_->base_url(),
                  "--model", "reembed-lexical-1", "--dimensions", absl::StrCat(kDim)},
                 clean_);
    EXPECT_NE(run.exit_code, 0);
    EXPECT_THAT(run.err, HasSubstr(message));
  };
  QdrantServer locked({.api_key = "s3cr3t"});
  expect(Database(), absl::StrCat("qdrant:", locked.url(), "/memories"), "QDRANT_API_KEY");
  expect(Database(), "qdrant:http://127.0.0.1:1/memories", "is Qdrant running");
  expect("falkordb://127.0.0.1:1/memories", Collection(), "127.0.0.1:1");
  expect("memory.db", Collection(), "expected a graph");
  expect(absl::StrReplaceAll(Database(), {{"/memories", "/memorys"}}), Collection(), "did you mean `memories`");
  FalkorServer with_password({.password = "pa55"});
  const std::string other = with_password.Uri("", "memories");
  expect(other.substr(0, other.find('?')), Collection(), "FALKORDB_PASSWORD");
  graph_.Run("CREATE (:Memory {id: 'note-1', content: 'x'}), (:Memory {id: '42', content: 'y'})", "memories");
  expect(Database(), Collection(),
         R"(2 memories have an id that is no UUID, so they can have no point: "42", "note-1")");
  EXPECT_EQ(embedder_->counts().requests, 0);
  EXPECT_EQ(qdrant_.Points("memories"), points);
  // As the message says.
  const ProcessResult run = Run({"--where", R"(NOT n.`id` IN ["42", "note-1"])", "--json"});
  EXPECT_EQ(run.exit_code, 3) << run.err;
}

// The system's own variables: a `.env` in a folder above, with both secrets.
TEST_F(AutomemTest, TheEnvFileAboveTheFolderSaysWhereEverythingIs) {
  FalkorServer graph({.password = "pa55word"});
  QdrantServer qdrant({.api_key = "s3cr3t"});
  const AutomemStore store = MakeAutomem(&graph, &qdrant, {.rows = 100, .dim = kDim});
  const std::string uri = graph.Uri("", "memories");
  const std::string port = uri.substr(uri.rfind(':') + 1, uri.rfind('/') - uri.rfind(':') - 1);
  const std::string below = folder_ / "project/scripts";
  std::filesystem::create_directories(below);
  std::filesystem::create_directories(folder_ / ".config/automem");
  std::ofstream(folder_ / "project/.env") << "FALKORDB_HOST=127.0.0.1\nFALKORDB_PORT=" << port
                                          << "\nFALKORDB_PASSWORD=pa55word\nQDRANT_URL=" << qdrant.url()
                                          << "/\nQDRANT_API_KEY=s3cr3t\nVECTOR_SIZE=" << kDim << "\n";
  // An earlier file wins, a later one adds.
  std::ofstream(folder_ / ".config/automem/.env")
      << "QDRANT_API_KEY=wrong\nOPENAI_API_KEY=any\nEMBEDDING_MODEL=reembed-lexical-1\nOPENAI_BASE_URL="
      << embedder_->base_url() << "\n";
  std::map<std::string, std::string> home = clean_;
  home["HOME"] = folder_.path();
  home["XDG_STATE_HOME"] = folder_ / "state";
  home["XDG_CONFIG_HOME"] = folder_ / "config";
  home["OPENAI_API_KEY"] = home["OPENAI_BASE_URL"] = "";
  const auto in_folder = [&](std::vector<std::string> args) {
    args.insert(args.begin(), {"/usr/bin/env", "-C", below, REEMBED_BINARY});
    return RunProcess(args, home);
  };
  const ProcessResult run = in_folder({"run", "--system", "automem", "--json"});
  ASSERT_EQ(run.exit_code, 3) << run.out << run.err;
  EXPECT_EQ(LastNumber(run, "rows_embedded"), store.needed);
  const ProcessResult verify = in_folder({"verify", Job()});
  EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
  std::ifstream description(Job() + "/job.toml");
  const std::string toml((std::istreambuf_iterator<char>(description)), std::istreambuf_iterator<char>());
  EXPECT_THAT(toml + run.out + run.err + verify.out, AllOf(Not(HasSubstr("s3cr3t")), Not(HasSubstr("pa55word"))));
  EXPECT_THAT(toml, HasSubstr("automem://127.0.0.1"));
}

TEST_F(AutomemTest, TheSystemsVariablesChooseApiModelAndWidth) {
  MakeAutomem(&graph_, &qdrant_, {.rows = 30, .dim = kDim});
  const auto plan = [&](const std::map<std::string, std::string>& variables, std::vector<std::string> more = {}) {
    std::map<std::string, std::string> all = clean_;
    for (const auto& [name, value] : variables) all[name] = value;
    std::vector<std::string> args = {"plan",     "--system",   "automem", "--db",  Database(),
                                     "--target", Collection(), "--all",   "--json"};
    args.insert(args.end(), more.begin(), more.end());
    return RunClean(REEMBED_BINARY, folder_.path(), args, all);
  };
  struct Case {
    std::map<std::string, std::string> variables;
    std::string model;
    int dim;
  };
  for (const Case& each : std::vector<Case>{
           {{}, "text-embedding-3-small", 1024},
           {{{"VOYAGE_API_KEY", "k"}, {"OPENAI_API_KEY", "k"}}, "voyage-4", 1024},
           {{{"VOYAGE_API_KEY", "k"}, {"VOYAGE_MODEL", "voyage-4-large"}, {"VECTOR_SIZE", "2048"}},
            "voyage-4-large",
            2048},
           {{{"EMBEDDING_PROVIDER", " OpenAI "}, {"VOYAGE_API_KEY", "k"}, {"VECTOR_SIZE", "768"}},
            "text-embedding-3-small",
            768},
           {{{"OPENAI_API_KEY", "k"}, {"QDRANT_VECTOR_SIZE", "3072"}}, "text-embedding-3-large", 3072},
           {{{"OPENAI_API_KEY", "k"}, {"VECTOR_SIZE", "512"}, {"QDRANT_VECTOR_SIZE", "3072"}},
            "text-embedding-3-small",
            512},
           {{{"OPENAI_API_KEY", "k"}, {"EMBEDDING_MODEL", "text-embedding-3-large"}}, "text-embedding-3-large", 1024},
           {{{"OLLAMA_BASE_URL", "http://h:11434"}, {"VECTOR_SIZE", "768"}}, "nomic-embed-text", 768}}) {
    const ProcessResult result = plan(each.variables);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr(absl::StrCat("\"model\":\"", each.model, "\"")));
    EXPECT_EQ(LastNumber(result, "dimensions"), each.dim) << each.model;
  }
  for (const auto& [provider, message] : {std::pair("placeholder", "mean nothing"), std::pair("local", "--embedder"),
                                          std::pair("voyager", "expected one of auto, voyage, openai")}) {
    const ProcessResult result = plan({{"EMBEDDING_PROVIDER", provider}});
    EXPECT_EQ(result.exit_code, 2) << provider;
    EXPECT_THAT(result.err, AllOf(HasSubstr(absl::StrCat("EMBEDDING_PROVIDER=", provider)), HasSubstr(message)));
  }
  EXPECT_THAT(plan({{"VECTOR_SIZE", "wide"}}).err, HasSubstr("VECTOR_SIZE=wide: expected a width"));
  const ProcessResult nobody =
      RunClean(REEMBED_BINARY, folder_.path(),
               {"run", "--system", "automem", "--db", Database(), "--target", Collection()}, clean_);
  EXPECT_EQ(nobody.exit_code, 6);
  EXPECT_THAT(nobody.err, AllOf(HasSubstr("VOYAGE_API_KEY, OPENAI_API_KEY"), HasSubstr("OLLAMA_BASE_URL")));
  const ProcessResult nowhere =
      RunClean(REEMBED_BINARY, folder_.path(), {"plan", "--system", "automem", "--db", Database()}, clean_);
  EXPECT_THAT(nowhere.err, HasSubstr("QDRANT_URL"));
}

}  // namespace
}  // namespace reembed
