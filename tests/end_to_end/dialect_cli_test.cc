// SPDX-License-Identifier: Apache-2.0
// The command against the APIs of several vendors, each played by a strict fake.

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/dialect.h"
#include "tests/fakes/dialect_server.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/process.h"
#include "tests/fakes/read_file.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/text_vector.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::Not;
using ::testing::SizeIs;

constexpr int kDim = DialectServer::kDim;

// A vector as SQLite's quote() shows its bytes.
std::string Blob(const std::vector<float>& vector) {
  std::string hex = "x'";
  for (size_t i = 0; i < vector.size() * sizeof(float); ++i) {
    absl::StrAppendFormat(&hex, "%02x", reinterpret_cast<const unsigned char*>(vector.data())[i]);
  }
  return hex + "'";
}

std::string Summary(const ProcessResult& result, const std::string& name) {
  const std::string key = absl::StrCat("\"", name, "\":");
  const size_t at = result.out.rfind(key);
  if (at == std::string::npos) return "(no summary)";
  const size_t begin = at + key.size();
  return result.out.substr(begin, result.out.find_first_of(",}", begin) - begin);
}

std::string LongText() {
  std::string text;
  while (text.size() <= DialectServer::kMaxTextBytes) text.append("words and ");
  return text;
}

class DialectCliTest : public ::testing::Test {
 protected:
  DialectCliTest() {
    db_.Run("CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT, embedding BLOB)");
    for (int i = 0; i < 150; ++i) {
      db_.Run(absl::StrCat("INSERT INTO notes(body) VALUES ('note ", i, ": \"buy\" potatoes')"));
    }
    db_.Close();
    // What would be known of the model of the fakes.
    std::ofstream(data_ / "models.toml") << "[[model]]\nname = \"fake-model\"\ndim = 8\nresizable = true\nmax_tokens = "
                                         << DialectServer::kMaxTextBytes / 4 << "\nunit_length = \"never\"\n";
  }

  // A clean room, with the key where the vendor's own programs look for it.
  ProcessResult Cli(std::vector<std::string> args, std::map<std::string, std::string> environment = {}) {
    args.insert(args.begin(), REEMBED_BINARY);
    for (const Dialect& dialect : Dialects()) {
      for (const char* const name : dialect.key_variables) {
        if (name != nullptr) environment.emplace(name, "");
      }
      for (const char* const name : dialect.base_variables) {
        if (name != nullptr) environment.emplace(name, "");
      }
    }
    environment.emplace("HOME", state_.path());
    environment.emplace("XDG_STATE_HOME", state_ / "state");
    environment.emplace("XDG_CONFIG_HOME", state_ / "config");
    environment.emplace("REEMBED_DATA", data_.path());
    return RunProcess(args, environment);
  }

