// SPDX-License-Identifier: Apache-2.0
#include "io/embed/reply_reader.h"

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
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
  decoded.tokens = DecodeReply({}, &body, kDim, absl::MakeSpan(decoded.vectors), absl::MakeSpan(decoded.faults));
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

class ReplyReaderTest : public ::testing::TestWithParam<VectorFormat> {
 protected:
  Decoded DecodeScript(const ReplyScript& script) { return Decode(OpenAiReply(kTexts, GetParam(), script)); }
  void ExpectDataLoss(const ReplyScript& script, absl::string_view why) {
    EXPECT_THAT(DecodeScript(script).tokens, HasError(absl::StatusCode::kDataLoss, HasSubstr(std::string(why))));
  }
};

TEST_P(ReplyReaderTest, PlacesVectorsByIndex) {
  ExpectAllInPlace(DecodeScript({}));
  ExpectAllInPlace(DecodeScript({.order = ReplyScript::Order::kShuffled}));
}

TEST_P(ReplyReaderTest, TakesFieldsInAnyOrder) {
  ExpectAllInPlace(DecodeScript({.order = ReplyScript::Order::kShuffled, .fields = ReplyScript::Fields::kIndexLast}));
  ExpectAllInPlace(DecodeScript({.fields = ReplyScript::Fields::kUsageFirst}));
}

TEST_P(ReplyReaderTest, TakesWhiteSpaceAnywhere) {
  const std::string body = OpenAiReply(kTexts, GetParam());
  ExpectAllInPlace(Decode(absl::StrReplaceAll(body, {{",", "\n , "}, {":", " :\t"}, {"}", " \r\n}"}, {"[", " [ "}})));
}

TEST_P(ReplyReaderTest, ReadsUsage) {
  EXPECT_EQ(DecodeScript({}).tokens.value(), 15);
  EXPECT_EQ(DecodeScript({.fields = ReplyScript::Fields::kUsageFirst}).tokens.value(), 15);
  EXPECT_EQ(DecodeScript({.usage = ""}).tokens.value(), -1);
}

TEST_P(ReplyReaderTest, RefusesWrongCounts) {
  ExpectDataLoss({.missing = 1}, "expected 5 vectors, got 4");
  ExpectDataLoss({.missing = 5}, "expected 5 vectors, got 0");
  ExpectDataLoss({.extra = 1}, "expected an index from 0 to 4, got 5");
}

TEST_P(ReplyReaderTest, RefusesDoubtfulIndexes) {
  ExpectDataLoss({.same_index_row = 3}, "index 2 twice");
  ExpectDataLoss({.missing = 1, .same_index_row = 3}, "index 2 twice");
  const std::string good = OpenAiReply(kTexts, GetParam());
  for (const char* bad : {"\"index\":-1", "\"index\":1.5", "\"index\":\"2\"", "\"index\":true",
                          "\"index\":2,\"index\":2", "\"index\":99999999999999999999"}) {
    EXPECT_THAT(Decode(absl::StrReplaceAll(good, {{"\"index\":2", bad}})).tokens,
                HasError(absl::StatusCode::kDataLoss, HasSubstr("")))
        << bad;
  }
}

// Servers that leave out what is 0, and those whose numbers are all floats.
TEST_P(ReplyReaderTest, TheFirstMayLackItsIndexWhereTheOthersAreInOrder) {
  ExpectAllInPlace(DecodeScript({.no_index_row = 0}));
  const std::string good = OpenAiReply(kTexts, GetParam(), {.order = ReplyScript::Order::kShuffled});
  for (const char* as : {"\"index\":2.0", "\"index\":2e0"}) {
    ExpectAllInPlace(Decode(absl::StrReplaceAll(good, {{"\"index\":2", as}})));
  }
  const std::string in_order = OpenAiReply(kTexts, GetParam());
  ExpectAllInPlace(Decode(absl::StrReplaceAll(in_order, {{"\"index\":0", "\"index\":null"}})));
  for (int row = 1; row < 5; ++row) ExpectDataLoss({.no_index_row = row}, "got none");
  for (int row = 0; row < 5; ++row) {
    ExpectDataLoss({.order = ReplyScript::Order::kShuffled, .no_index_row = row}, " none");
  }
  ExpectDataLoss({.missing = 1, .no_index_row = 1}, "got none");
}

