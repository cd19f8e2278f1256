// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/location.h"
#include "engine/status_macros.h"
#include "engine/text/text_template.h"

namespace reembed {
namespace {

// Parentheses in parentheses; nobody needs more, and the parser calls itself for each.
constexpr int kMaxDepth = 16;

// The 128 characters of ASCII, each '1' or '0', that a specification like `A-Z_\-` means; false: it is not ASCII, or
// ends in the middle.
bool ExpandKeep(absl::string_view spec, std::string* table) {
  table->assign(128, '0');
  const auto take = [&](size_t* i) -> int {
    if (*i < spec.size() && spec[*i] == '\\') ++*i;
    if (*i >= spec.size() || static_cast<unsigned char>(spec[*i]) >= 128) return -1;
    return spec[(*i)++];
  };
  for (size_t i = 0; i < spec.size();) {
    const int first = take(&i);
    int last = first;
    if (i + 1 < spec.size() && spec[i] == '-') {
      ++i;
      last = take(&i);
    }
    if (first < 0 || last < first) return false;
    for (int c = first; c <= last; ++c) (*table)[static_cast<size_t>(c)] = '1';
  }
  return true;
}

}  // namespace

// Recursive descent over the text of a template.
class TextTemplateParser {
 public:
  explicit TextTemplateParser(absl::string_view text) : text_(text) {}

  absl::StatusOr<TextTemplate> Parse() {
    std::string literal;
    const auto end_literal = [&] {
      if (!literal.empty()) result_.parts_.push_back({.text = std::exchange(literal, "")});
    };
    while (at_ < text_.size()) {
      const char c = text_[at_];
      const bool twice = at_ + 1 < text_.size() && text_[at_ + 1] == c;
      if ((c == '{' || c == '}') && twice) {
        literal.push_back(c);
        at_ += 2;
      } else if (c == '}') {
        return Error("a } without its {; a brace of the text is written }}");
      } else if (c != '{') {
        literal.push_back(c);
        ++at_;
      } else {
        end_literal();
        ++at_;
        TextTemplate::Part part;
        ABSL_RETURN_IF_ERROR(ParseExpression(0, &part));
        if (!Take('}')) return Error("expected | or } here");
        result_.parts_.push_back(std::move(part));
      }
    }
    end_literal();
    if (result_.fields_.empty()) return Error("names no field, so every row would have the same text");
    return std::move(result_);
  }

 private:
  using Op = TextTemplate::Op;
  enum class Argument { kNone, kWhitespace, kText, kKeep, kNumber, kNumberText, kNumberPercent };
  struct FilterName {
    absl::string_view name;
    Op op;
    Argument argument;
  };
  static constexpr std::array<FilterName, 13> kFilters = {{
      {"trim", Op::kTrim, Argument::kWhitespace},
      {"collapse", Op::kCollapse, Argument::kWhitespace},
      {"lower", Op::kLower, Argument::kNone},
      {"keep", Op::kKeep, Argument::kKeep},
      {"cut", Op::kCut, Argument::kNumberText},
      {"cut_utf16", Op::kCutUtf16, Argument::kNumberText},
      {"cut_words", Op::kCutWords, Argument::kNumberPercent},
      {"json_list", Op::kJsonList, Argument::kText},
      {"prefix", Op::kPrefix, Argument::kText},
      {"suffix", Op::kSuffix, Argument::kText},
      {"default", Op::kDefault, Argument::kText},
      {"join", Op::kJoin, Argument::kText},
      {"first", Op::kFirst, Argument::kNone},
  }};

  absl::Status Error(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat("template, character ", at_ + 1, ": ", what));
  }