  std::vector<std::string> Args(const std::string& command, const DialectServer& server, const std::string& dialect,
                                const std::vector<std::string>& more = {}) {
    std::vector<std::string> args = {command,  "--source",    Source(),          "--embedder", dialect,
                                     "--json", "--api-base",  server.api_base(), "--model",    DialectServer::kModel,
                                     "--job",  state_ / "job"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }

  static std::map<std::string, std::string> Key(const std::string& dialect) {
    return {{FindDialect(dialect)->key_variables[0], DialectServer::kKey}};
  }

  std::string Source() const {
    return absl::StrCat("sqlite:", db_.path(), "?table=notes&key=id&text=body&vector=embedding");
  }

  // Each note has the vector of its text.
  void ExpectAllStored() {
    for (int i = 0; i < 150; ++i) {
      const std::string text = absl::StrCat("note ", i, ": \"buy\" potatoes");
      ASSERT_EQ(db_.Ask(absl::StrCat("SELECT embedding FROM notes WHERE id = ", i + 1)), Blob(TextVector(text, kDim)))
          << "row " << i + 1;
    }
    db_.Close();
  }

  std::string StoredCount() {
    const std::string count = db_.Ask("SELECT count(*) FROM notes WHERE embedding IS NOT NULL");
    db_.Close();
    return count;
  }

  SqliteFile db_;
  TempFolder state_, data_;
};

class DialectRunTest : public DialectCliTest, public ::testing::WithParamInterface<std::string> {};

TEST_P(DialectRunTest, FillsADatabase) {
  DialectServer server(GetParam());
  const ProcessResult run = Cli(Args("run", server, GetParam()), Key(GetParam()));
  EXPECT_EQ(run.exit_code, 0) << run.err;
  ExpectAllStored();
  EXPECT_EQ(server.refusals(), 0);
  EXPECT_EQ(Summary(run, "rows_embedded"), "150");
  // The probe and the canary are on the bill.
  EXPECT_EQ(Summary(run, "requests"), absl::StrCat(server.requests().size()));
  const int most = FindDialect(GetParam())->limits.default_inputs;
  EXPECT_LE(server.largest_request(), most);
  // Some requests may be closed before they are full, to make them even.
  const size_t full = 2u + (150 + most - 1) / most;
  EXPECT_THAT(server.requests().size(), AllOf(Ge(full), Le(full + 2)));
  // Everything is there: neither a probe nor a request.
  const size_t before = server.requests().size();
  const ProcessResult again = Cli(Args("run", server, GetParam()), Key(GetParam()));
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(server.requests(), SizeIs(before));
}

TEST_P(DialectRunTest, AWrongKeyWritesNothing) {
  DialectServer server(GetParam());
  const std::string before = ReadFile(db_.path());
  const ProcessResult run =
      Cli(Args("run", server, GetParam()), {{FindDialect(GetParam())->key_variables[0], "sk-no"}});
  EXPECT_EQ(run.exit_code, 6) << run.err;
  EXPECT_THAT(run.err + run.out, AllOf(HasSubstr("check the API key"), Not(HasSubstr("sk-no"))));
  EXPECT_THAT(server.requests(), SizeIs(1));
  EXPECT_EQ(ReadFile(db_.path()), before);
  EXPECT_FALSE(std::filesystem::exists(state_ / "job")) << "a job that never began left something behind";
}

TEST_P(DialectRunTest, AnotherWidthIsFoundBeforeAnythingIsWritten) {
  DialectServer server(GetParam());
  std::ofstream(data_ / "models.toml") << "[[model]]\nname = \"fake-model\"\ndim = 9\nresizable = true\n";
  const std::string before = ReadFile(db_.path());
  const ProcessResult run = Cli(Args("run", server, GetParam()), Key(GetParam()));
  EXPECT_EQ(run.exit_code, 6) << run.err;
  EXPECT_THAT(run.err + run.out,
              AllOf(HasSubstr("vectors of 9 dimensions"), HasSubstr("answered 8"), HasSubstr("--dimensions 8")));
  EXPECT_THAT(server.requests(), SizeIs(Le(3)));  // one such reply may be a broken one
  EXPECT_EQ(ReadFile(db_.path()), before);
}

TEST_P(DialectRunTest, ALongTextIsRejectedUnlessItMayBeCut) {
  db_.Run(absl::StrCat("UPDATE notes SET body = '", LongText(), "' WHERE id = 7"));
  db_.Close();
  DialectServer server(GetParam());
  const ProcessResult run = Cli(Args("run", server, GetParam()), Key(GetParam()));
  EXPECT_EQ(run.exit_code, 3) << run.err;
  EXPECT_EQ(Summary(run, "rows_rejected"), "1");
  EXPECT_EQ(StoredCount(), "149");
  EXPECT_EQ(db_.Ask("SELECT id FROM notes WHERE embedding IS NULL"), "7");
  db_.Close();
  // Cut texts make other vectors: another job.
  const ProcessResult mixed = Cli(Args("run", server, GetParam(), {"--truncate"}), Key(GetParam()));
  EXPECT_EQ(mixed.exit_code, 6);
  EXPECT_THAT(mixed.out + mixed.err, HasSubstr("cut if too long"));
  std::filesystem::remove_all(state_ / "job");
  const ProcessResult cut = Cli(Args("run", server, GetParam(), {"--truncate"}), Key(GetParam()));
  EXPECT_EQ(cut.exit_code, 0) << cut.err;
  EXPECT_EQ(db_.Ask("SELECT embedding FROM notes WHERE id = 7"),
            Blob(TextVector(LongText().substr(0, DialectServer::kMaxTextBytes), kDim)));
}

TEST_P(DialectRunTest, PlanSendsNothing) {
  DialectServer server(GetParam());
  const ProcessResult plan = Cli(Args("plan", server, GetParam()));  // not even a key is wanted
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_THAT(server.requests(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Apis, DialectRunTest, ::testing::Values("ollama", "tei", "cohere", "gemini"),
                         [](const auto& info) { return info.param; });

TEST_F(DialectCliTest, SearchAsksWithTheFormOfQueries) {
  DialectServer server("cohere");
  const std::string index = state_ / "notes.faiss";
  const ProcessResult run =
      Cli(Args("run", server, "cohere", {"--target", absl::StrCat("faiss:", index)}), Key("cohere"));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const ProcessResult search = Cli({"search", "--index", index, "--embedder", "cohere", "--api-base", server.api_base(),
                                    "note 17: \"buy\" potatoes", "-k", "1"},
                                   Key("cohere"));
  EXPECT_EQ(search.exit_code, 0) << search.err;
  EXPECT_THAT(search.out, HasSubstr("note 17:"));
  EXPECT_THAT(server.requests().front().body, HasSubstr("\"search_document\""));
  EXPECT_THAT(server.requests().back().body, HasSubstr("\"search_query\""));
}

TEST_F(DialectCliTest, NotesSayWhatIsDoneToTextsAndVectors) {
  DialectServer server("gemini");
  std::vector<std::string> args = Args("plan", server, "gemini");
  std::erase(args, "--json");
  EXPECT_THAT(Cli(args).out, AllOf(HasSubstr("silently"), HasSubstr("--truncate"),
                                   HasSubstr("documents to be searched"), HasSubstr("--normalize unit")));
  args = Args("run", server, "gemini");
  std::erase(args, "--json");
  EXPECT_THAT(Cli(args, Key("gemini")).err,
              AllOf(HasSubstr("note: "), HasSubstr("fake-model, 8 dimensions, length"), HasSubstr("numbers")));
}

TEST_F(DialectCliTest, ThePrefixOfAModelIsPutBeforeTextsAndIsPartOfTheJob) {
  DialectServer server("ollama");
  std::ofstream(data_ / "models.toml") << "[[model]]\nname = \"fake\"\nalso = [\"fake-model\"]\ndim = 8\n"
                                          "document_prefix = \"doc: \"\nquery_prefix = \"query: \"\n";
  const ProcessResult run = Cli(Args("run", server, "ollama"));
  EXPECT_EQ(run.exit_code, 6) << "Ollama's fake wants a key here";
  const ProcessResult with_key = Cli(Args("run", server, "ollama"), Key("ollama"));
  EXPECT_EQ(with_key.exit_code, 0) << with_key.err;
  EXPECT_EQ(db_.Ask("SELECT embedding FROM notes WHERE id = 1"),
            Blob(TextVector("doc: note 0: \"buy\" potatoes", kDim)));
  db_.Close();
  const ProcessResult other = Cli(Args("run", server, "ollama", {"--input-type", "none"}), Key("ollama"));
  EXPECT_EQ(other.exit_code, 6);
  EXPECT_THAT(other.out + other.err, HasSubstr("as document"));
}

TEST_F(DialectCliTest, HeadersComeFromFlagsAndSecretOnesFromTheEnvironment) {
  ScriptedServer server([](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = kDim}); });
  const std::vector<std::string> args = {"run",        "--source",   Source(),      "--embedder",
                                         "openai",     "--api-base", server.url(),  "--model",
                                         "fake-model", "--job",      state_ / "job"};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = args;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const ProcessResult refused = Cli(with({"--header", "Authorization: Bearer sk-123"}));
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("--header-env"), Not(HasSubstr("sk-123"))));
  const ProcessResult unset = Cli(with({"--header-env", "X-Gateway-Key: GATEWAY_KEY"}), {{"GATEWAY_KEY", ""}});
  EXPECT_EQ(unset.exit_code, 6);
  EXPECT_THAT(server.requests(), IsEmpty());
  const ProcessResult run = Cli(with({"--header", "X-Team: memory", "--header-env", "X-Gateway-Key: GATEWAY_KEY"}),
                                {{"GATEWAY_KEY", "gw-secret-654321"}});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(server.requests().back().headers.at("x-team"), "memory");
  EXPECT_EQ(server.requests().back().headers.at("x-gateway-key"), "gw-secret-654321");
  for (const auto& entry : std::filesystem::recursive_directory_iterator(state_.path())) {
    if (entry.is_regular_file()) {
      EXPECT_THAT(ReadFile(entry.path()), Not(HasSubstr("gw-secret")));
    }
  }
}

