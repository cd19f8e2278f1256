// SPDX-License-Identifier: Apache-2.0
#include "engine/location.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/shown_text.h"
#include "engine/status_macros.h"
#include "engine/store_kind.h"

namespace reembed {
namespace {

// `-` with room for parameters.
constexpr absl::string_view kStreamUri = "jsonl:-";

std::string PercentEncode(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '%' || c == '&' || c == '=' || c == '?' || c == '#' || static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&out, "%%%02X", static_cast<unsigned char>(c));
    } else {
      out.push_back(c);
    }
  }
  return out;
}

// The URI with all tokens made unreadable, for messages.
std::string WithoutToken(absl::string_view uri) {
  std::string shown(uri);
  for (const std::string name : {"?authToken=", "&authToken="}) {
    for (size_t at = shown.find(name); at != std::string::npos; at = shown.find(name, at + 1)) {
      const size_t begin = at + name.size();
      shown.replace(begin, std::min(shown.find('&', begin), shown.size()) - begin, "***");
    }
  }
  return shown;
}

// Whether `rest` (behind the scheme) is //user:password@host... or has a parameter `password`.
bool HoldsPassword(absl::string_view rest) {
  for (const absl::string_view parameter : {"?password=", "&password=", "?sslpassword=", "&sslpassword="}) {
    if (absl::StrContains(rest, parameter)) return true;
  }
  const size_t slashes = rest.find("//");
  // Also of a URL behind the scheme, as in libsql:http://host.
  if (slashes == absl::string_view::npos || rest.substr(0, slashes).find_first_of("?/") != absl::string_view::npos) {
    return false;
  }
  rest.remove_prefix(slashes + 2);
  const absl::string_view authority = rest.substr(0, rest.find_first_of("/?"));
  const size_t at = authority.rfind('@');
  return at != absl::string_view::npos && authority.substr(0, at).find(':') != absl::string_view::npos;
}

// What a path without a scheme most likely is, by how it ends: "; did you mean sqlite:PATH?"; empty: nobody can say.
std::string KindAdvice(absl::string_view uri, absl::Span<const StoreKind* const> kinds) {
  const absl::string_view path = uri.substr(0, uri.find('?'));
  absl::string_view scheme, longest;
  for (const StoreKind* const kind : kinds) {
    for (const absl::string_view ending : kind->file_endings) {
      if (!absl::EndsWithIgnoreCase(path, ending) || (!scheme.empty() && ending.size() <= longest.size())) continue;
      scheme = kind->name;
      longest = ending;
    }
  }
  return scheme.empty() ? "" : absl::StrCat("; did you mean ", scheme, ":", WithoutToken(uri), "?");
}

// Null: it is not among them.
const StoreKind* FindKind(absl::string_view scheme, absl::Span<const StoreKind* const> kinds) {
  const auto found = std::find_if(kinds.begin(), kinds.end(), [&](const StoreKind* k) { return k->has_name(scheme); });
  return found == kinds.end() ? nullptr : *found;
}

}  // namespace

absl::StatusOr<std::string> PercentDecode(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    if (i + 2 >= text.size() || !absl::ascii_isxdigit(text[i + 1]) || !absl::ascii_isxdigit(text[i + 2])) {
      return absl::InvalidArgumentError(absl::StrCat("`", text, "` has a % that no two hex digits follow; write %25"));
    }
    out.append(absl::HexStringToBytes(text.substr(i + 1, 2)));
    i += 2;
  }
  return out;
}

std::string Location::Get(absl::string_view name, absl::string_view otherwise) const {
  const auto found = parameters.find(std::string(name));
  return std::string(found == parameters.end() ? otherwise : absl::string_view(found->second));
}

absl::Status Location::CheckParameters(absl::Span<const absl::string_view> known) const {
  for (const auto& [name, value] : parameters) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const std::string near = NearestName(name, std::vector<std::string>(known.begin(), known.end()));
    return absl::InvalidArgumentError(absl::StrCat(
        scheme, ":", path, ": unknown parameter `", name, "`",
        near.empty() ? absl::StrCat("; it may be one of: ",
                                    absl::StrJoin(std::vector<std::string>(known.begin(), known.end()), ", "))
                     : absl::StrCat("; did you mean `", near, "`?")));
  }
  return absl::OkStatus();
}

std::string Location::ToString() const {
  if (scheme == "-" && parameters.empty()) return "-";
  std::string out = scheme == "-"                  ? std::string(kStreamUri)
                    : absl::EndsWith(scheme, ":-") ? scheme
                                                   : absl::StrCat(scheme, ":", path);
  char separator = '?';
  for (const auto& [name, value] : parameters) {
    absl::StrAppend(&out, std::string(1, separator), PercentEncode(name), "=", PercentEncode(value));
    separator = '&';
  }
  return out;
}

