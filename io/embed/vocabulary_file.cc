// SPDX-License-Identifier: Apache-2.0
#include "io/embed/vocabulary_file.h"

#include <cstdint>
#include <fstream>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "engine/status_macros.h"
#include "engine/text/piece_splitter.h"
#include "simdjson.h"

namespace reembed {
namespace {

constexpr size_t kTokens = 100256;                  // ranks 0 to 100255; special tokens come on top
constexpr size_t kMaxFileBytes = size_t{64} << 20;  // the file has 1.1 to 1.7 MB
constexpr char kWanted[] = "expected cl100k_base, as encoders/cl100k_base.json of the npm package tiktoken";

absl::Status Wrong(absl::string_view what) { return absl::InvalidArgumentError(absl::StrCat(what, "; ", kWanted)); }

// Tokens by rank, whatever order they come in.
class TokenList {
 public:
  absl::Status Add(int64_t rank, absl::string_view base64) {
    if (rank < 0 || rank >= static_cast<int64_t>(kTokens)) {
      return Wrong(absl::StrCat("has a token of rank ", rank, ", and the highest should be ", kTokens - 1));
    }
    if (tokens_.size() <= static_cast<size_t>(rank)) tokens_.resize(rank + 1);
    std::string& token = tokens_[rank];
    if (!token.empty()) return Wrong(absl::StrCat("has rank ", rank, " twice"));
    if (!absl::Base64Unescape(base64, &token) || token.empty()) {
      return Wrong(absl::StrCat("the token of rank ", rank, " is not base64"));
    }
    ++count_;
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<std::string>> Take() {
    if (count_ == kTokens) return std::move(tokens_);
    return Wrong(absl::StrCat("has ", count_, " tokens instead of ", kTokens));
  }

 private:
  std::vector<std::string> tokens_;
  size_t count_ = 0;
};

// ! FIRST_RANK TOKEN TOKEN ...
absl::Status AddRun(absl::string_view line, TokenList* list) {
  std::optional<int64_t> rank;
  bool marked = false;
  for (const absl::string_view word : absl::StrSplit(line, ' ', absl::SkipEmpty())) {
    if (!marked) {
      if (word != "!") return Wrong("`bpe_ranks` has a line that does not begin with `!`");
      marked = true;
    } else if (!rank.has_value()) {
      int64_t first;
      if (!absl::SimpleAtoi(word, &first)) return Wrong("`bpe_ranks` has a line without a first rank");
      rank = first;
    } else
      ABSL_RETURN_IF_ERROR(list->Add((*rank)++, word));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> TokensOfJson(const std::string& content) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  std::string_view pattern, ranks;
  if (parser.parse(content).get(root) != simdjson::SUCCESS) return Wrong("is not valid JSON");
  if (root["pat_str"].get(pattern) != simdjson::SUCCESS || root["bpe_ranks"].get(ranks) != simdjson::SUCCESS) {
    return Wrong("has no `pat_str` and `bpe_ranks`");
  }
  if (pattern != kCl100kPattern) return Wrong("cuts texts by another pattern");
  TokenList list;
  for (const absl::string_view line : absl::StrSplit(absl::string_view(ranks.data(), ranks.size()), '\n')) {
    ABSL_RETURN_IF_ERROR(AddRun(line, &list));
  }
  return list.Take();
}

absl::StatusOr<std::vector<std::string>> TokensOfLines(absl::string_view content) {
  TokenList list;
  int64_t number = 0;
  for (absl::string_view line : absl::StrSplit(content, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty()) continue;
    const std::pair<absl::string_view, absl::string_view> fields = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    int64_t rank;
    if (!absl::SimpleAtoi(fields.second, &rank)) return Wrong(absl::StrCat("line ", number, " is not `TOKEN RANK`"));
    ABSL_RETURN_IF_ERROR(list.Add(rank, fields.first));
  }
  return list.Take();
}

absl::StatusOr<std::string> ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const std::streamoff size = file.tellg();
  if (!file || size < 0) return absl::NotFoundError("cannot be read");
  if (static_cast<size_t>(size) > kMaxFileBytes) return Wrong(absl::StrCat("has ", size, " bytes"));
  std::string content(static_cast<size_t>(size), '\0');
  file.seekg(0);
  file.read(content.data(), size);
  if (!file) return absl::NotFoundError("cannot be read");
  return content;
}

absl::StatusOr<std::unique_ptr<BpeTokenizer>> Load(const std::string& path) {
  ABSL_ASSIGN_OR_RETURN(const std::string content, ReadWhole(path));
  const bool json = absl::StartsWith(absl::StripLeadingAsciiWhitespace(content), "{");
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> tokens, json ? TokensOfJson(content) : TokensOfLines(content));
  absl::StatusOr<std::unique_ptr<BpeTokenizer>> made = BpeTokenizer::Make(kCl100k, tokens);
  return made.ok() ? std::move(made) : Wrong(made.status().message());
}

}  // namespace

absl::StatusOr<std::unique_ptr<BpeTokenizer>> LoadVocabulary(const std::string& path) {
  absl::StatusOr<std::unique_ptr<BpeTokenizer>> loaded = Load(path);
  if (loaded.ok()) return loaded;
  return absl::Status(loaded.status().code(), absl::StrCat(path, ": ", loaded.status().message()));
}

}  // namespace reembed
