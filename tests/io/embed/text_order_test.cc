// SPDX-License-Identifier: Apache-2.0
#include "io/embed/text_order.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/api_client.h"
#include "io/embed/dialect.h"
#include "io/embed/endpoint_pool.h"
#include "tests/fakes/dialect_server.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/text_vector.h"

// Whatever order texts leave in, each gets its own vector, or its own fault.

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kDim = 32;  // wide enough for vectors that are decoded while they arrive

std::vector<BatchText> OfTokens(const std::vector<int64_t>& tokens) {
  std::vector<BatchText> texts;
  for (const int64_t count : tokens) texts.push_back({.tokens = count});
  return texts;
}

TEST(TextOrderTest, TheLongestLeaveFirstAndEqualOnesAsTheyAre) {
  EXPECT_THAT(LongestFirst(OfTokens({3, 9, 3, 1, 9, 4})), ElementsAre(1, 4, 5, 0, 2, 3));
  EXPECT_THAT(LongestFirst(OfTokens({1, 2})), ElementsAre(1, 0));
}

TEST(TextOrderTest, WhatIsInOrderIsLeftAlone) {
  for (const std::vector<int64_t>& tokens : std::vector<std::vector<int64_t>>{{}, {5}, {5, 5, 5}, {9, 4, 4, 1}}) {
    EXPECT_THAT(LongestFirst(OfTokens(tokens)), IsEmpty());
  }
}

TEST(TextOrderTest, RowsAndFaultsComeBackToTheirPlaces) {
  std::mt19937 random(11);
  for (int rows = 1; rows <= 40; ++rows) {
    SCOPED_TRACE(absl::StrCat("seed 11, ", rows, " rows"));
    const int dim = 1 + static_cast<int>(random() % 5);
    std::vector<int> order(rows);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    std::vector<float> vectors(static_cast<size_t>(rows) * dim), wanted(vectors.size());
    std::vector<VectorFault> faults(rows), wanted_faults(rows);
    for (int k = 0; k < rows; ++k) {
      faults[k] = wanted_faults[order[k]] = k % 3 == 0 ? VectorFault::kAllZero : VectorFault::kNone;
      for (int i = 0; i < dim; ++i) {
        vectors[static_cast<size_t>(k) * dim + i] = wanted[static_cast<size_t>(order[k]) * dim + i] = k * 10.0f + i;
      }
    }
    std::vector<float> untouched = vectors;
    std::vector<VectorFault> untouched_faults = faults;
    RestoreOrder({}, dim, absl::MakeSpan(untouched), absl::MakeSpan(untouched_faults));
    EXPECT_EQ(untouched, vectors);
    EXPECT_EQ(untouched_faults, faults);
    RestoreOrder(order, dim, absl::MakeSpan(vectors), absl::MakeSpan(faults));
    EXPECT_EQ(vectors, wanted);
    EXPECT_EQ(faults, wanted_faults);
  }
}

// Texts of shuffled lengths, some of them equally long. All differ.
std::vector<std::string> Shuffled(int count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::string> texts;
  for (int i = 0; i < count; ++i) texts.push_back(absl::StrCat("text ", i, " ", std::string(random() % 40 * 8, 'x')));
  return texts;
}

int64_t TokensOf(absl::string_view text) { return static_cast<int64_t>(text.size()) / 8 + 1; }

std::unique_ptr<Batch> MakeBatch(const std::vector<std::string>& texts, int dim = kDim) {
  auto batch = std::make_unique<Batch>(BatchLimits{}, dim);
  for (size_t i = 0; i < texts.size(); ++i) {
    batch->AddRowWithText(i, KeyView(int64_t(i)), i, texts[i], TokensOf(texts[i]));
  }
  return batch;
}

// As the server of one that pads should get them.
std::vector<std::string> Sorted(std::vector<std::string> texts) {
  std::stable_sort(texts.begin(), texts.end(),
                   [](const std::string& a, const std::string& b) { return TokensOf(a) > TokensOf(b); });
  return texts;
}

