// SPDX-License-Identifier: Apache-2.0
#include "index/flat_json.h"

#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/number/json_text.h"
#include "engine/number/json_value.h"

namespace reembed {
namespace {

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
    const size_t whole_end = at_;
    while (at_ < json_.size() && IsOfFraction(json_[at_])) ++at_;
    const absl::string_view number = json_.substr(begin, at_ - begin);
    if (at_ == whole_end) return absl::SimpleAtoi(number, &value->emplace<int64_t>());
    double& fraction = value->emplace<double>();
    // Elsewhere a point may come first, and words mean infinity.
    return whole_end > begin && absl::SimpleAtod(number, &fraction) && std::isfinite(fraction);
  }

  static bool IsOfFraction(char c) {
    return absl::ascii_isdigit(c) || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-';
  }

  bool Text(std::string* out) {
    if (!Take('"')) return false;
    const size_t begin = at_ - 1;
    for (; at_ < json_.size() && json_[at_] != '"'; ++at_) {
      if (static_cast<unsigned char>(json_[at_]) < 0x20) return false;
      if (json_[at_] == '\\') ++at_;
    }
    if (at_ >= json_.size()) return false;
    ++at_;
    const std::optional<absl::string_view> text = JsonString(json_.substr(begin, at_ - begin), out);
    if (!text.has_value() || !IsValidUtf8(*text)) return false;
    if (text->data() != out->data()) out->assign(text->data(), text->size());
    return true;
  }

  const absl::string_view json_;
  size_t at_ = 0;
};

}  // namespace

absl::StatusOr<FlatJson> ParseFlatJson(absl::string_view json) { return Parser(json).Object(); }

}  // namespace reembed
