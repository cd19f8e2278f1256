// SPDX-License-Identifier: Apache-2.0
#include "tools/options.h"

#include <CLI/CLI.hpp>
#include <cmath>
#include <type_traits>
#include <variant>

#include "absl/algorithm/container.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tools/option_table.h"
#include "tools/usage.h"

namespace reembed {
namespace {

constexpr absl::Duration kDefaultStopWait = absl::Seconds(10);

void AddEntries(CLI::App* app, CommandOptions* options, absl::FunctionRef<bool(const OptionEntry&)> wanted) {
  for (const OptionEntry& entry : OptionEntries()) {
    if (!wanted(entry)) continue;
    const std::string flag = absl::StrCat("--", entry.name);
    const std::string variable = VariableOfOption(entry.name);
    std::visit(
        [&](auto member) {
          auto& value = options->*member;
          if constexpr (std::is_same_v<std::decay_t<decltype(value)>, bool>) {
            app->add_flag(flag, value, entry.help)->group(entry.group)->envname(variable);
          } else {
            CLI::Option* const option = app->add_option(flag, value, entry.help)->group(entry.group)->envname(variable);
            using T = std::decay_t<decltype(value)>;
            if constexpr (std::is_integral_v<T>) option->check(WholeNotNegative());
            if constexpr (std::is_floating_point_v<T>) option->check(NotNegative());
            if (!entry.words.empty()) option->check(CLI::IsMember(entry.words));
            // One value a flag: otherwise a job file that follows --target would be taken for a target.
            if constexpr (std::is_same_v<T, std::vector<std::string>>) {
              option->allow_extra_args(false);
            }
          }
        },
        entry.member);
  }
  // A bare --dashboard is any free port; its text would show the default as if it held without the flag.
  if (CLI::Option* const page = app->get_option_no_throw("--dashboard"); page != nullptr) {
    page->expected(0, 1)->default_str("on")->option_text("TEXT (Env:REEMBED_DASHBOARD)");
  }
}

}  // namespace

absl::Duration StopWait(const CommandOptions& options) {
  return options.stop_wait_seconds < 0 ? kDefaultStopWait : absl::Seconds(options.stop_wait_seconds);
}

absl::StatusOr<absl::Duration> MaxDuration(const CommandOptions& options) {
  if (options.max_duration.empty()) return absl::InfiniteDuration();
  double seconds = 0;
  absl::Duration limit;
  if (absl::SimpleAtod(options.max_duration, &seconds)) {
    limit = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(options.max_duration, &limit)) {
    limit = absl::ZeroDuration();
  }
  if (std::isnan(seconds) || limit <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("--max-duration ", options.max_duration,
                                                   ": expected seconds above 0, or a duration as 90m or 8h"));
  }
  return limit;
}

void AddJobOptions(CLI::App* app, CommandOptions* options) { AddOptionsOfRun(app, options, {}); }

void AddOptionsOfRun(CLI::App* app, CommandOptions* options, absl::Span<const absl::string_view> but) {
  app->add_option("job-file", options->job_file, "a job file: the flags below as TOML")->group("What");
  AddEntries(app, options, [but](const OptionEntry& entry) { return !absl::c_linear_search(but, entry.name); });
}

std::vector<std::string> WordsOf(const CommandOptions& options) {
  std::vector<std::string> words;
  for (const OptionEntry& entry : OptionEntries()) {
    const bool is_switch = std::holds_alternative<bool CommandOptions::*>(entry.member);
    for (const std::string& value : OptionValues(entry, options)) {
      words.push_back(absl::StrCat("--", entry.name, is_switch ? "" : "=", is_switch ? "" : value));
    }
  }
  if (!options.job_file.empty()) words.insert(words.end(), {"--", options.job_file});
  return words;
}

void AddEmbedderOptions(CLI::App* app, CommandOptions* options) {
  AddEntries(app, options, [](const OptionEntry& entry) {
    for (const absl::string_view other : {"normalize", "endpoint", "canary-interval", "max-spend", "max-tokens",
                                          "max-duration", "cutoff", "quota", "cache"}) {
      if (entry.name == other) return false;
    }
    for (const absl::string_view also : {"json", "env-file", "no-env-file"}) {
      if (entry.name == also) return true;
    }
    const absl::string_view group = entry.group;
    return group == "Embedder" || group == "Limits";
  });
}

}  // namespace reembed
