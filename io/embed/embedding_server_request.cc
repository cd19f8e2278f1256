// SPDX-License-Identifier: Apache-2.0
#include "io/embed/embedding_server_request.h"

#include <simdjson.h>

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "engine/text/lexical_embedder.h"
#include "io/net/http_server_parser.h"

namespace reembed {
namespace {

namespace ondemand = simdjson::ondemand;
static_assert(kHttpBodyPadding >= simdjson::SIMDJSON_PADDING);

EmbeddingServerError BadRequest(absl::string_view message, absl::string_view param = "", absl::string_view code = "") {
  EmbeddingServerError error;
  error.status = 400;
  error.message = std::string(message);
  error.param = std::string(param);
  error.code = std::string(code);
  return error;
}

EmbeddingServerError NotJson() { return BadRequest("the body is not valid JSON"); }

// OpenAI's own words up to the colon: clients recognise it by them.
EmbeddingServerError BadInput(absl::string_view why) {
  return BadRequest(absl::StrCat("'$.input' is invalid: ", why), "input");
}

// Reads the members of one request. Methods return no error as a default EmbeddingServerError.
class Reader {
 public:
  Reader(EmbeddingServerRequestParser::Texts texts, EmbeddingServerRequest* request)
      : texts_(texts), request_(*request) {}

  EmbeddingServerError ReadDocument(ondemand::document* document) {
    ondemand::object members;
    if (document->get_object().get(members) != simdjson::SUCCESS) return NotJson();
    for (simdjson::simdjson_result<ondemand::field> member : members) {
      std::string_view name;
      ondemand::value value;
      if (member.unescaped_key().get(name) != simdjson::SUCCESS || member.value().get(value) != simdjson::SUCCESS) {
        return NotJson();
      }
      EmbeddingServerError error = ReadMember(name, &value);
      if (error.status != 0) return error;
    }
    // Something behind the object: only at the end is there no location.
    if (document->current_location().error() != simdjson::OUT_OF_BOUNDS) return NotJson();
    if (request_.model.empty()) return BadRequest("expected a model, got none", "model", "missing_required_parameter");
    if (request_.inputs == 0) return BadRequest("expected an input, got none", "input", "missing_required_parameter");
    return {};
  }

 private:
  EmbeddingServerError ReadMember(std::string_view name, ondemand::value* value) {
    if (name == "input") return ReadInput(value);
    if (name != "model" && name != "dimensions" && name != "encoding_format") return {};
    ondemand::json_type type;
    if (value->type().get(type) != simdjson::SUCCESS) return NotJson();
    if (type == ondemand::json_type::null) return {};
    if (name == "model") {
      std::string_view model;
      if (value->get_string().get(model) != simdjson::SUCCESS) return BadRequest("expected a string as model", "model");
      request_.model.assign(model);
      return {};
    }
    if (name == "dimensions") return ReadDimensions(value);
    std::string_view format;
    if (value->get_string().get(format) == simdjson::SUCCESS && (format == "float" || format == "base64")) {
      request_.encoding = format == "float" ? EmbeddingEncoding::kFloat : EmbeddingEncoding::kBase64;
      return {};
    }
    return BadRequest("expected float or base64 as encoding_format", "encoding_format");
  }

  EmbeddingServerError ReadDimensions(ondemand::value* value) {
    int64_t dim = 0;
    if (value->get_int64().get(dim) != simdjson::SUCCESS || dim < kMinLexicalDim || dim > kMaxLexicalDim) {
      return BadRequest(absl::StrCat("expected ", kMinLexicalDim, " to ", kMaxLexicalDim, " dimensions"), "dimensions");
    }
    request_.dim = static_cast<int>(dim);
    return {};
  }

  EmbeddingServerError ReadInput(ondemand::value* value) {
    request_.inputs = 0;
    request_.tokens = 0;
    request_.texts.clear();
    ondemand::json_type type;
    if (value->type().get(type) != simdjson::SUCCESS) return NotJson();
    if (type == ondemand::json_type::string) return ReadText(value);
    ondemand::array items;
    if (type != ondemand::json_type::array) return BadInput("expected a string or a list of strings");
    if (value->get_array().get(items) != simdjson::SUCCESS) return NotJson();
    for (simdjson::simdjson_result<ondemand::value> item : items) {
      ondemand::value text;
      if (item.get(text) != simdjson::SUCCESS) return NotJson();
      EmbeddingServerError error = ReadText(&text);
      if (error.status != 0) return error;
    }
    return request_.inputs > 0 ? EmbeddingServerError() : BadInput("the list is empty");
  }

  EmbeddingServerError ReadText(ondemand::value* value) {
    ondemand::json_type type;
    if (value->type().get(type) != simdjson::SUCCESS) return NotJson();
    if (type == ondemand::json_type::number || type == ondemand::json_type::array) {
      return BadInput("this server takes texts, not tokens");
    }
    if (type != ondemand::json_type::string) return BadInput("expected a string or a list of strings");
    if (request_.inputs == kMaxEmbeddingInputs)
      return BadInput(absl::StrCat("more than ", kMaxEmbeddingInputs, " texts"));
    size_t bytes = 0;
    if (texts_ == EmbeddingServerRequestParser::Texts::kRead) {
      std::string_view text;
      if (value->get_string().get(text) != simdjson::SUCCESS) return NotJson();
      request_.texts.emplace_back(text.data(), text.size());
      bytes = text.size();
    } else {
      std::string_view token = value->raw_json_token();  // with what stands before the next token
      token = token.substr(1, token.rfind('"') - 1);
      bytes = token.size();
    }
    if (bytes == 0) return BadInput(absl::StrCat("text ", request_.inputs, " is empty"));
    ++request_.inputs;
    request_.tokens += std::max<int64_t>(1, static_cast<int64_t>(bytes) / 4);
    return {};
  }

  const EmbeddingServerRequestParser::Texts texts_;
  EmbeddingServerRequest& request_;
};

}  // namespace

struct EmbeddingServerRequestParser::Json {
  ondemand::parser parser;
};

EmbeddingServerRequestParser::EmbeddingServerRequestParser() : json_(std::make_unique<Json>()) {}
EmbeddingServerRequestParser::~EmbeddingServerRequestParser() = default;

EmbeddingServerError EmbeddingServerRequestParser::Parse(absl::string_view body, Texts texts,
                                                         EmbeddingServerRequest* request) {
  request->model.clear();
  request->dim = 0;
  request->encoding = EmbeddingEncoding::kFloat;
  request->inputs = 0;
  request->tokens = 0;
  request->texts.clear();
  const simdjson::padded_string_view padded(body.data(), body.size(), body.size() + kHttpBodyPadding);
  ondemand::document document;
  if (json_->parser.iterate(padded).get(document) != simdjson::SUCCESS) return NotJson();
  return Reader(texts, request).ReadDocument(&document);
}

}  // namespace reembed
