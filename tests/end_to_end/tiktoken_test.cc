// SPDX-License-Identifier: Apache-2.0
// The tokenizer against the one that OpenAI publishes, rank by rank. Needs the packages that the CTest fixture `npm`
// puts into the build tree.

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iostream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/number/json_text.h"
#include "gtest/gtest.h"
#include "io/embed/vocabulary_file.h"
#include "tests/fakes/process.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

const std::string& VocabularyPath() {
  static const auto* const path =
      new std::string(absl::StrCat(REEMBED_NPM_DIR, "/node_modules/tiktoken/encoders/cl100k_base.json"));
  return *path;
}

void AppendUtf8(uint32_t code, std::string* out) {
  const auto tail = [&](int shift) { out->push_back(static_cast<char>(0x80 | (code >> shift & 0x3F))); };
  if (code < 0x80) return out->push_back(static_cast<char>(code));
  if (code < 0x800) {
    out->push_back(static_cast<char>(0xC0 | code >> 6));
  } else if (code < 0x10000) {
    out->push_back(static_cast<char>(0xE0 | code >> 12));
    tail(6);
  } else {
    out->push_back(static_cast<char>(0xF0 | code >> 18));
    tail(12);
    tail(6);
  }
  tail(0);
}

bool IsSurrogate(uint32_t code) { return code >= 0xD800 && code < 0xE000; }

// What the two say of the same texts; fails the test where they differ.
class Comparison {
 public:
  void Add(std::string text) { texts_.push_back(std::move(text)); }

  void Run() {
    const absl::StatusOr<std::unique_ptr<BpeTokenizer>> tokenizer = LoadVocabulary(VocabularyPath());
    ASSERT_THAT(tokenizer, IsOk());
    TempFolder folder;
    {
      std::ofstream file(folder / "texts", std::ios::binary);
      for (const std::string& text : texts_) {
        const auto size = static_cast<uint32_t>(text.size());
        file.write(reinterpret_cast<const char*>(&size), sizeof(size));
        file << text;
      }
    }
    const ProcessResult node = RunProcess({"/usr/bin/env", "node", absl::StrCat(REEMBED_NPM_DIR, "/tiktoken_ranks.mjs"),
                                           folder / "texts", folder / "ranks"});
    ASSERT_EQ(node.exit_code, 0) << node.err;
    const absl::Time start = absl::Now();
    std::vector<std::vector<int32_t>> ours(texts_.size());
    int64_t bytes = 0;
    for (size_t i = 0; i < texts_.size(); ++i) {
      (*tokenizer)->Encode(texts_[i], &ours[i]);
      bytes += static_cast<int64_t>(texts_[i].size());
    }
    const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
    double their_seconds = 0;
    ASSERT_TRUE(absl::SimpleAtod(node.out, &their_seconds));
    std::cout << texts_.size() << " texts, " << bytes << " bytes: " << static_cast<double>(bytes) / seconds / 1e6
              << " MB/s, tiktoken " << static_cast<double>(bytes) / their_seconds / 1e6 << " MB/s\n";
    std::ifstream ranks(folder / "ranks", std::ios::binary);
    for (size_t i = 0; i < texts_.size(); ++i) {
      uint32_t count = 0;
      ASSERT_TRUE(ranks.read(reinterpret_cast<char*>(&count), sizeof(count)));
      std::vector<int32_t> theirs(count);
      ASSERT_TRUE(ranks.read(reinterpret_cast<char*>(theirs.data()), count * sizeof(int32_t)));
      std::string shown;
      AppendJsonString(texts_[i].substr(0, 200), &shown);
      ASSERT_EQ(ours[i], theirs) << "text " << i << ": " << shown;
      ASSERT_EQ((*tokenizer)->Count(texts_[i]), static_cast<int64_t>(count));
    }
  }

 private:
  std::vector<std::string> texts_;
};

// Each code point where its class shows: before a contraction, before three digits, between symbols and before a line
// break, behind white space.
TEST(TiktokenTest, AgreesOnEveryCodePoint) {
  Comparison comparison;
  for (uint32_t first = 0; first < 0x110000; first += 64) {
    if (first >= 0x40000 && first % 0x4000 != 0 && first < 0xE0000) continue;
    std::string text;
    for (uint32_t code = first; code < first + 64; ++code) {
      if (IsSurrogate(code)) continue;
      for (const char* behind : {"'s", "123", "!\n", "a", "  "}) {
        AppendUtf8(code, &text);
        text += behind;
      }
    }
    comparison.Add(std::move(text));
  }
  comparison.Run();
}

