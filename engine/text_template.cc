#include "engine/text_template.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/json_scanner.h"
#include "engine/json_value.h"
#include "engine/location.h"

namespace reembed {
namespace {

// Parentheses in parentheses; nobody needs more, and the parser calls itself for each.
constexpr int kMaxDepth = 16;

// How many bytes the character at the start of `text` has; a byte that begins no UTF-8 character counts as one.
size_t CharacterBytes(absl::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t bytes = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF8 ? 4 : 1;
  for (size_t i = 1; i < bytes; ++i) {
    if (i >= text.size() || (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) return 1;
  }
  return bytes;
}

uint32_t CodePoint(absl::string_view character) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(character[i])); };
  switch (character.size()) {
    case 2:
      return (byte(0) & 0x1F) << 6 | (byte(1) & 0x3F);
    case 3:
      return (byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    case 4:
      return (byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
    default:
      return byte(0);
  }
}

// Whitespace as each language's documentation defines it: Python's str.isspace (bidirectional type WS, B or S, or
// category Zs), ECMAScript's WhiteSpace and LineTerminator (category Zs, the controls of ASCII, and the byte order
// mark).
bool IsSpace(absl::string_view character, bool js) {
  if (character.size() == 1) {
    const auto c = static_cast<unsigned char>(character[0]);
    return c == ' ' || (c >= 0x09 && c <= 0x0D) || (!js && c >= 0x1C && c <= 0x1F);
  }
  const uint32_t code = CodePoint(character);
  if (code == 0x85) return !js;
  if (code == 0xFEFF) return js;
  return code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
         code == 0x202F || code == 0x205F || code == 0x3000;
}

// One pass over the characters from `begin` on that keeps, changes or drops each; never makes the text longer.
template <typename Take>
void Rewrite(size_t begin, std::string* out, Take take) {
  size_t written = begin;
  for (size_t i = begin; i < out->size();) {
    const absl::string_view character =
        absl::string_view(*out).substr(i, CharacterBytes({&(*out)[i], out->size() - i}));
    i += character.size();
    const absl::string_view kept = take(character);
    std::copy(kept.begin(), kept.end(), out->begin() + static_cast<std::ptrdiff_t>(written));
    written += kept.size();
  }
  out->resize(written);
}

void Trim(size_t begin, bool js, std::string* out) {
  bool started = false;
  size_t written = begin, end = begin;  // `end`: behind the last character that is no whitespace
  Rewrite(begin, out, [&](absl::string_view character) -> absl::string_view {
    const bool space = IsSpace(character, js);
    started = started || !space;
    if (!started) return "";
    written += character.size();
    if (!space) end = written;
    return character;
  });
  out->resize(end);
}

void Collapse(size_t begin, bool js, std::string* out) {
  bool in_space = !js;  // as if a space stood before the text, so that none is written there
  Rewrite(begin, out, [&](absl::string_view character) -> absl::string_view {
    const bool space = IsSpace(character, js);
    const bool drop = space && in_space;
    in_space = space;
    if (drop) return "";
    return space ? absl::string_view(" ") : character;
  });
  if (!js && out->size() > begin && out->back() == ' ') out->pop_back();
}

// The place where `limit` characters, or UTF-16 units, from `begin` on end; npos: the text is not longer.
size_t CutAt(const std::string& out, size_t begin, int64_t limit, bool utf16) {
  int64_t units = 0;
  for (size_t i = begin; i < out.size();) {
    const size_t bytes = CharacterBytes({&out[i], out.size() - i});
    units += utf16 && bytes == 4 ? 2 : 1;
    if (units > limit) return i;
    i += bytes;
  }
  return std::string::npos;
}

void CutWords(size_t begin, int64_t limit, int64_t percent, std::string* out) {
  const size_t at = CutAt(*out, begin, limit, true);
  if (at == std::string::npos) return;
  out->resize(at);
  Trim(begin, true, out);
  const size_t space = out->rfind(' ');
  if (space == std::string::npos || space < begin) return;
  int64_t units = 0;  // before the space
  for (size_t i = begin; i < space;) {
    const size_t bytes = CharacterBytes({&(*out)[i], out->size() - i});
    units += bytes == 4 ? 2 : 1;
    i += bytes;
  }
  if (units * 100 > limit * percent) out->resize(space);
}

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
        if (absl::Status status = ParseExpression(0, &part); !status.ok()) return status;
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
      if (absl::Status status = ParseExpression(depth + 1, &inner); !status.ok()) return status;
      part->parts.push_back(std::move(inner));
    } while (Take(','));
    return Take(')') ? absl::OkStatus() : Error("expected , or ) here");
  }

  absl::Status ParseExpression(int depth, TextTemplate::Part* part) {
    if (Take('(')) {
      if (absl::Status status = ParseList(depth, part); !status.ok()) return status;
    } else if (AtQuote("\"'")) {
      if (absl::Status status = TakeQuoted(&part->text); !status.ok()) return status;
    } else {
      std::string name;
      if (AtQuote("`")) {
        if (absl::Status status = TakeQuoted(&name); !status.ok()) return status;
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
      if (absl::Status status = ParseFilter(part); !status.ok()) return status;
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
    if (absl::Status status = ParseArguments(known->argument, &filter); !status.ok()) return status;
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
        if (!status.ok()) return status;
        return ExpandKeep(spec, &filter->text) ? status : Error("expected ASCII characters and ranges like a-z");
      }
      case Argument::kNumber:
      case Argument::kNumberText:
      case Argument::kNumberPercent:
        status = TakeNumber(1, kMaxLength, &filter->number);
        if (!status.ok()) return status;
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

bool TextTemplate::AppendJsonList(absl::string_view json, absl::string_view separator, std::string* out) {
  JsonScanner scanner(json);
  if (!scanner.Take('[')) return false;
  if (scanner.Take(']')) return scanner.AtEnd();
  for (bool first = true;; first = false) {
    absl::string_view token;
    if (!scanner.TakeValue(&token)) return false;
    if (!first) out->append(separator.data(), separator.size());
    // As JavaScript's Array.join has it: null is nothing, what is no text stands as it is written.
    const std::optional<absl::string_view> text = JsonString(token, &word_);
    const absl::string_view shown = text.has_value() ? *text : token == "null" ? absl::string_view() : token;
    out->append(shown.data(), shown.size());
    if (scanner.Take(']')) return scanner.AtEnd();
    if (!scanner.Take(',')) return false;
  }
}

void TextTemplate::Apply(const Filter& filter, size_t begin, std::string* out) {
  const bool empty = out->size() == begin;
  switch (filter.op) {
    case Op::kTrim:
    case Op::kTrimJs:
      return Trim(begin, filter.op == Op::kTrimJs, out);
    case Op::kCollapse:
    case Op::kCollapseJs:
      return Collapse(begin, filter.op == Op::kCollapseJs, out);
    case Op::kLower:
      std::transform(out->begin() + static_cast<std::ptrdiff_t>(begin), out->end(),
                     out->begin() + static_cast<std::ptrdiff_t>(begin),
                     [](unsigned char c) { return absl::ascii_tolower(c); });
      return;
    case Op::kKeep:
      return Rewrite(begin, out, [&](absl::string_view c) {
        return static_cast<unsigned char>(c[0]) < 128 && filter.text[static_cast<size_t>(c[0])] == '1'
                   ? c
                   : absl::string_view();
      });
    case Op::kCut:
    case Op::kCutUtf16: {
      const size_t at = CutAt(*out, begin, filter.number, filter.op == Op::kCutUtf16);
      if (at == std::string::npos) return;
      out->resize(at);
      out->append(filter.text);
      return;
    }
    case Op::kCutWords:
      return CutWords(begin, filter.number, filter.percent, out);
    case Op::kJsonList:
      list_.clear();
      if (!AppendJsonList(absl::string_view(*out).substr(begin), filter.text, &list_)) list_.clear();
      out->resize(begin);
      out->append(list_);
      return;
    case Op::kPrefix:
      if (!empty) out->insert(begin, filter.text);
      return;
    case Op::kSuffix:
      if (!empty) out->append(filter.text);
      return;
    case Op::kDefault:
      if (empty) out->append(filter.text);
      return;
    case Op::kJoin:  // AppendList has done it
    case Op::kFirst:
      return;
  }
}

void TextTemplate::AppendList(const Part& part, absl::Span<const std::optional<absl::string_view>> values,
                              std::string* out) {
  const bool joins = !part.filters.empty() && part.filters.front().op == Op::kJoin;
  const bool first = !part.filters.empty() && part.filters.front().op == Op::kFirst;
  const absl::string_view separator = joins ? absl::string_view(part.filters.front().text) : "";
  const size_t begin = out->size();
  for (const Part& inner : part.parts) {
    const size_t before = out->size();
    if (before > begin) out->append(separator.data(), separator.size());
    const size_t inner_begin = out->size();
    Append(inner, values, out);
    if (out->size() == inner_begin) out->resize(before);
    if (first && out->size() > begin) return;
  }
}

void TextTemplate::Append(const Part& part, absl::Span<const std::optional<absl::string_view>> values,
                          std::string* out) {
  const size_t begin = out->size();
  switch (part.kind) {
    case Part::Kind::kText:
      out->append(part.text);
      break;
    case Part::Kind::kField:
      if (const std::optional<absl::string_view>& value = values[part.field]) out->append(value->data(), value->size());
      break;
    case Part::Kind::kList:
      AppendList(part, values, out);
      break;
  }
  for (const Filter& filter : part.filters) Apply(filter, begin, out);
}

void TextTemplate::Render(absl::Span<const std::optional<absl::string_view>> values, std::string* out) {
  out->clear();
  for (const Part& part : parts_) Append(part, values, out);
}

}  // namespace reembed