bool IsSorted(const std::vector<std::string>& texts) { return texts == Sorted(texts); }

void ExpectOwnVectors(const Batch& batch, const std::function<std::string(absl::string_view)>& embedded = nullptr) {
  const int dim = batch.dim();
  for (size_t i = 0; i < batch.texts().size(); ++i) {
    const BatchText& text = batch.texts()[i];
    const absl::Span<const float> row = batch.vectors().subspan(i * dim, dim);
    const std::string wanted = embedded ? embedded(text.text) : std::string(text.text);
    EXPECT_EQ(std::vector<float>(row.begin(), row.end()),
              text.reject.ok() ? TextVector(wanted, dim) : std::vector<float>(dim, 0))
        << i;
  }
}

absl::Status SendTo(EmbeddingClient* client, Batch* batch) {
  auto promise = std::make_shared<std::promise<absl::Status>>();
  client->Send(batch, Done([promise](absl::Status status) { promise->set_value(std::move(status)); }));
  return promise->get_future().get();
}

// As the pipeline does: what is not answered yet is sent again.
absl::Status SendUntilDecoded(EmbeddingClient* client, Batch* batch) {
  for (int sendings = 0; sendings < 30; ++sendings) {
    if (absl::Status sent = SendTo(client, batch); !sent.ok()) return sent;
    absl::Status decoded = client->Decode(batch);
    if (!absl::IsDataLoss(decoded)) return decoded;
    batch->NextAttempt();
  }
  return absl::InternalError("it never ends");
}

// ---- Every API ----

class EveryApiTest : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryApiTest, ThoseThatPeopleRunGetTheLongestFirstAndAllAnswerEachTextItsOwnVector) {
  for (const ReplyFormat encoding : {ReplyFormat::kBase64, ReplyFormat::kFloat}) {
    DialectServer server(GetParam());
    const Dialect& dialect = *FindDialect(GetParam());
    auto client = MakeApiClient({.dialect = GetParam(),
                                 .api_base = server.api_base(),
                                 .api_key = DialectServer::kKey,
                                 .model = {.name = DialectServer::kModel, .dim = DialectServer::kDim},
                                 .encoding = encoding,
                                 .concurrency = 1});
    ASSERT_THAT(client, IsOk());
    const std::vector<std::string> texts = Shuffled(70, 3);
    const auto batch = MakeBatch(texts, DialectServer::kDim);
    ASSERT_THAT(SendTo(client->get(), batch.get()), IsOk());
    ASSERT_THAT((*client)->Decode(batch.get()), IsOk());
    EXPECT_EQ(server.refusals(), 0);
    ExpectOwnVectors(*batch);
    // One request after another, as large as the API takes them.
    std::vector<std::string> wanted;
    const size_t most = dialect.limits.inputs > 0 ? dialect.limits.inputs : texts.size();
    for (size_t first = 0; first < texts.size(); first += most) {
      std::vector<std::string> request(texts.begin() + first, texts.begin() + std::min(texts.size(), first + most));
      if (dialect.self_hosted) request = Sorted(request);
      wanted.insert(wanted.end(), request.begin(), request.end());
    }
    EXPECT_EQ(server.embedded(), wanted);
  }
}