  void SkipSpace() {
    while (at_ < text_.size() && absl::ascii_isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
  }
  bool Take(char c) {
    SkipSpace();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  absl::string_view TakeWord() {
    SkipSpace();
    const size_t begin = at_;
    while (at_ < text_.size()) {
      const auto c = static_cast<unsigned char>(text_[at_]);
      if (!absl::ascii_isalnum(c) && c != '_' && c < 0x80) break;
      ++at_;
    }
    return text_.substr(begin, at_ - begin);
  }

  absl::Status TakeQuoted(std::string* out) {
    const char quote = text_[at_];
    const size_t begin = at_++;
    while (at_ < text_.size() && text_[at_] != quote) {
      char c = text_[at_++];
      if (c == '\\' && quote != '`' && at_ < text_.size()) {
        c = text_[at_++];
        if (c == '-') out->push_back('\\');  // only `keep` knows it, and undoes it itself
        c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
      }
      out->push_back(c);
    }
    if (at_ < text_.size()) {
      ++at_;
      return absl::OkStatus();
    }
    at_ = begin;
    return Error("this quote is not closed");
  }

  bool AtQuote(absl::string_view quotes) {
    SkipSpace();
    return at_ < text_.size() && quotes.find(text_[at_]) != absl::string_view::npos;
  }

  absl::Status ParseList(int depth, TextTemplate::Part* part) {
    part->kind = TextTemplate::Part::Kind::kList;
    if (depth >= kMaxDepth) return Error("too many parentheses in each other");
    do {
      TextTemplate::Part inner;
      ABSL_RETURN_IF_ERROR(ParseExpression(depth + 1, &inner));
      part->parts.push_back(std::move(inner));
    } while (Take(','));
    return Take(')') ? absl::OkStatus() : Error("expected , or ) here");
  }

  absl::Status ParseExpression(int depth, TextTemplate::Part* part) {
    if (Take('(')) {
      ABSL_RETURN_IF_ERROR(ParseList(depth, part));
    } else if (AtQuote("\"'")) {
      ABSL_RETURN_IF_ERROR(TakeQuoted(&part->text));
    } else {
      std::string name;
      if (AtQuote("`")) {
        ABSL_RETURN_IF_ERROR(TakeQuoted(&name));
      } else {
        name = std::string(TakeWord());
      }
      if (name.empty()) return Error("expected the name of a field, a text in quotes, or (");
      part->kind = TextTemplate::Part::Kind::kField;
      const auto found = std::find(result_.fields_.begin(), result_.fields_.end(), name);
      part->field = static_cast<size_t>(found - result_.fields_.begin());
      if (found == result_.fields_.end()) {
        result_.fields_.push_back(name);
        result_.optional_.push_back(true);
      }
      if (!Take('?')) result_.optional_[part->field] = false;
    }
    while (Take('|')) {
      ABSL_RETURN_IF_ERROR(ParseFilter(part));
    }
    return absl::OkStatus();
  }

  absl::Status ParseFilter(TextTemplate::Part* part) {
    SkipSpace();
    const size_t begin = at_;
    const absl::string_view name = TakeWord();
    const auto known = std::find_if(kFilters.begin(), kFilters.end(), [&](const auto& f) { return f.name == name; });
    if (known == kFilters.end()) {
      std::vector<std::string> names;
      names.reserve(kFilters.size());
      for (const FilterName& filter : kFilters) names.emplace_back(filter.name);
      const std::string near = NearestName(name, names);
      at_ = begin;
      return Error(absl::StrCat("no filter `", name, "`",
                                near.empty() ? absl::StrCat("; there are: ", absl::StrJoin(names, ", "))
                                             : absl::StrCat("; did you mean `", near, "`?")));
    }
    TextTemplate::Filter filter{.op = known->op};
    const bool of_list = known->op == Op::kJoin || known->op == Op::kFirst;
    if (of_list && (part->kind != TextTemplate::Part::Kind::kList || !part->filters.empty())) {
      at_ = begin;
      return Error(absl::StrCat("`", name, "` comes right behind a list in parentheses"));
    }
    ABSL_RETURN_IF_ERROR(ParseArguments(known->argument, &filter));
    part->filters.push_back(std::move(filter));
    return absl::OkStatus();
  }

  absl::Status TakeText(std::string* text) {
    if (!Take(':') || !AtQuote("\"'")) return Error("expected : and a text in quotes");
    return TakeQuoted(text);
  }

  absl::Status TakeNumber(int64_t least, int64_t most, int64_t* number) {
    if (!Take(':')) return Error("expected : and a number");
    const size_t begin = at_;
    if (absl::SimpleAtoi(TakeWord(), number) && *number >= least && *number <= most) return absl::OkStatus();
    at_ = begin;
    return Error(absl::StrCat("expected a number from ", least, " to ", most));
  }

  absl::Status ParseArguments(Argument argument, TextTemplate::Filter* filter) {
    constexpr int64_t kMaxLength = int64_t{1} << 30;
    absl::Status status;
    switch (argument) {
      case Argument::kNone:
        return status;
      case Argument::kWhitespace:
        if (!Take(':')) return status;
        if (TakeWord() != "js") return Error("expected js, or nothing");
        filter->op = filter->op == Op::kTrim ? Op::kTrimJs : Op::kCollapseJs;
        return status;
      case Argument::kText:
        return TakeText(&filter->text);
      case Argument::kKeep: {
        std::string spec;
        status = TakeText(&spec);
        ABSL_RETURN_IF_ERROR(status);
        return ExpandKeep(spec, &filter->text) ? status : Error("expected ASCII characters and ranges like a-z");
      }
      case Argument::kNumber:
      case Argument::kNumberText:
      case Argument::kNumberPercent:
        status = TakeNumber(1, kMaxLength, &filter->number);
        ABSL_RETURN_IF_ERROR(status);
        if (argument == Argument::kNumberPercent) return TakeNumber(0, 100, &filter->percent);
        SkipSpace();
        if (at_ == text_.size() || text_[at_] != ':') return status;
        return TakeText(&filter->text);
    }
    return status;
  }

  const absl::string_view text_;
  size_t at_ = 0;
  TextTemplate result_;
};

absl::StatusOr<TextTemplate> TextTemplate::Parse(absl::string_view text) { return TextTemplateParser(text).Parse(); }

}  // namespace reembed
