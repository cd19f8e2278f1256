// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_INDEX_PLACE_H_
#define REEMBED_TOOLS_INDEX_PLACE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/vector_reader.h"
#include "io/job/place_lock.h"
#include "tools/environment.h"
#include "tools/place.h"
#include "tools/registry.h"

namespace reembed {

// Vectors to build an index from, or to measure one against.
struct OpenedVectors {
  std::unique_ptr<VectorReader> reader;  // that checks no numbers
  std::string name;                      // for messages
  std::string uri;                       // as it is remembered
  std::string model;                     // empty: the place does not say
  std::string texts;                     // URI of the store with the texts of the rows; empty: not known
};

// `place`: a job directory, a file by its name alone if that says what it is, or a URI of anything that can be read
// back. `dim`: for places that hold vectors of several widths; 0: what is there. Errors: kInvalidArgument, kNotFound,
// and those of the place.
absl::StatusOr<OpenedVectors> OpenVectors(const std::string& place, int dim, const SecretVariables& variables,
                                          const Environment& environment);

// The place of an index: its path, or its URI without parameters. Errors: kInvalidArgument.
absl::StatusOr<Store> IndexPlace(const std::string& path, const Environment& environment);

// The right to write an index. Errors: kAborted (somebody else writes it), kInvalidArgument, kNotFound (no file can be
// made there; somebody has left something unfinished there).
absl::StatusOr<std::unique_ptr<PlaceLock>> LockIndex(const Store& index);

}  // namespace reembed

#endif  // REEMBED_TOOLS_INDEX_PLACE_H_
