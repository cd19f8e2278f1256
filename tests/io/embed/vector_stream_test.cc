// SPDX-License-Identifier: Apache-2.0
#include "io/embed/vector_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "io/embed/reply_reader.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/text_vector.h"

namespace reembed {
namespace {

const std::vector<std::string> kTexts = {"zero", "one", "two", "three", "four", "five", "six"};

struct Decoded {
  absl::StatusOr<int64_t> tokens;
  std::vector<float> vectors;
  std::vector<VectorFault> faults;
  size_t streamed = 0;  // vectors that did not wait for the end of the reply

  std::vector<float> Row(size_t i, int dim) const {
    return {vectors.begin() + i * dim, vectors.begin() + (i + 1) * dim};
  }
};

Decoded DecodeWhole(std::string body, int dim) {
  Decoded result{.tokens = absl::UnknownError(""), .vectors = std::vector<float>(kTexts.size() * dim, -7)};
  result.faults.resize(kTexts.size());
  result.tokens = DecodeReply({}, &body, dim, absl::MakeSpan(result.vectors), absl::MakeSpan(result.faults));
  return result;
}

// The reply arrives in pieces of 1 to `piece` bytes.
Decoded DecodeArriving(const std::string& reply, int dim, size_t piece, std::mt19937* random) {
  Decoded result{.tokens = absl::UnknownError(""), .vectors = std::vector<float>(kTexts.size() * dim, -7)};
  result.faults.resize(kTexts.size());
  VectorStream stream(dim, absl::MakeSpan(result.vectors));
  std::string text;
  for (size_t at = 0; at < reply.size();) {
    const size_t length = std::min<size_t>(reply.size() - at, 1 + (*random)() % piece);
    const std::vector<char> piece_of_its_own(reply.begin() + at, reply.begin() + at + length);  // for sanitizers
    stream.Add({piece_of_its_own.data(), length}, &text);
    at += length;
  }
  const std::vector<DecodedVector> decoded = stream.Finish(&text);
  result.streamed = decoded.size();
  result.tokens = DecodeReply({}, &text, dim, absl::MakeSpan(result.vectors), absl::MakeSpan(result.faults), decoded);
  return result;
}

class VectorStreamTest : public ::testing::Test {
 protected:
  // Whatever the reply is: decoded while it arrives, it gives what it gives as a whole.
  void ExpectSame(const std::string& reply, int dim) {
    const Decoded whole = DecodeWhole(reply, dim);
    for (const size_t piece : {size_t{1}, size_t{7}, size_t{100}, size_t{1000}, reply.size()}) {
      const Decoded arrived = DecodeArriving(reply, dim, std::max<size_t>(piece, 1), &random_);
      ASSERT_EQ(arrived.tokens.status().code(), whole.tokens.status().code()) << reply;
      if (!whole.tokens.ok()) continue;
      ASSERT_EQ(*arrived.tokens, *whole.tokens);
      ASSERT_EQ(arrived.faults, whole.faults);
      for (size_t i = 0; i < kTexts.size(); ++i) {
        const VectorFault fault = whole.faults[i];
        if (fault == VectorFault::kUnreadable || fault == VectorFault::kOtherWidth) continue;  // there is no vector
        const size_t at = i * static_cast<size_t>(dim);
        ASSERT_EQ(std::memcmp(&arrived.vectors[at], &whole.vectors[at], dim * sizeof(float)), 0) << reply;
      }
    }
  }

  const uint32_t seed_ = std::random_device()();
  const ::testing::ScopedTrace trace_{__FILE__, __LINE__, absl::StrCat("seed ", seed_)};
  std::mt19937 random_{seed_};
};

TEST_F(VectorStreamTest, DecodesEveryVectorBeforeTheEnd) {
  for (const int dim : {13, 64, 1536}) {  // with all three kinds of padding
    for (const auto order : {ReplyScript::Order::kByIndex, ReplyScript::Order::kShuffled}) {
      for (const auto fields : {ReplyScript::Fields::kAsOpenAi, ReplyScript::Fields::kIndexLast}) {
        const std::string reply =
            OpenAiReply(kTexts, VectorFormat::kBase64, {.dim = dim, .order = order, .fields = fields});
        for (const size_t piece : {size_t{1}, size_t{50}, size_t{5000}, reply.size()}) {
          const Decoded decoded = DecodeArriving(reply, dim, piece, &random_);
          ASSERT_THAT(decoded.tokens, IsOk());
          EXPECT_EQ(decoded.streamed, kTexts.size());
          for (size_t i = 0; i < kTexts.size(); ++i) EXPECT_EQ(decoded.Row(i, dim), TextVector(kTexts[i], dim)) << i;
        }
      }
    }
  }
}

TEST_F(VectorStreamTest, GivesWhatTheWholeReplyGives) {
  using Script = ReplyScript;
  for (const VectorFormat format : {VectorFormat::kBase64, VectorFormat::kFloat}) {
    for (const Script& script :
         {Script{.dim = 64}, Script{.dim = 64, .slashes = Script::Slashes::kEscaped}, Script{.dim = 64, .missing = 1},
          Script{.dim = 64, .extra = 2}, Script{.dim = 64, .same_index_row = 3}, Script{.dim = 64, .no_index_row = 0},
          Script{.dim = 64, .no_index_row = 2}, Script{.dim = 64, .nan_row = 1, .zero_row = 4},
          Script{.dim = 64, .odd_width_row = 2}, Script{.dim = 64, .odd_bytes_row = 0}, Script{.dim = 63},
          Script{.dim = 128}, Script{.dim = 8}, Script{.dim = 64, .usage = ""}}) {
      ExpectSame(OpenAiReply(kTexts, format, script), 64);
    }
  }
  const std::string good = OpenAiReply(kTexts, VectorFormat::kBase64, {.dim = 64});
  const std::string vector_like((64 * 4 + 2) / 3 * 4, 'A');
  for (const std::string& field :
       {absl::StrCat("\"id\":\"embd-", std::string(60, 'x'), "\""),
        absl::StrCat("\"as_a_vector\":\"", vector_like, "\""),
        absl::StrCat("\"longer\":\"", vector_like, vector_like, "\""), std::string(R"("quote":"a\"b\\","x":"")"),
        absl::StrCat("\"", vector_like, "\":1"), absl::StrCat("\"open\":\"", vector_like)}) {
    ExpectSame(absl::StrCat("{", field, ",", good.substr(1)), 64);
    ExpectSame(absl::StrCat(good.substr(0, good.size() - 1), ",", field, "}"), 64);
  }
}

TEST_F(VectorStreamTest, GivesWhatADamagedReplyGives) {
  const std::string good =
      OpenAiReply(kTexts, VectorFormat::kBase64, {.dim = 48, .order = ReplyScript::Order::kShuffled});
  for (int round = 0; round < 2000; ++round) {
    std::string bad = good;
    const size_t at = random_() % good.size();
    const char* const favourites = "\"\\[]{},:0123456789/ =-eE.nN";
    bad[at] = random_() % 2 != 0 ? favourites[random_() % 27] : static_cast<char>(random_());
    if (random_() % 4 == 0) bad.resize(random_() % bad.size());
    ASSERT_NO_FATAL_FAILURE(ExpectSame(bad, 48));
  }
}

}  // namespace
}  // namespace reembed
