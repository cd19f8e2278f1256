#include "io/embed/openai_reply.h"

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/text_vector.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr int kDim = 8;
const std::vector<std::string> kTexts = {"zero", "one", "two", "three", "four"};

// What one decoding gave.
struct Decoded {
  absl::StatusOr<int64_t> tokens = -1;
  std::vector<float> vectors;
  std::vector<VectorFault> faults;

  std::vector<float> Row(int row) const { return {vectors.begin() + row * kDim, vectors.begin() + (row + 1) * kDim}; }
};

Decoded Decode(std::string body, size_t texts = kTexts.size()) {
  Decoded decoded{.vectors = std::vector<float>(texts * kDim, -7),
                  .faults = std::vector<VectorFault>(texts, VectorFault::kNone)};
  decoded.tokens = DecodeOpenAiReply(&body, kDim, absl::MakeSpan(decoded.vectors), absl::MakeSpan(decoded.faults));
  return decoded;
}

void ExpectAllInPlace(const Decoded& decoded) {
  ASSERT_THAT(decoded.tokens, IsOk());
  for (size_t i = 0; i < kTexts.size(); ++i) EXPECT_EQ(decoded.Row(i), TextVector(kTexts[i], kDim)) << i;
}

// A reply of number arrays with this in place of its first number.
std::string WithFirstNumber(std::string body, absl::string_view number) {
  const size_t begin = body.find("\"embedding\":[") + 13;
  return body.replace(begin, body.find(',', begin) - begin, std::string(number));
}

class OpenAiReplyTest : public ::testing::TestWithParam<VectorFormat> {
 protected:
  Decoded DecodeScript(const ReplyScript& script) { return Decode(OpenAiReply(kTexts, GetParam(), script)); }
  void ExpectDataLoss(const ReplyScript& script, absl::string_view why) {
    EXPECT_THAT(DecodeScript(script).tokens, HasError(absl::StatusCode::kDataLoss, HasSubstr(std::string(why))));
  }
};

TEST_P(OpenAiReplyTest, PlacesVectorsByIndex) {
  ExpectAllInPlace(DecodeScript({}));
  ExpectAllInPlace(DecodeScript({.order = ReplyScript::Order::kShuffled}));
}

TEST_P(OpenAiReplyTest, TakesFieldsInAnyOrder) {
  ExpectAllInPlace(DecodeScript({.order = ReplyScript::Order::kShuffled, .fields = ReplyScript::Fields::kIndexLast}));
  ExpectAllInPlace(DecodeScript({.fields = ReplyScript::Fields::kUsageFirst}));
}

TEST_P(OpenAiReplyTest, TakesWhiteSpaceAnywhere) {
  const std::string body = OpenAiReply(kTexts, GetParam());
  ExpectAllInPlace(Decode(absl::StrReplaceAll(body, {{",", "\n , "}, {":", " :\t"}, {"}", " \r\n}"}, {"[", " [ "}})));
}

TEST_P(OpenAiReplyTest, ReadsUsage) {
  EXPECT_EQ(DecodeScript({}).tokens.value(), 15);
  EXPECT_EQ(DecodeScript({.fields = ReplyScript::Fields::kUsageFirst}).tokens.value(), 15);
  EXPECT_EQ(DecodeScript({.usage = ""}).tokens.value(), -1);
}

TEST_P(OpenAiReplyTest, RefusesWrongCounts) {
  ExpectDataLoss({.missing = 1}, "expected 5 vectors, got 4");
  ExpectDataLoss({.missing = 5}, "expected 5 vectors, got 0");
  ExpectDataLoss({.extra = 1}, "expected an index from 0 to 4, got 5");
}

TEST_P(OpenAiReplyTest, RefusesDoubtfulIndexes) {
  ExpectDataLoss({.same_index_row = 3}, "index 2 twice");
  ExpectDataLoss({.no_index_row = 1}, "got none");
  ExpectDataLoss({.missing = 1, .same_index_row = 3}, "index 2 twice");
  const std::string good = OpenAiReply(kTexts, GetParam());
  for (const char* bad : {"\"index\":-1", "\"index\":1.5", "\"index\":\"2\"", "\"index\":null",
                          "\"index\":2,\"index\":2", "\"index\":99999999999999999999"}) {
    EXPECT_THAT(Decode(absl::StrReplaceAll(good, {{"\"index\":2", bad}})).tokens,
                HasError(absl::StatusCode::kDataLoss, HasSubstr("")))
        << bad;
  }
}

TEST_P(OpenAiReplyTest, NamesBothWidthsWhenAllVectorsHaveAnother) {
  EXPECT_THAT(DecodeScript({.dim = 9}).tokens,
              HasError(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("8 numbers"), HasSubstr("got 9"))));
  EXPECT_THAT(DecodeScript({.dim = 7}).tokens,
              HasError(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("8 numbers"), HasSubstr("got 7"))));
}

