// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_REGISTRY_H_
#define REEMBED_TOOLS_REGISTRY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/embedding_client.h"
#include "engine/location.h"
#include "engine/overwriting.h"
#include "engine/run_record.h"
#include "engine/selection.h"
#include "engine/source.h"
#include "engine/survey.h"
#include "engine/target_lock.h"
#include "engine/undo_log.h"
#include "engine/vector_reader.h"
#include "engine/vector_sink.h"
#include "io/job/lock_owner.h"
#include "io/store/lease.h"

namespace reembed {

// One kind of place, by URI scheme. To add one, write its file in io/ and a line in the table of registry.cc.
struct Scheme {
  const char* name;
  const char* example;
  // Null where the place cannot be used so.
  absl::StatusOr<std::unique_ptr<Source>> (*open_source)(const Location&, const Selection&);
  absl::StatusOr<std::unique_ptr<VectorSink>> (*make_sink)(const Location&, const Model&, const Location& source);
  absl::StatusOr<std::unique_ptr<VectorReader>> (*open_reader)(const Location&, int dim);
  // Of tables, where a source with a `vector` is filled in place; null of all other places.
  // What the source's table holds now.
  absl::StatusOr<Survey> (*survey)(const Location&, const Selection&) = nullptr;
  // What a target will change besides adding vectors, one line each, for people.
  absl::StatusOr<std::vector<std::string>> (*changes)(const Location&, const Model&) = nullptr;

  // Of targets that not every key fits: kInvalidArgument says why and what to do.
  absl::Status (*check_key)(const Location& target, KeyView key) = nullptr;

  // Of targets whose sink shows the undo log what it overwrites: puts that back. It may have been called before, and
  // may have been killed then. A row that does not hold the written vector any more stays as it is, and is reported.
  absl::StatusOr<RollbackReport> (*roll_back)(const Location& target, UndoReader* old_rows) = nullptr;

  // Of targets that do not replace vectors row by row, or not always. Reads only. Null: they do.
  absl::StatusOr<Overwriting> (*overwriting)(const Location& target, const Model&) = nullptr;

  // Of sources of a system that remembers its migrations: keeps the record as a row, unless that is there already, and
  // returns a source of this one row.
  absl::StatusOr<std::unique_ptr<Source>> (*keep_record)(const Location& source, const RunRecord& record) = nullptr;

  // Of stores where two jobs could fill one column at a time: the right to do so. A null lock, or none here: there can
  // be none. `note`: gets a line while another's is waited for. Errors: kAborted (another job has it; names it).
  absl::StatusOr<std::unique_ptr<TargetLock>> (*lock)(const Location& target, const LockOwner& self,
                                                      const LeaseNote& note) = nullptr;

  bool is_table() const { return survey != nullptr; }
};

absl::Span<const Scheme> Schemes();

// The examples of all places that can be used so, as &Scheme::make_sink.
template <typename Role>
std::vector<std::string> PlacesThatCanBe(Role Scheme::*role) {
  std::vector<std::string> examples;
  for (const Scheme& scheme : Schemes()) {
    if (scheme.*role == nullptr || (!examples.empty() && examples.back() == scheme.example)) continue;
    examples.push_back(scheme.example);
  }
  return examples;
}

// Null: this version has no such scheme.
const Scheme* FindScheme(absl::string_view name);

// Errors: kInvalidArgument (unknown scheme, or it cannot be used as source, target or for reading; says which can).
absl::StatusOr<std::unique_ptr<Source>> OpenSource(const Location& location, const Selection& selection);
absl::StatusOr<std::unique_ptr<VectorSink>> MakeSink(const Location& location, const Model& model,
                                                     const Location& source);
// A vector with a NaN or an infinity is a kDataLoss of its row, whatever the place.
absl::StatusOr<std::unique_ptr<VectorReader>> OpenReader(const Location& location, int dim);

}  // namespace reembed

#endif  // REEMBED_TOOLS_REGISTRY_H_
