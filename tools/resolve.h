// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_RESOLVE_H_
#define REEMBED_TOOLS_RESOLVE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/pipeline.h"
#include "io/embed/api_client.h"
#include "io/job/job_store.h"
#include "io/share/share_address.h"
#include "tools/environment.h"
#include "tools/options.h"
#include "tools/presets.h"
#include "tools/registry.h"
#include "tools/shard_plan.h"

namespace reembed {

enum class Embedder { kApi, kBuiltin };

// One of several places that serve the model.
struct ResolvedEndpoint {
  std::string name;  // for messages
  double weight = 1;
  ApiOptions client;
};

// What a job has in common with other workers; see tools/sharing.h.
struct SharedParts {
  std::optional<ShareAddress> quota;
  std::optional<ShareAddress> cache;
  std::string cache_file;  // absolute; a cache is there or in a file

  bool has_cache() const { return cache.has_value() || !cache_file.empty(); }
};

// That a job is one of several shares of a job.
struct ShardOfJob {
  Shard shard;
  std::string parent;                // the folder of all of them
  std::optional<ShardPlan> plan;     // nullopt: nobody has made it yet, and the selection has no range
  std::vector<Store> whole_targets;  // what the parts become that this share writes; tables as they are
};

// What a job is, with every default filled in and every word checked. Nothing has been written or sent; only a preset
// for PostgreSQL looks at the catalog of its database.
struct ResolvedJob {
  CommandOptions options;  // as given, job file included, and what a preset found out
  std::string name;        // for people: the system's name, or the source's file name
  std::string stream;      // which of its streams; empty: it has one
  bool optional = false;   // not done where its table is not there
  Store source;
  std::vector<Store> targets;  // the source's own table, if it is a target, comes first
  bool in_place = false;       // it is
  Selection selection;
  std::optional<UserTable> users;  // where --user must be found, see CheckUser
  Embedder embedder = Embedder::kApi;
  ApiOptions client;  // api_base is empty for kBuiltin until its server runs. With endpoints: the first one's
  std::vector<ResolvedEndpoint> endpoints;  // as --endpoint names them; empty: there is only `client`
  SharedParts shared;
  absl::Duration canary_interval;  // infinite: only at the start, and that only with several endpoints
  std::optional<KnownModel> known_model;
  PipelineOptions pipeline;
  JobIdentity identity;
  KeepVectors keep_vectors = KeepVectors::kAlways;
  std::optional<ShardOfJob> share;            // nullopt: the job is done as a whole
  std::string directory;                      // empty: nobody has said one, and CheckJobsFolder() fails
  std::string jobs_folder;                    // where earlier jobs are looked for
  std::vector<std::string> recreated_tables;  // see --force-recreate; empty: it does not go with this job
  std::vector<std::string> dropped_tables;    // of them, by this command: set by RecreateTables()
  std::vector<std::string> known_tables;      // of the system's database: all that its preset describes
  std::vector<std::string> notes;             // what else a user may want to know, one line each
};

// The folder of the job, or of all its shares.
inline const std::string& FolderOfAll(const ResolvedJob& job) {
  return job.share.has_value() ? job.share->parent : job.directory;
}

// Errors: kInvalidArgument, kNotFound (an argument is wrong or missing); kUnauthenticated (no API key, and where to put
// it).
enum class KeyNeed { kWanted, kNone };  // kNone: nothing will be sent
absl::StatusOr<ResolvedJob> Resolve(const CommandOptions& options, const Environment& environment,
                                    KeyNeed key_need = KeyNeed::kWanted);

// The same for what may have several streams: one job for each that was asked for, in the order in which they are
// done, each in a folder of the whole job's directory that has its name.
// Errors: as Resolve; kInvalidArgument (a target that several streams would write to).
absl::StatusOr<std::vector<ResolvedJob>> ResolveStreams(const CommandOptions& options, const Environment& environment,
                                                        KeyNeed key_need = KeyNeed::kWanted);

// The options under which job.toml remembers the job: as given, with absolute places and the defaults of today that
// decide what the job is. Never a secret.
CommandOptions DescribedOptions(const ResolvedJob& job);

// $XDG_STATE_HOME/reembed/jobs, where jobs without --job go; empty: there is no such place, see CheckJobsFolder().
std::string JobsFolder(const Environment& environment);

// Errors: kNotFound (there is none: the user has no home, and no variable names another place).
absl::Status CheckJobsFolder(const Environment& environment);

// Whether an API base URL names this machine, so that no key is wanted and nothing is paid.
bool IsLoopback(absl::string_view url);

}  // namespace reembed

#endif  // REEMBED_TOOLS_RESOLVE_H_
