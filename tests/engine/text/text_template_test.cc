// SPDX-License-Identifier: Apache-2.0
#include "engine/text/text_template.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "engine/number/json_scanner.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The text of one row; a field that `row` lacks is NULL.
std::string Render(absl::string_view text, const std::map<std::string, std::string>& row) {
  absl::StatusOr<TextTemplate> made = TextTemplate::Parse(text);
  EXPECT_THAT(made, IsOk()) << text;
  if (!made.ok()) return "";
  std::vector<std::optional<absl::string_view>> values;
  for (const std::string& field : made->fields()) {
    const auto found = row.find(field);
    values.push_back(found == row.end() ? std::nullopt : std::optional<absl::string_view>(found->second));
  }
  std::string out = "left over";
  made->Render(values, &out);
  return out;
}

TEST(TextTemplateTest, FieldsAndText) {
  EXPECT_EQ(Render("{title}: {content}", {{"title", "a"}, {"content", "b"}}), "a: b");
  EXPECT_EQ(Render("{title}: {content}", {{"title", "a"}}), "a: ");
  EXPECT_EQ(Render("{{{a}}}", {{"a", "x"}}), "{x}");
  EXPECT_EQ(Render("{`odd name`}", {{"odd name", "x"}}), "x");
  EXPECT_EQ(Render("{(a, \"-\", b)}", {{"a", "x"}, {"b", "y"}}), "x-y");
  const auto made = TextTemplate::Parse("{b} {(a, b)|join:'-'} {c|trim}");
  ASSERT_THAT(made, IsOk());
  EXPECT_THAT(made->fields(), ElementsAre("b", "a", "c"));
}

TEST(TextTemplateTest, Whitespace) {
  // U+00A0, U+2003, U+3000 are whitespace to both languages, U+0085 and U+001C to Python, U+FEFF to JavaScript alone.
  const std::string odd = " \t\xC2\xA0 a\xE2\x80\x83\xE3\x80\x80 b\n\n";
  EXPECT_EQ(Render("{t|trim}", {{"t", odd}}), "a\xE2\x80\x83\xE3\x80\x80 b");
  EXPECT_EQ(Render("{t|collapse}", {{"t", odd}}), "a b");
  EXPECT_EQ(Render("{t|collapse:js}", {{"t", odd}}), " a b ");
  EXPECT_EQ(Render("{t|trim}", {{"t", "\xC2\x85\x1C x\xEF\xBB\xBF"}}), "x\xEF\xBB\xBF");
  EXPECT_EQ(Render("{t|trim:js}", {{"t", "\xC2\x85 x\xEF\xBB\xBF"}}), "\xC2\x85 x");
  EXPECT_EQ(Render("{t|trim}|{t|collapse}", {{"t", " \n"}}), "|");
}

TEST(TextTemplateTest, Cuts) {
  EXPECT_EQ(Render("{t|cut:3:\"...\"}", {{"t", "abc"}}), "abc");
  EXPECT_EQ(Render("{t|cut:3:\"...\"}", {{"t", "abcd"}}), "abc...");
  EXPECT_EQ(Render("{t|cut:2}", {{"t", "\xC3\xA4\xF0\x9F\x98\x80x"}}), "\xC3\xA4\xF0\x9F\x98\x80");
  // The face takes two UTF-16 units and is never cut in half.
  EXPECT_EQ(Render("{t|cut_utf16:2}", {{"t", "\xC3\xA4\xF0\x9F\x98\x80x"}}), "\xC3\xA4");
  EXPECT_EQ(Render("{t|cut_utf16:3}", {{"t", "\xC3\xA4\xF0\x9F\x98\x80x"}}), "\xC3\xA4\xF0\x9F\x98\x80");
  EXPECT_EQ(Render("{t|cut_words:10:80}", {{"t", "12345678 0123"}}), "12345678 0");  // the space is at 8, not behind it
  EXPECT_EQ(Render("{t|cut_words:10:80}", {{"t", "123456789 123"}}), "123456789");
  EXPECT_EQ(Render("{t|cut_words:10:70}", {{"t", "12345678 0123"}}), "12345678");
  EXPECT_EQ(Render("{t|cut_words:10:80}", {{"t", "0123456789"}}), "0123456789");
}