TEST_P(OpenAiReplyTest, RefusesMixedWidths) {
  ExpectDataLoss({.odd_width_row = 0}, "of 9 and of 8");
  ExpectDataLoss({.odd_width_row = 4}, "of 8 and of 9");
}

TEST_P(OpenAiReplyTest, ReportsUnusableVectorsOneByOne) {
  const Decoded decoded = DecodeScript({.nan_row = 1, .zero_row = 3});
  ASSERT_THAT(decoded.tokens, IsOk());
  EXPECT_THAT(decoded.faults, ::testing::ElementsAre(VectorFault::kNone, VectorFault::kNotFinite, VectorFault::kNone,
                                                     VectorFault::kAllZero, VectorFault::kNone));
  EXPECT_EQ(decoded.Row(2), TextVector("two", kDim));
}

TEST_P(OpenAiReplyTest, RefusesEveryTruncation) {
  const std::string good = OpenAiReply(kTexts, GetParam());
  for (size_t length = 0; length < good.size(); ++length) {
    ASSERT_THAT(Decode(good.substr(0, length)).tokens, HasError(absl::StatusCode::kDataLoss, HasSubstr(""))) << length;
  }
}

TEST_P(OpenAiReplyTest, RefusesWhatFollowsTheEnd) {
  const std::string good = OpenAiReply(kTexts, GetParam());
  for (const char* more : {"x", "{}", ",", "]", "}", "\"", "1", "<html>"}) {
    EXPECT_THAT(Decode(absl::StrCat(good, more)).tokens, HasError(absl::StatusCode::kDataLoss, HasSubstr(""))) << more;
  }
  ExpectAllInPlace(Decode(absl::StrCat(good, " \r\n")));
}

TEST_P(OpenAiReplyTest, TellsTheWidthOfOneVector) {
  std::string body = OpenAiReply({"one"}, GetParam(), {.dim = 37});
  EXPECT_EQ(OpenAiReplyWidth(&body).value(), 37);
  body = OpenAiReply({"one"}, GetParam(), {.dim = 1});
  EXPECT_EQ(OpenAiReplyWidth(&body).value(), 1);
  body = "{}";
  EXPECT_THAT(OpenAiReplyWidth(&body), HasError(absl::StatusCode::kDataLoss, HasSubstr("data")));
}

// Every byte of a good reply in turn is damaged. Nobody can see a changed digit inside a vector, but that changes this
// vector alone; damage anywhere else is refused, or does no harm.
TEST_P(OpenAiReplyTest, DamageNeverMovesAVector) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  for (const auto fields : {ReplyScript::Fields::kAsOpenAi, ReplyScript::Fields::kIndexLast}) {
    const std::string good =
        OpenAiReply(kTexts, GetParam(), {.order = ReplyScript::Order::kShuffled, .fields = fields});
    for (int round = 0; round < 20'000; ++round) {
      std::string bad = good;
      const size_t at = random() % good.size();
      const char* const favourites = "\"\\[]{},:0123456789/ =-eE.nN";
      bad[at] = random() % 2 != 0 ? favourites[random() % 27] : static_cast<char>(random());
      const Decoded decoded = Decode(bad);
      if (!decoded.tokens.ok()) continue;
      int changed = 0;
      for (size_t i = 0; i < kTexts.size(); ++i) {
        const std::vector<float> row = decoded.Row(i), expected = TextVector(kTexts[i], kDim);
        changed += std::memcmp(row.data(), expected.data(), kDim * sizeof(float)) != 0;
      }
      ASSERT_LE(changed, 1) << "byte " << at << " became " << bad[at] << " in " << bad;
      if (changed == 1) {
        // Then the damage is behind the last "embedding" before it and before the vector's end.
        const size_t vector = good.rfind("\"embedding\":", at);
        ASSERT_NE(vector, std::string::npos);
        ASSERT_GT(good.find_first_of(GetParam() == VectorFormat::kFloat ? "]" : "\"", vector + 13), at) << bad;
      }
    }
  }
}

TEST_P(OpenAiReplyTest, SurvivesRandomSurgery) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  const std::string good = OpenAiReply(kTexts, GetParam());
  for (int round = 0; round < 20'000; ++round) {
    std::string bad = good;
    for (int cuts = 1 + random() % 4; cuts > 0 && !bad.empty(); --cuts) {
      const size_t from = random() % bad.size(), length = random() % 40, to = random() % bad.size();
      const std::string piece = bad.substr(from, length);
      random() % 2 != 0 ? bad.insert(to, piece) : bad.erase(from, length);
    }
    const Decoded decoded = Decode(bad);
    if (decoded.tokens.ok()) continue;
    EXPECT_THAT(decoded.tokens.status().code(),
                AnyOf(absl::StatusCode::kDataLoss, absl::StatusCode::kFailedPrecondition));
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, OpenAiReplyTest, ::testing::Values(VectorFormat::kBase64, VectorFormat::kFloat),
                         [](const auto& info) { return info.param == VectorFormat::kFloat ? "Float" : "Base64"; });

