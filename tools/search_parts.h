// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SEARCH_PARTS_H_
#define REEMBED_TOOLS_SEARCH_PARTS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/embedding_client.h"
#include "index/hit.h"
#include "tools/commands.h"
#include "tools/environment.h"
#include "tools/option_layers.h"

// What `search` and `index search` have in common.
namespace reembed {

// The vector of options.query, by the model that made the vectors it is compared with; options.who.embedder empty: the
// built-in one for its own vectors, else OpenAI's API. Errors: of options and API.
absl::StatusOr<std::vector<float>> EmbedQuery(const SearchCommandOptions& options, const Model& model,
                                              const Environment& environment);

// What files of settings say of who embeds a query. Not how wide, which the place knows, and not that texts are
// documents.
bool FilesSayToSearch(const OptionEntry& entry);

// kFailedPrecondition if the user says another model than made what is searched; names both. Either may be empty.
absl::Status CheckSameModel(const std::string& place, const std::string& made_by, const std::string& asked);

// Prints the hits on standard output, with the texts of their rows where `source` (URI; empty: none) still has them.
void PrintHits(const std::vector<Hit>& hits, const std::string& source, const SearchCommandOptions& options,
               const Environment& environment);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SEARCH_PARTS_H_
