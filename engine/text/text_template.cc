// SPDX-License-Identifier: Apache-2.0
#include "engine/text/text_template.h"

#include "engine/text/js_join.h"
#include "engine/text/text_filters.h"

// How a template is filled in; text_template_parser.cc reads it.

namespace reembed {

void TextTemplate::Apply(const Filter& filter, size_t begin, bool* is_list, std::string* out) {
  const bool empty = out->size() == begin && !*is_list;
  switch (filter.op) {
    case Op::kTrim:
    case Op::kTrimJs:
      return Trim(begin, filter.op == Op::kTrimJs, out);
    case Op::kCollapse:
    case Op::kCollapseJs:
      return Collapse(begin, filter.op == Op::kCollapseJs, out);
    case Op::kLower:
      return Lower(begin, out);
    case Op::kKeep:
      return KeepCharacters(begin, filter.text, out);
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
      *is_list = AppendJsJoin(absl::string_view(*out).substr(begin), filter.text, &list_);
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
  bool is_list = false;
  for (const Filter& filter : part.filters) Apply(filter, begin, &is_list, out);
}

void TextTemplate::Render(absl::Span<const std::optional<absl::string_view>> values, std::string* out) {
  out->clear();
  for (const Part& part : parts_) Append(part, values, out);
}

}  // namespace reembed
