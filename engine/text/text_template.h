// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_TEXT_TEXT_TEMPLATE_H_
#define REEMBED_ENGINE_TEXT_TEXT_TEMPLATE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace reembed {

// How the text to embed is made from the fields of a row, written as text itself so that presets and job files can say
// it:
//
//   {title} {content}
//   {name|trim|default:"Untitled"}{description|prefix:": "}
//   {(title, content, tags|json_list:", "|prefix:"Tags: ")|join:" "|trim}
//   {content|collapse|cut:30000:"..."}
//
// Text stands for itself; {{ and }} are single braces. Between braces stands a field (quote it with ` when its name is
// no plain word), a text in quotes, or a list of such parts in parentheses, and behind it filters, each applied to what
// the one before it gave. A field that is NULL is empty; so is one that its table does not have, where `?` stands
// behind the name. Arguments are texts in "..." or '...' (with \n \t \\ \" \'), numbers or words. Filters:
//
//   trim            no whitespace at either end
//   collapse        whitespace runs become one space, none at either end
//     trim and collapse take Unicode's whitespace as Python's str.strip and str.split do; trim:js and collapse:js as
//     JavaScript's trim and \s do, and collapse:js leaves one space at the ends
//   lower           A-Z become a-z
//   keep:"A-Za-z "  drops all other characters; ASCII only, ranges as shown, \- is a hyphen
//   cut:N           the first N characters (code points); cut:N:"..." with that behind them when something was cut
//   cut_utf16:N     the same in UTF-16 units, as JavaScript's and Java's lengths; never half a character
//   cut_words:N:P   cut_utf16:N, trim:js, then back to the last space if that lies behind P per cent of N
//   json_list:", "  the elements of a JSON array with that between them, as JavaScript's join has it (see js_join.h);
//                   nothing when it is no array. Of one with elements, prefix and suffix take the text for there, and
//                   default does not, even when it is empty, as that of [""] is
//   prefix:"x"      x before it, suffix:"x" behind it; an empty text stays empty
//   default:"x"     x when it is empty
//   join:" "        of a list: its non-empty parts with that between them. A list without join is written end to end
//   first           of a list: the first of its parts that is not empty
//
// Not thread-safe.
class TextTemplate {
 public:
  // Errors: kInvalidArgument (names the place: "template, character 12: ...").
  static absl::StatusOr<TextTemplate> Parse(absl::string_view text);

  // The fields that it needs, each once, in order of first use.
  const std::vector<std::string>& fields() const { return fields_; }

  // Whether a table may lack fields()[field].
  bool MayLack(size_t field) const { return optional_[field]; }

  // Replaces *out by the text of one row; `values` are those of fields(), nullopt: NULL. Bytes that are not UTF-8 pass
  // through, each taken for a character.
  void Render(absl::Span<const std::optional<absl::string_view>> values, std::string* out);

 private:
  friend class TextTemplateParser;
  enum class Op {
    kTrim,
    kTrimJs,
    kCollapse,
    kCollapseJs,
    kLower,
    kKeep,
    kCut,
    kCutUtf16,
    kCutWords,
    kJsonList,
    kPrefix,
    kSuffix,
    kDefault,
    kJoin,
    kFirst,
  };
  struct Filter {
    Op op = Op::kTrim;
    std::string text;
    int64_t number = 0;
    int64_t percent = 0;
  };
  struct Part {
    enum class Kind { kText, kField, kList } kind = Kind::kText;
    std::string text;         // kText
    size_t field = 0;         // kField
    std::vector<Part> parts;  // kList
    std::vector<Filter> filters;
  };

  TextTemplate() = default;
  void Append(const Part& part, absl::Span<const std::optional<absl::string_view>> values, std::string* out);
  void AppendList(const Part& part, absl::Span<const std::optional<absl::string_view>> values, std::string* out);
  // `is_list`: the text is that of a list with elements, and so is not empty, whatever it says.
  void Apply(const Filter& filter, size_t begin, bool* is_list, std::string* out);

  std::vector<std::string> fields_;
  std::vector<bool> optional_;  // of fields_: every use has a `?`
  std::vector<Part> parts_;
  std::string list_;  // room for json_list
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_TEXT_TEXT_TEMPLATE_H_
