// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/openai_replies.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "engine/number/base64.h"
#include "engine/number/json_text.h"
#include "tests/fakes/text_vector.h"

namespace reembed {
namespace {

std::string Base64Json(const std::vector<float>& vector, size_t extra_bytes, ReplyScript::Slashes slashes) {
  std::string bytes(reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float));
  bytes.append(extra_bytes, 'x');
  std::string text;
  EncodeBase64({reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()}, &text);
  if (slashes == ReplyScript::Slashes::kEscaped) absl::StrReplaceAll({{"/", "\\/"}}, &text);
  return absl::StrCat("\"", text, "\"");
}

std::string NumbersJson(const std::vector<float>& vector) {
  const auto append = [](std::string* out, float value) {
    absl::StrAppend(out, std::isnan(value) ? "null" : absl::StrFormat("%.9g", value));
  };
  return absl::StrCat("[", absl::StrJoin(vector, ", ", append), "]");
}

std::string ItemJson(const std::string& text, int row, VectorFormat format, const ReplyScript& script) {
  std::vector<float> vector = TextVector(text, script.dim + (row == script.odd_width_row ? 1 : 0));
  if (row == script.nan_row) vector[vector.size() / 2] = std::numeric_limits<float>::quiet_NaN();
  if (row == script.zero_row) std::fill(vector.begin(), vector.end(), 0.0f);
  const std::string embedding =
      absl::StrCat("\"embedding\":", format == VectorFormat::kFloat
                                         ? NumbersJson(vector)
                                         : Base64Json(vector, row == script.odd_bytes_row ? 1 : 0, script.slashes));
  const std::string index = row == script.no_index_row
                                ? "\"position\":0"
                                : absl::StrCat("\"index\":", row == script.same_index_row ? row - 1 : row);
  return script.fields == ReplyScript::Fields::kIndexLast
             ? absl::StrCat("{", embedding, ",\"object\":\"embedding\",", index, "}")
             : absl::StrCat("{\"object\":\"embedding\",", index, ",", embedding, "}");
}

}  // namespace

std::string OpenAiReply(const std::vector<std::string>& texts, VectorFormat format, const ReplyScript& script) {
  std::vector<std::string> items;
  const int rows = static_cast<int>(texts.size());
  for (int row = 0; row < rows - script.missing + script.extra; ++row) {
    items.push_back(ItemJson(row < rows ? texts[row] : "extra", row, format, script));
  }
  if (script.order == ReplyScript::Order::kShuffled) std::shuffle(items.begin(), items.end(), std::mt19937(5));
  const std::string data = absl::StrCat("\"data\":[", absl::StrJoin(items, ","), "]");
  size_t tokens = texts.size() * 3;
  if (script.bytes_per_token > 0) {
    tokens = 0;
    for (const std::string& text : texts) tokens += text.size() / script.bytes_per_token + 1;
  }
  const std::string usage = script.usage.empty() ? "\"x\":{\"y\":[1,\"}\"]}"
                                                 : absl::StrCat("\"", script.usage, "\":{\"prompt_tokens\":", tokens,
                                                                ",\"total_tokens\":", tokens, "}");
  if (script.fields == ReplyScript::Fields::kUsageFirst) return absl::StrCat("{", usage, ",", data, "}\n");
  return absl::StrCat("{\"object\":\"list\",", data, ",\"model\":\"fake\",", usage, "}");
}

std::vector<std::string> TextsOf(absl::string_view request_body) {
  simdjson::dom::parser parser;
  std::vector<std::string> texts;
  for (const simdjson::dom::element text :
       parser.parse(request_body.data(), request_body.size())["input"].get_array()) {
    texts.emplace_back(std::string_view(text));
  }
  return texts;
}

ServerReply OpenAiAnswer(const ServerRequest& request, const ReplyScript& script) {
  const bool base64 = request.body.find("\"encoding_format\":\"base64\"") != std::string::npos;
  return {.headers = {{"Content-Type", "application/json"}},
          .body = OpenAiReply(TextsOf(request.body), base64 ? VectorFormat::kBase64 : VectorFormat::kFloat, script)};
}

ServerReply OpenAiError(int status, absl::string_view code, absl::string_view type, absl::string_view message) {
  std::string body = "{\"error\":{\"message\":";
  AppendJsonString(message, &body);
  absl::StrAppend(&body, ",\"type\":\"", type, "\",\"param\":null,\"code\":");
  absl::StrAppend(&body, code.empty() ? "null" : absl::StrCat("\"", code, "\""), "}}");
  return {.status = status, .headers = {{"Content-Type", "application/json"}}, .body = body};
}

}  // namespace reembed
