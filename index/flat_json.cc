#include "index/flat_json.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace reembed {
namespace {

void AppendUtf8(uint32_t code, std::string* out) {
  const auto put = [out](uint32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

class Parser {
 public:
  explicit Parser(absl::string_view json) : json_(json) {}

  absl::StatusOr<FlatJson> Object() {
    FlatJson object;
    bool good = Take('{');
    if (good && !Take('}')) {
      do {
        std::string name;
        FlatJsonValue value;
        good = Text(&name) && Take(':') && Value(&value) && object.emplace(std::move(name), std::move(value)).second;
      } while (good && Take(','));
      good = good && Take('}');
    }
    SkipBlanks();
    if (good && at_ == json_.size()) return object;
    return absl::InvalidArgumentError(absl::StrCat("expected a flat JSON object, got something else at byte ", at_));
  }

 private:
  void SkipBlanks() {
    while (at_ < json_.size() && absl::string_view(" \t\r\n").find(json_[at_]) != absl::string_view::npos) ++at_;
  }

  bool Take(char c) {
    SkipBlanks();
    if (at_ == json_.size() || json_[at_] != c) return false;
    ++at_;
    return true;
  }

  bool TakeWord(absl::string_view word) {
    if (json_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  bool Value(FlatJsonValue* value) {
    SkipBlanks();
    if (at_ < json_.size() && json_[at_] == '"') return Text(&value->emplace<std::string>());
    if (TakeWord("true")) return value->emplace<bool>(true);
    if (TakeWord("false")) return !value->emplace<bool>(false);
    const size_t begin = at_;
    while (at_ < json_.size() && (absl::ascii_isdigit(json_[at_]) || json_[at_] == '-')) ++at_;
    return absl::SimpleAtoi(json_.substr(begin, at_ - begin), &value->emplace<int64_t>());
  }

  bool Text(std::string* out) {
    if (!Take('"')) return false;
    while (at_ < json_.size()) {
      const char c = json_[at_++];
      if (c == '"') return true;
      if (static_cast<unsigned char>(c) < 0x20) return false;
      if (c != '\\') {
        out->push_back(c);
      } else if (!Escape(out)) {
        return false;
      }
    }
    return false;
  }

  bool Escape(std::string* out) {
    if (at_ == json_.size()) return false;
    constexpr absl::string_view kNames = "\"\\/bfnrt";
    constexpr absl::string_view kMeanings = "\"\\/\b\f\n\r\t";
    const char name = json_[at_++];
    if (name == 'u') return UnicodeEscape(out);
    const size_t which = kNames.find(name);
    if (which == absl::string_view::npos) return false;
    out->push_back(kMeanings[which]);
    return true;
  }

  bool FourDigits(uint32_t* code) {
    const absl::string_view digits = json_.substr(at_, 4);
    at_ += digits.size();
    for (const char c : digits) {
      if (!absl::ascii_isxdigit(c)) return false;
    }
    return digits.size() == 4 && absl::SimpleHexAtoi(digits, code);
  }

  bool UnicodeEscape(std::string* out) {
    uint32_t code = 0;
    if (!FourDigits(&code)) return false;
    if (code >= 0xDC00 && code <= 0xDFFF) return false;
    if (code >= 0xD800 && code <= 0xDBFF) {
      uint32_t low = 0;
      if (!TakeWord("\\u") || !FourDigits(&low) || low < 0xDC00 || low > 0xDFFF) return false;
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    AppendUtf8(code, out);
    return true;
  }

  const absl::string_view json_;
  size_t at_ = 0;
};

}  // namespace

absl::StatusOr<FlatJson> ParseFlatJson(absl::string_view json) { return Parser(json).Object(); }

}  // namespace reembed
