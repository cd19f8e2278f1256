// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SAMPLE_AGENTLOOP_SAMPLE_H_
#define REEMBED_TOOLS_SAMPLE_AGENTLOOP_SAMPLE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace reembed {

struct AgentloopSampleOptions {
  int64_t rows = 1000;  // messages of all roles; about nine in ten are `user` or `assistant`
  uint64_t seed = 1;    // the same options give the same rows
  int text_bytes = 0;   // average of a message; 0: as short as people write, 40 to 300 bytes

  enum class Schema {
    kCurrent,           // `messages` has `embedding` and `embedding_model`, all NULL
    kBeforeEmbeddings,  // it has neither, as in databases from before the feature
  } schema = Schema::kCurrent;

  enum class OddRows {
    kNone,
    kSome,  // some per cent: NULL, empty, the same text again, other scripts, texts too long for any model
  } odd_rows = OddRows::kNone;
};

// Makes a new SQLite database at `path` as the agentloop memory system (Mem4AI) has it: sessions, messages, a full-text
// index that the application fills, indexes, metadata written as Python's str(dict); with made-up conversations on
// twenty topics, so that searching it gives sensible results. One transaction; nothing is at `path` until it is done.
// Errors: kAlreadyExists (something is at `path`); as SqliteDb.
// Source of the schema: agentloop/mem_db_adapter.py:43-69 of unclecode/agentloop at 40c3eb3; older form at 66cebe6.
absl::Status MakeAgentloopSample(const std::string& path, const AgentloopSampleOptions& options = {});

}  // namespace reembed

#endif  // REEMBED_TOOLS_SAMPLE_AGENTLOOP_SAMPLE_H_
