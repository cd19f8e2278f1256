// SPDX-License-Identifier: Apache-2.0
#include "engine/text/lexical_embedder.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace reembed {
namespace {

std::vector<float> Embed(absl::string_view text, int dim = 512) {
  std::vector<float> vector(dim, NAN);
  EmbedLexically(text, absl::MakeSpan(vector));
  return vector;
}

double Dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * b[i];
  return sum;
}

double Similarity(absl::string_view a, absl::string_view b) { return Dot(Embed(a), Embed(b)); }

double Norm(const std::vector<float>& vector) { return std::sqrt(Dot(vector, vector)); }

// FNV-1a over the bit patterns, so that one changed bit is noticed.
uint64_t Fingerprint(const std::vector<float>& vector) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const float value : vector) hash = (hash ^ std::bit_cast<uint32_t>(value)) * 0x100000001B3;
  return hash;
}

const std::string& Megabyte() {
  static const std::string* const text = [] {
    auto* s = new std::string;
    std::mt19937 random(7);
    while (s->size() < 1 << 20) s->append("word" + std::to_string(random() % 100000) + (random() % 9 ? " " : ".\n"));
    return s;
  }();
  return *text;
}

// Each is a text that once might trip a splitter: shortest, blank, marks only, every length of UTF-8, broken UTF-8.
const std::vector<std::string>& OddTexts() {
  static const auto* const texts = new std::vector<std::string>{"a",
                                                                " ",
                                                                "\n\t ",
                                                                "?",
                                                                "...!?",
                                                                "-",
                                                                "\xF0\x9F\x98\x80",
                                                                "\xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD",
                                                                "\xE2\x80\x8D",
                                                                "\xC3\xA9",
                                                                "\xE4\xB8\xAD",
                                                                "\xFF",
                                                                "\xC3",
                                                                "\xE4\xB8",
                                                                "\xF0\x9F\x98",
                                                                "\xED\xA0\x80",
                                                                "\xC0\x80",
                                                                "ok \x80\x81 then",
                                                                std::string(1, '\0'),
                                                                std::string("a\0b", 3),
                                                                std::string(5000, 'a'),
                                                                std::string(5000, ' '),
                                                                std::string(5000, '\xFE'),
                                                                Megabyte()};
  return *texts;
}

TEST(LexicalEmbedderTest, GivesUnitVectorsWhateverTheTextAndTheWidth) {
  for (const std::string& text : OddTexts()) {
    for (const int dim : {32, 33, 100, 512, 1536, 4095, 4096}) {
      SCOPED_TRACE(::testing::Message() << "dim " << dim << ", " << text.size() << " bytes, " << text.substr(0, 20));
      EXPECT_NEAR(Norm(Embed(text, dim)), 1.0, 1e-6);
    }
  }
}

TEST(LexicalEmbedderTest, GivesTheSameBitsForever) {
  struct Case {
    std::string text;
    int dim;
    uint64_t fingerprint;
  };
  const std::vector<Case> cases = {
      {"a", 32, 0xC3D9AACDB041BA6D},
      {"The quick brown fox jumps over the lazy dog", 512, 0xA3F32F0C301B9076},
      {"The quick brown fox jumps over the lazy dog", 1536, 0x2AAAB95A3F78CE15},
      {"\xC3\x9C"
       "ber Stra\xC3\x9F"
       "en, 42!",
       100, 0xB27718160931305B},
      {"\xE6\x9D\xB1\xE4\xBA\xAC\xE3\x81\xAF \xF0\x9F\x97\xBC", 512, 0x8ED20BCF2EA18AD9},
      {"\xFF\xFE broken", 33, 0x3019F8CEF9475A93},
      {" ", 64, 0xC17EB09F757D0825},
      {Megabyte(), 4096, 0x1263D55EA1A483D9},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(::testing::Message() << c.text.substr(0, 20) << ", dim " << c.dim);
    EXPECT_EQ(Fingerprint(Embed(c.text, c.dim)), c.fingerprint)
        << "the vectors changed: give kLexicalModelName a new number";
  }
}

TEST(LexicalEmbedderTest, DoesNotDependOnAlignment) {
  const std::string text = "Alignment must not matter, \xC3\xA9ither here or there.";
  const std::vector<float> expected = Embed(text, 96);
  std::vector<float> room(96 + 8);
  for (size_t offset = 0; offset < 8; ++offset) {
    const std::string moved = std::string(offset, 'x') + text + "tail";
    const absl::Span<float> out(room.data() + offset, 96);
    EmbedLexically(absl::string_view(moved).substr(offset, text.size()), out);
    EXPECT_EQ(std::vector<float>(out.begin(), out.end()), expected) << "offset " << offset;
  }
}

