// SPDX-License-Identifier: Apache-2.0
#include "engine/text/text_cutter.h"

#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/number/json_text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

using ::testing::IsEmpty;

std::string Words(int count) {
  std::string text = "word";
  for (int i = 1; i < count; ++i) absl::StrAppend(&text, " word");
  return text;
}

TextPart PartOf(const std::string& text, int64_t tokens) { return {.text = text, .tokens = tokens}; }

TEST(TextCutterTest, WithoutALimitNothingIsTooLongUntilSomethingIsRefused) {
  TextCutter cutter({});
  const std::string text = Words(1000);
  EXPECT_EQ(cutter.Judge(text, 1'000'000), TextCutter::Length::kFits);
  cutter.Cut(PartOf(text, 1000), {.refused = true}, 0);
  EXPECT_EQ(cutter.Judge(text, 1000), TextCutter::Length::kDoubtful);
  EXPECT_EQ(cutter.Judge(text, 500), TextCutter::Length::kFits);
  cutter.Taken(800);
  EXPECT_EQ(cutter.Judge(text, 800), TextCutter::Length::kFits);
  EXPECT_EQ(cutter.Judge(text, 801), TextCutter::Length::kDoubtful);
}

TEST(TextCutterTest, MoreWordsThanTheLimitHasTokensAreTooManyForCertain) {
  TextCutter cutter({.max_tokens = 100});
  EXPECT_EQ(cutter.Judge(Words(100), 130), TextCutter::Length::kDoubtful);
  EXPECT_EQ(cutter.Judge(Words(101), 130), TextCutter::Length::kTooLong);
  EXPECT_EQ(cutter.Judge(Words(101), 90), TextCutter::Length::kFits) << "what is estimated to fit is not counted";
}

TEST(TextCutterTest, TheProvidersFiguresSayWhereToCut) {
  TextCutter cutter({});
  const std::string text = Words(2000);  // 9,999 bytes
  const auto cut = cutter.Cut(PartOf(text, 2500), {.refused = true, .limit = 1000, .tokens = 2000}, 0);
  ASSERT_EQ(cut.size(), 1u);
  EXPECT_LE(cut[0].text.size(), 9999 * 0.95 / 2);
  EXPECT_GE(cut[0].text.size(), 9999 * 0.95 / 2 - 5);
  EXPECT_TRUE(absl::EndsWith(cut[0].text, "word"));
  EXPECT_NEAR(static_cast<double>(cut[0].tokens), 2500 * 0.95 / 2, 2);
}

TEST(TextCutterTest, ANamedLimitLowersWhatIsKnownAndNeverRaisesIt) {
  TextCutter cutter({.max_tokens = 1000});
  const std::string text = Words(2000);
  cutter.Cut(PartOf(text, 40'000), {.refused = true, .limit = 30'000, .tokens = 40'000}, 0);  // that of a request
  EXPECT_EQ(cutter.Judge(text, 1001), TextCutter::Length::kTooLong);
  cutter.Cut(PartOf(text, 1000), {.refused = true, .limit = 500, .tokens = 1000}, 0);
  EXPECT_EQ(cutter.Judge(Words(400), 460), TextCutter::Length::kDoubtful);
  EXPECT_EQ(cutter.Judge(Words(400), 450), TextCutter::Length::kFits);
}

TEST(TextCutterTest, ThePrefixCountsAgainstTheLimit) {
  TextCutter cutter({.prefix_bytes = 1000});
  const std::string text = Words(200);  // 999 bytes, with the prefix 1,999
  const auto cut = cutter.Cut(PartOf(text, 500), {.refused = true, .limit = 300, .tokens = 500}, 0);
  ASSERT_EQ(cut.size(), 1u);
  EXPECT_NEAR(static_cast<double>(cut[0].text.size()), 1999 * 0.6 * 0.95 - 1000, 5);
  EXPECT_THAT(cutter.Cut(PartOf(text, 500), {.refused = true, .limit = 200, .tokens = 500}, 0), IsEmpty());
}

TEST(TextCutterTest, WithoutFiguresTheKnownLimitIsTriedAndThenHalves) {
  const std::string text = Words(2000);
  TextCutter knows({.max_tokens = 2000});
  EXPECT_NEAR(static_cast<double>(knows.Cut(PartOf(text, 2500), {.refused = true}, 0)[0].text.size()),
              9999 * 0.9 * 2000 / 2500, 5);
  EXPECT_NEAR(static_cast<double>(knows.Cut(PartOf(text, 1800), {.refused = true}, 1)[0].text.size()), 9999 * 0.45, 5);
  TextCutter knows_nothing({});
  EXPECT_NEAR(static_cast<double>(knows_nothing.Cut(PartOf(text, 2500), {.refused = true}, 0)[0].text.size()),
              9999 * 0.45, 5);
}

TEST(TextCutterTest, AnEstimateKeepsMoreDistanceThanAFigure) {
  TextCutter cutter({.max_tokens = 2048});
  const std::string text = Words(2000);
  const auto cut =
      cutter.Cut(PartOf(text, 4096), {.refused = true, .estimated = true, .limit = 2048, .tokens = 4096}, 0);
  EXPECT_NEAR(static_cast<double>(cut[0].text.size()), 9999 * 0.4, 5);
}

TEST(TextCutterTest, PiecesHoldEveryWordAndAreShorter) {
  const uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  const std::vector<std::string> letters = {"a", "b", " ", "\n", "\u00E9", "\u4E00", "\U0001F600", "      ", "word"};
  for (int round = 0; round < 3000; ++round) {
    std::string text = "x";
    for (uint64_t n = 40 + random() % 400; n > 0; --n) text += letters[random() % letters.size()];
    const auto without_space = [](std::string from) {
      std::erase_if(from, [](char c) { return c == ' ' || c == '\n'; });
      return from;
    };
    TextCutter cutter({.policy = LongText::kSplit, .max_tokens = random() % 2 == 0 ? 0 : 50});
    const auto bytes = static_cast<int64_t>(text.size());
    const Overlength said{.refused = true, .limit = random() % 2 == 0 ? 0 : bytes / 3, .tokens = bytes};
    const auto pieces = cutter.Cut(PartOf(text, bytes / 4), said, 0);
    ASSERT_GE(pieces.size(), 1u);
    std::string together;
    for (const TextPart& piece : pieces) {
      ASSERT_LT(piece.text.size(), text.size());
      ASSERT_TRUE(IsValidUtf8(piece.text));
      ASSERT_GE(piece.tokens, 1);
      ASSERT_NE(without_space(std::string(piece.text)), "");
      together += without_space(std::string(piece.text));
    }
    ASSERT_EQ(together, without_space(text));
  }
}

TEST(TextCutterTest, ATextOfAFewBytesIsNotCut) {
  TextCutter cutter({});
  EXPECT_THAT(cutter.Cut(PartOf("fifteen bytes..", 5), {.refused = true}, 0), IsEmpty());
}

}  // namespace
}  // namespace reembed
