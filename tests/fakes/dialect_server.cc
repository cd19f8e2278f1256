// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/dialect_server.h"

#include <simdjson.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "engine/number/base64.h"
#include "engine/number/json_text.h"
#include "tests/fakes/fake_apis.h"
#include "tests/fakes/text_vector.h"

namespace reembed {
namespace {

using simdjson::dom::element;

// A request that has passed.
struct Asked {
  std::vector<std::string> texts;  // as they are embedded: cut, if they are
  bool base64 = false;
  int dim = DialectServer::kDim;
  int cut = 0;  // of the texts
};

std::string VectorJson(const std::string& text, const Asked& asked) {
  const std::vector<float> vector = TextVector(text, asked.dim);
  if (!asked.base64) {
    return absl::StrCat(
        "[",
        absl::StrJoin(vector, ",", [](std::string* out, float value) { absl::StrAppendFormat(out, "%.9g", value); }),
        "]");
  }
  std::string base64;
  EncodeBase64({reinterpret_cast<const unsigned char*>(vector.data()), vector.size() * sizeof(float)}, &base64);
  return JsonQuoted(base64);
}

std::string ReplyJson(const FakeApi& api, const Asked& asked, int64_t tokens) {
  std::vector<std::string> vectors;
  for (const std::string& text : asked.texts) vectors.push_back(VectorJson(text, asked));
  const std::string list = absl::StrCat("[", absl::StrJoin(vectors, ","), "]");
  switch (api.reply) {
    case FakeApi::Reply::kOllama:
      return absl::StrCat(R"({"model":"fake-model","embeddings":)", list,
                          R"(,"total_duration":14143917,"load_duration":1019500,"prompt_eval_count":)", tokens, "}");
    case FakeApi::Reply::kBareArray:
      return list;
    case FakeApi::Reply::kByType:  // repeats the texts
      return absl::StrCat(
          R"({"id":"5807ee2e","embeddings":{")", asked.base64 ? "base64" : "float", "\":", list, R"(},"texts":[)",
          absl::StrJoin(asked.texts, ",", [](std::string* out, const std::string& t) { out->append(JsonQuoted(t)); }),
          R"(],"meta":{"api_version":{"version":"2"},"billed_units":{"input_tokens":)", tokens,
          R"(}},"response_type":"embeddings_by_type"})");
    case FakeApi::Reply::kGemini:
      for (std::string& vector : vectors) vector = absl::StrCat("{\"values\":", vector, "}");
      return absl::StrCat("{\"embeddings\":[", absl::StrJoin(vectors, ","), "]}");
    case FakeApi::Reply::kOpenAi:
    case FakeApi::Reply::kTotalTokensOnly:
      break;
  }
  std::vector<std::string> items;
  for (size_t i = vectors.size(); i-- > 0;) {
    items.push_back(absl::StrCat(R"({"object":"embedding","index":)", i, ",\"embedding\":", vectors[i], "}"));
  }
  const std::string prompt =
      api.reply == FakeApi::Reply::kOpenAi ? absl::StrCat("\"prompt_tokens\":", tokens, ",") : "";
  return absl::StrCat(R"({"object":"list","data":[)", absl::StrJoin(items, ","), R"(],"model":"fake-model","usage":{)",
                      prompt, "\"total_tokens\":", tokens, "}}");
}

std::string ErrorJson(const FakeApi& api, const Refusal& refusal) {
  const std::string message = JsonQuoted(refusal.message);
  const std::string code = refusal.code.empty() ? "null" : JsonQuoted(refusal.code);
  switch (api.errors) {
    case FakeApi::Errors::kOpenAi:
      return absl::StrCat("{\"error\":{\"message\":", message,
                          R"(,"type":"invalid_request_error","param":null,"code":)", code, "}}");
    case FakeApi::Errors::kAzure:
      return absl::StrCat("{\"error\":{\"code\":\"", refusal.code.empty() ? absl::StrCat(refusal.status) : refusal.code,
                          "\",\"message\":", message, "}}");
    case FakeApi::Errors::kOneString:
      return absl::StrCat("{\"error\":", message, "}");
    case FakeApi::Errors::kWithErrorType:
      return absl::StrCat("{\"error\":", message, ",\"error_type\":\"Validation\"}");
    case FakeApi::Errors::kMessage:
      return absl::StrCat("{\"message\":", message, "}");
    case FakeApi::Errors::kDetail:
      return absl::StrCat("{\"detail\":", message, "}");
    case FakeApi::Errors::kCodeAndDetail:
      return absl::StrCat("{\"code\":", code, ",\"detail\":", message, "}");
    case FakeApi::Errors::kGoogle:
      return absl::StrCat("{\"error\":{\"code\":", refusal.status, ",\"message\":", message,
                          R"(,"status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.)",
                          R"(ErrorInfo","reason":)", code, "}]}}");
    case FakeApi::Errors::kFlat:
      return absl::StrCat("{\"object\":\"error\",\"message\":", message,
                          R"(,"type":"invalid_request_error","param":null,"code":)", code, "}");
  }
  return "";
}