// Two damages, of which one makes an index of another: which vector has none could only be guessed.
TEST_P(ReplyReaderTest, AnIndexThatIsLackingIsNotTheOneThatIsFree) {
  const std::string good = OpenAiReply(kTexts, GetParam());
  for (int lacking = 0; lacking < 5; ++lacking) {
    for (int moved = 0; moved < 5; ++moved) {
      if (moved == lacking) continue;
      const Decoded decoded =
          Decode(absl::StrReplaceAll(good, {{absl::StrCat("\"index\":", lacking), absl::StrCat("\"iidex\":", lacking)},
                                            {absl::StrCat("\"index\":", moved), absl::StrCat("\"index\":", lacking)}}));
      EXPECT_FALSE(decoded.tokens.ok()) << "index " << lacking << " is lacking, " << moved << " says it is that";
    }
  }
}

TEST_P(ReplyReaderTest, NamesBothWidthsWhenAllVectorsHaveAnother) {
  EXPECT_THAT(DecodeScript({.dim = 9}).tokens,
              HasError(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("8 numbers"), HasSubstr("got 9"))));
  EXPECT_THAT(DecodeScript({.dim = 7}).tokens,
              HasError(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("8 numbers"), HasSubstr("got 7"))));
}

TEST_P(ReplyReaderTest, OneOfAnotherWidthIsNoFaultOfTheOthers) {
  for (const int row : {0, 4}) {
    const Decoded decoded = DecodeScript({.odd_width_row = row});
    ASSERT_THAT(decoded.tokens, IsOk());
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(decoded.faults[i], i == row ? VectorFault::kOtherWidth : VectorFault::kNone);
      if (i == row) continue;
      EXPECT_EQ(decoded.Row(i), TextVector(kTexts[i], kDim));
    }
  }
}

TEST_P(ReplyReaderTest, WhatStandsInPlaceOfAVectorIsNoFaultOfTheOthers) {
  const std::string good = OpenAiReply(kTexts, GetParam());
  const size_t begin = good.find("\"embedding\":", good.find("\"embedding\":") + 1) + 12;
  const size_t end = good.find_first_of(GetParam() == VectorFormat::kFloat ? "]" : "\"", begin + 1) + 1;
  for (const char* odd : {"null", "[]", "\"\"", "\"????\"", "{}", "0", "false", "[null]", "[[]]", "[\"1\"]"}) {
    std::string body = good;
    const Decoded decoded = Decode(body.replace(begin, end - begin, odd));
    ASSERT_THAT(decoded.tokens, IsOk()) << odd;
    EXPECT_NE(decoded.faults[1], VectorFault::kNone) << odd;
    for (const int i : {0, 2, 3, 4}) {
      EXPECT_EQ(decoded.faults[i], VectorFault::kNone) << odd;
      EXPECT_EQ(decoded.Row(i), TextVector(kTexts[i], kDim)) << odd;
    }
  }
  std::string none = good;
  for (size_t i = 0; i < 5; ++i) none = absl::StrReplaceAll(none, {{"\"embedding\":", "\"other\":"}});
  EXPECT_THAT(Decode(none).tokens, HasError(absl::StatusCode::kDataLoss, HasSubstr("no vector in it can be read")));
}

TEST_P(ReplyReaderTest, ReportsUnusableVectorsOneByOne) {
  const Decoded decoded = DecodeScript({.nan_row = 1, .zero_row = 3});
  ASSERT_THAT(decoded.tokens, IsOk());
  EXPECT_THAT(decoded.faults, ::testing::ElementsAre(VectorFault::kNone, VectorFault::kNotFinite, VectorFault::kNone,
                                                     VectorFault::kAllZero, VectorFault::kNone));
  EXPECT_EQ(decoded.Row(2), TextVector("two", kDim));
}

