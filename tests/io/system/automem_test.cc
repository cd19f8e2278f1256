// SPDX-License-Identifier: Apache-2.0
// What AutoMem computes from a text and from tags, compared with Python itself, and the payloads that points get. The
// rows and the points are tested with both servers in tests/end_to_end/automem_test.cc.

#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/system/automem_payload.h"
#include "io/system/automem_placeholder.h"
#include "io/system/automem_rows.h"
#include "tests/fakes/process.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

// Lines of standard output.
std::vector<std::string> Python(const std::string& program, const std::vector<std::string>& arguments) {
  std::vector<std::string> command = {"/usr/bin/env", "python3", "-c", program};
  command.insert(command.end(), arguments.begin(), arguments.end());
  const ProcessResult result = RunProcess(command);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return absl::StrSplit(result.out, '\n', absl::SkipEmpty());
}

const std::vector<std::string>& Texts() {
  static const auto* const texts = new std::vector<std::string>{"a",
                                                                "likes tea",
                                                                "\xE4\xBC\x9A\xE8\xAD\xB0 \xF0\x9F\x98\x80",
                                                                std::string(55, 'x'),
                                                                std::string(56, 'y'),
                                                                std::string(64, 'z'),
                                                                std::string(3000, 'w')};
  return *texts;
}

TEST(AutomemPlaceholderTest, IsWhatPythonGivesBitForBit) {
  constexpr int kDim = 700;  // more than one round of the generator's state
  const std::vector<std::string> expected = Python(
      "import array,hashlib,random,sys\n"
      "for text in sys.argv[1:]:\n"
      "  seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], 'little')\n"
      "  rng = random.Random(seed)\n"
      "  print(array.array('f', [rng.random() for _ in range(700)]).tobytes().hex())",
      Texts());
  ASSERT_EQ(expected.size(), Texts().size());
  for (size_t i = 0; i < expected.size(); ++i) {
    std::vector<float> vector(kDim);
    MakeAutomemPlaceholder(Texts()[i], absl::MakeSpan(vector));
    EXPECT_EQ(absl::BytesToHexString({reinterpret_cast<const char*>(vector.data()), kDim * sizeof(float)}), expected[i])
        << Texts()[i];
  }
}

TEST(AutomemPlaceholderTest, IsFoundAtAnyLengthAndOnlyForItsText) {
  for (const std::string& text : Texts()) {
    std::vector<float> vector(64);
    MakeAutomemPlaceholder(text, absl::MakeSpan(vector));
    EXPECT_TRUE(IsAutomemPlaceholder(text, vector));
    for (float& number : vector) number *= 0.137f;
    EXPECT_TRUE(IsAutomemPlaceholder(text, vector));
    EXPECT_FALSE(IsAutomemPlaceholder(text + " ", vector));
    vector[5] = -vector[5];
    EXPECT_FALSE(IsAutomemPlaceholder(text, vector));
  }
  EXPECT_FALSE(IsAutomemPlaceholder("a", std::vector<float>(64, 0.125f)));
  EXPECT_FALSE(IsAutomemPlaceholder("a", std::vector<float>(64, 0.0f)));
}

TEST(AutomemTagPrefixesTest, AreThoseOfPython) {
  const std::vector<std::vector<std::string>> cases = {{"Project/Tea:Green", " work "},
                                                       {"a:b", "a/c", "A:B"},
                                                       {"\xC3\x84PFEL/S\xC3\xBC\xC3\x9F"},
                                                       {"::a//b:", ":"},
                                                       {"\xE2\x80\x83x\xC2\xA0"},
                                                       {"   "},
                                                       {"\xCE\xA9/\xD0\x96"},
                                                       {"a b", "a  b"}};
  std::vector<std::string> arguments;
  for (const auto& tags : cases) arguments.push_back(absl::StrJoin(tags, "\x1f"));
  const std::vector<std::string> expected = Python(
      "import re,sys\n"
      "for argument in sys.argv[1:]:\n"
      "  seen = []\n"
      "  for tag in argument.split('\\x1f'):\n"
      "    parts = [part for part in re.split('[:/]', tag.strip().lower()) if part]\n"
      "    for i in range(len(parts)):\n"
      "      prefix = ':'.join(parts[:i + 1])\n"
      "      if prefix not in seen: seen.append(prefix)\n"
      "  print('[' + '|'.join(seen) + ']')",
      arguments);
  ASSERT_EQ(expected.size(), cases.size());
  for (size_t i = 0; i < cases.size(); ++i) {
    EXPECT_EQ(absl::StrCat("[", absl::StrJoin(AutomemTagPrefixes(cases[i]), "|"), "]"), expected[i]);
  }
}