TEST(TextTemplateTest, Lists) {
  const auto tags = [](const std::string& json) {
    return Render("{tags|json_list:\", \"|prefix:\"Tags: \"}", {{"tags", json}});
  };
  EXPECT_EQ(tags(R"(["a", "b\u00e4\n"])"), "Tags: a, b\xC3\xA4\n");
  EXPECT_EQ(tags("[1, null, true, 2.50]"), "Tags: 1, , true, 2.5");
  // A list with elements is there, whatever they say; what is no list is not.
  EXPECT_EQ(tags(R"([""])"), "Tags: ");
  EXPECT_EQ(tags("[null]"), "Tags: ");
  EXPECT_EQ(Render("{tags|json_list:\", \"|suffix:\".\"|default:\"none\"}", {{"tags", "[[]]"}}), ".");
  EXPECT_EQ(Render("{tags|json_list:\", \"|default:\"none\"}", {{"tags", "[]"}}), "none");
  EXPECT_EQ(
      Render("{(a, tags|json_list:\", \"|prefix:\"Tags: \")|join:\" \"|trim:js}", {{"a", "x"}, {"tags", "[\"\"]"}}),
      "x Tags:");
  EXPECT_EQ(Render("{(a, tags|json_list:\", \")|join:\"+\"}", {{"a", "x"}, {"tags", "[\"\"]"}}), "x");
  for (const char* const none : {"", "[]", " [ ] ", "null", "\"a\"", "{\"a\": 1}", "[\"a\"", "[\"a\",]", "['a']",
                                 "[\"a\"] x", "[01]", "[nul]"}) {
    EXPECT_EQ(tags(none), "") << none;
  }
}

TEST(TextTemplateTest, OtherFilters) {
  EXPECT_EQ(Render("{a|default:\"x\"}{b|default:\"y\"}", {{"b", "B"}}), "xB");
  EXPECT_EQ(Render("{a|prefix:\"<\"|suffix:\">\"}", {{"a", "x"}}), "<x>");
  EXPECT_EQ(Render("{a|prefix:\"<\"|suffix:\">\"}", {}), "");
  EXPECT_EQ(Render("{a|lower}", {{"a", "\xC3\x84 ABC"}}), "\xC3\x84 abc");
  EXPECT_EQ(Render("{a|keep:\"a-c\\-_\"}", {{"a", "abcd-_\xC3\xA4 A"}}), "abc-_");
  EXPECT_EQ(Render("{(a, b, c)|join:\", \"|default:\"none\"}", {{"a", "x"}, {"c", "z"}}), "x, z");
  EXPECT_EQ(Render("{(a, (b, c)|join:'+')|join:\", \"|default:\"none\"}", {{"b", "x"}, {"c", "z"}}), "x+z");
  EXPECT_EQ(Render("{(a, b)|join:\", \"|default:\"none\"}", {}), "none");
}

TEST(TextTemplateTest, RecipesOfMemorySystems) {
  const std::string backfill =
      "{(title, content, memory_type, tags|json_list:\", \"|prefix:\"Tags: \")|join:\" \"|trim:js}";
  EXPECT_EQ(
      Render(
          backfill,
          {{"title", "T25"}, {"content", "content number 25"}, {"memory_type", "SYSTEM"}, {"tags", R"(["a","b25"])"}}),
      "T25 content number 25 SYSTEM Tags: a, b25");
  EXPECT_EQ(Render(backfill, {{"title", ""}, {"content", "c "}, {"tags", "not json"}}), "c");
  const std::string create =
      "{(title, content, memory_type|prefix:\"Type: \", tags|json_list:\", \"|prefix:\"Tags: \")|join:\"\\n\\n\""
      "|collapse:js|keep:\"A-Za-z0-9_ \\-.,!?;:()[]{}'\\\"\"|trim:js|cut_words:8000:80}";
  EXPECT_EQ(Render(create, {{"title", "caf\xC3\xA9 (1)"},
                            {"content", "a\n  {b} #c-d\xE4\xBD\xA0"},
                            {"memory_type", "X"},
                            {"tags", "[\"t\"]"}}),
            "caf (1) a {b} c-d Type: X Tags: t");
  const std::string words = Render(create, {{"title", "t"}, {"content", std::string(7997, 'x') + " yyyy"}});
  EXPECT_EQ(words, "t " + std::string(7997, 'x'));
  const std::string category = "{(name|trim|default:\"Untitled\", description|trim)|join:\": \"}";
  EXPECT_EQ(Render(category, {{"name", " a "}, {"description", "d"}}), "a: d");
  EXPECT_EQ(Render(category, {{"name", "a"}, {"description", " "}}), "a");
  EXPECT_EQ(Render(category, {}), "Untitled");
  EXPECT_EQ(Render("{content|collapse|cut:30000:\"...\"}", {{"content", std::string(30001, 'x')}}),
            std::string(30000, 'x') + "...");
}

