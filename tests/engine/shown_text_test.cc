// SPDX-License-Identifier: Apache-2.0
#include "engine/shown_text.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(ShownTextTest, SpellsWhatControlsATerminal) {
  EXPECT_EQ(ShownText("plain \xC3\xA4 \xF0\x9F\x98\x80"), "plain \xC3\xA4 \xF0\x9F\x98\x80");
  EXPECT_EQ(ShownText("\x1b[31mred\x07\x7f"), "\\u001b[31mred\\u0007\\u007f");
  EXPECT_EQ(ShownText("\xC2\x9B"
                      "2J"),
            "\\u009b2J");
  EXPECT_EQ(ShownText("\xC2\xA0"), "\xC2\xA0");
  EXPECT_EQ(ShownText(std::string("a\0b", 3)), "a\\u0000b");
  EXPECT_EQ(ShownText("a\x9B"
                      "b\xC3"),
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD");
  EXPECT_EQ(ShownText("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // a surrogate
}

TEST(ShownTextTest, SpellsWhatTurnsTextAround) {
  EXPECT_EQ(ShownText("k\xE2\x80\xAE"
                      "1"),
            "k\\u202e1");
  EXPECT_EQ(ShownText("\xE2\x81\xA6\xE2\x81\xA9\xE2\x80\x8F"), "\\u2066\\u2069\\u200f");
  EXPECT_EQ(ShownText("\xE2\x80\x93 \xE2\x82\xAC \xD7\x90"), "\xE2\x80\x93 \xE2\x82\xAC \xD7\x90");  // dash, euro, alef
}

TEST(ShownTextTest, KeepsLineBreaksUnlessItIsOneLine) {
  EXPECT_EQ(ShownText("a\tb\nc\r\nd\re"), "a\tb\nc\r\nd\\u000de");
  EXPECT_EQ(ShownLine("a\tb\nc\r\nd"), "a\tb\\u000ac\\u000d\\u000ad");
}

TEST(ShownTextTest, NeverShowsTheLoginOfAUrl) {
  EXPECT_EQ(ShownText("at http://me:geheim@host/v1: x"), "at http://[...]@host/v1: x");
  EXPECT_EQ(ShownText("https://tok@host"), "https://[...]@host");
  EXPECT_EQ(ShownText("postgres://me:a@b@host/db"), "postgres://[...]@host/db");
  EXPECT_EQ(ShownText("postgres://me@host/db"), "postgres://me@host/db");
  EXPECT_EQ(ShownText("http://host/a@b http://host:1"), "http://host/a@b http://host:1");
  EXPECT_EQ(ShownText("http://USER:PASSWORD@HOST:PORT"), "http://USER:PASSWORD@HOST:PORT");
  EXPECT_EQ(ShownText("\"u\":\"http://me:pw@host\""), "\"u\":\"http://[...]@host\"");
}

TEST(ServerWordsTest, HidesEverySecretWhateverItsLength) {
  EXPECT_EQ(ServerWords("  user me, password abc, key sk-abcdefgh\n", {"abc", "sk-abcdefgh"}, 100),
            "user me, password [...], key [...]");
  EXPECT_EQ(ServerWords("said", {""}, 100), "said");
  EXPECT_EQ(ServerWords("a\x1b[2J", {}, 100), "a [2J");
  EXPECT_EQ(ServerWords("0123456789", {}, 4), "0123...");
}

TEST(ServerWordsTest, HidesASecretThatIsCut) {
  const std::string words = std::string(90, 'x') + " geheimnis-12345";
  EXPECT_THAT(ServerWords(words, {"geheimnis-12345"}, 97), testing::Not(testing::HasSubstr("geh")));
}

TEST(SecretValuesTest, AreThoseWithATellingName) {
  EXPECT_THAT(SecretValues("-c app.password=geheim --api_token=t0ken -c statement_timeout=5 -csecret="),
              ElementsAre("geheim", "t0ken"));
  EXPECT_THAT(SecretValues(""), IsEmpty());
}

TEST(MaskSharedTest, HidesLongSharedRuns) {
  EXPECT_EQ(MaskShared("key sk-abcdefgh is bad", "sk-abcdefgh", 6), "key [...] is bad");
  EXPECT_EQ(MaskShared("key sk-abcd***gh is bad", "sk-abcdefgh", 6), "key [...]***gh is bad");
  EXPECT_EQ(MaskShared("nothing here", "sk-abcdefgh", 6), "nothing here");
  EXPECT_EQ(MaskShared("key abc twice abc", "abc", 6), "key [...] twice [...]");
  EXPECT_EQ(MaskShared("message", "", 6), "message");
  EXPECT_EQ(MaskShared("", "secret", 6), "");
}

TEST(ShortenTest, CutsBetweenCharactersAndDropsControls) {
  EXPECT_EQ(Shorten("short", 10), "short");
  EXPECT_EQ(Shorten("a\nb\x1b[0m", 10), "a b [0m");
  EXPECT_EQ(Shorten("aaaaé", 5), "aaaa...");
  EXPECT_EQ(Shorten("aaaaé", 6), "aaaaé");
}

}  // namespace
}  // namespace reembed
