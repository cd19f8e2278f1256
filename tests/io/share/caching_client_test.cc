// SPDX-License-Identifier: Apache-2.0
#include "io/share/caching_client.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/metered_proxy.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/text_vector.h"
#include "tests/fakes/valkey_server.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr int kDim = 16;

ApiOptions Asking(const std::string& model = "m", int dim = kDim) { return {.model = {.name = model, .dim = dim}}; }

// A model in memory: the vector of a text is the TextVector() of it behind `salt`, so that one sees whose it is.
class ModelClient final : public EmbeddingClient {
 public:
  explicit ModelClient(int dim = kDim, std::string salt = "")
      : model_{.name = "m", .dim = dim}, salt_(std::move(salt)) {}

  const Model& model() const override { return model_; }
  void Send(Batch* batch, Done done) override {
    absl::Status status;
    {
      const MutexLock lock(&mutex_);
      status = stopped_.ok() ? fails_with : stopped_;
      for (BatchText& text : batch->texts()) {
        if (!status.ok() || !text.reject.ok() || text.answered) continue;
        ++bought_[std::string(text.text)];
        if (text.text == refuses) text.reject = absl::InvalidArgumentError("refused");
      }
    }
    std::move(done)(std::move(status));
  }
  absl::Status Decode(Batch* batch) const override {
    if (!batch->texts().empty() && std::exchange(bad_reply, false)) return absl::DataLossError("of no use");
    for (size_t i = 0; i < batch->texts().size(); ++i) {
      BatchText& text = batch->texts()[i];
      if (text.answered) continue;
      // As the real one: what has no answer has zeros.
      absl::Span<float> vector = batch->vectors().subspan(i * model_.dim, model_.dim);
      std::fill(vector.begin(), vector.end(), 0.0f);
      if (!text.reject.ok() || !batch->status().ok()) continue;
      TextVector(salt_ + std::string(text.text), vector);
      text.answered = true;
    }
    return absl::OkStatus();
  }
  void Stop(InTheAir, const absl::Status& why) override {
    const MutexLock lock(&mutex_);
    stopped_ = why;
  }
  ClientStats stats() const override { return {}; }

  std::map<std::string, int> bought() const {
    const MutexLock lock(&mutex_);
    return bought_;
  }

  absl::Status fails_with;
  std::string refuses;
  mutable bool bad_reply = false;  // the next one

 private:
  const Model model_;
  const std::string salt_;
  mutable Mutex mutex_;
  std::map<std::string, int> bought_ ABSL_GUARDED_BY(mutex_);
  absl::Status stopped_ ABSL_GUARDED_BY(mutex_);
};

std::unique_ptr<Batch> BatchOf(const std::vector<std::string>& texts, int dim = kDim) {
  const int count = static_cast<int>(texts.size());
  auto batch = std::make_unique<Batch>(
      BatchLimits{.max_texts = count, .max_rows = count, .max_text_bytes = size_t{1} << 16}, dim);
  for (int i = 0; i < count; ++i) batch->AddRowWithText(i, KeyView(int64_t{i}), i, texts[i], 1);
  batch->set_range({0, count});
  return batch;
}

std::future<absl::Status> Send(EmbeddingClient* client, Batch* batch) {
  auto promise = std::make_shared<std::promise<absl::Status>>();
  std::future<absl::Status> future = promise->get_future();
  client->Send(batch, Done([promise](absl::Status status) { promise->set_value(std::move(status)); }));
  return future;
}

// As the pipeline does: sends again what had no usable reply.
absl::Status Embed(EmbeddingClient* client, Batch* batch) {
  for (int attempt = 0; attempt < 5; ++attempt) {
    absl::Status status = Send(client, batch).get();
    if (!status.ok()) batch->Fail(status);
    const absl::Status decoded = client->Decode(batch);
    if (!status.ok()) return status;
    if (!absl::IsDataLoss(decoded)) return decoded;
    batch->NextAttempt();
  }
  return absl::DataLossError("no end");
}

// `salt_of`: of the model that each text's vector should be of; null: the one without.
void ExpectExact(const Batch& batch, const std::function<std::string(size_t)>& salt_of = nullptr) {
  const int dim = batch.dim();
  for (size_t i = 0; i < batch.texts().size(); ++i) {
    const std::vector<float> expected = TextVector(absl::StrCat(salt_of ? salt_of(i) : "", batch.texts()[i].text), dim);
    const std::vector<float> got(batch.vectors().begin() + static_cast<ptrdiff_t>(i) * dim,
                                 batch.vectors().begin() + static_cast<ptrdiff_t>(i + 1) * dim);
    EXPECT_EQ(got, expected) << batch.texts()[i].text;
    EXPECT_THAT(batch.texts()[i].reject, IsOk());
  }
}