TEST(TextTemplateTest, TheFirstThatIsThere) {
  const std::string first = "{(content?, text?, message)|first|collapse}";
  EXPECT_EQ(Render(first, {{"content", " a  b"}, {"text", "t"}, {"message", "m"}}), "a b");
  EXPECT_EQ(Render(first, {{"content", ""}, {"text", "t"}, {"message", "m"}}), "t");
  EXPECT_EQ(Render(first, {{"message", "m"}}), "m");
  EXPECT_EQ(Render(first, {}), "");
  EXPECT_EQ(Render(first, {{"content", "  "}, {"text", "t"}}), "") << "what is blank is not empty";
  const auto made = TextTemplate::Parse("{a?} {b} {(a?, b?)|first}");
  ASSERT_THAT(made, IsOk());
  EXPECT_TRUE(made->MayLack(0));
  EXPECT_FALSE(made->MayLack(1)) << "one use without ? is enough";
}

TEST(TextTemplateTest, ErrorsNameThePlace) {
  const auto error = [](absl::string_view text) { return std::string(TextTemplate::Parse(text).status().message()); };
  EXPECT_EQ(error("ab } {c}"), "template, character 4: a } without its {; a brace of the text is written }}");
  EXPECT_THAT(error("{a"), HasSubstr("character 3: expected | or }"));
  EXPECT_THAT(error("{}"), HasSubstr("character 2: expected the name of a field"));
  EXPECT_THAT(error("{a|tirm}"), HasSubstr("character 4: no filter `tirm`; did you mean `trim`?"));
  EXPECT_THAT(error("{a|join:\" \"}"), HasSubstr("`join` comes right behind a list"));
  EXPECT_THAT(error("{a|first}"), HasSubstr("`first` comes right behind a list"));
  EXPECT_THAT(error("{a|prefix}"), HasSubstr("character 10: expected : and a text in quotes"));
  EXPECT_THAT(error("{a|prefix:\"x}"), HasSubstr("character 11: this quote is not closed"));
  EXPECT_THAT(error("{a|cut:0}"), HasSubstr("expected a number from 1"));
  EXPECT_THAT(error("{a|keep:\"\xC3\xA4\"}"), HasSubstr("expected ASCII"));
  EXPECT_THAT(error("{(a, b}"), HasSubstr("expected , or )"));
  EXPECT_THAT(error("only text"), HasSubstr("names no field"));
  EXPECT_THAT(error(absl::StrCat("{", std::string(100, '('))), HasSubstr("too many parentheses"));
}

TEST(JsonScannerTest, TakesExactlyJson) {
  const auto is_json = [](absl::string_view text, JsonScanner::Numbers numbers = JsonScanner::Numbers::kStrict) {
    JsonScanner scanner(text, numbers);
    absl::string_view token;
    return scanner.TakeValue(&token) && scanner.AtEnd();
  };
  for (const char* const good : {"0", "-0.5e+10", " [1, 2 ,{\"a\":[]}] ", "\"\\u00e4\\n\"", "true", "null", "{}"}) {
    EXPECT_TRUE(is_json(good)) << good;
  }
  for (const char* const bad : {"", "01", "1.", ".5", "+1", "-", "[1,]", "[1 2]", "{\"a\"}", "{a:1}", "\"\\x\"",
                                "\"\\u12g4\"", "\"a", "tru", "NaN", "1 2", "[", "\"\n\""}) {
    EXPECT_FALSE(is_json(bad)) << bad;
  }
  EXPECT_TRUE(is_json("[NaN, -Infinity]", JsonScanner::Numbers::kPython));
  EXPECT_FALSE(is_json(std::string(100000, '[')));
}

}  // namespace
}  // namespace reembed
