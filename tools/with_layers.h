// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_WITH_LAYERS_H_
#define REEMBED_TOOLS_WITH_LAYERS_H_

#include <functional>

#include "absl/status/status.h"
#include "tools/environment.h"
#include "tools/exit_code.h"
#include "tools/option_layers.h"
#include "tools/options.h"
#include "tools/usage.h"

// How each command gets the options of all layers: one that says who embeds puts them together as run does, the others
// take what files say of the flags that they share with it.
namespace reembed {

struct LayeredCommand {
  const char* name;
  OptionFilter takes = nullptr;  // what files may say to it; null: all that they may say to run
  bool needs_key = true;         // false: --api-key-cmd and the like are for others, to whom it is given on
};

// Puts the options of all layers together and runs a command with them, and with the variables of their files.
ExitCode WithLayers(const LayeredCommand& command, const CommandOptions& given, OptionOrigins said,
                    const Environment& environment,
                    const std::function<ExitCode(const LayeredOptions&, const Environment&)>& run);

// Gives the options of `command`, which was parsed, what .env and files of settings say of those flags that mean the
// same for all commands, where neither a flag nor a variable does; of `backup` also what is saved. Says what a user
// should know of it. Does nothing for commands that say who embeds (--embedder), as they use WithLayers().
// Errors: as LayerOptions.
absl::Status TakeSharedSettings(CLI::App* command, Words words);

}  // namespace reembed

#endif  // REEMBED_TOOLS_WITH_LAYERS_H_
