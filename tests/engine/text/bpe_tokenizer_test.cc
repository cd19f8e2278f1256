// SPDX-License-Identifier: Apache-2.0
// The algorithm, with small vocabularies; tests/end_to_end/tiktoken_test.cc compares the real one with OpenAI's.
#include "engine/text/bpe_tokenizer.h"

#include <algorithm>
#include <iostream>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "engine/number/json_text.h"
#include "engine/text/piece_meter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> WithAllBytes(const std::vector<std::string>& longer) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  tokens.insert(tokens.end(), longer.begin(), longer.end());
  return tokens;
}

std::unique_ptr<BpeTokenizer> Tokenizer(const std::vector<std::string>& longer) {
  absl::StatusOr<std::unique_ptr<BpeTokenizer>> made = BpeTokenizer::Make("toy", WithAllBytes(longer));
  EXPECT_THAT(made, IsOk());
  return *std::move(made);
}

std::vector<std::string> Pieces(absl::string_view text) {
  const PieceSplitter splitter;
  std::vector<std::string> pieces;
  while (!text.empty()) {
    const size_t piece = splitter.FirstPiece(text);
    pieces.emplace_back(text.substr(0, piece));
    text.remove_prefix(piece);
  }
  return pieces;
}

// Joins the two neighbours of the lowest rank, the leftmost first, looking at all of them each time.
std::vector<int32_t> Slowly(const std::vector<std::string>& tokens, const std::string& piece) {
  std::map<std::string, int32_t> ranks;
  for (size_t i = 0; i < tokens.size(); ++i) ranks[tokens[i]] = static_cast<int32_t>(i);
  std::vector<std::string> parts;
  for (const char c : piece) parts.emplace_back(1, c);
  while (true) {
    int32_t best = std::numeric_limits<int32_t>::max();
    size_t at = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ranks.find(parts[i] + parts[i + 1]);
      if (found == ranks.end() || found->second >= best) continue;
      best = found->second;
      at = i;
    }
    if (best == std::numeric_limits<int32_t>::max()) break;
    parts[at] += parts[at + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
  std::vector<int32_t> encoded;
  for (const std::string& part : parts) encoded.push_back(ranks[part]);
  return encoded;
}

TEST(PieceSplitterTest, CutsAsTheExpressionSays) {
  EXPECT_THAT(Pieces("Hello world, it's 12345!\n\n  x"),
              ElementsAre("Hello", " world", ",", " it", "'s", " ", "123", "45", "!\n\n", " ", " x"));
  EXPECT_THAT(Pieces("WE'LLx don'\u017Fx 'x"), ElementsAre("WE", "'LL", "x", " don", "'\u017F", "x", " '", "x"));
  EXPECT_THAT(Pieces("a \r\n \n b\t\tc  "), ElementsAre("a", " \r\n \n", " b", "\t", "\tc", "  "));
  EXPECT_THAT(Pieces("\u4E00\u4E8C\uFF0C\u0663\u0664 \U0001F600\n"),
              ElementsAre("\u4E00\u4E8C", "\uFF0C", "\u0663\u0664", " \U0001F600\n"));
}

TEST(PieceSplitterTest, TakesBytesThatAreNoCharactersForSymbols) {
  EXPECT_THAT(Pieces("a\xFF\xC3 b"), ElementsAre("a", "\xFF\xC3", " b"));
  EXPECT_THAT(Pieces("\xE4\xBA"), ElementsAre("\xE4\xBA"));
}

TEST(BpeTokenizerTest, JoinsTheLowestRankFirstHoweverLongThePiece) {
  const uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  for (int round = 0; round < 60; ++round) {
    std::vector<std::string> longer;
    while (longer.size() < 60) {
      std::string token;
      for (uint64_t n = 2 + random() % 5; n > 0; --n) token.push_back(static_cast<char>('a' + random() % 3));
      if (std::find(longer.begin(), longer.end(), token) == longer.end()) longer.push_back(token);
    }
    const auto tokenizer = Tokenizer(longer);
    for (const size_t length : {1, 2, 3, 20, 95, 96, 97, 200, 400}) {
      std::string piece;
      while (piece.size() < length) piece.push_back(static_cast<char>('a' + random() % 3));
      std::vector<int32_t> ranks;
      tokenizer->Encode(piece, &ranks);
      const bool whole = ranks.size() == 1;  // a piece that is a token is that token, however it would be joined
      if (!whole) {
        ASSERT_EQ(ranks, Slowly(WithAllBytes(longer), piece)) << piece;
      }
      ASSERT_EQ(tokenizer->Count(piece), static_cast<int64_t>(ranks.size()));
    }
  }
}

TEST(BpeTokenizerTest, IsNotSlowedDownByOneVeryLongWord) {
  const auto tokenizer = Tokenizer({"aa", "aaaa", "aaaaaaaa"});
  // Looking at all pairs for each union would be 10^12 steps: the time limit of the test is far below.
  EXPECT_EQ(tokenizer->Count(std::string(size_t{1} << 20, 'a')), 1 << 17);
}

TEST(BpeTokenizerTest, ThePrefixThatFitsIsTheLongestOfWholeCharacters) {
  const auto tokenizer = Tokenizer({"ab", "abab", " \xC3"});
  EXPECT_EQ(tokenizer->FittingPrefix("abababab", 1), 4u);
  EXPECT_EQ(tokenizer->FittingPrefix("abababab", 2), 8u);
  EXPECT_EQ(tokenizer->FittingPrefix("abababab", 0), 0u);
  EXPECT_EQ(tokenizer->FittingPrefix("ab \u00E9", 2), 3u);  // the token in the middle of the character is given up
  EXPECT_EQ(tokenizer->FittingPrefix("ab \u00E9", 3), 5u);
}

TEST(BpeTokenizerTest, PrefixesFitAndAreLong) {
  const uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  const auto tokenizer = Tokenizer({"ab", "abc", " a", "  ", "\u00E9", "'s", "123", "\n\n"});
  const std::vector<std::string> parts = {"a", "b", "c", " ", "\n", "'s", "1", "23", "\u00E9", "\U0001F600", "."};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (uint64_t n = random() % 80; n > 0; --n) text += parts[random() % parts.size()];
    const auto limit = static_cast<int64_t>(random() % 40);
    const size_t fits = tokenizer->FittingPrefix(text, limit);
    ASSERT_LE(tokenizer->Count(text.substr(0, fits)), limit) << text;
    ASSERT_TRUE(IsValidUtf8(text.substr(0, fits))) << text;
    if (fits == text.size()) continue;
    ASSERT_GE(tokenizer->Count(text.substr(0, fits)), limit - 4) << text;  // one character has at most 4 tokens
  }
}

TEST(BpeTokenizerTest, RefusesVocabulariesThatCannotEncodeEverything) {
  std::vector<std::string> tokens = WithAllBytes({});
  tokens[7] = "seven";
  EXPECT_THAT(BpeTokenizer::Make("toy", tokens), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("byte 7")));
  EXPECT_THAT(BpeTokenizer::Make("toy", WithAllBytes({"ab", "ab"})),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("257 is there a second time")));
  EXPECT_THAT(BpeTokenizer::Make("toy", WithAllBytes({""})),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("empty")));
}

TEST(PieceMeterTest, CountsPiecesAndCutsByBytes) {
  const PieceMeter meter;
  EXPECT_EQ(meter.AtLeast("Hello world, it's 12345!"), 9);
  EXPECT_EQ(meter.AtLeast(std::string(1000, 'a')), 8);  // the longest token has 128 bytes
  EXPECT_EQ(meter.FittingPrefix("a\u00E9\u00E9", 4), 3u);
  EXPECT_FALSE(meter.exact());
}

}  // namespace
}  // namespace reembed
