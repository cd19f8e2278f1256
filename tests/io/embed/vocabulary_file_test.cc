// SPDX-License-Identifier: Apache-2.0
#include "io/embed/vocabulary_file.h"

#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// As many tokens as cl100k_base has: all bytes, `the` (rank 256), and others that nobody asks for.
std::vector<std::string> TokensInBase64() {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(absl::Base64Escape(std::string(1, static_cast<char>(byte))));
  tokens.push_back(absl::Base64Escape("th"));
  while (tokens.size() < 100256) tokens.push_back(absl::Base64Escape(absl::StrCat("#", tokens.size())));
  return tokens;
}

class VocabularyFileTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& content) {
    std::ofstream(folder_ / "vocabulary", std::ios::binary) << content;
    return folder_ / "vocabulary";
  }

  std::string Json(const std::string& ranks) {
    return absl::StrCat("{\"pat_str\":\"", absl::StrReplaceAll(kCl100kPattern, {{"\\", "\\\\"}}),
                        "\",\"special_tokens\":{\"<|endoftext|>\":100257},\"bpe_ranks\":\"", ranks, "\"}");
  }

  std::string Lines(const std::vector<std::string>& tokens) {
    std::string lines;
    for (size_t i = 0; i < tokens.size(); ++i) absl::StrAppend(&lines, tokens[i], " ", i, "\n");
    return lines;
  }

  void ExpectWrong(const std::string& content, const std::string& what) {
    const std::string path = Write(content);
    EXPECT_THAT(LoadVocabulary(path), HasError(absl::StatusCode::kInvalidArgument,
                                               AllOf(HasSubstr(path), HasSubstr(what), HasSubstr("cl100k_base.json"))));
  }

  TempFolder folder_;
};

TEST_F(VocabularyFileTest, BothFormatsSayTheSame) {
  const std::vector<std::string> tokens = TokensInBase64();
  std::string one_run = "! 0", two_runs = "! 300";
  for (const std::string& token : tokens) absl::StrAppend(&one_run, " ", token);
  for (size_t i = 300; i < tokens.size(); ++i) absl::StrAppend(&two_runs, " ", tokens[i]);
  absl::StrAppend(&two_runs, "\\n! 0");
  for (size_t i = 0; i < 300; ++i) absl::StrAppend(&two_runs, " ", tokens[i]);
  for (const std::string& content : {Json(one_run), Json(two_runs), Lines(tokens)}) {
    const auto loaded = LoadVocabulary(Write(content));
    ASSERT_THAT(loaded, IsOk());
    std::vector<int32_t> ranks;
    (*loaded)->Encode("the<|endoftext|>", &ranks);
    ASSERT_EQ(ranks.size(), 15u);  // special tokens are ordinary text
    EXPECT_EQ(ranks[0], 256);
    EXPECT_EQ(ranks[1], 'e');
  }
}

TEST_F(VocabularyFileTest, SaysWhatIsWrong) {
  std::vector<std::string> tokens = TokensInBase64();
  EXPECT_THAT(LoadVocabulary(folder_ / "none"),
              HasError(absl::StatusCode::kNotFound, HasSubstr("none: cannot be read")));
  ExpectWrong("", "has 0 tokens");
  ExpectWrong("{\"a\":", "not valid JSON");
  ExpectWrong("{\"pat_str\":\"x\"}", "no `pat_str` and `bpe_ranks`");
  ExpectWrong("{\"pat_str\":\"x\",\"bpe_ranks\":\"\"}", "another pattern");
  ExpectWrong(Json("! 0 IQ=="), "has 1 tokens instead of 100256");
  ExpectWrong(Json("0 IQ=="), "does not begin with `!`");
  ExpectWrong("IQ== 0\nIQ==\n", "line 2 is not");
  ExpectWrong("IQ== 0\nIQ== 0\n", "has rank 0 twice");
  ExpectWrong("IQ== 100256\n", "token of rank 100256");
  ExpectWrong("** 0\n", "is not base64");
  tokens[5000] = tokens[5001];
  ExpectWrong(Lines(tokens), "rank 5001 is there a second time");
  tokens.pop_back();
  ExpectWrong(Lines(tokens), "has 100255 tokens instead of 100256");
}

}  // namespace
}  // namespace reembed
