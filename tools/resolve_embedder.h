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

// The words for --embedder.
std::vector<std::string> EmbedderNames();

}  // namespace reembed

#endif  // REEMBED_TOOLS_RESOLVE_EMBEDDER_H_
