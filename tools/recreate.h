#ifndef REEMBED_TOOLS_RECREATE_H_
#define REEMBED_TOOLS_RECREATE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "tools/resolve.h"

namespace reembed {

// A yes at the terminal to `what`, which says what will be lost. Errors: kInvalidArgument (there was none; where nobody
// can be asked, `otherwise` says what to do before --yes).
absl::Status AskForYes(absl::string_view what, absl::string_view otherwise);

// What --force-recreate asks for: the tables that the jobs' system has in their PostgreSQL target are dropped, with
// consent, after the embedder has answered. The jobs then make them anew, and put in what they have bought already.
// Nothing happens without that flag. Errors: kInvalidArgument (no such target; no consent); as ProbeEmbedder,
// DropPostgresTables.
absl::Status RecreateTables(const CommandOptions& options, std::vector<ResolvedJob>* jobs);

}  // namespace reembed

#endif  // REEMBED_TOOLS_RECREATE_H_
