// SPDX-License-Identifier: Apache-2.0
#include "tools/option_layers.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/location.h"
#include "engine/status_macros.h"
#include "tools/option_table.h"
#include "tools/resolve_preset.h"
#include "tools/saved_plan.h"
#include "tools/settings_file.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

constexpr char kVariablePrefix[] = "REEMBED_";

bool IsOneOf(absl::string_view name, std::initializer_list<absl::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool SaysRows(absl::string_view name) { return IsOneOf(name, {"source", "system"}); }
bool SaysEmbedder(absl::string_view name) { return IsOneOf(name, {"embedder", "api-base", "endpoint"}); }
bool SaysKey(absl::string_view name) { return IsOneOf(name, {"api-key-env", "api-key-file", "api-key-cmd"}); }

// What goes with who says the rows, and with who says the embedder: half of one and half of another is neither.
bool GoesWithRows(const OptionEntry& entry) {
  if (entry.scope != OptionScope::kJob || IsOneOf(entry.name, {"db-token-env", "db-password-env"})) return false;
  return IsOneOf(entry.group, {"What", "Selection"});
}
bool GoesWithEmbedder(const OptionEntry& entry) {
  return IsOneOf(entry.group, {"Embedder"}) && !IsOneOf(entry.name, {"proxy", "ca-file"});
}

std::string UserFileFor(const Environment& environment) {
  for (const ConfigFile& file : ConfigFiles(environment)) {
    if (file.layer == OptionLayer::kUserFile) return file.path;
  }
  return "your own file of settings";
}

SettingsRules RulesOf(OptionLayer layer, const Environment& environment) {
  const bool own = layer != OptionLayer::kProjectFile;
  SettingsRules rules;
  rules.takes = [own](const OptionEntry& entry) {
    return entry.scope != OptionScope::kCommand && (own || entry.scope != OptionScope::kOwn);
  };
  rules.advice = [user = UserFileFor(environment)](const OptionEntry& entry) {
    if (entry.scope == OptionScope::kCommand) {
      return absl::StrCat("; no file can set this, only the command: --", entry.name);
    }
    return absl::StrCat(
        "; a file in the working folder cannot make a command run, serve or write something: put it into ", user,
        ", or say --", entry.name);
  };
  rules.may_have_streams = !own;
  rules.refuses_secrets = true;
  return rules;
}

// The layers of one command, from the nearest to the furthest.
class Layers {
 public:
  Layers(LayeredOptions* all, Environment* environment, const OptionFilter& takes)
      : all_(all), environment_(environment), takes_(takes) {}

  absl::Status TakeJobFile();
  absl::Status TakePlan();
  absl::Status ReadConfigFiles();
  absl::Status TakeEnvFiles();
  absl::Status TakeConfigFiles();

 private:
  struct Config {
    OptionLayer layer;
    SettingsFile file;
  };

  bool IsTaken(const OptionEntry& entry) const { return takes_ == nullptr || takes_(entry); }
  bool IsSaid(absl::string_view name) const { return all_->origins.find(name) != all_->origins.end(); }
  // The nearest of the options that decide, or null.
  const OptionOrigin* WhoSays(bool (*decides)(absl::string_view)) const;
  void Take(const OptionEntry& entry, const CommandOptions& from, OptionOrigin origin);
  absl::Status TakeVariable(const std::string& name, const Environment::FileVariable& variable);
  void TakeConfigFile(const Config& config);

  LayeredOptions* const all_;
  Environment* const environment_;
  const OptionFilter& takes_;
  std::vector<Config> configs_;
};

const OptionOrigin* Layers::WhoSays(bool (*decides)(absl::string_view)) const {
  for (const auto& [name, origin] : all_->origins) {
    if (decides(name)) return &origin;
  }
  return nullptr;
}

void Layers::Take(const OptionEntry& entry, const CommandOptions& from, OptionOrigin origin) {
  CopyOption(entry, from, &all_->options);
  all_->origins[entry.name] = std::move(origin);
}

absl::Status Layers::TakeJobFile() {
  if (all_->options.job_file.empty()) return absl::OkStatus();
  const CommandOptions before = all_->options;
  ABSL_RETURN_IF_ERROR(ReadJobFile(&all_->options));
  // Where it says what a flag says too, the flag counts, also one that says what holds where nobody says a word: of a
  // switch that it is off.
  for (const OptionEntry& entry : OptionEntries()) {
    if (IsSaid(entry.name)) {
      CopyOption(entry, before, &all_->options);
      continue;
    }
    if (IsUnset(entry, before) && !IsUnset(entry, all_->options)) {
      all_->origins[entry.name] = {OptionLayer::kJobFile, all_->options.job_file};
    }
  }
  return absl::OkStatus();
}

absl::Status Layers::TakePlan() {
  const std::string file = all_->options.plan;
  if (!all_->options.job_file.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--plan ", file, " says the whole job; leave the job file ", all_->options.job_file, " out"));
  }
  ABSL_ASSIGN_OR_RETURN(const CommandOptions planned, ReadPlannedOptions(file));
  for (const OptionEntry& entry : OptionEntries()) {
    if (!IsPlanned(entry)) continue;
    const auto said = all_->origins.find(entry.name);
    if (said == all_->origins.end()) {
      Take(entry, planned, {OptionLayer::kPlan, file});
      continue;
    }
    // How fast, and with which key, is not what is done.
    if (IsOneOf(entry.group, {"Limits"}) || SaysKey(entry.name)) continue;
    if (OptionValues(entry, all_->options) == OptionValues(entry, planned)) continue;
    const std::string by = said->second.layer == OptionLayer::kFlag ? absl::StrCat("--", entry.name)
                                                                    : absl::StrCat("the variable ", said->second.place);
    const std::vector<std::string> values = OptionValues(entry, planned);
    return absl::InvalidArgumentError(
        absl::StrCat(by, ": the plan ", file,
                     values.empty() ? " does not say it" : absl::StrCat(" says `", absl::StrJoin(values, ", "), "`"),
                     "; leave it out, or make a new plan with it"));
  }
  return absl::OkStatus();
}

absl::Status Layers::ReadConfigFiles() {
  for (const ConfigFile& file : ConfigFiles(*environment_)) {
    std::error_code error;
    const fs::file_status there = fs::status(file.path, error);
    if (there.type() == fs::file_type::not_found) continue;
    if (error) {
      all_->notes.push_back(absl::StrCat(file.path, ": cannot be looked at (", error.message(), "), and is left out"));
      continue;
    }
    if (fs::equivalent(file.path, all_->options.job_file, error)) continue;
    if (there.type() == fs::file_type::directory) {
      return absl::InvalidArgumentError(absl::StrCat(file.path, ": is a folder; expected a file of settings"));
    }
    ABSL_ASSIGN_OR_RETURN(SettingsFile settings, ReadSettingsFile(file.path, RulesOf(file.layer, *environment_)));
    if (settings.has_streams) {
      all_->notes.push_back(absl::StrCat(file.path,
                                         ": has streams, so it is a job file and no file of settings; `reembed run ",
                                         file.path, "` does it"));
      continue;
    }
    configs_.push_back({file.layer, std::move(settings)});
  }
  return absl::OkStatus();
}

absl::Status Layers::TakeVariable(const std::string& name, const Environment::FileVariable& variable) {
  const auto ignored = [&](absl::string_view why) {
    all_->notes.push_back(absl::StrCat(variable.file, ": ", name, " is not read from there", why));
    return absl::OkStatus();
  };
  for (const OptionEntry& entry : OptionEntries()) {
    if (VariableOfOption(entry.name) != name) continue;
    if (variable.value.empty() || !IsTaken(entry)) return absl::OkStatus();
    if (entry.scope == OptionScope::kCommand) return ignored(absl::StrCat("; say --", entry.name));
    if (entry.scope == OptionScope::kOwn) {
      return ignored(
          absl::StrCat(", as a file in the working folder cannot make a command run, serve or write something: put it ",
                       "into ", UserFileFor(*environment_), ", or say --", entry.name));
    }
    const auto said = all_->origins.find(entry.name);
    if (said != all_->origins.end() && said->second.layer < OptionLayer::kEnvFile) return absl::OkStatus();
    CommandOptions value;
    if (absl::Status set = SetOption(entry, variable.value, &value); !set.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(variable.file, ": ", name, ": ", set.message()));
    }
    Take(entry, value, {OptionLayer::kEnvFile, variable.file});
    return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status Layers::TakeEnvFiles() {
  // Which files these are may stand in a file of settings, but not in themselves.
  for (const Config& config : configs_) {
    for (const char* const name : {"env-file", "no-env-file"}) {
      const auto line = config.file.lines.find(name);
      if (line == config.file.lines.end() || IsSaid("env-file") || IsSaid("no-env-file")) continue;
      if (!IsTaken(*FindOption(name))) continue;
      Take(*FindOption(name), config.file.values, {config.layer, absl::StrCat(config.file.path, ":", line->second)});
    }
  }
  ABSL_RETURN_IF_ERROR(AddEnvFile(all_->options, environment_));
  for (const auto& [name, variable] : environment_->FromFiles(kVariablePrefix)) {
    if (IsOneOf(name, {"REEMBED_ENV_FILE", "REEMBED_NO_ENV_FILE"})) continue;
    ABSL_RETURN_IF_ERROR(TakeVariable(name, variable));
  }
  return absl::OkStatus();
}

void Layers::TakeConfigFile(const Config& config) {
  const auto set_aside = [&](const OptionEntry& entry) -> const OptionOrigin* {
    if (GoesWithRows(entry)) {
      if (const OptionOrigin* const who = WhoSays(SaysRows); who != nullptr) return who;
    }
    if (GoesWithEmbedder(entry)) {
      if (const OptionOrigin* const who = WhoSays(SaysEmbedder); who != nullptr) return who;
    }
    return SaysKey(entry.name) ? WhoSays(SaysKey) : nullptr;
  };
  std::vector<std::string> taken, left;
  std::vector<std::pair<const OptionEntry*, int>> wanted;
  for (const auto& [name, line] : config.file.lines) {
    const OptionEntry& entry = *FindOption(name);
    if (IsSaid(name) || IsOneOf(name, {"env-file", "no-env-file"}) || !IsTaken(entry)) continue;
    const OptionOrigin* const who = set_aside(entry);
    if (who == nullptr) {
      wanted.emplace_back(&entry, line);
    } else if (who->layer == OptionLayer::kFlag) {
      left.push_back(name);
    }
  }
  // What this file says sets nothing of its own aside.
  for (const auto& [entry, line] : wanted) {
    Take(*entry, config.file.values, {config.layer, absl::StrCat(config.file.path, ":", line)});
    taken.push_back(entry->name);
  }
  if (config.layer == OptionLayer::kProjectFile && !taken.empty()) {
    all_->notes.push_back(absl::StrCat(config.file.path, " says ", absl::StrJoin(taken, ", ")));
  }
  if (!left.empty()) {
    all_->notes.push_back(absl::StrCat(config.file.path, ": ", absl::StrJoin(left, ", "),
                                       left.size() == 1 ? " is" : " are",
                                       " ignored, as flags name another source or embedder"));
  }
}

absl::Status Layers::TakeConfigFiles() {
  for (const Config& config : configs_) TakeConfigFile(config);
  // Some memory systems have files of variables of their own, and only now it is known which system it is. What was
  // read before stays.
  return AddEnvFile(all_->options, environment_);
}

}  // namespace

const char* NameOfLayer(OptionLayer layer) {
  switch (layer) {
    case OptionLayer::kFlag:
      return "flag";
    case OptionLayer::kEnvironment:
      return "environment";
    case OptionLayer::kPlan:
      return "plan";
    case OptionLayer::kEnvFile:
      return "file of variables";
    case OptionLayer::kJobFile:
      return "job file";
    case OptionLayer::kProjectFile:
      return "project file";
    case OptionLayer::kUserFile:
      return "user file";
    case OptionLayer::kSystemFile:
      return "system file";
    case OptionLayer::kDefault:
      return "default";
  }
  return "";
}

std::vector<ConfigFile> ConfigFiles(const Environment& environment) {
  std::vector<ConfigFile> files;
  std::error_code none;
  if (const fs::path folder = fs::current_path(none); !none) {
    files.push_back({OptionLayer::kProjectFile, folder / "reembed.toml"});
  }
  // A path that is not absolute is none, as the rules of XDG have it.
  const std::string config = environment.Get("XDG_CONFIG_HOME");
  const std::string home = environment.Home();
  if (absl::StartsWith(config, "/")) {
    files.push_back({OptionLayer::kUserFile, config + "/reembed/config.toml"});
  } else if (!home.empty()) {
    files.push_back({OptionLayer::kUserFile, home + "/.config/reembed/config.toml"});
  }
  const std::string folders = environment.Get("XDG_CONFIG_DIRS");
  for (const absl::string_view folder : absl::StrSplit(folders.empty() ? "/etc/xdg" : folders, ':')) {
    if (!absl::StartsWith(folder, "/")) continue;
    files.push_back({OptionLayer::kSystemFile, absl::StrCat(folder, "/reembed/config.toml")});
  }
  return files;
}

OptionOrigins SaidOptions(const CLI::App& command, Words words) {
  OptionOrigins origins;
  for (const OptionEntry& entry : OptionEntries()) {
    const CLI::Option* const option = command.get_option_no_throw(absl::StrCat("--", entry.name));
    if (option == nullptr || option->count() == 0) continue;
    origins[entry.name] = IsGiven(*option, words) ? OptionOrigin{OptionLayer::kFlag, absl::StrCat("--", entry.name)}
                                                  : OptionOrigin{OptionLayer::kEnvironment, option->get_envname()};
  }
  return origins;
}

absl::StatusOr<LayeredOptions> LayerOptions(const CommandOptions& given, OptionOrigins said, Environment* environment,
                                            const OptionFilter& takes) {
  LayeredOptions all{.options = given, .origins = std::move(said)};
  Layers layers(&all, environment, takes);
  ABSL_RETURN_IF_ERROR(given.plan.empty() ? layers.TakeJobFile() : layers.TakePlan());
  ABSL_RETURN_IF_ERROR(layers.ReadConfigFiles());
  ABSL_RETURN_IF_ERROR(layers.TakeEnvFiles());
  ABSL_RETURN_IF_ERROR(layers.TakeConfigFiles());
  return all;
}

}  // namespace reembed
