// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_COMMANDS_H_
#define REEMBED_TOOLS_COMMANDS_H_

#include <string>
#include <vector>

#include "tools/environment.h"
#include "tools/exit_code.h"
#include "tools/option_layers.h"
#include "tools/options.h"

// One function per subcommand, one file per function. Each prints to standard output and standard error and returns
// what the shell is told. docs: README.md.
namespace reembed {

// `options` of these and of DoctorCommand: what the job's file says is in them, see ReadJobFile.
ExitCode RunCommand(const CommandOptions& options, const Environment& environment);
ExitCode PlanCommand(CommandOptions options, const Environment& environment);

struct VerifyOptions {
  std::string job;
  int64_t sample = 0;   // rows to embed again and compare; costs requests
  bool repair = false;  // buys damaged vectors again, and writes what targets lack or hold otherwise
  bool yes = false;     // do not ask
  bool no_input = false;
  std::string api_key_env, api_key_file, api_key_cmd, api_base;
  std::string progress = "auto";  // see ProgressStyleOf()
  bool json = false;
  bool quiet = false;
};
ExitCode VerifyCommand(const VerifyOptions& options, const Environment& environment);

struct StatusOptions {
  std::string job;       // empty: all jobs in the default folder
  int64_t rejects = 10;  // how many to show
  bool json = false;
};
ExitCode StatusCommand(const StatusOptions& options, const Environment& environment);

struct CtlOptions {
  std::string job;
  std::vector<std::string> words;  // see LiveRun::Obey(); also `dashboard`
  bool json = false;
};
ExitCode CtlCommand(const CtlOptions& options);

struct DashboardOptions {
  std::string job;
  std::string listen = "on";  // see ParseListenAddress()
};
// Shows a run that goes on, or the last one that did, until it is told to end.
ExitCode DashboardCommand(const DashboardOptions& options);

struct ReportOptions {
  std::string job;
  std::string to;  // NAME.html or NAME.md; empty: Markdown to standard output
};
ExitCode ReportCommand(const ReportOptions& options);

struct RollbackOptions {
  std::string job;
  bool yes = false;
  bool no_input = false;
  bool force = false;             // also where another job has written to the same place since
  std::string progress = "auto";  // see ProgressStyleOf()
  bool json = false;
  bool quiet = false;
};
ExitCode RollbackCommand(const RollbackOptions& options, const Environment& environment);

struct ParentOptions {
  std::string parent;             // the folder of a job's shares
  std::string progress = "auto";  // see ProgressStyleOf()
  bool json = false;
  bool quiet = false;
};
// The last step of the targets, where no share came to it.
ExitCode PublishCommand(const ParentOptions& options, const Environment& environment);
// One file of the parts that the shares have written, for each target that is a file.
ExitCode MergeCommand(const ParentOptions& options, const Environment& environment);

struct RetryRejectsOptions {
  std::string job;
  CommandOptions run;  // flags for the run; those of the job come from its own file
};
ExitCode RetryRejectsCommand(const RetryRejectsOptions& options, const Environment& environment);

struct BackupOptions {
  std::string system, db;            // as for run
  std::vector<std::string> sources;  // further places, or places without a system
  std::string db_token_env;          // variable with the token of a libSQL server
  std::string db_password_env;       // variable with the password of a PostgreSQL or FalkorDB server
  std::string to;                    // folder that is made
  std::string env_file;
  bool no_env_file = false;
  std::string progress = "auto";  // see ProgressStyleOf()
  bool json = false;
  bool quiet = false;
};
ExitCode BackupCommand(const BackupOptions& options, const Environment& environment);

struct RestoreOptions {
  std::string backup;                // folder that BackupCommand made
  std::string db;                    // where the database goes; empty: where it came from
  std::vector<std::string> targets;  // where other places go, by their scheme
  std::string only;                  // file of the one part that is meant; empty: all
  std::string db_token_env;          // variable with the token of a libSQL server
  std::string db_password_env;       // variable with the password of a PostgreSQL or FalkorDB server
  std::string env_file;
  bool no_env_file = false;
  bool yes = false;
  bool no_input = false;
  std::string progress = "auto";  // see ProgressStyleOf()
  bool json = false;
  bool quiet = false;
};
ExitCode RestoreCommand(const RestoreOptions& options, const Environment& environment);

struct SearchCommandOptions {
  std::string query;   // words that were given apart are joined by blanks
  std::string index;   // a FAISS index of ours ...
  std::string target;  // ... or any target that can be read, compared row by row
  std::string source;  // where the texts are; default: what the index remembers
  int k = 5;
  int nprobe = 0;  // 0: the index's own
  int ef_search = 0;
  CommandOptions who;   // who embeds the query, and what places ask for, of all layers; input_type empty: query
  CommandOptions said;  // the same without what files of settings say
};
ExitCode SearchCommand(const SearchCommandOptions& options, const Environment& environment);

struct BenchEndpointOptions {
  CommandOptions embedder;  // the flags that say who embeds; --concurrency and --batch-size are the highest to measure
  double seconds = 3;       // for each cell
  int64_t max_tokens = -1;  // -1: 200,000, and any number where the embedder costs nothing; 0: any number
  std::string texts;        // file with a text a line; empty: sentences are made up
  std::string report;       // page to write: NAME.html or NAME.md; empty: none
};
ExitCode BenchEndpointCommand(const BenchEndpointOptions& options, const Environment& environment);

struct SystemsOptions {
  std::string name;         // empty: list all
  std::string make_sample;  // path of a sample database to make
  int64_t rows = 2000;
  int text_bytes = 0;  // 0: like conversations
};
ExitCode SystemsCommand(const SystemsOptions& options, const Environment& environment);

struct DemoOptions {
  std::string folder = "reembed-demo";  // made, or of an earlier demo
};
// Makes a sample database, embeds it by the built-in embedder, builds an index and searches it; prints each command as
// a user would give it. No key, no network. May be repeated: the second time nothing is bought.
ExitCode DemoCommand(const DemoOptions& options, const Environment& environment);

// Whether this machine, and the API and stores of a job if one is asked for, would let a run come to its end. Sends one
// text where there is an API. The exit code is that of the first problem.
ExitCode DoctorCommand(CommandOptions options, const Environment& environment);

// Prints the options of a job as they stand, and with `with_origin` which layer each comes from. Secrets are hidden.
ExitCode ConfigShowCommand(const LayeredOptions& all, bool with_origin);

// Where this command reads and writes by default.
ExitCode PathsCommand(bool json, const Environment& environment);

// Prints the completions of a shell ("bash", "zsh", "fish"), the man page ("man"), or words that completions ask for
// ("systems", "jobs"), made from the flags of `app`.
ExitCode CompletionCommand(const CLI::App& app, const std::string& what, const Environment& environment);

}  // namespace reembed

#endif  // REEMBED_TOOLS_COMMANDS_H_
