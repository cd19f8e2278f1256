// SPDX-License-Identifier: Apache-2.0
#include "tools/preset_variables.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "engine/status_macros.h"
#include "tools/uri_template.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

// A preset may give a variable several names.
std::string FirstValue(const std::vector<std::string>& variables, const Environment& environment) {
  for (const std::string& names : variables) {
    for (const std::string& name : VariableNames(names)) {
      if (std::string value = environment.Get(name); !value.empty()) return value;
    }
  }
  return "";
}

// Those of a provider's variables that show that it is set up.
std::vector<std::string> SignsOf(const PresetProvider& provider) {
  if (!provider.api_key_env.empty()) return {provider.api_key_env};
  std::vector<std::string> signs;
  for (const std::string& name : {provider.api_base_env, provider.model_env}) {
    if (!name.empty()) signs.push_back(name);
  }
  return signs;
}

// Null: the preset says nothing of the embedder that was asked for.
absl::StatusOr<const PresetProvider*> FindProvider(const CommandOptions& options, const Environment& environment,
                                                   KeyNeed key_need, const SystemPreset& preset) {
  const auto named = [&](const std::string& name) -> const PresetProvider* {
    for (const PresetProvider& provider : preset.providers) {
      if (provider.name == name) return &provider;
    }
    return nullptr;
  };
  if (!options.embedder.empty()) {
    const std::string name = absl::AsciiStrToLower(options.embedder);
    const auto found = std::find_if(preset.providers.begin(), preset.providers.end(),
                                    [&](const PresetProvider& provider) { return provider.embedder == name; });
    return found == preset.providers.end() ? nullptr : &*found;
  }
  std::string asked = absl::AsciiStrToLower(absl::StripAsciiWhitespace(FirstValue({preset.provider_env}, environment)));
  if (asked.empty()) asked = preset.provider;
  if (!asked.empty() && asked != "auto") {
    const PresetProvider* const provider = named(asked);
    if (provider == nullptr) {
      std::vector<std::string> names;
      if (preset.provider.empty()) names.push_back("auto");
      for (const PresetProvider& each : preset.providers) names.push_back(each.name);
      return absl::InvalidArgumentError(absl::StrCat(VariableNames(preset.provider_env).front(), "=", asked,
                                                     ": expected one of ", absl::StrJoin(names, ", ")));
    }
    if (!provider->refused.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(VariableNames(preset.provider_env).front(), "=", asked, ": ", provider->refused));
    }
    return provider;
  }
  std::vector<std::string> signs;
  const PresetProvider* openai = nullptr;
  for (const PresetProvider& provider : preset.providers) {
    const std::vector<std::string> own = SignsOf(provider);
    if (!FirstValue(own, environment).empty()) return &provider;
    signs.insert(signs.end(), own.begin(), own.end());
    if (provider.embedder == "openai") openai = &provider;
  }
  const bool said = !options.api_base.empty() || !options.api_key_env.empty() || !options.api_key_file.empty() ||
                    !options.api_key_cmd.empty() || !options.endpoints.empty();
  if (said || key_need == KeyNeed::kNone) return openai;
  return absl::UnauthenticatedError(
      absl::StrCat("no embedding API is set up for ", preset.name, ": set one of ", absl::StrJoin(signs, ", "),
                   ", or say --embedder; without a key, --embedder builtin tries everything out"));
}

}  // namespace

absl::Status ChooseProvider(const CommandOptions& options, const Environment& environment, KeyNeed key_need,
                            SystemPreset* preset) {
  for (const std::string& variable : preset->dim_env) {
    const std::string value = environment.Get(variable);
    if (value.empty()) continue;
    if (!absl::SimpleAtoi(value, &preset->dim) || preset->dim <= 0) {
      return absl::InvalidArgumentError(absl::StrCat(variable, "=", value, ": expected a width, for example 1536"));
    }
    break;
  }
  if (preset->providers.empty()) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(const PresetProvider* found, FindProvider(options, environment, key_need, *preset));
  if (found == nullptr) return absl::OkStatus();
  const PresetProvider& provider = *found;
  preset->embedder = provider.embedder;
  preset->api_base_env = provider.api_base_env;
  preset->api_key_env = provider.api_key_env;
  preset->api_base = provider.api_base;
  preset->input_type = provider.input_type;
  preset->model = FirstValue({provider.model_env}, environment);
  if (preset->model.empty()) preset->model = provider.model;
  // Where no variable says a width, it is that of the model.
  if (preset->dim_env.empty() && preset->model != provider.model) preset->dim = 0;
  if (preset->dim_env.empty() && preset->model == provider.model && provider.dim > 0) preset->dim = provider.dim;
  const int dim = options.dimensions > 0 ? options.dimensions : preset->dim;
  absl::string_view of_vendor = preset->model;
  if (provider.max_dim > 0 && dim > provider.max_dim && absl::ConsumeSuffix(&of_vendor, provider.model)) {
    preset->model = absl::StrCat(of_vendor, provider.wider_model);
  }
  return absl::OkStatus();
}

std::vector<std::string> EnvFilesOf(const SystemPreset& preset, const Environment& environment) {
  std::vector<std::string> found;
  for (const std::string& file : preset.env_files) {
    const std::optional<std::string> name = FirstUrl({file}, environment);
    if (!name.has_value()) continue;
    fs::path path = ExpandHome(*name, environment);
    std::error_code failed;
    if (preset.env_search_up && path.is_relative()) {
      fs::path folder = fs::current_path(failed);
      while (!fs::exists(folder / path, failed) && folder.has_relative_path()) folder = folder.parent_path();
      path = folder / path;
    }
    if (!fs::exists(path, failed)) continue;
    found.push_back(path.string());
    if (!preset.env_read_all) break;
  }
  return found;
}

}  // namespace reembed
