// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_RESOLVE_EMBEDDER_H_
#define REEMBED_TOOLS_RESOLVE_EMBEDDER_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/resolve.h"

namespace reembed {

inline constexpr char kBuiltinEmbedder[] = "builtin";

// The part of Resolve() that says who makes the vectors: job->embedder, client (all but its limits), known_model, and
// notes. Errors: as Resolve().
absl::Status ResolveEmbedder(const CommandOptions& options, const std::optional<SystemPreset>& preset,
                             const Environment& environment, KeyNeed key_need, ResolvedJob* job);

// What else besides text, model and width decides what a vector is, for JobIdentity::recipe; empty: nothing.
std::string EmbeddingRecipe(const ApiOptions& client);

// The value of --api-key-file for a key on standard input.
inline constexpr char kStandardInput[] = "-";

// Runs --api-key-cmd, or reads the first line of standard input for --api-key-file -, and keeps the key in *environment
// for FindApiKey(); does nothing without these flags, or where it has the key. Blocks.
// Errors: kInvalidArgument (also where standard input is the source, or a terminal), kDeadlineExceeded.
absl::Status AskForApiKey(const CommandOptions& options, Environment* environment);

// The key that AskForApiKey() has kept, or from --api-key-file or from the environment, the first variable that is set;
// empty if there is none.
absl::StatusOr<std::string> FindApiKey(const CommandOptions& options, const std::vector<std::string>& variables,
                                       const Environment& environment);

// The words for --embedder.
std::vector<std::string> EmbedderNames();

}  // namespace reembed

#endif  // REEMBED_TOOLS_RESOLVE_EMBEDDER_H_
