// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_QDRANT_QDRANT_POINTS_H_
#define REEMBED_IO_STORE_QDRANT_QDRANT_POINTS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "io/store/qdrant/qdrant_id.h"

namespace reembed {

// One point of an answer. The views are of the answer's text.
struct QdrantPoint {
  QdrantId id;
  absl::string_view payload;  // a JSON object as the server wrote it; empty: there is none
  absl::string_view vector;   // a JSON array, or an object of named ones; empty: there is none
};

struct QdrantPage {
  std::vector<QdrantPoint> points;
  std::optional<QdrantId> next;  // of a scroll that is not at its end
};

// Reads the answer to points/scroll or points. `answer` is lengthened by what the parser needs behind it.
// Errors: kDataLoss (not what Qdrant answers), without a prefix.
absl::StatusOr<QdrantPage> ReadQdrantPage(std::string* answer);

// The vector `name` (empty: the one without a name) in QdrantPoint::vector; empty: the point has it not.
absl::string_view QdrantVectorIn(absl::string_view vector, absl::string_view name);

// The field `name` of a payload as raw JSON; `a.b` is the field `b` in the field `a`, unless there is an `a.b`. Empty:
// it is not there. The view is of `payload`.
absl::string_view QdrantFieldIn(absl::string_view payload, absl::string_view name);

// The names of a payload's fields.
std::vector<std::string> QdrantFieldNames(absl::string_view payload);

// A fingerprint of the payload, the same for whatever order of fields and whatever writing of numbers; empty: it is no
// JSON object.
std::string QdrantPayloadPrint(absl::string_view payload);

// Appends {"name":[...]}, or the bare array where the vector has no name.
void AppendQdrantVector(absl::string_view name, absl::Span<const float> vector, std::string* out);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_QDRANT_QDRANT_POINTS_H_
