// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_OPTION_LAYERS_H_
#define REEMBED_TOOLS_OPTION_LAYERS_H_

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/environment.h"
#include "tools/option_table.h"
#include "tools/options.h"
#include "tools/usage.h"

// Where the options of a job come from. The nearest layer that says one wins.
namespace reembed {

enum class OptionLayer {
  kFlag,
  kEnvironment,
  kPlan,  // of `run --plan`: no other layer says what it says
  kEnvFile,
  kJobFile,
  kProjectFile,  // reembed.toml in the working directory
  kUserFile,     // reembed/config.toml in $XDG_CONFIG_HOME
  kSystemFile,   // likewise in $XDG_CONFIG_DIRS
  kDefault,
};
// For people: "flag", "environment", "user file", ...
const char* NameOfLayer(OptionLayer layer);

struct OptionOrigin {
  OptionLayer layer = OptionLayer::kDefault;
  std::string place;  // a variable, or a file, with its line where there is one
};
using OptionOrigins = std::map<std::string, OptionOrigin, std::less<>>;  // by the names of options that are said

struct LayeredOptions {
  CommandOptions options;
  OptionOrigins origins;
  std::vector<std::string> notes;  // what a user should know of it
};

// A file of settings, there or not.
struct ConfigFile {
  OptionLayer layer;
  std::string path;
};
// Where they are looked for, the nearest first. Without a home there is no user file.
std::vector<ConfigFile> ConfigFiles(const Environment& environment);

// The options that flags and variables of the process have said to the command.
OptionOrigins SaidOptions(const CLI::App& command, Words words);

// Puts what further layers say under `given`, which flags and variables have said. Adds the variables of .env, or of
// the files that stand for it, to the environment.
// - Who says where the rows come from (source, system) sets aside what files of settings say of them and of targets;
//   who says who embeds (embedder, api-base, endpoint) sets aside what they say of the model; and likewise of the key.
// - A file of the working directory runs no command, serves nothing and writes nothing; no file gives consent.
// Errors: kInvalidArgument, kNotFound (name file and line).
// `takes`: whether files may say an option to this command; null: each.
using OptionFilter = std::function<bool(const OptionEntry&)>;
absl::StatusOr<LayeredOptions> LayerOptions(const CommandOptions& given, OptionOrigins said, Environment* environment,
                                            const OptionFilter& takes = nullptr);

}  // namespace reembed

#endif  // REEMBED_TOOLS_OPTION_LAYERS_H_
