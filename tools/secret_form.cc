// SPDX-License-Identifier: Apache-2.0
#include "tools/secret_form.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

namespace reembed {
namespace {

using absl::string_view;

constexpr const char* kSchemes[] = {"bearer ", "basic ", "token ", "apikey ", "api-key ", "negotiate ", "digest "};

// What vendors put before their keys.
constexpr const char* kPrefixes[] = {"sk-",  "sk_",    "pk-lf-", "pa-",  "jina_", "gsk_",        "hf_",    "xai-",
                                     "AIza", "nvapi-", "ghp_",   "gho_", "ghs_",  "github_pat_", "glpat-", "xox",
                                     "AKIA", "ASIA",   "r8_",    "fw_",  "tgp_",  "pplx-",       "cfut_",  "ya29."};
constexpr size_t kShortestKey = 16;

constexpr size_t kShortestHex = 32;
constexpr size_t kShortestMixed = 28;

constexpr const char* kCredentialHeaders[] = {"authorization",
                                              "proxy-authorization",
                                              "cookie",
                                              "set-cookie",
                                              "api-key",
                                              "apikey",
                                              "x-api-key",
                                              "x-apikey",
                                              "x-goog-api-key",
                                              "x-auth-token",
                                              "ocp-apim-subscription-key",
                                              "x-access-token",
                                              "x-amz-security-token"};

constexpr const char* kSecretParameters[] = {"key", "api_key",      "api-key",          "apikey",   "token", "code",
                                             "sig", "access_token", "subscription-key", "password", "secret"};

// Letters and digits without a mark between them: words are shorter, or of one kind.
bool IsRandomRun(string_view run) {
  const auto count = [run](bool (*of)(unsigned char)) { return std::count_if(run.begin(), run.end(), of); };
  const bool hex = count(absl::ascii_isxdigit) == static_cast<std::ptrdiff_t>(run.size());
  if (hex && run.size() >= kShortestHex) return true;
  return run.size() >= kShortestMixed && count(absl::ascii_isdigit) > 0 && count(absl::ascii_isupper) > 0 &&
         count(absl::ascii_islower) > 0;
}

}  // namespace

bool LooksLikeSecret(string_view value) {
  value = absl::StripAsciiWhitespace(value);
  for (const char* const scheme : kSchemes) {
    if (absl::StartsWithIgnoreCase(value, scheme)) return true;
  }
  if (value.find_first_of(" \t") != string_view::npos) return false;
  for (const char* const prefix : kPrefixes) {
    if (absl::StartsWith(value, prefix) && value.size() >= kShortestKey) return true;
  }
  if (absl::StartsWith(value, "eyJ") && absl::StrContains(value, '.')) return true;
  if (absl::StrContains(value, "://")) return false;
  for (const string_view run : absl::StrSplit(value, absl::ByAnyChar("-_.:;,/@"), absl::SkipEmpty())) {
    if (IsRandomRun(run)) return true;
  }
  return false;
}

bool IsCredentialHeader(string_view name) {
  return std::any_of(std::begin(kCredentialHeaders), std::end(kCredentialHeaders),
                     [name](const char* header) { return absl::EqualsIgnoreCase(name, header); });
}

string_view SecretParameter(string_view url) {
  const size_t question = url.find('?');
  if (question == string_view::npos) return "";
  for (const string_view parameter : absl::StrSplit(url.substr(question + 1), absl::ByAnyChar("&#"))) {
    const size_t equals = parameter.find('=');
    const string_view name = parameter.substr(0, equals);
    const auto is_name = [name](const char* secret) { return absl::EqualsIgnoreCase(name, secret); };
    if (std::any_of(std::begin(kSecretParameters), std::end(kSecretParameters), is_name)) return name;
    if (equals != string_view::npos && LooksLikeSecret(parameter.substr(equals + 1))) return name;
  }
  return "";
}

}  // namespace reembed