namespace {

// Takes name=value&name=value of `uri`, with a token apart.
absl::Status TakeParameters(absl::string_view uri, absl::string_view query, bool takes_token, Location* location) {
  bool has_token = false;
  for (const absl::string_view pair : absl::StrSplit(query, '&', absl::SkipEmpty())) {
    const size_t equals = pair.find('=');
    if (equals == absl::string_view::npos || equals == 0) {
      return absl::InvalidArgumentError(absl::StrCat("`", WithoutToken(uri), "`: `", pair, "` should be name=value"));
    }
    ABSL_ASSIGN_OR_RETURN(const std::string name, PercentDecode(pair.substr(0, equals)));
    const absl::StatusOr<std::string> value = PercentDecode(pair.substr(equals + 1));
    if (!value.ok()) {
      if (name == "authToken") return absl::InvalidArgumentError("authToken= has a % that no two hex digits follow");
      return value.status();
    }
    if (name == "authToken" && takes_token) {
      // A second one would be a parameter, and written down.
      if (has_token) return absl::InvalidArgumentError(absl::StrCat(location->scheme, ": authToken= is given twice"));
      has_token = true;
      location->secret = *value;
      continue;
    }
    if (name == "options" && !SecretValues(*value).empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          location->scheme, ": options= holds a secret, and addresses are written down in jobs and messages; leave it ",
          "out and give it by the environment (PGOPTIONS)"));
    }
    if (!location->parameters.emplace(name, *value).second) {
      return absl::InvalidArgumentError(absl::StrCat("`", WithoutToken(uri), "` gives `", name, "` twice"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Location> ParseLocation(absl::string_view uri, absl::Span<const StoreKind* const> kinds) {
  if (uri == "-") return Location{.scheme = "-"};
  const size_t colon = uri.find(':');
  const bool has_scheme = colon != absl::string_view::npos && colon > 1 &&
                          std::all_of(uri.begin(), uri.begin() + colon,
                                      [](char c) { return absl::ascii_isalnum(c) || c == '+' || c == '-'; });
  if (!has_scheme) {
    if (uri.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("a place is written as scheme:path",
                       kinds.empty() ? "" : absl::StrCat(", for example ", kinds.front()->example)));
    }
    return absl::InvalidArgumentError(
        absl::StrCat("`", WithoutToken(uri), "` names no kind of store", KindAdvice(uri, kinds)));
  }
  Location location{.scheme = absl::AsciiStrToLower(uri.substr(0, colon)),
                    .answered = std::make_shared<std::atomic<bool>>(false)};
  const absl::string_view rest = uri.substr(colon + 1);
  const StoreKind* const kind = FindKind(location.scheme, kinds);
  // Not shown again, not even here.
  if (HoldsPassword(rest)) {
    const bool has_variable = kind != nullptr && !kind->secret_variables.empty();
    return absl::InvalidArgumentError(absl::StrCat(
        location.scheme,
        ": the address holds a password, and addresses are written down in jobs and messages; leave it "
        "out and give it ",
        "by the environment", has_variable ? absl::StrCat(" (", kind->secret_variables.front(), ")") : ""));
  }
  const size_t question = rest.find('?');
  location.path = std::string(rest.substr(0, question));
  const bool takes_token = kinds.empty() || (kind != nullptr && kind->secret == SecretKind::kToken);
  if (location.path.empty())
    return absl::InvalidArgumentError(
        absl::StrCat("`", WithoutToken(uri), "` has no path after ", location.scheme, ":"));
  // A stream's place is its scheme, whole.
  if (location.path == "-") {
    const std::string stream = absl::StrCat(location.scheme, ":-");
    location = {.scheme = stream == kStreamUri ? "-" : stream};
  }
  if (question == absl::string_view::npos) return location;
  ABSL_RETURN_IF_ERROR(TakeParameters(uri, rest.substr(question + 1), takes_token, &location));
  return location;
}

std::string NearestName(absl::string_view word, absl::Span<const std::string> candidates) {
  const auto distance = [](absl::string_view a, absl::string_view b) {
    std::vector<size_t> row(b.size() + 1);
    for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= a.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j <= b.size(); ++j) {
        const bool same = absl::ascii_tolower(a[i - 1]) == absl::ascii_tolower(b[j - 1]);
        const size_t replace = diagonal + (same ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({replace, row[j] + 1, row[j - 1] + 1});
      }
    }
    return row[b.size()];
  };
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const size_t d = distance(word, candidate);
    if (d < best_distance) {
      best_distance = d;
      best = candidate;
    }
  }
  return best;
}

}  // namespace reembed