FalkorProperties Node(const std::map<std::string, FalkorValue>& properties) {
  FalkorProperties node;
  for (const std::string& name : AutomemPayloadProperties()) {
    const auto found = properties.find(name);
    node.push_back(found == properties.end() ? FalkorValue() : found->second);
  }
  return node;
}

FalkorValue List(const std::vector<std::string>& texts) {
  FalkorValue::List list;
  for (const std::string& text : texts) list.push_back({text});
  return {std::move(list)};
}

TEST(AutomemPayloadTest, ANewPointGetsWhatTheServerWrites) {
  EXPECT_EQ(AutomemPayload("", Node({{"content", {std::string("a \"b\"")}}})),
            R"({"content":"a \"b\"","tags":[],"tag_prefixes":[],"importance":0.5,"type":"Memory","confidence":0.5,)"
            R"("metadata":{},"relevance_score":null})");
  EXPECT_EQ(AutomemPayload("", Node({{"content", {std::string("c")}},
                                     {"tags", List({"X/y"})},
                                     {"importance", {1.0}},
                                     {"timestamp", {std::string("t")}},
                                     {"type", {std::string("Decision")}},
                                     {"confidence", {0.85}},
                                     {"metadata", {std::string(R"({"a": {"b": 1}})")}},
                                     {"relevance_score", {0.25}},
                                     {"t_invalid", {std::string("u")}},
                                     {"archived", {true}}})),
            R"({"content":"c","tags":["X/y"],"tag_prefixes":["x","x:y"],"importance":1.0,"timestamp":"t",)"
            R"("type":"Decision","confidence":0.85,"metadata":{"a": {"b": 1}},"relevance_score":0.25,)"
            R"("t_invalid":"u","archived":true})");
}

TEST(AutomemPayloadTest, MetadataThatIsNoObjectIsAnEmptyOne) {
  for (const char* const metadata : {"[1]", "{not json", "", "null", "\"x\"", "{} {}"}) {
    EXPECT_THAT(AutomemPayload("", Node({{"metadata", {std::string(metadata)}}})), HasSubstr(R"("metadata":{})"))
        << metadata;
  }
}

TEST(AutomemPayloadTest, AnOldPayloadStaysByteForByteAndGetsWhatItLacks) {
  const auto node = Node({{"content", {std::string("new")}},
                          {"tags", List({"a:b"})},
                          {"confidence", {0.9}},
                          {"archived", {true}},
                          {"relevance_score", {0.5}}});
  const std::string whole =
      R"({ "content" : "old","tags":["z"],"tag_prefixes":["z"],"confidence":0.3,"relevance_score":null,"archived":false})";
  EXPECT_EQ(AutomemPayload(whole, node), whole);
  EXPECT_EQ(AutomemPayload(R"({"content":"old","tags":["z"],"mine":{"a":1}})", node),
            R"({"content":"old","tags":["z"],"mine":{"a":1},"tag_prefixes":["a","a:b"],"confidence":0.9,)"
            R"("relevance_score":0.5,"archived":true})");
  EXPECT_EQ(AutomemPayload(R"({"content":"old"})", Node({})), R"({"content":"old"})") << "no defaults for old points";
  EXPECT_EQ(AutomemPayload("{}", Node({{"archived", {true}}})), R"({"archived":true})");
}

TEST(AutomemLocationTest, NamesBothServersAndKeepsTheirSecretsApart) {
  const auto location = ParseLocation("automem://h:1/g?points=qdrant:http://q:2/c%3Fon_width=side");
  ASSERT_THAT(location, IsOk());
  const auto asked = ParseAutomemLocation(*location);
  ASSERT_THAT(asked, IsOk());
  EXPECT_EQ(asked->nodes.ToString(), "falkordb://h:1/g?key=id&label=Memory&text=content");
  EXPECT_EQ(asked->points.path, "http://q:2/c");
  EXPECT_EQ(asked->points.Get("on_width"), "side");
  Location with_secrets = *location;
  with_secrets.secret = AutomemSecret("pass", "key");
  EXPECT_EQ(AutomemLoginOf(with_secrets).graph.password, "pass");
  EXPECT_EQ(AutomemLoginOf(with_secrets).points.api_key, "key");
  EXPECT_EQ(AutomemLoginOf(*location).graph.password, "");
  for (const auto& [uri, message] :
       {std::pair("automem://h/g", "add &points="), std::pair("automem://h/g?points=sqlite:x", "expected qdrant:"),
        std::pair("automem://h/g?point=qdrant:h/c", "points")}) {
    EXPECT_THAT(std::string(ParseAutomemLocation(*ParseLocation(uri)).status().message()), HasSubstr(message));
  }
}

}  // namespace
}  // namespace reembed