std::vector<std::string> Texts(int from, int to) {
  std::vector<std::string> texts;
  for (int i = from; i < to; ++i) texts.push_back(absl::StrCat("text ", i));
  return texts;
}

// Everything holds for both kinds.
class CachingClientTest : public testing::TestWithParam<const char*> {
 protected:
  CachingClientTest() {
    if (IsServer()) server_ = std::make_unique<ValkeyServer>();
  }
  bool IsServer() const { return std::string(GetParam()) == "server"; }
  std::unique_ptr<VectorCache> Open() {
    absl::StatusOr<std::unique_ptr<VectorCache>> cache =
        IsServer() ? OpenServerCache(server_->At("p")) : OpenFileCache(folder_ / "cache.db");
    EXPECT_THAT(cache, IsOk());
    return cache.ok() ? *std::move(cache) : nullptr;
  }
  std::unique_ptr<CachingClient> Client(ModelClient* model, const ApiOptions& asking = Asking()) {
    return std::make_unique<CachingClient>(model, Open(), CacheKeys(asking, "as-received"),
                                           [this](const std::string& note) { notes_.push_back(note); });
  }

  TempFolder folder_;
  std::unique_ptr<ValkeyServer> server_;
  std::vector<std::string> notes_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, CachingClientTest, testing::Values("server", "file"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(CachingClientTest, WhatOneJobHasBoughtAnotherFinds) {
  ModelClient first, second(kDim, "second ");
  {
    const auto client = Client(&first);
    const auto batch = BatchOf(Texts(0, 20));
    ASSERT_THAT(Embed(client.get(), batch.get()), IsOk());
    ExpectExact(*batch);
    EXPECT_EQ(client->counts().bought, 20);
  }
  const auto client = Client(&second);
  const auto batch = BatchOf(Texts(10, 30));
  ASSERT_THAT(Embed(client.get(), batch.get()), IsOk());
  ExpectExact(*batch, [](size_t i) { return i < 10 ? "" : "second "; });
  EXPECT_EQ(client->counts().found, 10);
  EXPECT_EQ(client->counts().bought, 10);
  EXPECT_THAT(second.bought(), SizeIs(10));
  // All found: the model gets no text.
  const auto again = BatchOf(Texts(0, 20));
  ASSERT_THAT(Embed(client.get(), again.get()), IsOk());
  ExpectExact(*again);
  EXPECT_THAT(second.bought(), SizeIs(10));
}

TEST_P(CachingClientTest, NothingForeignUnderOnePrefix) {
  ApiOptions query = Asking();
  query.tell_use = true;
  query.use = InputUse::kQuery;
  ApiOptions document = query;
  document.use = InputUse::kDocument;
  ApiOptions prefixed = Asking();
  prefixed.text_prefix = "passage: ";
  ApiOptions cut = Asking();
  cut.truncate = true;
  ApiOptions field = Asking();
  field.body_fields = {{.name = "task", .json = "\"match\""}};
  ApiOptions asked = Asking();
  asked.dimensions = kDim;
  const std::vector<ApiOptions> all = {Asking("m"), Asking("m2"), Asking("m", 8), query, document,
                                       prefixed,    cut,          field,          asked};
  for (const ApiOptions& asking : all) {
    ModelClient model(asking.model.dim);
    const auto client = Client(&model, asking);
    const auto batch = BatchOf(Texts(0, 5), asking.model.dim);
    ASSERT_THAT(Embed(client.get(), batch.get()), IsOk());
    ExpectExact(*batch);
    EXPECT_EQ(client->counts().found, 0) << "of a model that is another one";
    EXPECT_THAT(model.bought(), SizeIs(5));
  }
  const CacheKeys unit(Asking(), "unit"), received(Asking(), "as-received");
  EXPECT_NE(unit.OfText("t"), received.OfText("t"));
  EXPECT_NE(received.OfText("t"), received.OfCanary());
  EXPECT_THAT(received.OfText("t"), SizeIs(32));
}

TEST_P(CachingClientTest, AFlippedBitIsSeenAndBoughtAgain) {
  const CacheKeys keys(Asking(), "as-received");
  ModelClient model;
  {
    const auto client = Client(&model);
    const auto batch = BatchOf(Texts(0, 3));
    ASSERT_THAT(Embed(client.get(), batch.get()), IsOk());
  }
  {
    const auto cache = Open();
    for (int i = 0; i < 2; ++i) {
      const CacheKey key = keys.OfText(absl::StrCat("text ", i));
      absl::StatusOr<std::string> value = cache->PutOnce(key, "");
      ASSERT_THAT(value, IsOk());
      // A bit of a number; then the whole value of another text.
      if (i == 0) (*value)[20] = static_cast<char>((*value)[20] ^ 4);
      if (i == 1) value = cache->PutOnce(keys.OfText("text 2"), "");
      ASSERT_THAT(cache->Put({key}, {*value}), IsOk());
    }
  }
  ModelClient other(kDim, "other ");
  const auto client = Client(&other);
  const auto batch = BatchOf(Texts(0, 3));
  ASSERT_THAT(Embed(client.get(), batch.get()), IsOk());
  ExpectExact(*batch, [](size_t i) { return i < 2 ? "other " : ""; });
  EXPECT_EQ(client->counts().damaged, 2);
  EXPECT_EQ(client->counts().found, 1);
  ASSERT_THAT(notes_, SizeIs(1));
  EXPECT_THAT(notes_[0], HasSubstr("damaged"));
  // What was bought took the place of what was damaged.
  const auto again = BatchOf(Texts(0, 3));
  while (client->counts().found < 4) {
    ASSERT_THAT(Embed(client.get(), again.get()), IsOk());
    ASSERT_LE(client->counts().damaged, 8) << "the damage stays";
  }
}

TEST_P(CachingClientTest, TwoWhoMissAtOnceBuyEachTextOnce) {
  ModelClient a, b;
  const auto first = Client(&a), second = Client(&b);
  const auto left = BatchOf(Texts(0, 30)), right = BatchOf(Texts(20, 50));
  std::future<absl::Status> one = std::async(std::launch::async, [&] { return Embed(first.get(), left.get()); });
  std::future<absl::Status> two = std::async(std::launch::async, [&] { return Embed(second.get(), right.get()); });
  EXPECT_THAT(one.get(), IsOk());
  EXPECT_THAT(two.get(), IsOk());
  ExpectExact(*left);
  ExpectExact(*right);
  EXPECT_EQ(a.bought().size() + b.bought().size(), 50);
}

TEST_P(CachingClientTest, ATextThatTheModelRefusesIsOthersToAsk) {
  ModelClient a, b;
  a.refuses = "text 0";
  const auto first = Client(&a), second = Client(&b);
  const auto batch = BatchOf(Texts(0, 3)), other = BatchOf(Texts(0, 3));
  EXPECT_THAT(Embed(first.get(), batch.get()), IsOk());
  EXPECT_FALSE(batch->texts()[0].reject.ok());
  EXPECT_THAT(Embed(second.get(), other.get()), IsOk());
  ExpectExact(*other);
  EXPECT_THAT(b.bought(), SizeIs(1));
}

TEST_P(CachingClientTest, AReplyThatIsOfNoUseIsAskedForAgain) {
  ModelClient model;
  {
    const auto client = Client(&model);
    const auto batch = BatchOf(Texts(0, 4));
    ASSERT_THAT(Embed(client.get(), batch.get()), IsOk());
  }
  ModelClient other(kDim, "other ");
  other.bad_reply = true;
  const auto client = Client(&other);
  const auto batch = BatchOf(Texts(2, 8));
  ASSERT_THAT(Embed(client.get(), batch.get()), IsOk());
  ExpectExact(*batch, [](size_t i) { return i < 2 ? "" : "other "; });
  EXPECT_EQ(client->counts().found, 2);
}

TEST_P(CachingClientTest, AModelThatFailsItsCheckGetsNothing) {
  ModelClient model;
  {
    const auto client = Client(&model);
    const auto batch = BatchOf(Texts(0, 4));
    ASSERT_THAT(Embed(client.get(), batch.get()), IsOk());
  }
  ModelClient refused;
  refused.fails_with = absl::UnauthenticatedError("another model");
  const auto client = Client(&refused);
  const auto batch = BatchOf(Texts(0, 4));
  EXPECT_THAT(Embed(client.get(), batch.get()), HasError(absl::StatusCode::kUnauthenticated, testing::_));
  EXPECT_EQ(client->counts().found, 0);
}

TEST_P(CachingClientTest, AfterAStopNothingIsBegun) {
  ModelClient model;
  const auto client = Client(&model);
  client->StopSending(absl::CancelledError("enough"));
  const auto batch = BatchOf(Texts(0, 4));
  EXPECT_THAT(Embed(client.get(), batch.get()), HasError(absl::StatusCode::kCancelled, HasSubstr("enough")));
}

TEST(ServerCacheTest, ALostCacheCostsMoneyAndNothingElse) {
  ValkeyServer server;
  ModelClient model;
  std::vector<std::string> notes;
  absl::StatusOr<std::unique_ptr<VectorCache>> cache = OpenServerCache(server.At("p"));
  ASSERT_THAT(cache, IsOk());
  CachingClient client(&model, *std::move(cache), CacheKeys(Asking(), "as-received"),
                       [&](const std::string& note) { notes.push_back(note); });
  const auto batch = BatchOf(Texts(0, 4));
  ASSERT_THAT(Embed(&client, batch.get()), IsOk());
  server.Stop();
  const auto away = BatchOf(Texts(0, 4));
  ASSERT_THAT(Embed(&client, away.get()), IsOk());
  ExpectExact(*away);
  EXPECT_EQ(client.counts().bought, 8);
  EXPECT_THAT(notes, testing::Contains(HasSubstr("until it answers, texts are bought")));
  server.Start();
  while (client.counts().found < 4) {  // it is left alone for a second, and then it is empty
    const auto again = BatchOf(Texts(0, 4));
    ASSERT_THAT(Embed(&client, again.get()), IsOk());
    ExpectExact(*again);
  }
}

TEST(ServerCacheTest, AServerWithoutMemoryIsNoError) {
  const ValkeyServer server({.more = {"--maxmemory", "2mb", "--maxmemory-policy", "noeviction"}});
  const absl::StatusOr<std::unique_ptr<VectorCache>> filling = OpenServerCache(server.At("other"));
  ASSERT_THAT(filling, IsOk());
  for (int i = 0; i < 400; ++i)
    (*filling)->Put({std::string(32, static_cast<char>(i))}, {std::string(60'000, 'x')}).IgnoreError();
  ModelClient model;
  absl::StatusOr<std::unique_ptr<VectorCache>> cache = OpenServerCache(server.At("p"));
  ASSERT_THAT(cache, IsOk());
  CachingClient client(&model, *std::move(cache), CacheKeys(Asking(), "as-received"), nullptr);
  const auto batch = BatchOf(Texts(0, 4));
  ASSERT_THAT(Embed(&client, batch.get()), IsOk());
  ExpectExact(*batch);
}

// A failover by which an address gets another server: the old one keeps its connections, and is read-only from then on.
TEST(ServerCacheTest, AServerThatIsAReplicaByNowIsLookedForAnew) {
  const ValkeyServer first, second;
  MeteredProxy address(first.port());
  ShareAddress at = first.At("p");
  at.server.port = address.port();
  const absl::StatusOr<std::unique_ptr<VectorCache>> cache = OpenServerCache(at);
  ASSERT_THAT(cache, IsOk());
  const CacheKey key(32, 'k');
  ASSERT_THAT((*cache)->Put({key}, {"before"}), IsOk());
  first.Ask({"REPLICAOF", "127.0.0.1", absl::StrCat(second.port())});
  address.PointTo(second.port());
  EXPECT_THAT((*cache)->Put({key}, {"after"}), HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("READONLY")));
  EXPECT_THAT((*cache)->Put({key}, {"after"}), IsOk());
  EXPECT_EQ(second.Ask({"GET", absl::StrCat("reembed:cache:{p}:", key)}), "after");
}

TEST(ServerCacheTest, AClaimOfWhoeverDiesRunsOut) {
  const ValkeyServer server;
  const absl::StatusOr<std::unique_ptr<VectorCache>> dead = OpenServerCache(server.At("p"));
  ASSERT_THAT(dead, IsOk());
  const CacheKeys keys(Asking(), "as-received");
  std::vector<CacheLook> looks;
  ASSERT_THAT((*dead)->Look({keys.OfText("text 0")}, &looks), IsOk());
  EXPECT_FALSE(looks[0].others_buy);
  const std::string claim = absl::StrCat("reembed:cache:{p}:", keys.OfText("text 0"), ":claim");
  const int64_t left = std::stoll(server.Ask({"PTTL", claim}));
  EXPECT_GT(left, 0);
  EXPECT_LE(left, absl::ToInt64Milliseconds(kCacheClaim));
  ModelClient model;
  absl::StatusOr<std::unique_ptr<VectorCache>> cache = OpenServerCache(server.At("p"));
  ASSERT_THAT(cache, IsOk());
  CachingClient client(&model, *std::move(cache), keys, nullptr);
  const auto batch = BatchOf(Texts(0, 2));
  std::future<absl::Status> answer = Send(&client, batch.get());
  // The other text does not wait for it.
  while (model.bought().empty()) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_THAT(model.bought(), SizeIs(1));
  server.Ask({"DEL", claim});
  EXPECT_THAT(answer.get(), IsOk());
  EXPECT_THAT(client.Decode(batch.get()), IsOk());
  ExpectExact(*batch);
  EXPECT_THAT(model.bought(), SizeIs(2));
}

TEST(FileCacheTest, StaysWithinItsBounds) {
  const TempFolder folder;
  const absl::StatusOr<std::unique_ptr<VectorCache>> cache = OpenFileCache(folder / "cache.db", 1 << 20);
  ASSERT_THAT(cache, IsOk());
  const auto key = [](int i) { return absl::StrCat("key of thirty-two bytes ", 10'000'000 + i); };
  for (int i = 0; i < 1000; ++i) ASSERT_THAT((*cache)->Put({key(i)}, {std::string(6000, 'x')}), IsOk());
  EXPECT_THAT((*cache)->PutOnce(key(0), ""), IsOk());
  EXPECT_EQ(*(*cache)->PutOnce(key(0), ""), "") << "the oldest are gone";
  EXPECT_EQ(*(*cache)->PutOnce(key(999), ""), std::string(6000, 'x'));
  EXPECT_LE(std::filesystem::file_size(folder / "cache.db"), 3 << 20);
}

TEST(FileCacheTest, MakesItsFolders) {
  const TempFolder folder;
  EXPECT_THAT(OpenFileCache(folder / "cache/reembed/vectors.db"), IsOk());
  EXPECT_THAT(OpenFileCache(folder / "cache/reembed/vectors.db"), IsOk());
}

TEST(FileCacheTest, RefusesAFileOfSomethingElse) {
  SqliteFile notes;
  notes.Run("CREATE TABLE notes (id INTEGER)");
  EXPECT_THAT(OpenFileCache(notes.path()),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("an SQLite file of something else")));
}

std::string BytesOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Somebody has named his only database by mistake.
TEST(FileCacheTest, AFileOfSomethingElseStaysAsItIs) {
  SqliteFile notes;
  notes.Run("CREATE TABLE notes (id INTEGER)");
  std::filesystem::permissions(notes.path(), std::filesystem::perms(0644));
  const std::string before = BytesOf(notes.path());
  EXPECT_FALSE(OpenFileCache(notes.path()).ok());
  EXPECT_TRUE(BytesOf(notes.path()) == before);
  EXPECT_EQ(std::filesystem::status(notes.path()).permissions(), std::filesystem::perms(0644));
}

TEST(FileCacheTest, IsThisUsersAlone) {
  const TempFolder folder;
  const std::string path = folder / "cache.db";
  const mode_t before = umask(0);
  ASSERT_THAT(OpenFileCache(path), IsOk());
  EXPECT_EQ(std::filesystem::status(path).permissions(), std::filesystem::perms(0600));
  std::filesystem::permissions(path, std::filesystem::perms(0644));
  ASSERT_THAT(OpenFileCache(path), IsOk());
  umask(before);
  EXPECT_EQ(std::filesystem::status(path).permissions(), std::filesystem::perms(0600)) << "of an earlier version";
}

TEST(FileCacheTest, IsNotMadeThroughALink) {
  const TempFolder folder;
  std::filesystem::create_symlink(folder / "victim", folder / "cache.db");
  EXPECT_THAT(OpenFileCache(folder / "cache.db"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("cache.db")));
  EXPECT_FALSE(std::filesystem::exists(folder / "victim"));
}

}  // namespace
}  // namespace reembed