TEST(LexicalEmbedderTest, PutsSimilarTextsNearest) {
  struct Case {
    const char* query;
    const char* near;
  };
  const std::vector<Case> cases = {
      {"How do I reset my password?", "password reset does not work"},
      {"The user prefers dark mode in the editor", "editor theme: dark mode preferred by user"},
      {"Meeting with Alice on Friday about the budget", "budget meeting moved, Alice is away on Friday"},
      {"PostgreSQL connection pool exhausted", "connections of the postgres pool are exhausted"},
      {"favourite colour is green", "my favorite color: green"},
      {"Recipe for sourdough bread", "sourdough breads, three recipes"},
      {"\xD0\x9C\xD0\xBE\xD1\x81\xD0\xBA\xD0\xB2\xD0\xB0 \xD0\xB7\xD0\xB8\xD0\xBC\xD0\xBE\xD0\xB9",  // Moscow in winter
       "\xD0\xB7\xD0\xB8\xD0\xBC\xD0\xB0 \xD0\xB2 \xD0\x9C\xD0\x9E\xD0\xA1\xD0\x9A\xD0\x92\xD0\x95"},  // winter, MOSCOW
      {"\xE6\x9D\xB1\xE4\xBA\xAC\xE3\x81\xAE\xE5\xA4\xA9\xE6\xB0\x97",                           // weather of Tokyo
       "\xE4\xBB\x8A\xE6\x97\xA5\xE3\x81\xAE\xE6\x9D\xB1\xE4\xBA\xAC\xE3\x81\xAF\xE9\x9B\xA8"},  // rain today
  };
  for (const Case& asked : cases) {
    const double expected = Similarity(asked.query, asked.near);
    for (const Case& other : cases) {
      if (&other == &asked) continue;
      EXPECT_GT(expected, Similarity(asked.query, other.near) + 0.05) << asked.query << " / " << other.near;
    }
  }
}

TEST(LexicalEmbedderTest, FoldsCase) {
  EXPECT_NEAR(Similarity("Hello World", "hELLO wORLD"), 1, 1e-6);
  EXPECT_NEAR(Similarity("\xC3\x84RGER", "\xC3\xA4rger"), 1, 1e-6);  // Aerger
  EXPECT_NEAR(Similarity("\xCE\xA3\xCE\x9F\xCE\xA6\xCE\x8C\xCE\xA3", "\xCF\x83\xCE\xBF\xCF\x86\xCF\x8C\xCF\x82"), 1,
              1e-6);                                                   // sophos
  EXPECT_NEAR(Similarity("\xEF\xBC\xA1\xEF\xBC\xA2", "ab"), 1, 1e-6);  // full width
}

TEST(LexicalEmbedderTest, WordOrderAndSpacingMatterLittle) {
  EXPECT_NEAR(Similarity("alpha beta", "beta   alpha\n"), 1, 1e-6);
  EXPECT_GT(Similarity("Hello, world.", "Hello world"), 0.9);
}

TEST(LexicalEmbedderTest, RepetitionCountsLessThanLinearly) {
  const double twice = Similarity("apple apple banana", "apple");
  const double four = Similarity("apple apple apple apple banana", "apple");
  EXPECT_GT(four, twice);
  EXPECT_GT(Similarity("apple apple apple apple banana", "banana"), 0.35);  // linear counts would give 0.24
}

TEST(LexicalEmbedderTest, DifferentEmojiAreDifferent) {
  EXPECT_LT(Similarity("\xF0\x9F\x98\x80", "\xF0\x9F\x9A\x80"), 0.5);
  EXPECT_NEAR(Similarity("\xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD", "\xF0\x9F\x91\x8D"), 1, 1e-6);  // skin tone
}

// Two marks that share a dimension with opposite signs cancel each other; the bytes must take over. Some of these pairs
// do so with 32 dimensions.
TEST(LexicalEmbedderTest, SurvivesCancellation) {
  const std::string marks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
  for (const char a : marks) {
    for (const char b : marks) EXPECT_NEAR(Norm(Embed(std::string{a, b}, 32)), 1.0, 1e-6) << a << b;
  }
}

TEST(LexicalEmbedderTest, SurvivesRandomBytes) {
  constexpr uint32_t kSeed = 20240607;
  SCOPED_TRACE(::testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  for (int i = 0; i < 2000; ++i) {
    std::string text(1 + random() % 64, '\0');
    for (char& byte : text) byte = static_cast<char>(random() % 4 ? random() | 0x80 : random());
    // An exact allocation, so that the address sanitizer sees a read behind the end.
    const std::vector<char> exact(text.begin(), text.end());
    EXPECT_NEAR(Norm(Embed(absl::string_view(exact.data(), exact.size()), 64)), 1.0, 1e-6);
  }
}

}  // namespace
}  // namespace reembed
