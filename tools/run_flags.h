// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_RUN_FLAGS_H_
#define REEMBED_TOOLS_RUN_FLAGS_H_

#include <functional>

#include "tools/environment.h"
#include "tools/exit_code.h"
#include "tools/options.h"
#include "tools/usage.h"

namespace reembed {

// Declares a command that takes all the options of a job; `run` gets those of all layers (option_layers.h) and the
// variables of their files. Parsing sets *chosen to it. `words`: as given; they outlive the app.
CLI::App* AddJobCommand(CLI::App* app, const char* name, const char* what, const char* examples, Words words,
                        const std::function<ExitCode(const CommandOptions&, const Environment&)>& run,
                        std::function<ExitCode(const Environment&)>* chosen);

// Declares run and plan.
void AddRunAndPlan(CLI::App* app, Words words, std::function<ExitCode(const Environment&)>* chosen);

}  // namespace reembed

#endif  // REEMBED_TOOLS_RUN_FLAGS_H_
