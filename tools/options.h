// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_OPTIONS_H_
#define REEMBED_TOOLS_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace CLI {
class App;
}

namespace reembed {

// What the user asked for, word by word: flags of `run` and `plan`, or the same names in a job file.
// What has its default value was not said; mostly that is empty or 0.
struct CommandOptions {
  std::string job_file;
  std::string system, db;
  std::string db_token_env, db_password_env;
  std::string source;
  std::vector<std::string> targets;
  std::string embedder, api_base, model;
  int dimensions = 0;
  std::string output_type;  // float32 | float16 | bfloat16 | int8 | binary; empty: as the address of a target says
  int output_dim = 0;       // numbers that a target takes of each vector; 0: as its address says
  std::string api_key_env, api_key_file, api_key_cmd;
  std::vector<std::string> endpoints;  // see ParseEndpoint() in tools/endpoints.h
  std::string canary_interval;         // see ParseCanaryInterval() there
  std::string input_type;              // document | query | none
  bool input_type_is_default = false;  // nobody has said it: for what has a default of its own
  bool truncate = false;
  std::string long_text;                 // reject | truncate | split
  std::string tokenizer;                 // path of a vocabulary
  std::vector<std::string> headers;      // "name: value"
  std::vector<std::string> header_envs;  // "name: VARIABLE"
  std::vector<std::string> body_fields;  // "name=value", see ParseBodyField()
  std::string proxy, ca_file;
  int batch_size = 0;
  int concurrency = 0;
  int max_text = 0;  // bytes
  bool hedge = false;
  double rpm = 0;
  double tpm = 0;
  std::string max_spend;  // see ParseMaxSpend() in tools/spending.h
  int64_t max_tokens = 0;
  std::string max_duration;  // see MaxDuration()
  std::string cutoff;        // soft | hard | cautious
  std::string quota;         // redis://host/key, see ParseShareAddress()
  std::string cache;         // likewise, a path, or `default`
  double timeout_seconds = 0;
  double max_wait_seconds = 0;
  double stop_wait_seconds = -1;  // 0 is said, too
  bool all = false;
  bool mix = false;
  bool no_changed = false;
  int max_passes = 3;
  bool strict = false;
  bool force_recreate = false;
  std::string where, user, agent, resume_from;
  std::vector<std::string> streams;  // of the preset; empty: those it does by default
  std::string recipe;                // of the preset
  std::string updated_at;            // keep | now-iso
  int64_t limit = 0;
  std::string job;
  std::string shard;         // I/N, see ParseShard()
  int shards = 0;            // of plan
  std::string out;           // of plan: its file, or the folder of the shards
  std::string normalize;     // as-received | unit
  std::string plan;          // of run: a plan that `plan --out` wrote
  std::string keep_vectors;  // always | never
  bool no_undo = false;
  bool record = false;
  bool json = false;
  bool yes = false;
  bool no_input = false;
  bool error_on_nothing = false;
  bool accept_rejects = false;
  bool quiet = false;
  bool no_color = false;           // nothing is coloured
  std::string progress;            // auto | on | off | json
  std::string dashboard, metrics;  // see ParseListenAddress() in tools/live/listen_address.h
  std::string metrics_file;
  std::vector<std::string> reports;
  std::string notify;
  std::string env_file;
  bool no_env_file = false;
};

// How long requests in the air are waited for after a signal.
absl::Duration StopWait(const CommandOptions& options);

// --max-duration: seconds, or a duration as 90m; infinite: none was said. Errors: kInvalidArgument.
absl::StatusOr<absl::Duration> MaxDuration(const CommandOptions& options);

// Declares the flags on a subcommand, each also as REEMBED_<NAME> in the environment. `options` must outlive the app.
void AddJobOptions(CLI::App* app, CommandOptions* options);

// Declares only the flags that say who embeds, within which limits, and how to report.
void AddEmbedderOptions(CLI::App* app, CommandOptions* options);

// The flags of AddJobOptions() but for `but`, for a command that gives them on to runs on other machines.
void AddOptionsOfRun(CLI::App* app, CommandOptions* options, absl::Span<const absl::string_view> but);

// The words behind `reembed run` that say the same again: a flag and its value in one word, whatever the value begins
// with; the job file is last, behind `--`.
std::vector<std::string> WordsOf(const CommandOptions& options);

// Reads the job file named in options->job_file, if any, under what was said by flags: a flag wins. A job file may
// have the sections of a preset ([[stream]], [db], [model], ...: data/systems/README.md); then it is its own --system.
// Errors: kNotFound, kInvalidArgument (names the line, and the nearest known name).
absl::Status ReadJobFile(CommandOptions* options);

// The options as a job file that asks for the same, without secrets; its first line is the format number.
std::string WriteJobFile(const CommandOptions& options);

}  // namespace reembed

#endif  // REEMBED_TOOLS_OPTIONS_H_