TEST_F(DialectCliTest, AProxyIsAskedByFlagOrByEnvironment) {
  ScriptedServer proxy([](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = kDim}); });
  const std::vector<std::string> args = {
      "run",     "--source",  Source(), "--embedder", "vllm", "--api-base", "http://gpu.invalid:8000/v1",
      "--model", "fake-model"};
  std::vector<std::string> by_flag = args;
  by_flag.insert(by_flag.end(), {"--proxy", proxy.url()});
  const ProcessResult first = Cli(by_flag);
  EXPECT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(proxy.requests().back().target, "http://gpu.invalid:8000/v1/embeddings");
  const size_t before = proxy.requests().size();
  db_.Run("UPDATE notes SET embedding = NULL");
  db_.Close();
  std::vector<std::string> by_environment = args;
  by_environment.insert(by_environment.end(), {"--job", state_ / "another"});
  const ProcessResult second = Cli(by_environment, {{"http_proxy", proxy.url()}});
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_GT(proxy.requests().size(), before);
}

TEST_F(DialectCliTest, AddressesComeFromTheVendorsVariables) {
  DialectServer server("ollama");
  const std::string host = server.api_base().substr(std::string("http://").size());
  const std::vector<std::string> args = {"run", "--source", Source(), "--embedder", "ollama", "--model", "fake-model"};
  const ProcessResult run = Cli(args, {{"OLLAMA_HOST", host}, {"OLLAMA_API_KEY", DialectServer::kKey}});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  ExpectAllStored();
}

