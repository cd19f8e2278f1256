// SPDX-License-Identifier: Apache-2.0
#include "engine/open_sinks.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/contained.h"
#include "engine/ledger.h"
#include "engine/owed_rows.h"
#include "engine/status_macros.h"
#include "engine/vector_sink.h"

namespace reembed {

absl::StatusOr<OpenedSinks> OpenSinks(const PipelineOptions& options, const PipelineParts& parts) {
  OpenedSinks opened;
  RowReader::Options& read_from = opened.read_from;
  read_from.from = parts.sinks.empty() ? 0 : parts.ledger->rows();
  read_from.replay = !parts.sinks.empty();
  read_from.max_new_rows = options.max_rows;
  read_from.text_limit = options.text_limit;
  read_from.max_text_bytes = options.max_text_bytes;
  read_from.estimator = parts.estimator;
  read_from.quota_tokens = options.quota_tokens;
  read_from.learned = options.learned;
  SinkContext context{.model = parts.client->model(), .expected_rows = parts.expected_rows};
  for (const NamedSink& sink : parts.sinks) {
    context.undo = sink.undo;
    absl::StatusOr<std::vector<int64_t>> owed = std::vector<int64_t>();
    if (parts.owed != nullptr) owed = parts.owed->Owed(sink.name);
    ABSL_RETURN_IF_ERROR(owed.status());
    const bool replaces = sink.sink->row_order() == RowOrder::kAny;
    if (!owed->empty() && !replaces) {
      ABSL_RETURN_IF_ERROR(parts.owed->BeginAgain(sink.name));
    }
    ABSL_ASSIGN_OR_RETURN(const SinkPosition last, parts.ledger->Position(sink.name));
    context.begun = last.position > 0;
    const absl::StatusOr<int64_t> start =
        options.prepares ? PrepareAndOpen(sink.sink, context, last) : sink.sink->Open(context, last);
    ABSL_RETURN_IF_ERROR(OfTarget(sink.name, start.status()));
    if (*start > last.position || *start < 0) {
      return absl::InternalError(absl::StrCat("target ", sink.name, ": wants to go on at row ", *start,
                                              ", but has rows up to ", last.position));
    }
    if (*start < last.position) {
      parts.ledger->SavePosition(sink.name, *start);
      // At once: the sink has dropped those rows, and a later position must not be believed after a crash.
      ABSL_RETURN_IF_ERROR(parts.ledger->Sync());
    }
    opened.starts.push_back(*start);
    read_from.from = std::min(read_from.from, *start);
    read_from.cuts.push_back(*start);
    // What is behind comes to the sink in its turn.
    for (const int64_t ordinal : *owed) {
      if (replaces && ordinal < *start) read_from.owed.push_back(ordinal);
    }
  }
  std::sort(read_from.owed.begin(), read_from.owed.end());
  read_from.owed.erase(std::unique(read_from.owed.begin(), read_from.owed.end()), read_from.owed.end());
  read_from.lookup = parts.lookup;
  read_from.new_rows = parts.new_rows;
  return opened;
}

}  // namespace reembed