std::vector<std::string> NamesOfAll() {
  std::vector<std::string> names;
  for (const Dialect& dialect : Dialects()) names.emplace_back(dialect.name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Apis, EveryApiTest, ::testing::ValuesIn(NamesOfAll()),
                         [](const auto& info) { return info.param; });

// ---- Every way that a request goes ----

class SortedRequestTest : public ::testing::Test {
 protected:
  SortedRequestTest() {
    options_.dialect = "infinity";
    options_.model = {.name = "fake", .dim = kDim};
    options_.retry = {.max_attempts = 4, .first_backoff = absl::Milliseconds(1), .max_wait = absl::Milliseconds(40)};
  }

  void Serve(ScriptedServer::Handler handler) {
    client_.reset();
    server_ = std::make_unique<ScriptedServer>(std::move(handler));
    options_.api_base = server_->url();
    auto client = MakeApiClient(options_);
    ASSERT_THAT(client, IsOk());
    client_ = *std::move(client);
  }

  static ServerReply Answer(const ServerRequest& request, ReplyScript script = {}) {
    script.dim = kDim;
    return OpenAiAnswer(request, script);
  }

  // The requests that the server has got, each in the right order.
  std::vector<std::vector<std::string>> Asked() const {
    std::vector<std::vector<std::string>> asked;
    for (const ServerRequest& request : server_->requests()) {
      asked.push_back(TextsOf(request.body));
      EXPECT_TRUE(IsSorted(asked.back())) << request.body;
    }
    return asked;
  }

  ApiOptions options_;
  std::unique_ptr<ScriptedServer> server_;
  std::unique_ptr<EmbeddingClient> client_;
};

TEST_F(SortedRequestTest, VectorsMayComeInAnyOrderAndForm) {
  for (const ReplyFormat encoding : {ReplyFormat::kBase64, ReplyFormat::kFloat}) {
    for (const ReplyScript::Order order : {ReplyScript::Order::kByIndex, ReplyScript::Order::kShuffled}) {
      for (const ReplyScript::Slashes slashes : {ReplyScript::Slashes::kPlain, ReplyScript::Slashes::kEscaped}) {
        options_.encoding = encoding;
        Serve([&](const ServerRequest& request) { return Answer(request, {.order = order, .slashes = slashes}); });
        const auto batch = MakeBatch(Shuffled(100, 5));
        ASSERT_THAT(SendTo(client_.get(), batch.get()), IsOk());
        ASSERT_THAT(client_->Decode(batch.get()), IsOk());
        ExpectOwnVectors(*batch);
        EXPECT_EQ(Asked().size(), 1u);
      }
    }
  }
}

TEST_F(SortedRequestTest, WhatIsRefusedAndHalvedIsSortedInEachHalf) {
  Serve([](const ServerRequest& request) {
    return TextsOf(request.body).size() > 30 ? ServerReply{.status = 413} : Answer(request);
  });
  options_.concurrency = 1;
  const std::vector<std::string> texts = Shuffled(100, 7);
  const auto batch = MakeBatch(texts);
  ASSERT_THAT(SendTo(client_.get(), batch.get()), IsOk());
  ASSERT_THAT(client_->Decode(batch.get()), IsOk());
  ExpectOwnVectors(*batch);
  std::vector<std::string> answered;
  for (const std::vector<std::string>& request : Asked()) {
    if (request.size() <= 30) answered.insert(answered.end(), request.begin(), request.end());
  }
  std::sort(answered.begin(), answered.end());
  std::vector<std::string> all = texts;
  std::sort(all.begin(), all.end());
  EXPECT_EQ(answered, all) << "each is asked for once in a request that is taken";
}

// Others have answered, or refused, some in between.
TEST_F(SortedRequestTest, WhatLiesBetweenTextsThatNeedNoneIsAskedForInPlace) {
  Serve([](const ServerRequest& request) { return Answer(request); });
  const auto batch = MakeBatch(Shuffled(60, 9));
  for (const int known : {0, 13, 14, 40}) {
    BatchText& text = batch->texts()[known];
    text.answered = true;
    TextVector(text.text, batch->vectors().subspan(known * kDim, kDim));
  }
  batch->texts()[20].reject = absl::InvalidArgumentError("refused before");
  ASSERT_THAT(SendTo(client_.get(), batch.get()), IsOk());
  ASSERT_THAT(client_->Decode(batch.get()), IsOk());
  ExpectOwnVectors(*batch);
  EXPECT_EQ(Asked().size(), 4u);
}

TEST_F(SortedRequestTest, ARefusedTextIsFound) {
  const std::vector<std::string> texts = Shuffled(64, 13);
  Serve([&](const ServerRequest& request) {
    if (absl::StrContains(request.body, texts[31])) return OpenAiError(422, "", "", "no such words");
    return Answer(request);
  });
  const auto batch = MakeBatch(texts);
  ASSERT_THAT(SendTo(client_.get(), batch.get()), IsOk());
  ASSERT_THAT(client_->Decode(batch.get()), IsOk());
  for (int i = 0; i < 64; ++i) EXPECT_EQ(batch->texts()[i].reject.ok(), i != 31) << i;
  ExpectOwnVectors(*batch);
  Asked();
}

// A fault is that of its text: it alone is asked for again.
TEST_F(SortedRequestTest, AFaultIsThatOfItsTextAndTheOthersAreTaken) {
  const std::vector<std::string> texts = Shuffled(50, 17);
  for (const ReplyFormat encoding : {ReplyFormat::kBase64, ReplyFormat::kFloat}) {
    options_.encoding = encoding;
    Serve([&](const ServerRequest& request) {
      const std::vector<std::string> asked = TextsOf(request.body);
      ReplyScript script;
      for (size_t i = 0; i < asked.size(); ++i) {
        if (asked[i] == texts[25]) script.nan_row = static_cast<int>(i);
        if (asked[i] == texts[8]) script.zero_row = static_cast<int>(i);
        if (asked[i] == texts[40] && request.number == 0) script.odd_width_row = static_cast<int>(i);
      }
      return Answer(request, script);
    });
    const auto batch = MakeBatch(texts);
    ASSERT_THAT(SendUntilDecoded(client_.get(), batch.get()), IsOk());
    EXPECT_THAT(batch->texts()[25].reject, HasError(absl::StatusCode::kDataLoss, HasSubstr("NaN")));
    EXPECT_THAT(batch->texts()[8].reject, HasError(absl::StatusCode::kDataLoss, HasSubstr("zeros")));
    for (int i = 0; i < 50; ++i) EXPECT_EQ(batch->texts()[i].reject.ok(), i != 25 && i != 8) << i;
    ExpectOwnVectors(*batch);
    const std::vector<std::vector<std::string>> asked = Asked();
    for (size_t i = 0; i < asked.size(); ++i) EXPECT_EQ(asked[i].size(), i == 0 ? 50u : 1u);
    EXPECT_EQ(asked.size(), 1u + 1 + 2 + 2);
  }
}

TEST_F(SortedRequestTest, UnreadableRepliesAreHalvedDownToTheTextThatMakesThemSo) {
  const std::vector<std::string> texts = Shuffled(16, 19);
  Serve([&](const ServerRequest& request) {
    return Answer(request, {.missing = absl::StrContains(request.body, texts[5]) ? 1 : 0});
  });
  const auto batch = MakeBatch(texts);
  ASSERT_THAT(SendUntilDecoded(client_.get(), batch.get()), IsOk());
  for (int i = 0; i < 16; ++i) EXPECT_EQ(batch->texts()[i].reject.ok(), i != 5) << i;
  ExpectOwnVectors(*batch);
  Asked();
}

TEST_F(SortedRequestTest, TheAnswerOfEitherSendingOfAStragglerIsTaken) {
  options_.hedge = true;
  options_.concurrency = 4;
  std::atomic<int> sendings = 0;
  Serve([&](const ServerRequest& request) {
    ServerReply reply = Answer(request);
    // Its first sending never ends.
    if (absl::StrContains(request.body, "text 29 ") && sendings++ == 0) reply.fault = ServerFault::kStall;
    return reply;
  });
  for (int i = 0; i < 100; ++i) {
    const auto quick = MakeBatch({"a", "a longer one than that"});
    ASSERT_THAT(SendTo(client_.get(), quick.get()), IsOk());
    ASSERT_THAT(client_->Decode(quick.get()), IsOk());
    ExpectOwnVectors(*quick);
  }
  const auto batch = MakeBatch(Shuffled(30, 23));
  ASSERT_THAT(SendTo(client_.get(), batch.get()), IsOk());
  ASSERT_THAT(client_->Decode(batch.get()), IsOk());
  ExpectOwnVectors(*batch);
  EXPECT_EQ(sendings, 2);
  Asked();
}

// Parts of a text leave apart, by their own lengths, and are merged in the order of the text.
TEST_F(SortedRequestTest, PartsOfATextLeaveApartAndBecomeOneVector) {
  Serve([](const ServerRequest& request) { return Answer(request); });
  auto batch = std::make_unique<Batch>(BatchLimits{}, kDim);
  batch->AddRowWithText(0, KeyView(int64_t{0}), 0, "short", 2);
  batch->AddRowWithParts(1, KeyView(int64_t{1}), 1, {{"one", 1}, {", two and a half", 9}, {", three", 4}});
  batch->AddRowWithText(2, KeyView(int64_t{2}), 2, "of middling length", 6);
  ASSERT_THAT(SendTo(client_.get(), batch.get()), IsOk());
  ASSERT_THAT(client_->Decode(batch.get()), IsOk());
  EXPECT_THAT(TextsOf(server_->requests().at(0).body),
              ElementsAre(", two and a half", "of middling length", ", three", "short", "one"));
  batch->MergeParts();
  ASSERT_EQ(batch->texts().size(), 3u);
  EXPECT_EQ(batch->texts()[1].text, "one, two and a half, three");
  std::vector<double> sum(kDim);
  double squares = 0;
  for (const auto& [part, weight] :
       std::vector<std::pair<std::string, int>>{{"one", 1}, {", two and a half", 9}, {", three", 4}}) {
    for (int i = 0; i < kDim; ++i) sum[i] += weight * double{TextVector(part, kDim)[i]};
  }
  for (const double value : sum) squares += value * value;
  for (int i = 0; i < kDim; ++i) {
    EXPECT_FLOAT_EQ(batch->vectors()[kDim + i], static_cast<float>(sum[i] / std::sqrt(squares)));
    EXPECT_EQ(batch->vectors()[i], TextVector("short", kDim)[i]);
    EXPECT_EQ(batch->vectors()[2 * kDim + i], TextVector("of middling length", kDim)[i]);
  }
}

// What one endpoint has brought before it failed is read by another, which sorts nothing itself, and likewise back.
TEST_F(SortedRequestTest, AReplyKeepsItsOrderWhoeverReadsIt) {
  for (const bool first_sorts : {true, false}) {
    const std::vector<std::string> texts = Shuffled(40, 29);
    options_.dialect = first_sorts ? "infinity" : "openai";
    options_.concurrency = 1;
    Serve([&](const ServerRequest& request) {
      if (TextsOf(request.body).size() > 20) return ServerReply{.status = 413};
      if (absl::StrContains(request.body, texts[33])) {
        return ServerReply{.status = 500, .headers = {{"x-should-retry", "false"}}};
      }
      return Answer(request);
    });
    const auto batch = MakeBatch(texts);
    EXPECT_THAT(SendTo(client_.get(), batch.get()), HasError(absl::StatusCode::kUnavailable, HasSubstr("HTTP 500")));
    options_.dialect = first_sorts ? "openai" : "infinity";
    Serve([](const ServerRequest& request) { return Answer(request); });
    ASSERT_THAT(SendTo(client_.get(), batch.get()), IsOk());
    ASSERT_EQ(server_->request_count(), 1);
    const std::vector<std::string> rest(texts.begin() + 20, texts.end());
    EXPECT_EQ(TextsOf(server_->requests()[0].body), first_sorts ? rest : Sorted(rest));
    ASSERT_THAT(client_->Decode(batch.get()), IsOk());
    ExpectOwnVectors(*batch);
  }
}

// Each endpoint writes its requests as its own server wants them, whichever is the first; the canary texts, too, which
// are compared by their places.
TEST_F(SortedRequestTest, OfTwoEndpointsEachSortsForItself) {
  for (const bool first_sorts : {true, false}) {
    std::mutex mutex;
    std::vector<std::vector<std::string>> asked[2];
    std::vector<std::unique_ptr<ScriptedServer>> servers;
    std::vector<PoolEndpoint> endpoints;
    for (int i = 0; i < 2; ++i) {
      servers.push_back(std::make_unique<ScriptedServer>([&, i](const ServerRequest& request) {
        const std::lock_guard lock(mutex);
        asked[i].push_back(TextsOf(request.body));
        return Answer(request);
      }));
      options_.dialect = (i == 0) == first_sorts ? "infinity" : "openai";
      options_.api_base = servers.back()->url();
      auto client = MakeApiClient(options_);
      ASSERT_THAT(client, IsOk());
      endpoints.push_back({.name = options_.api_base, .traits = {.concurrency = 1}, .client = *std::move(client)});
    }
    auto pool = EndpointPool::Make(std::move(endpoints), {});
    ASSERT_THAT(pool, IsOk());
    const auto both_have_worked = [&] {
      const std::lock_guard lock(mutex);
      return asked[0].size() > 3 && asked[1].size() > 3;
    };
    // More under way than one of them takes at a time.
    for (int round = 0; round < 500 && !both_have_worked(); ++round) {
      std::vector<std::jthread> threads;
      for (uint32_t t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
          const auto batch = MakeBatch(Shuffled(20, round * 4 + t));
          ASSERT_THAT(SendTo(pool->get(), batch.get()), IsOk());
          ASSERT_THAT((*pool)->Decode(batch.get()), IsOk());
          ExpectOwnVectors(*batch);
        });
      }
    }
    EXPECT_TRUE(both_have_worked());
    const int sorting = first_sorts ? 0 : 1;
    const std::lock_guard lock(mutex);
    for (const std::vector<std::string>& request : asked[sorting]) {
      EXPECT_TRUE(request.size() < 20 || IsSorted(request));
    }
    EXPECT_TRUE(std::any_of(asked[1 - sorting].begin(), asked[1 - sorting].end(),
                            [](const std::vector<std::string>& request) { return !IsSorted(request); }));
  }
}