TEST_F(DialectCliTest, MistakesAreNamedWithTheNextStep) {
  const auto says = [&](std::vector<std::string> more) {
    std::vector<std::string> args = {"run", "--source", Source()};
    args.insert(args.end(), more.begin(), more.end());
    return Cli(args).err;
  };
  EXPECT_THAT(says({"--embedder", "coher"}), AllOf(HasSubstr("did you mean `cohere`"), HasSubstr("openrouter")));
  EXPECT_THAT(says({"--embedder", "cohere"}), HasSubstr("CO_API_KEY"));
  EXPECT_THAT(says({"--embedder", "azure"}), AllOf(HasSubstr("--api-base"), HasSubstr("AZURE_OPENAI_ENDPOINT")));
  EXPECT_THAT(says({"--embedder", "ollama"}), HasSubstr("--model NAME"));
  EXPECT_THAT(says({"--embedder", "ollama", "--model", "unheard-of"}), HasSubstr("--dimensions N"));
  EXPECT_THAT(says({"--embedder", "llamacpp", "--model", "fake-model", "--dimensions", "4"}),
              HasSubstr("cannot be asked for another width"));
  EXPECT_THAT(says({"--embedder", "tei", "--model", "fake-model", "--batch-size", "33"}), HasSubstr("at most 32"));
}

TEST_F(DialectCliTest, NoModelIsAskedForAWiderVectorThanItHas) {
  const auto plan = [&](const char* api, const char* model, const char* width) {
    return Cli({"plan", "--source", Source(), "--embedder", api, "--model", model, "--dimensions", width},
               {{"REEMBED_DATA", REEMBED_SOURCE_DIR "/data"}});
  };
  const ProcessResult wide = plan("openai", "text-embedding-3-small", "1537");
  EXPECT_EQ(wide.exit_code, 2) << wide.err;
  EXPECT_THAT(wide.err, HasSubstr("--dimensions 1537: text-embedding-3-small gives at most 1536"));
  EXPECT_THAT(plan("voyage", "voyage-4", "2049").err, HasSubstr("voyage-4 gives at most 2048"));
  EXPECT_THAT(plan("openai", "text-embedding-ada-002", "512").err, HasSubstr("cannot be asked for another width"));
  for (const auto& [api, model, width] :
       {std::tuple("openai", "text-embedding-3-small", "256"), {"voyage", "voyage-4", "2048"}}) {
    const ProcessResult taken = plan(api, model, width);
    EXPECT_EQ(taken.exit_code, 0) << taken.err;
  }
}

TEST_F(DialectCliTest, ListsNameEveryApi) {
  const std::string systems = Cli({"systems"}).out;
  std::string help = Cli({"run", "--help"}).out;
  for (const Dialect& dialect : Dialects()) {
    EXPECT_THAT(systems, HasSubstr(absl::StrCat("\n", dialect.name, " ")));
    EXPECT_THAT(help, HasSubstr(dialect.name));
  }
}

}  // namespace
}  // namespace reembed