bool Contains(const std::vector<std::string>& names, absl::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Refusal CheckFields(const FakeApi& api, const simdjson::dom::object& fields) {
  for (const auto field : fields) {
    const absl::string_view name(field.key.data(), field.key.size());
    if (!Contains(api.required, name) && !Contains(api.optional, name)) {
      return {400, "", absl::StrCat("unknown field ", name)};
    }
  }
  for (const std::string& name : api.required) {
    if (element value; fields[name].get(value) != simdjson::SUCCESS) {
      return {400, "", absl::StrCat("field required: ", name)};
    }
  }
  return {};
}

Refusal CheckModel(const FakeApi& api, const simdjson::dom::object& fields, const std::string& expected) {
  std::string_view model;
  if (fields["model"].get_string().get(model) == simdjson::SUCCESS && model != expected) return api.no_model;
  return {};
}

// Gemini's texts are deep inside; several parts of one content become one vector, without a word.
std::variant<Refusal, std::string> TextIn(const FakeApi& api, const element& input) {
  std::string_view text;
  if (api.reply != FakeApi::Reply::kGemini) {
    if (input.get_string().get(text) != simdjson::SUCCESS) return Refusal{400, "", "an input is not a string"};
    return std::string(text);
  }
  simdjson::dom::object request;
  if (input.get_object().get(request) != simdjson::SUCCESS) return Refusal{400, "", "a request is not an object"};
  if (request["model"].get_string().get(text) != simdjson::SUCCESS) return Refusal{400, "", "model is missing"};
  if (text != absl::StrCat("models/", DialectServer::kModel)) return api.no_model;
  for (const auto field : request) {
    if (!Contains({"model", "content", "taskType", "title", "outputDimensionality"},
                  absl::string_view(field.key.data(), field.key.size()))) {
      return Refusal{400, "", absl::StrCat("Unknown name ", absl::string_view(field.key.data(), field.key.size()))};
    }
  }
  simdjson::dom::array parts;
  if (request["content"]["parts"].get_array().get(parts) != simdjson::SUCCESS) return Refusal{400, "", "no parts"};
  std::string all;
  for (const element part : parts) {
    if (part["text"].get_string().get(text) == simdjson::SUCCESS) all.append(text);
  }
  return all;
}

// Base64 may be asked for by a word or by a list of one.
bool AsksForBase64(const FakeApi& api, const simdjson::dom::object& fields) {
  std::string_view word;
  if (api.base64_field.empty()) return false;
  const auto field = fields[api.base64_field];
  if (field.get_string().get(word) == simdjson::SUCCESS) return word == "base64";
  return field.at(0).get_string().get(word) == simdjson::SUCCESS && word == "base64";
}

Refusal TooLong(const FakeApi& api, absl::string_view text) {
  const std::string limit = absl::StrCat(DialectServer::kMaxTextBytes / 4);
  const std::string tokens = absl::StrCat(DialectServer::Tokens(text));
  return {api.long_status, "", absl::StrReplaceAll(api.long_message, {{"$LIMIT", limit}, {"$TOKENS", tokens}})};
}

bool Cuts(const FakeApi& api, const simdjson::dom::object& fields) {
  element value;
  if (api.cut_field.empty() || fields[api.cut_field].get(value) != simdjson::SUCCESS) return api.cuts_by_default;
  return simdjson::minify(value) == api.cut_word;
}

std::variant<Refusal, Asked> Read(const FakeApi& api, const simdjson::dom::object& fields) {
  if (Refusal refusal = CheckFields(api, fields); refusal.status != 0) return refusal;
  if (Refusal refusal = CheckModel(api, fields, DialectServer::kModel); refusal.status != 0) return refusal;
  simdjson::dom::array inputs;
  if (fields[api.inputs].get_array().get(inputs) != simdjson::SUCCESS || inputs.size() == 0) {
    return Refusal{400, "", absl::StrCat(api.inputs, " should be a list")};
  }
  if (api.max_inputs > 0 && inputs.size() > static_cast<size_t>(api.max_inputs)) {
    return Refusal{api.dialect == "tei" ? 422 : 400, "", absl::StrCat("at most ", api.max_inputs, " inputs")};
  }
  Asked asked{.base64 = AsksForBase64(api, fields)};
  int64_t width = 0;
  const auto width_of = [&](const auto& object) {
    if (!api.width_field.empty() && object[api.width_field].get_int64().get(width) == simdjson::SUCCESS) {
      asked.dim = static_cast<int>(width);
    }
  };
  width_of(fields);
  for (const element input : inputs) {
    std::variant<Refusal, std::string> text = TextIn(api, input);
    if (const auto* const refusal = std::get_if<Refusal>(&text)) return *refusal;
    if (api.reply == FakeApi::Reply::kGemini) width_of(input);
    std::string& words = std::get<std::string>(text);
    if (words.empty()) return Refusal{400, "", "an input is empty"};
    if (words.size() > DialectServer::kMaxTextBytes) {
      if (!Cuts(api, fields)) return TooLong(api, words);
      words.resize(DialectServer::kMaxTextBytes);
      ++asked.cut;
    }
    asked.texts.push_back(std::move(words));
  }
  return asked;
}

}  // namespace

