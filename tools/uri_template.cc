// SPDX-License-Identifier: Apache-2.0
#include "tools/uri_template.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/status_macros.h"
#include "tools/registry.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

// One part of a template: a name, or a text that stands for itself.
struct Part {
  bool is_name = false;
  std::string text;
};

std::vector<Part> SplitTemplate(absl::string_view text) {
  std::vector<Part> parts;
  std::string plain;
  while (!text.empty()) {
    if (absl::ConsumePrefix(&text, "{{")) {
      plain += '{';
    } else if (text.front() == '{' && text.find('}') != absl::string_view::npos) {
      if (!plain.empty()) parts.push_back({.text = std::exchange(plain, {})});
      const size_t close = text.find('}');
      parts.push_back({.is_name = true, .text = std::string(text.substr(1, close - 1))});
      text.remove_prefix(close + 1);
    } else {
      plain += text.front();
      text.remove_prefix(1);
    }
  }
  if (!plain.empty()) parts.push_back({.text = std::move(plain)});
  return parts;
}

// Where the first `wanted` stands that is in no name; npos: nowhere.
size_t FindOutsideNames(absl::string_view text, char wanted) {
  bool inside = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i, 2) == "{{") {
      ++i;
    } else if (text[i] == '{' || text[i] == '}') {
      inside = text[i] == '{';
    } else if (text[i] == wanted && !inside) {
      return i;
    }
  }
  return absl::string_view::npos;
}

// A URL with a port, unless it names one.
std::string WithPort(const std::string& url, absl::string_view port) {
  const size_t host = url.find("://") == std::string::npos ? 0 : url.find("://") + 3;
  const size_t end = std::min(url.find('/', host), url.size());
  const size_t bracket = url.find(']', host);  // behind the colons of an IPv6 address
  const bool has_port = url.find(':', bracket < end ? bracket : host) < end;
  return has_port ? url : absl::StrCat(url.substr(0, end), ":", port, url.substr(end));
}

// NAME:PORT
struct Alternative {
  absl::string_view name, port;
};
Alternative ParseAlternative(absl::string_view text) {
  const size_t colon = text.find(':');
  if (colon == absl::string_view::npos) return {text, ""};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

// nullopt: the name means no place. Empty: it has no value.
std::optional<std::string> ValueOfPlace(absl::string_view name, const TemplatePlaces& places) {
  const std::pair<absl::string_view, absl::string_view> words = absl::StrSplit(name, absl::MaxSplits('.', 1));
  if (words.first != "db" && words.first != "target") return std::nullopt;
  const Location* const place = words.first == "db" ? places.db : places.target;
  if (place == nullptr) return "";
  if (words.second.empty()) return place->ToString();
  if (words.second == "path") return place->path;
  if (words.second == "folder") return fs::path(place->path).parent_path().string();
  return "";
}

// "A|B|'text'"
std::string ValueOf(absl::string_view names, const TemplatePlaces& places, const Environment& environment) {
  for (absl::string_view text : absl::StrSplit(names, '|')) {
    if (absl::ConsumePrefix(&text, "'")) return std::string(absl::StripSuffix(text, "'"));
    if (std::optional<std::string> place = ValueOfPlace(text, places); place.has_value()) return *std::move(place);
    const auto [name, port] = ParseAlternative(text);
    std::string value = environment.Get(std::string(name));
    while (absl::EndsWith(value, "/")) value.pop_back();
    if (!value.empty()) return port.empty() ? value : WithPort(value, port);
  }
  return "";
}

// The variables of the first name in the template that has no value.
std::vector<std::string> MissingVariables(absl::string_view uri, const TemplatePlaces& places,
                                          const Environment& environment) {
  for (const Part& part : SplitTemplate(uri)) {
    if (!part.is_name || !ValueOf(part.text, places, environment).empty()) continue;
    std::vector<std::string> names;
    for (const absl::string_view text : absl::StrSplit(part.text, '|')) {
      names.emplace_back(ParseAlternative(text).name);
    }
    return names;
  }
  return {};
}

// The place that a template is or begins with, without its own parameters. nullopt: a name has no value.
absl::StatusOr<std::optional<Location>> ExpandHead(absl::string_view head, const TemplatePlaces& places,
                                                   const SecretVariables& secrets, const Environment& environment) {
  for (const auto& [name, place] : {std::pair("{db}", places.db), std::pair("{target}", places.target)}) {
    if (!absl::ConsumePrefix(&head, name)) continue;
    const std::optional<std::string> rest = ExpandText(head, places, environment);
    if (place == nullptr || !rest.has_value()) return std::nullopt;
    Location location = *place;
    location.path += *rest;
    return std::optional(std::move(location));
  }
  const std::optional<std::string> uri = ExpandText(head, places, environment);
  if (!uri.has_value()) return std::nullopt;
  ABSL_ASSIGN_OR_RETURN(Location location, ParsePlace(*uri, secrets, environment));
  return std::optional(std::move(location));
}

}  // namespace

