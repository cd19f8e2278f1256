// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/learned_caps.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace reembed {
namespace {

// Texts of 10 bytes and as many tokens as said.
std::vector<BatchText> Texts(int count, int64_t tokens) {
  static const std::string text = "0123456789";
  return std::vector<BatchText>(count, {.text = text, .tokens = tokens});
}

// The sizes of the requests that these texts are sent in.
std::vector<int> Cut(const LearnedCaps& caps, const std::vector<BatchText>& texts) {
  std::vector<int> sizes;
  for (absl::Span<const BatchText> rest = texts; !rest.empty(); rest.remove_prefix(sizes.back())) {
    sizes.push_back(caps.Fitting(rest));
  }
  return sizes;
}

TEST(LearnedCapsTest, SendsAllAtOnceUntilAnythingIsRefused) {
  LearnedCaps caps;
  EXPECT_EQ(Cut(caps, Texts(1000, 100000)), std::vector<int>({1000}));
  EXPECT_EQ(caps.Fitting({}), 0);
  caps.Refused(Texts(8, 1), {});  // a bad text among them: no reason to send less
  EXPECT_EQ(Cut(caps, Texts(1000, 100000)), std::vector<int>({1000}));
}

TEST(LearnedCapsTest, TakesTheNumberOfTextsThatTheApiNames) {
  LearnedCaps caps;
  caps.Refused(Texts(256, 5), {.measure = Measure::kTexts, .limit = 32, .requested = 256});
  EXPECT_EQ(Cut(caps, Texts(32, 5)), std::vector<int>({32}));
  EXPECT_EQ(Cut(caps, Texts(256, 5)), std::vector<int>(8, 32));
  EXPECT_EQ(Cut(caps, Texts(33, 5)), std::vector<int>({17, 16})) << "equal parts, no leftover";
  caps.Refused(Texts(256, 5), {.measure = Measure::kTexts, .limit = 100});
  EXPECT_EQ(caps.Fitting(Texts(256, 5)), 32) << "the strictest holds";
}

TEST(LearnedCapsTest, HalvesWhereNoLimitIsNamed) {
  for (const Measure measure : {Measure::kTexts, Measure::kTokens, Measure::kBytes}) {
    LearnedCaps caps;
    caps.Refused(Texts(9, 7), {.measure = measure});
    EXPECT_EQ(Cut(caps, Texts(9, 7)), std::vector<int>({5, 4}));
    caps.Refused(Texts(9, 7), {.measure = measure});
    EXPECT_EQ(Cut(caps, Texts(9, 7)), std::vector<int>({5, 4})) << "many refusals of one size are one lesson";
    caps.Refused(Texts(5, 7), {.measure = measure});
    EXPECT_EQ(Cut(caps, Texts(9, 7)), std::vector<int>({3, 3, 3}));
  }
}

// A server that says 413 for one bad text must not make a run of tiny requests.
TEST(LearnedCapsTest, ATextThatIsRefusedAloneWasTheReason) {
  for (const Measure measure : {Measure::kTexts, Measure::kTokens, Measure::kBytes}) {
    LearnedCaps caps;
    for (const int size : {64, 32, 16, 8, 4, 2}) caps.Refused(Texts(size, 7), {.measure = measure});
    EXPECT_EQ(caps.Fitting(Texts(64, 7)), 1);
    caps.Refused(Texts(1, 7), {.measure = measure});
    EXPECT_EQ(caps.Fitting(Texts(64, 7)), 64);
  }
  // Where clearly more was taken before, it is not the size.
  for (const Measure measure : {Measure::kTexts, Measure::kTokens, Measure::kBytes}) {
    LearnedCaps caps;
    caps.Taken(Texts(64, 7));
    caps.Refused(Texts(32, 7), {.measure = measure});
    EXPECT_EQ(caps.Fitting(Texts(64, 7)), 64);
    caps.Refused(Texts(60, 7), {.measure = measure});
    EXPECT_EQ(caps.Fitting(Texts(60, 7)), 30) << "texts differ";
  }
  // One that is larger than what is thought of the limit says nothing about it.
  LearnedCaps caps;
  caps.Refused(Texts(64, 7), {.measure = Measure::kTokens});
  caps.Refused(Texts(1, 1000), {.measure = Measure::kTokens});
  EXPECT_EQ(caps.Fitting(Texts(64, 7)), 32);
  // A limit that was named stays.
  caps.Refused(Texts(256, 5), {.measure = Measure::kTexts, .limit = 32, .requested = 256});
  caps.Refused(Texts(1, 5), {.measure = Measure::kTexts});
  EXPECT_EQ(caps.Fitting(Texts(64, 5)), 32);
}

// We counted 1,000 tokens where the API counted 1,500: its limit of 300 is 200 of ours, less a distance.
TEST(LearnedCapsTest, TranslatesATokenLimitIntoOurCount) {
  LearnedCaps caps;
  caps.Refused(Texts(100, 10), {.measure = Measure::kTokens, .limit = 300, .requested = 1500});
  EXPECT_EQ(caps.Fitting(Texts(19, 10)), 19);
  EXPECT_LT(caps.Fitting(Texts(21, 10)), 20);
  LearnedCaps other;
  other.Refused(Texts(100, 10), {.measure = Measure::kTokens, .limit = 300});
  EXPECT_EQ(other.Fitting(Texts(30, 10)), 30);
  EXPECT_EQ(other.Fitting(Texts(31, 10)), 16);
  LearnedCaps low;  // it names more than we counted, and refused all the same
  low.Refused(Texts(100, 10), {.measure = Measure::kTokens, .limit = 5000});
  EXPECT_EQ(low.Fitting(Texts(100, 10)), 50);
}

TEST(LearnedCapsTest, NeverSendsLessThanOneText) {
  LearnedCaps caps;
  caps.Refused(Texts(1, 1), {.measure = Measure::kTexts});
  caps.Refused(Texts(1, 1), {.measure = Measure::kTokens, .limit = 1, .requested = 1000000});
  EXPECT_EQ(Cut(caps, Texts(3, 500)), std::vector<int>({1, 1, 1}));
}

TEST(LearnedCapsTest, UnequalTextsStayBelowTheCap) {
  LearnedCaps caps;
  caps.Refused(Texts(10, 100), {.measure = Measure::kTokens, .limit = 500});
  std::vector<BatchText> texts;
  for (int i = 0; i < 200; ++i) texts.push_back({.text = "x", .tokens = (i * 7919) % 450});
  absl::Span<const BatchText> rest = texts;
  for (const int size : Cut(caps, texts)) {
    int64_t tokens = 0;
    for (const BatchText& text : rest.first(size)) tokens += text.tokens;
    EXPECT_LE(tokens, 500);
    rest.remove_prefix(size);
  }
}

TEST(LearnedCapsTest, ATimeOutHalvesUnlessAsMuchWasAnsweredBefore) {
  LearnedCaps caps;
  caps.Taken(Texts(32, 1));
  EXPECT_EQ(caps.TimedOut(Texts(32, 1), /*again=*/false), 0);
  EXPECT_EQ(Cut(caps, Texts(64, 1)), std::vector<int>({64}));
  EXPECT_EQ(caps.TimedOut(Texts(64, 1), /*again=*/false), 32);
  EXPECT_EQ(Cut(caps, Texts(64, 1)), std::vector<int>(2, 32));
  EXPECT_EQ(caps.TimedOut(Texts(64, 1), /*again=*/false), 32) << "of those that were in the air together";
  EXPECT_EQ(caps.TimedOut(Texts(32, 1), /*again=*/true), 16);
  EXPECT_EQ(caps.TimedOut(Texts(1, 1), /*again=*/true), 0);
}

TEST(LearnedCapsTest, WhatATimeOutHasTaughtIsForgottenWhereTimeIsPlenty) {
  LearnedCaps caps;
  ASSERT_EQ(caps.TimedOut(Texts(64, 1), false), 32);
  caps.Taken(Texts(32, 1), 0.3);
  caps.Taken(Texts(31, 1), 0.01);
  EXPECT_EQ(caps.Fitting(Texts(64, 1)), 32) << "slow, or smaller";
  caps.Taken(Texts(32, 1), 0.1);
  EXPECT_EQ(caps.Fitting(Texts(64, 1)), 64);
}

}  // namespace
}  // namespace reembed