const FakeApi& FakeApiOf(absl::string_view dialect) {
  static const auto* const apis = new std::vector<FakeApi>(FakeApis());
  for (const FakeApi& api : *apis) {
    if (api.dialect == dialect) return api;
  }
  std::fprintf(stderr, "no fake of %s\n", std::string(dialect).c_str());
  std::abort();
}

DialectServer::DialectServer(absl::string_view dialect)
    : api_(FakeApiOf(dialect)),
      server_(std::make_unique<ScriptedServer>([this](const ServerRequest& request) { return Answer(request); })) {}

std::string DialectServer::api_base() const { return absl::StrCat(server_->url(), api_.base); }

std::vector<std::string> DialectServer::embedded() const {
  const std::lock_guard lock(mutex_);
  return embedded_;
}

ServerReply DialectServer::Answer(const ServerRequest& request) {
  const auto refuse = [&](const Refusal& refusal) {
    ++refusals_;
    return ServerReply{
        .status = refusal.status, .headers = {{"Content-Type", "application/json"}}, .body = ErrorJson(api_, refusal)};
  };
  if (request.method != "POST" || request.target != absl::StrCat(api_.base, api_.path)) {
    return refuse({404, "", absl::StrCat("no such route: ", request.target)});
  }
  const auto key = request.headers.find(api_.key_header);
  if (key == request.headers.end() || key->second != absl::StrCat(api_.key_prefix, kKey)) return refuse(api_.bad_key);
  simdjson::dom::parser parser;
  simdjson::dom::object fields;
  if (parser.parse(request.body).get_object().get(fields) != simdjson::SUCCESS) {
    return refuse({400, "", "the body is not a JSON object"});
  }
  const std::variant<Refusal, Asked> read = Read(api_, fields);
  if (const auto* const refusal = std::get_if<Refusal>(&read)) return refuse(*refusal);
  const Asked& asked = std::get<Asked>(read);
  int64_t tokens = 0;
  for (const std::string& text : asked.texts) tokens += Tokens(text);
  tokens_ += tokens;
  cut_ += asked.cut;
  {
    const std::lock_guard lock(mutex_);
    embedded_.insert(embedded_.end(), asked.texts.begin(), asked.texts.end());
  }
  int largest = largest_request_;
  const int count = static_cast<int>(asked.texts.size());
  while (largest < count && !largest_request_.compare_exchange_weak(largest, count)) {
  }
  return {.headers = {{"Content-Type", "application/json"}}, .body = ReplyJson(api_, asked, tokens)};
}

}  // namespace reembed