TEST(OpenAiReplyFormTest, UnescapesSlashes) {
  ReplyScript script{.slashes = ReplyScript::Slashes::kEscaped};
  const std::string body = OpenAiReply(kTexts, VectorFormat::kBase64, script);
  ASSERT_NE(body.find("\\/"), std::string::npos);
  ExpectAllInPlace(Decode(body));
}

TEST(OpenAiReplyFormTest, DecidesTheFormatVectorByVector) {
  const std::string base64 = OpenAiReply({"one"}, VectorFormat::kBase64);
  const std::string numbers = OpenAiReply({"zero"}, VectorFormat::kFloat);
  const auto item = [](const std::string& body) {
    return body.substr(body.find("[{") + 1, body.rfind("}]") - body.find("[{"));
  };
  const std::string mixed = absl::StrCat("{\"data\":[", item(numbers), ",",
                                         absl::StrReplaceAll(item(base64), {{"\"index\":0", "\"index\":1"}}), "]}");
  const Decoded decoded = Decode(mixed, 2);
  ASSERT_THAT(decoded.tokens, IsOk());
  EXPECT_EQ(decoded.Row(0), TextVector("zero", kDim));
  EXPECT_EQ(decoded.Row(1), TextVector("one", kDim));
}

TEST(OpenAiReplyFormTest, RefusesWhatIsNoReply) {
  for (const char* body :
       {"", " ", "<html><body>502</body></html>", "null", "[]", "{}", "{\"data\":null}", "{\"data\":{}}",
        "{\"data\":[]}", "{\"data\":[1,2,3,4,5]}", "{\"error\":{\"message\":\"x\"}}", "\xff\xfe{}",
        "{\"data\":[[[[[[[[[[", "{\"data\":[]} {\"data\":[]}"}) {
    EXPECT_THAT(Decode(body).tokens, HasError(absl::StatusCode::kDataLoss, HasSubstr(""))) << body;
  }
  EXPECT_THAT(Decode(std::string(100'000, '[')).tokens, HasError(absl::StatusCode::kDataLoss, HasSubstr("")));
  EXPECT_THAT(Decode(absl::StrCat("{\"x\":", std::string(100'000, '['))).tokens,
              HasError(absl::StatusCode::kDataLoss, HasSubstr("")));
}

TEST(OpenAiReplyFormTest, RefusesOddBytesAndBadAlphabet) {
  EXPECT_THAT(Decode(OpenAiReply(kTexts, VectorFormat::kBase64, {.odd_bytes_row = 2})).tokens,
              HasError(absl::StatusCode::kDataLoss, HasSubstr("index 2 cannot be read")));
  std::string body = OpenAiReply(kTexts, VectorFormat::kBase64);
  body[body.find("\"embedding\":\"") + 20] = '*';
  EXPECT_THAT(Decode(body).tokens, HasError(absl::StatusCode::kDataLoss, HasSubstr("index 0 cannot be read")));
}

TEST(OpenAiReplyFormTest, RefusesNonUtf8AndStringsForNumbers) {
  std::string body = OpenAiReply(kTexts, VectorFormat::kFloat);
  EXPECT_THAT(Decode(absl::StrReplaceAll(body, {{"fake", "\xff\xff\xff\xff"}})).tokens,
              HasError(absl::StatusCode::kDataLoss, HasSubstr("JSON")));
  EXPECT_THAT(Decode(WithFirstNumber(body, "\"1.0\"")).tokens, HasError(absl::StatusCode::kDataLoss, HasSubstr("")));
}

TEST(OpenAiReplyFormTest, NumbersThatJsonHasNotRejectTheirTextAlone) {
  const std::string body = OpenAiReply(kTexts, VectorFormat::kFloat);
  for (const char* number : {"null", "NaN", "Infinity", "-Infinity", "1e308", "-1e999", "1e999"}) {
    const Decoded decoded = Decode(WithFirstNumber(body, number));
    ASSERT_THAT(decoded.tokens, IsOk()) << number;
    EXPECT_EQ(decoded.faults[0], VectorFault::kNotFinite) << number;
    EXPECT_EQ(decoded.Row(1), TextVector("one", kDim)) << number;
  }
  EXPECT_EQ(Decode(WithFirstNumber(body, "1e-999")).Row(0)[0], 0);
  EXPECT_EQ(Decode(WithFirstNumber(body, "-0.12345678901234567890123")).Row(0)[0], -0.12345678901234568f);
}

TEST(OpenAiReplyFormTest, RefusesWhatIsNoNumber) {
  const std::string body = OpenAiReply(kTexts, VectorFormat::kFloat);
  for (const char* bad :
       {"", "1 2", "+1", ".5", "1.", "01", "1e", "-", "1.5.2", "--1", "0x1", "true", "nul", "{}", "[1]"}) {
    EXPECT_THAT(Decode(WithFirstNumber(body, bad)).tokens, HasError(absl::StatusCode::kDataLoss, HasSubstr(""))) << bad;
  }
}

}  // namespace
}  // namespace reembed
