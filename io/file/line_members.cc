// SPDX-License-Identifier: Apache-2.0
#include "io/file/line_members.h"

#include <simdjson.h>

#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "io/file/line_reader.h"

namespace reembed {
namespace {

absl::string_view TokenOf(simdjson::ondemand::value value) {
  const std::string_view token = value.raw_json_token();
  return {token.data(), token.size()};
}

bool AtEnd(simdjson::ondemand::document& document) {
  return document.current_location().error() == simdjson::OUT_OF_BOUNDS;
}

// The names of more members are not kept for a message.
constexpr size_t kMaxNames = 64;

std::string NotAnObject(simdjson::error_code error) {
  return absl::StrCat("expected a JSON object, got: ", simdjson::error_message(error));
}

// A member that is looked for. Its name is that of a member, or a path of them with dots between.
struct WantedMember {
  absl::string_view rest;  // of the path, below the object that is walked over
  std::optional<absl::string_view>* token = nullptr;
  size_t* matched = nullptr;  // length of the last part of the name that found it
};

// As deep as the names have dots.
simdjson::error_code Walk(simdjson::ondemand::object object, absl::Span<const WantedMember> wanted) {
  for (simdjson::simdjson_result<simdjson::ondemand::field> field : object) {
    std::string_view found;
    simdjson::ondemand::value value;
    if (auto error = field.unescaped_key().get(found)) return error;
    if (auto error = field.value().get(value)) return error;
    const absl::string_view name(found.data(), found.size());
    WantedMember below[2];
    size_t deeper = 0;
    for (const WantedMember& member : wanted) {
      if (name == member.rest && name.size() >= *member.matched) {
        *member.token = TokenOf(value);
        *member.matched = name.size();
      } else if (member.rest.size() > name.size() && member.rest[name.size()] == '.' &&
                 absl::StartsWith(member.rest, name)) {
        below[deeper] = member;
        below[deeper++].rest.remove_prefix(name.size() + 1);
      }
    }
    if (deeper == 0 || TokenOf(value).front() != '{') continue;
    simdjson::ondemand::object inner;
    if (auto error = value.get_object().get(inner)) return error;
    if (auto error = Walk(inner, absl::MakeConstSpan(below, deeper))) return error;
  }
  return simdjson::SUCCESS;
}

void AddNames(simdjson::ondemand::object object, const std::string& prefix, std::vector<std::string>* names) {
  for (simdjson::simdjson_result<simdjson::ondemand::field> field : object) {
    std::string_view found;
    simdjson::ondemand::value value;
    simdjson::ondemand::object inner;
    if (field.unescaped_key().get(found) != simdjson::SUCCESS || names->size() >= kMaxNames) return;
    const std::string name = absl::StrCat(prefix, absl::string_view(found.data(), found.size()));
    if (field.value().get(value) != simdjson::SUCCESS) return;
    names->push_back(name);
    if (TokenOf(value).front() == '{' && value.get_object().get(inner) == simdjson::SUCCESS) {
      AddNames(inner, absl::StrCat(name, "."), names);
    }
  }
}

}  // namespace

struct LineParser::Json {
  simdjson::error_code Tokens(absl::string_view line, size_t capacity, absl::string_view key_name,
                              absl::string_view text_name, MemberTokens* members) {
    *members = {};
    size_t key_matched = 0;
    size_t text_matched = 0;
    const WantedMember wanted[] = {{key_name, &members->key, &key_matched}, {text_name, &members->text, &text_matched}};
    simdjson::ondemand::document document;
    simdjson::ondemand::object object;
    if (auto error = parser.iterate(line.data(), line.size(), capacity).get(document)) return error;
    if (auto error = document.get_object().get(object)) return error;
    if (auto error = Walk(object, wanted)) return error;
    return AtEnd(document) ? simdjson::SUCCESS : simdjson::TRAILING_CONTENT;
  }

  simdjson::ondemand::parser parser;
};

LineParser::LineParser(std::string key_name, std::string text_name)
    : key_name_(std::move(key_name)), text_name_(std::move(text_name)), json_(std::make_unique<Json>()) {}
LineParser::LineParser(LineParser&&) noexcept = default;
LineParser::~LineParser() = default;

absl::StatusOr<MemberTokens> LineParser::Parse(absl::string_view line) {
  MemberTokens members;
  const simdjson::error_code error = json_->Tokens(line, line.size() + kLinePadding, key_name_, text_name_, &members);
  if (error == simdjson::SUCCESS) return members;
  if (error != simdjson::UTF8_ERROR) return absl::DataLossError(NotAnObject(error));
  // The structure is all ASCII: with every other byte hidden the tokens are found at the same places.
  ascii_.assign(line.data(), line.size());
  for (char& c : ascii_) {
    if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  }
  ascii_.append(kLinePadding, ' ');
  if (const simdjson::error_code hidden = json_->Tokens(absl::string_view(ascii_).substr(0, line.size()), ascii_.size(),
                                                        key_name_, text_name_, &members);
      hidden != simdjson::SUCCESS) {
    return absl::DataLossError(NotAnObject(hidden));
  }
  for (std::optional<absl::string_view>* const token : {&members.key, &members.text}) {
    if (token->has_value())
      *token = line.substr(static_cast<size_t>((*token)->data() - ascii_.data()), (*token)->size());
  }
  return members;
}

std::vector<std::string> LineParser::Names(absl::string_view line) {
  std::vector<std::string> names;
  simdjson::ondemand::document document;
  simdjson::ondemand::object object;
  if (json_->parser.iterate(line.data(), line.size(), line.size() + kLinePadding).get(document) == simdjson::SUCCESS &&
      document.get_object().get(object) == simdjson::SUCCESS) {
    AddNames(object, "", &names);
  }
  return names;
}

}  // namespace reembed