TEST(TiktokenTest, AgreesOnRandomTexts) {
  const uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  const auto below = [&](uint64_t n) { return static_cast<uint32_t>(random() % n); };
  struct Block {
    uint32_t first, count;
  };
  static constexpr Block kBlocks[] = {{0x20, 95},      {0x61, 26},      {0x30, 10},      {0xA0, 96},    {0x100, 384},
                                      {0x370, 144},    {0x400, 256},    {0x590, 112},    {0x600, 256},  {0x900, 128},
                                      {0xE00, 128},    {0x1100, 256},   {0x1E00, 256},   {0x2000, 112}, {0x2150, 64},
                                      {0x3040, 192},   {0x4E00, 20992}, {0xAC00, 11172}, {0xFF00, 240}, {0x1F300, 1024},
                                      {0x10000, 4096}, {0x20000, 4096}, {0, 32},         {0x80, 32},    {0x300, 112}};
  static constexpr const char* kPhrases[] = {"'s",
                                             "'S",
                                             "'T",
                                             "'re",
                                             "'RE",
                                             "'Ve",
                                             "'LL",
                                             "'lL",
                                             "'d",
                                             "'M",
                                             "'ſ",
                                             "don't",
                                             "  ",
                                             "\n\n",
                                             "\r\n",
                                             " \n ",
                                             "\t",
                                             "\t\t ",
                                             "   x",
                                             " 1",
                                             "12345",
                                             "\u3000",
                                             "\u00A0",
                                             "\u2028",
                                             "\u0085",
                                             "...",
                                             " ...\n",
                                             "<|endoftext|>",
                                             "<|fim_prefix|>",
                                             " the",
                                             "https://",
                                             "\xF0\x9F\x91\xA9\u200D\xF0\x9F\x92\xBB"};
  Comparison comparison;
  for (int i = 0; i < 6000; ++i) {
    std::string text;
    const uint32_t length = below(60);
    const Block* block = &kBlocks[below(std::size(kBlocks))];
    for (uint32_t n = 0; n < length; ++n) {
      if (below(8) == 0) block = &kBlocks[below(std::size(kBlocks))];
      const uint32_t choice = below(10);
      if (choice == 0) {
        text += kPhrases[below(std::size(kPhrases))];
      } else if (choice == 1) {
        text.append(below(5), " \n\r\t"[below(4)]);
      } else {
        AppendUtf8(block->first + below(block->count), &text);
      }
    }
    comparison.Add(std::move(text));
  }
  // Long pieces, which take the other way: one letter, two, random letters, digits, symbols, white space.
  for (const uint32_t length : {95, 96, 97, 98, 500, 3000}) {
    for (const char* letters : {"a", "ab", "etaoinshrdlu", "0123456789", "=-*#", " ", "\n", "\u4E00\u4E8C\u4E09"}) {
      const std::string alphabet = letters;
      std::string text;
      while (text.size() < length) {
        uint32_t at = below(alphabet.size());
        while (at > 0 && (static_cast<unsigned char>(alphabet[at]) & 0xC0) == 0x80) --at;
        uint32_t bytes = 1;
        while (at + bytes < alphabet.size() && (static_cast<unsigned char>(alphabet[at + bytes]) & 0xC0) == 0x80)
          ++bytes;
        text.append(alphabet, at, bytes);
      }
      comparison.Add(text);
      comparison.Add(text + "x");
    }
  }
  comparison.Run();
}

// Real prose and code: the files of this project.
TEST(TiktokenTest, AgreesOnTheFilesOfThisProject) {
  Comparison comparison;
  int files = 0;
  for (const char* folder : {"", "/engine", "/io/embed", "/io/job", "/tools", "/tests/end_to_end", "/data/systems"}) {
    for (const auto& entry : std::filesystem::directory_iterator(absl::StrCat(REEMBED_SOURCE_DIR, folder))) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file(entry.path(), std::ios::binary);
      std::stringstream content;
      content << file.rdbuf();
      if (!IsValidUtf8(content.str())) continue;
      comparison.Add(content.str());
      ++files;
    }
  }
  ASSERT_GT(files, 50);
  comparison.Run();
}

}  // namespace
}  // namespace reembed
