// SPDX-License-Identifier: Apache-2.0
#include "tools/said_texts.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "absl/strings/match.h"
#include "tools/environment.h"
#include "tools/option_layers.h"

namespace reembed {
namespace {

constexpr uintmax_t kLargestFile = uintmax_t{1} << 20;

}  // namespace

SaidTexts::SaidTexts(absl::Span<const std::string> words) : texts_(words.begin(), words.end()) {
  for (const std::string& word : words) {
    const size_t equals = absl::StartsWith(word, "-") ? word.find('=') : std::string::npos;
    const std::string path = equals == std::string::npos ? word : word.substr(equals + 1);
    AddFile(path);
    AddFile(path + "/job.toml");
  }
  for (const ConfigFile& file : ConfigFiles(Environment())) AddFile(file.path);
}

void SaidTexts::AddFile(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error) || std::filesystem::file_size(path, error) > kLargestFile) return;
  std::ifstream file(path, std::ios::binary);
  texts_.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

bool SaidTexts::Has(absl::string_view text) const {
  return std::any_of(texts_.begin(), texts_.end(),
                     [&](const std::string& said) { return absl::StrContains(said, text); });
}

}  // namespace reembed