TEST_P(ReplyReaderTest, RefusesEveryTruncation) {
  const std::string good = OpenAiReply(kTexts, GetParam());
  for (size_t length = 0; length < good.size(); ++length) {
    ASSERT_THAT(Decode(good.substr(0, length)).tokens, HasError(absl::StatusCode::kDataLoss, HasSubstr(""))) << length;
  }
}

TEST_P(ReplyReaderTest, RefusesWhatFollowsTheEnd) {
  const std::string good = OpenAiReply(kTexts, GetParam());
  for (const char* more : {"x", "{}", ",", "]", "}", "\"", "1", "<html>"}) {
    EXPECT_THAT(Decode(absl::StrCat(good, more)).tokens, HasError(absl::StatusCode::kDataLoss, HasSubstr(""))) << more;
  }
  ExpectAllInPlace(Decode(absl::StrCat(good, " \r\n")));
}

TEST_P(ReplyReaderTest, TellsTheWidthOfOneVector) {
  std::string body = OpenAiReply({"one"}, GetParam(), {.dim = 37});
  EXPECT_EQ(ReplyWidth({}, &body).value(), 37);
  body = OpenAiReply({"one"}, GetParam(), {.dim = 1});
  EXPECT_EQ(ReplyWidth({}, &body).value(), 1);
  body = "{}";
  EXPECT_THAT(ReplyWidth({}, &body), HasError(absl::StatusCode::kDataLoss, HasSubstr("data")));
}

