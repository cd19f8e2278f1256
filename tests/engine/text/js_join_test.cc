// SPDX-License-Identifier: Apache-2.0
#include "engine/text/js_join.h"

#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/number/json_text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/process.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

using ::testing::SizeIs;

std::string Join(const std::string& json) {
  std::string out = "<";
  return AppendJsJoin(json, ", ", &out) ? out + ">" : out == "<" ? "none" : "left something behind";
}

TEST(JsJoinTest, WhatJavaScriptPrints) {
  EXPECT_EQ(Join(R"(["a","b\u00e4\n"])"), "<a, b\xC3\xA4\n>");
  EXPECT_EQ(Join(R"([""])"), "<>");
  EXPECT_EQ(Join("[null]"), "<>");
  EXPECT_EQ(Join("[null, null]"), "<, >");
  EXPECT_EQ(Join("[1.0, 1e21, -0, 0.1e1, 1e-7, 1E400, -1e400, 1e-400]"),
            "<1, 1e+21, 0, 1, 1e-7, Infinity, -Infinity, 0>");
  EXPECT_EQ(Join("[9007199254740993, 12345678901234567890, 123456789012345678901]"),
            "<9007199254740992, 12345678901234567000, 123456789012345680000>");
  EXPECT_EQ(Join("[[1, [2, null], []], {}, {\"a\": [1]}, true, false]"),
            "<1,2,,, [object Object], [object Object], true, false>");
}

TEST(JsJoinTest, WhatIsNoListOrThrows) {
  for (const char* const none :
       {"", "[]", " [ ] ", "null", "1", "\"a\"", "{\"a\": 1}", "[1", "[1,]", "[1] x", "[01]", "[nul]", "['a']", "[NaN]",
        "[\"\t\"]", "[.5]", "[+1]", "[\"a\", {\"toString\": 1}]", "[[{\"\\u0074oString\": null}]]"}) {
    EXPECT_EQ(Join(none), "none") << none;
  }
  EXPECT_EQ(Join("[{\"valueOf\": 1}, {\"a\": {\"toString\": 1}}]"), "<[object Object], [object Object]>");
}

// A random text that is often JSON.
class RandomJson {
 public:
  explicit RandomJson(uint64_t seed) : random_(seed) {}

  std::string Tags() {
    if (Below(12) == 0) return Value(3);
    std::string text = Array(3);
    if (Below(25) == 0) text.insert(Below(text.size() + 1), 1, "]}[{,:\"0 e"[Below(10)]);
    return text;
  }

 private:
  size_t Below(size_t end) { return static_cast<size_t>(random_() % end); }
  std::string Space() { return Below(8) == 0 ? std::string(1, " \n\t\r"[Below(4)]) : ""; }

  std::string Array(int depth) {
    std::vector<std::string> items;
    for (size_t n = Below(5); n > 0; --n) items.push_back(absl::StrCat(Space(), Value(depth - 1), Space()));
    return absl::StrCat("[", items.empty() ? Space() : absl::StrJoin(items, ","), "]");
  }

  std::string Object(int depth) {
    std::vector<std::string> items;
    for (size_t n = Below(3); n > 0; --n) {
      const std::string name = Below(10) == 0 ? (Below(2) == 0 ? "\"toString\"" : "\"valueOf\"") : String();
      items.push_back(absl::StrCat(name, Space(), ":", Value(depth - 1)));
    }
    return absl::StrCat("{", absl::StrJoin(items, ","), "}");
  }

  std::string String() {
    static const char* const kPieces[] = {"a",
                                          "B c",
                                          ", ",
                                          "\\\"",
                                          "\\\\",
                                          "\\n",
                                          "\\u00e4",
                                          "\\/",
                                          "\\u20AC",
                                          "\xC3\xA4",
                                          "\\b\\f\\r\\t",
                                          "\\ud83d\\ude00",
                                          "\xF0\x9F\x98\x80",
                                          "\\u0000",
                                          "\xE2\x80\xA8",
                                          "[1]"};
    std::string text = "\"";
    for (size_t n = Below(4); n > 0; --n) text += kPieces[Below(std::size(kPieces))];
    return text + "\"";
  }

  std::string Digits(size_t most) {
    std::string digits;
    for (size_t n = 1 + Below(most); n > 0; --n) digits += static_cast<char>('0' + Below(10));
    return digits;
  }

  std::string Number() {
    std::string text = Below(4) == 0 ? "-" : "";
    text += Below(3) == 0 ? "0" : static_cast<char>('1' + Below(9)) + (Below(2) == 0 ? "" : Digits(24));
    if (Below(2) == 0) text += "." + Digits(20);
    if (Below(3) == 0)
      text += absl::StrCat(Below(2) == 0 ? "e" : "E", Below(3) == 0 ? "-" : Below(2) == 0 ? "+" : "", Digits(3));
    return text;
  }

  std::string Value(int depth) {
    switch (Below(depth > 0 ? 9 : 7)) {
      case 0:
      case 1:
        return String();
      case 2:
      case 3:
      case 4:
        return Number();
      case 5:
        return "null";
      case 6:
        return Below(2) == 0 ? "true" : "false";
      case 7:
        return Array(depth);
      default:
        return Object(depth);
    }
  }

  std::mt19937_64 random_;
};

// As the system's own program makes the part, hex for hex; "-" where there is none.
constexpr char kNode[] = R"(
const lines = require('fs').readFileSync(process.argv[1], 'utf8').split('\n');
for (const line of lines) {
  let part = '-';
  try {
    const tags = JSON.parse(Buffer.from(line, 'hex').toString('utf8'));
    if (Array.isArray(tags) && tags.length > 0) part = 'x' + Buffer.from(tags.join(', '), 'utf8').toString('hex');
  } catch {}
  console.log(part);
}
)";

TEST(JsJoinTest, IsWhatNodeMakesOfThousandsOfRandomTexts) {
  constexpr uint64_t kSeed = 34;
  constexpr size_t kTexts = 20000;
  RecordProperty("seed", static_cast<int>(kSeed));
  RandomJson random(kSeed);
  std::vector<std::string> texts;
  for (size_t i = 0; i < kTexts; ++i) texts.push_back(random.Tags());
  const TempFolder folder;
  const std::string path = folder / "texts";
  {
    std::ofstream file(path);
    file << absl::StrJoin(texts, "\n",
                          [](std::string* out, const std::string& text) { out->append(absl::BytesToHexString(text)); });
  }
  const ProcessResult node = RunProcess({"/usr/bin/env", "node", "-e", kNode, path});
  ASSERT_EQ(node.exit_code, 0) << node.err;
  const std::vector<std::string> parts = absl::StrSplit(node.out, '\n', absl::SkipEmpty());
  ASSERT_THAT(parts, SizeIs(kTexts));
  size_t lists = 0, no_texts = 0;
  for (size_t i = 0; i < kTexts; ++i) {
    std::string joined;
    const bool is_list = AppendJsJoin(texts[i], ", ", &joined);
    // A change in the middle of a character or a pair makes what is no UTF-8, before or after: such rows are rejected.
    if (!IsValidUtf8(texts[i]) || !IsValidUtf8(joined)) {
      ++no_texts;
      continue;
    }
    lists += is_list ? 1 : 0;
    EXPECT_EQ(is_list ? "x" + absl::BytesToHexString(joined) : "-", parts[i]) << texts[i] << " (seed " << kSeed << ")";
  }
  EXPECT_GT(lists, kTexts / 2);
  EXPECT_LT(no_texts, kTexts / 100);
}

}  // namespace
}  // namespace reembed