std::vector<std::string> VariableNames(absl::string_view names) {
  return absl::StrSplit(names, '|', absl::SkipEmpty());
}

std::optional<std::string> ExpandText(absl::string_view text, const TemplatePlaces& places,
                                      const Environment& environment) {
  std::string out;
  for (const Part& part : SplitTemplate(text)) {
    const std::string value = part.is_name ? ValueOf(part.text, places, environment) : part.text;
    if (value.empty()) return std::nullopt;
    out += value;
  }
  return out;
}

std::optional<std::string> FirstUrl(const std::vector<std::string>& templates, const Environment& environment) {
  for (const std::string& url : templates) {
    if (std::optional<std::string> expanded = ExpandText(url, {}, environment); expanded.has_value()) return expanded;
  }
  return std::nullopt;
}

absl::StatusOr<std::map<std::string, std::string>> ExpandParameters(absl::string_view uri, const TemplatePlaces& places,
                                                                    const Environment& environment) {
  std::map<std::string, std::string> parameters;
  const size_t question = FindOutsideNames(uri, '?');
  if (question == absl::string_view::npos) return parameters;
  absl::string_view rest = uri.substr(question + 1);
  while (!rest.empty()) {
    const size_t end = std::min(FindOutsideNames(rest, '&'), rest.size());
    const absl::string_view pair = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (pair.empty()) continue;
    const size_t equals = FindOutsideNames(pair, '=');
    if (equals == absl::string_view::npos || equals == 0) {
      return absl::InvalidArgumentError(absl::StrCat("`", uri, "`: `", pair, "` should be name=value"));
    }
    ABSL_ASSIGN_OR_RETURN(const std::string name, PercentDecode(pair.substr(0, equals)));
    const absl::string_view text = pair.substr(equals + 1);
    if (!MissingVariables(text, places, environment).empty()) continue;
    std::string value;
    for (const Part& part : SplitTemplate(text)) {
      ABSL_ASSIGN_OR_RETURN(std::string piece,
                            part.is_name ? ValueOf(part.text, places, environment) : PercentDecode(part.text));
      value += piece;
    }
    if (!parameters.emplace(name, std::move(value)).second) {
      return absl::InvalidArgumentError(absl::StrCat("`", uri, "` gives `", name, "` twice"));
    }
  }
  return parameters;
}

absl::StatusOr<Location> ExpandPlace(const std::vector<std::string>& templates, const TemplatePlaces& places,
                                     const std::map<std::string, std::string>& parameters,
                                     const SecretVariables& secrets, const Environment& environment) {
  std::vector<std::string> missing;
  for (const std::string& uri : templates) {
    if (const std::vector<std::string> names = MissingVariables(uri, places, environment); !names.empty()) {
      missing.insert(missing.end(), names.begin(), names.end());
      continue;
    }
    const absl::string_view head = absl::string_view(uri).substr(0, FindOutsideNames(uri, '?'));
    ABSL_ASSIGN_OR_RETURN(std::optional<Location> found, ExpandHead(head, places, secrets, environment));
    if (!found.has_value()) continue;
    // Of a system that is more than its database: what was said of that is said of the whole.
    if (places.db != nullptr && absl::StrContains(uri, "{db.path}")) found->parameters = places.db->parameters;
    // Read as those of any URI, so that a token among them becomes the secret and a password is refused.
    Location given{.scheme = found->scheme, .path = "any"};
    ABSL_ASSIGN_OR_RETURN(given.parameters, ExpandParameters(uri, places, environment));
    for (const auto& [name, value] : parameters) given.parameters[name] = value;
    ABSL_ASSIGN_OR_RETURN(given, ParseLocation(given.ToString(), StoreKinds()));
    MakePathsAbsolute(environment, &given);
    for (auto& [name, value] : given.parameters) found->parameters[name] = std::move(value);
    if (!given.secret.empty()) found->secret = std::move(given.secret);
    return *std::move(found);
  }
  return absl::NotFoundError(absl::StrCat("set ", absl::StrJoin(missing, " or ")));
}

bool NamesPlace(const std::vector<std::string>& templates, absl::string_view place) {
  const auto is_it = [&](const Part& part) {
    const auto alternatives = {absl::StrCat(place), absl::StrCat(place, ".path"), absl::StrCat(place, ".folder")};
    return part.is_name && std::find(alternatives.begin(), alternatives.end(), part.text) != alternatives.end();
  };
  return std::any_of(templates.begin(), templates.end(), [&](const std::string& uri) {
    const std::vector<Part> parts = SplitTemplate(uri);
    return std::any_of(parts.begin(), parts.end(), is_it);
  });
}

absl::string_view SchemeOfTemplate(absl::string_view uri) {
  const size_t colon = uri.find(':');
  return uri.empty() || uri.front() == '{' || colon == absl::string_view::npos ? "" : uri.substr(0, colon);
}

}  // namespace reembed