// Every byte of a good reply in turn is damaged. Nobody can see a changed digit inside a vector, but that changes this
// vector alone; damage anywhere else is refused, or does no harm.
TEST_P(ReplyReaderTest, DamageNeverMovesAVector) {
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
        if (decoded.faults[i] == VectorFault::kUnreadable || decoded.faults[i] == VectorFault::kOtherWidth) continue;
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

TEST_P(ReplyReaderTest, SurvivesRandomSurgery) {
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

INSTANTIATE_TEST_SUITE_P(Formats, ReplyReaderTest, ::testing::Values(VectorFormat::kBase64, VectorFormat::kFloat),
                         [](const auto& info) { return info.param == VectorFormat::kFloat ? "Float" : "Base64"; });

TEST(ReplyReaderFormTest, UnescapesSlashes) {
  ReplyScript script{.slashes = ReplyScript::Slashes::kEscaped};
  const std::string body = OpenAiReply(kTexts, VectorFormat::kBase64, script);
  ASSERT_NE(body.find("\\/"), std::string::npos);
  ExpectAllInPlace(Decode(body));
}

TEST(ReplyReaderFormTest, DecidesTheFormatVectorByVector) {
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

TEST(ReplyReaderFormTest, RefusesWhatIsNoReply) {
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

TEST(ReplyReaderFormTest, OddBytesAndABadAlphabetAreNoFaultOfTheOthers) {
  const Decoded odd = Decode(OpenAiReply(kTexts, VectorFormat::kBase64, {.odd_bytes_row = 2}));
  ASSERT_THAT(odd.tokens, IsOk());
  EXPECT_EQ(odd.faults[2], VectorFault::kUnreadable);
  EXPECT_EQ(odd.Row(3), TextVector("three", kDim));
  std::string body = OpenAiReply(kTexts, VectorFormat::kBase64);
  body[body.find("\"embedding\":\"") + 20] = '*';
  const Decoded bad = Decode(body);
  ASSERT_THAT(bad.tokens, IsOk());
  EXPECT_EQ(bad.faults[0], VectorFault::kUnreadable);
  EXPECT_EQ(bad.Row(1), TextVector("one", kDim));
}

TEST(ReplyReaderFormTest, TakesBase64OfUrlsAndWithoutPadding) {
  const std::string good = OpenAiReply(kTexts, VectorFormat::kBase64);
  ASSERT_NE(good.find('='), std::string::npos);
  ASSERT_NE(good.find_first_of("+/"), std::string::npos);
  ExpectAllInPlace(Decode(absl::StrReplaceAll(good, {{"+", "-"}, {"/", "_"}})));
  ExpectAllInPlace(Decode(absl::StrReplaceAll(good, {{"=", ""}})));
  ExpectAllInPlace(Decode(absl::StrReplaceAll(good, {{"+", "-"}, {"/", "_"}, {"=", ""}})));
}

TEST(ReplyReaderFormTest, TakesAVectorInAListOfItsOwn) {
  const std::string good = OpenAiReply(kTexts, VectorFormat::kFloat);
  const auto nested = [&good](const char* begin) {
    return absl::StrReplaceAll(good, {{"\"embedding\":[", absl::StrCat("\"embedding\":", begin)}, {"]}", "]]}"}});
  };
  ExpectAllInPlace(Decode(nested("[[")));
  ExpectAllInPlace(Decode(nested("[ \n[")));
  // The rows of the tokens of a text, without pooling.
  EXPECT_THAT(Decode(nested("[[1,2],[")).tokens, HasError(absl::StatusCode::kDataLoss, HasSubstr("pooling")));
}

TEST(ReplyReaderFormTest, RefusesNonUtf8AndStringsForNumbers) {
  std::string body = OpenAiReply(kTexts, VectorFormat::kFloat);
  EXPECT_THAT(Decode(absl::StrReplaceAll(body, {{"fake", "\xff\xff\xff\xff"}})).tokens,
              HasError(absl::StatusCode::kDataLoss, HasSubstr("JSON")));
  EXPECT_EQ(Decode(WithFirstNumber(body, "\"1.0\"")).faults[0], VectorFault::kUnreadable);
}

TEST(ReplyReaderFormTest, NumbersThatJsonHasNotRejectTheirTextAlone) {
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

TEST(ReplyReaderFormTest, RefusesWhatIsNoNumber) {
  const std::string body = OpenAiReply(kTexts, VectorFormat::kFloat);
  for (const char* bad :
       {"", "1 2", "+1", ".5", "1.", "01", "1e", "-", "1.5.2", "--1", "0x1", "true", "nul", "{}", "[1]"}) {
    const Decoded decoded = Decode(WithFirstNumber(body, bad));
    EXPECT_TRUE(!decoded.tokens.ok() || decoded.faults[0] == VectorFault::kUnreadable) << bad;
    if (!decoded.tokens.ok()) continue;
    EXPECT_EQ(decoded.Row(1), TextVector("one", kDim)) << bad;
  }
}

// Replies as the vendors' references show them, with two vectors of three numbers.
struct VendorReply {
  const char* name;
  ReplyShape shape;
  std::string body;
  int64_t tokens;
};

const std::vector<VendorReply>& VendorReplies() {
  static const auto* const replies = new std::vector<VendorReply>{
      {"OpenAi",
       {},
       R"({
  "object": "list",
  "data": [
    { "object": "embedding", "index": 1, "embedding": [ -4.5, 5, 6e0 ] },
    { "object": "embedding", "index": 0, "embedding": [ 1, 0.5, -3 ] }
  ],
  "model": "text-embedding-3-small",
  "usage": { "prompt_tokens": 8, "total_tokens": 8 }
})",
       8},
      {"Vllm",
       {},
       R"({"id":"embd-1","object":"list","created":1730000000,"model":"m","data":[{"index":0,"object":"embedding",)"
       R"("embedding":"AACAPwAAAD8AAEDA"},{"index":1,"object":"embedding","embedding":"AACQwAAAoEAAAMBA"}],)"
       R"("usage":{"prompt_tokens":9,"total_tokens":9,"completion_tokens":0,"prompt_tokens_details":null}})",
       9},
      {"Voyage",
       {},
       R"({"object":"list","data":[{"object":"embedding","embedding":[1,0.5,-3],"index":0},)"
       R"({"object":"embedding","embedding":[-4.5,5,6],"index":1}],"model":"voyage-4","usage":{"total_tokens":10}})",
       10},
      {"Tei", {.list = "", .vector = "", .index = nullptr, .tokens = {}}, "[[1,0.5,-3],[-4.5,5.0,6.0]]", -1},
      {"Ollama",
       {.list = "embeddings", .vector = "", .index = nullptr, .tokens = {"prompt_eval_count"}},
       R"({"model":"all-minilm","embeddings":[[1,0.5,-3],[-4.5,5,6]],"total_duration":14143917,)"
       R"("load_duration":1019500,"prompt_eval_count":8})",
       8},
      {"CohereFloat",
       {.list = "embeddings.float", .vector = "", .index = nullptr, .tokens = {"meta.billed_units.input_tokens"}},
       R"({"id":"da6e","texts":["hello","good\"bye ]"],"embeddings":{"float":[[1,0.5,-3],[-4.5,5,6]]},)"
       R"("meta":{"api_version":{"version":"2","is_experimental":true},"billed_units":{"input_tokens":2}},)"
       R"("response_type":"embeddings_by_type"})",
       2},
      {"CohereBase64",
       {.list = "embeddings.base64", .vector = "", .index = nullptr, .tokens = {"meta.billed_units.input_tokens"}},
       R"({"id":"da6e","embeddings":{"int8":[[1,2,3],[4,5,6]],"base64":["AACAPwAAAD8AAEDA","AACQwAAAoEAAAMBA"]},)"
       R"("texts":["hello","goodbye"],"meta":{"api_version":{"version":"2"},"billed_units":{"input_tokens":2}}})",
       2},
      {"Gemini",
       {.list = "embeddings", .vector = "values", .index = nullptr, .tokens = {}},
       "{\n  \"embeddings\": [\n    {\n      \"values\": [\n        1,\n        0.5,\n        -3\n      ]\n    },\n"
       "    {\n      \"values\": [\n        -4.5,\n        5,\n        6\n      ]\n    }\n  ]\n}\n",
       -1},
      {"LlamaCpp",
       {.list = "", .vector = "embedding", .index = "index", .tokens = {}, .nested = true},
       R"([{"index":1,"embedding":[[-4.5,5,6]]},{"index":0,"embedding":[[1,0.5,-3]]}])",
       -1},
  };
  return *replies;
}

class VendorReplyTest : public ::testing::TestWithParam<VendorReply> {
 protected:
  static constexpr int kWidth = 3;

  absl::StatusOr<int64_t> Decode(std::string body, size_t texts = 2) {
    vectors_.assign(texts * kWidth, -7);
    faults_.assign(texts, VectorFault::kNone);
    return DecodeReply(GetParam().shape, &body, kWidth, absl::MakeSpan(vectors_), absl::MakeSpan(faults_));
  }

  std::vector<float> vectors_;
  std::vector<VectorFault> faults_;
};

TEST_P(VendorReplyTest, IsReadWithItsTokens) {
  const absl::StatusOr<int64_t> tokens = Decode(GetParam().body);
  ASSERT_THAT(tokens, IsOk());
  EXPECT_EQ(*tokens, GetParam().tokens);
  EXPECT_THAT(vectors_, ::testing::ElementsAre(1, 0.5f, -3, -4.5f, 5, 6));
}

TEST_P(VendorReplyTest, IsRefusedForAnotherNumberOfTexts) {
  for (const size_t texts : {1, 3}) {
    EXPECT_THAT(Decode(GetParam().body, texts), HasError(absl::StatusCode::kDataLoss, HasSubstr(""))) << texts;
  }
}

TEST_P(VendorReplyTest, IsRefusedWhenCutShort) {
  const std::string body(absl::StripTrailingAsciiWhitespace(GetParam().body));
  for (size_t length = 0; length < body.size(); ++length) {
    ASSERT_THAT(Decode(body.substr(0, length)), HasError(absl::StatusCode::kDataLoss, HasSubstr(""))) << length;
  }
}

TEST_P(VendorReplyTest, FlagsAVectorOfZeros) {
  std::string body = absl::StrReplaceAll(GetParam().body, {{"-4.5", "0"}, {"AACQwAAAoEAAAMBA", "AAAAAAAAAAAAAAAA"}});
  body = absl::StrReplaceAll(body, {{" 5", " 0"}, {",5", ",0"}, {",6", ",0"}, {" 6", " 0"}});
  ASSERT_THAT(Decode(body), IsOk());
  EXPECT_THAT(faults_, ::testing::ElementsAre(VectorFault::kNone, VectorFault::kAllZero));
}

TEST_P(VendorReplyTest, IsNoErrorBody) {
  std::string error = "{\"error\":\"model not found\"}";
  EXPECT_THAT(ReplyWidth(GetParam().shape, &error), HasError(absl::StatusCode::kDataLoss, HasSubstr("")));
}

TEST_P(VendorReplyTest, IsRefusedInTheShapeOfTheOthers) {
  for (const VendorReply& other : VendorReplies()) {
    if (other.shape.list == absl::string_view(GetParam().shape.list)) continue;
    std::string body = GetParam().body;
    std::vector<float> vectors(2 * kWidth);
    std::vector<VectorFault> faults(2);
    EXPECT_THAT(DecodeReply(other.shape, &body, kWidth, absl::MakeSpan(vectors), absl::MakeSpan(faults)),
                HasError(absl::StatusCode::kDataLoss, HasSubstr("")))
        << other.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Vendors, VendorReplyTest, ::testing::ValuesIn(VendorReplies()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(ReplyShapeTest, RefusesSeveralRowsForOneText) {
  const ReplyShape shape{.list = "", .vector = "embedding", .index = "index", .tokens = {}, .nested = true};
  for (const char* body : {"[{\"index\":0,\"embedding\":[[1,2],[3,4]]}]", "[{\"index\":0,\"embedding\":[]}]",
                           "[{\"index\":0,\"embedding\":[1,2]}]", "[{\"index\":0,\"embedding\":[[[1,2]]]}]"}) {
    std::string copy = body;
    EXPECT_THAT(ReplyWidth(shape, &copy), HasError(absl::StatusCode::kDataLoss, HasSubstr(""))) << body;
  }
  std::string good = "[{\"index\":0,\"embedding\":[[1,2]]}]";
  EXPECT_EQ(ReplyWidth(shape, &good).value(), 2);
}

TEST(ReplyShapeTest, RefusesTwoListsAndTwoVectors) {
  std::string body = "{\"embeddings\":{\"float\":[[1]]},\"embeddings\":{\"float\":[[1]]}}";
  EXPECT_THAT(ReplyWidth({.list = "embeddings.float", .vector = "", .index = nullptr}, &body),
              HasError(absl::StatusCode::kDataLoss, HasSubstr("two")));
  body = "{\"embeddings\":[{\"values\":[1],\"values\":[2]}]}";
  EXPECT_THAT(ReplyWidth({.list = "embeddings", .vector = "values", .index = nullptr}, &body),
              HasError(absl::StatusCode::kDataLoss, HasSubstr("two")));
}

// Long values are decoded where they lie and the parser does not see them; what it would have refused is refused.
class LongValuesTest : public ::testing::TestWithParam<VectorFormat> {
 protected:
  static constexpr int kWidth = 64;

  absl::StatusOr<int64_t> Decode(std::string body) {
    vectors_.assign(kTexts.size() * kWidth, -7);
    faults_.assign(kTexts.size(), VectorFault::kNone);
    return DecodeReply({}, &body, kWidth, absl::MakeSpan(vectors_), absl::MakeSpan(faults_));
  }
  // A reply with another field before or behind its data.
  std::string With(absl::string_view field, bool first) const {
    const std::string good = OpenAiReply(kTexts, GetParam(), {.dim = kWidth});
    return first ? absl::StrCat("{", field, ",", good.substr(1))
                 : absl::StrCat(good.substr(0, good.size() - 1), ",", field, "}");
  }

  std::vector<float> vectors_;
  std::vector<VectorFault> faults_;
};

TEST_P(LongValuesTest, MayBeAnythingThatIsJson) {
  const std::string fields[] = {
      absl::StrCat("\"texts\":[\"", std::string(100, 'x'), "\",\"", std::string(99, ']'), "\"]"),
      absl::StrCat("\"quotes\":\"", std::string(50, 'x'), "\\\"", std::string(400, 'y'), "\\\\\""),
      absl::StrCat("\"umlauts\":\"", std::string(50, 'x'), "\xC3\xA4\xC3\xB6\""),
      absl::StrCat("\"", std::string(500, 'k'), "\":1"),
      "\"int8\":[[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18],[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]]",
      "\"mixed\":[1,2,3,4,5,6,7,8,9,10,\"a]b\",{\"x\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18]}]",
      absl::StrCat("\"as_long_as_a_vector\":\"", std::string((kWidth * 4 + 2) / 3 * 4, 'A'), "\"")};
  for (const std::string& field : fields) {
    for (const bool first : {false, true}) {
      ASSERT_THAT(Decode(With(field, first)), IsOk()) << field;
      for (size_t i = 0; i < kTexts.size(); ++i) {
        const std::vector<float> expected = TextVector(kTexts[i], kWidth);
        ASSERT_EQ(std::memcmp(&vectors_[i * kWidth], expected.data(), kWidth * sizeof(float)), 0) << field;
      }
    }
  }
}

TEST_P(LongValuesTest, AreRefusedWhenTheyAreNoJson) {
  const std::string long_array = "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]";
  const std::string fields[] = {absl::StrCat("\"bytes\":\"", std::string(100, 'x'), "\xFF\xFE\""),
                                absl::StrCat("\"control\":\"", std::string(100, 'x'), "\n\""),
                                absl::StrCat("\"open\":\"", std::string(100, 'x')),
                                absl::StrCat(long_array, ":1"),
                                absl::StrCat("\"array\":", long_array, "]"),
                                absl::StrCat("\"array\" ", long_array),
                                absl::StrCat("\"array\":", long_array, long_array)};
  for (const std::string& field : fields) {
    for (const bool first : {false, true}) {
      EXPECT_THAT(Decode(With(field, first)), HasError(absl::StatusCode::kDataLoss, HasSubstr(""))) << field;
    }
  }
}

// The bytes lie in memory of exactly their size, so that a sanitizer sees a read past either end, and vectors are long
// enough to be decoded where they lie.
TEST_P(LongValuesTest, DamageNeverMovesAVector) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  for (const auto fields : {ReplyScript::Fields::kAsOpenAi, ReplyScript::Fields::kIndexLast}) {
    const std::string good =
        OpenAiReply(kTexts, GetParam(), {.dim = kWidth, .order = ReplyScript::Order::kShuffled, .fields = fields});
    for (int round = 0; round < 10'000; ++round) {
      std::string bad = good;
      for (int damages = 1 + random() % 3; damages > 0; --damages) {
        const size_t at = random() % bad.size();
        if (random() % 4 == 0) {
          bad.erase(at, 1 + random() % 9);
        } else {
          bad[at] = random() % 2 != 0 ? "\"\\[]{},:0123456789/ =-eE.nN"[random() % 27] : static_cast<char>(random());
        }
        if (bad.empty()) break;
      }
      bad.shrink_to_fit();
      const absl::StatusOr<int64_t> tokens = Decode(bad);
      if (!tokens.ok()) continue;
      // Whatever was hit lies in one vector, at most three; each of the others is its text's own.
      int own = 0;
      for (size_t i = 0; i < kTexts.size(); ++i) {
        const std::vector<float> expected = TextVector(kTexts[i], kWidth);
        const float* const row = &vectors_[i * kWidth];
        own += std::memcmp(row, expected.data(), kWidth * sizeof(float)) == 0 ? 1 : 0;
        for (size_t other = 0; other < kTexts.size(); ++other) {
          const std::vector<float> foreign = TextVector(kTexts[other], kWidth);
          ASSERT_TRUE(other == i || std::memcmp(row + 1, &foreign[1], (kWidth - 1) * sizeof(float)) != 0) << bad;
        }
      }
      ASSERT_GE(own, static_cast<int>(kTexts.size()) - 3) << bad;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, LongValuesTest, ::testing::Values(VectorFormat::kBase64, VectorFormat::kFloat),
                         [](const auto& info) { return info.param == VectorFormat::kFloat ? "Float" : "Base64"; });

}  // namespace
}  // namespace reembed