// Whatever a server refuses, leaves out and mixes up, no text gets another's vector.
TEST_F(SortedRequestTest, ThroughAnyWeather) {
  for (uint32_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    const size_t most = 1 + random() % 60;
    options_.dialect = random() % 4 == 0 ? "openai" : "infinity";
    options_.encoding = random() % 2 == 0 ? ReplyFormat::kBase64 : ReplyFormat::kFloat;
    std::mutex mutex;
    bool was_bad = false;
    Serve([&](const ServerRequest& request) {
      const size_t texts = TextsOf(request.body).size();
      if (texts > most) return ServerReply{.status = 413};
      const std::lock_guard lock(mutex);
      ReplyScript script;
      if (random() % 2 == 0) script.order = ReplyScript::Order::kShuffled;
      // Never twice in a row: a server whose replies are all of no use ends the run.
      const uint32_t mood = was_bad ? 0 : random() % 6;
      if (mood == 1) script.nan_row = static_cast<int>(random() % texts);
      if (mood == 2) script.missing = 1;
      was_bad = mood == 1 || mood == 2;
      return Answer(request, script);
    });
    const auto batch = MakeBatch(Shuffled(80, seed));
    ASSERT_THAT(SendUntilDecoded(client_.get(), batch.get()), IsOk());
    ExpectOwnVectors(*batch);
  }
}

}  // namespace
}  // namespace reembed
