// SPDX-License-Identifier: Apache-2.0
// Cells of vector columns of PostgreSQL and SQLite, in every form.
#include <cmath>
#include <string>
#include <vector>

#include "io/store/postgres/postgres_vector.h"
#include "io/store/vector_encoding.h"
#include "tests/fuzz/fuzz.h"

namespace reembed::fuzz {
namespace {

void CheckPostgres(PostgresForm form, absl::string_view cell) {
  std::vector<float> room(64), small(3);
  const int64_t dim = DecodePostgresVector(form, cell, absl::MakeSpan(room));
  Require(dim >= -1 && dim <= static_cast<int64_t>(8 * cell.size()), "there are not more numbers than bits");
  Require(dim < 0 || DecodePostgresVector(form, cell, absl::MakeSpan(small)) == dim,
          "how many there are is not for the room");
  (void)DecodePostgresVector(form, cell, {});
  Saw(dim < 0 ? "none" : dim == 0 ? "empty" : "a vector");
  if (dim <= 0 || dim > static_cast<int64_t>(room.size())) return;
  room.resize(static_cast<size_t>(dim));
  for (const float number : room) Require(std::isfinite(number), "a vector is finite");
  std::string element;
  if (!AppendPostgresVector(form, room, &element)) return;
  Require(element.size() >= 4 && ReadInt32(element) == element.size() - 4, "an element is as long as it says");
  std::vector<float> again(room.size());
  Require(DecodePostgresVector(form, absl::string_view(element).substr(4), absl::MakeSpan(again)) == dim,
          "a vector has the width with which it was sent");
  Require(SameBits(room, again), "a vector is read as it was sent");
}

void CheckEncoding(VectorEncoding encoding, absl::string_view cell) {
  const int64_t dim = EncodedDim(encoding, cell);
  Require(dim >= -1 && dim <= static_cast<int64_t>(cell.size()), "there are not more numbers than bytes");
  if (dim <= 0 || dim > 64) return;
  std::vector<float> vector(static_cast<size_t>(dim)), again(vector.size());
  if (!DecodeVector(encoding, cell, absl::MakeSpan(vector))) return;
  for (const float number : vector) Require(std::isfinite(number), "a vector is finite");
  std::string scratch;
  Require(DecodeVector(encoding, EncodeVector(encoding, vector, &scratch), absl::MakeSpan(again)), "is read again");
  for (size_t i = 0; i < again.size(); ++i) Require(again[i] == vector[i], "a vector is read as it was written");
}

}  // namespace
}  // namespace reembed::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  const absl::string_view cell(reinterpret_cast<const char*>(data), size);
  for (const PostgresForm form :
       {PostgresForm::kVector, PostgresForm::kHalfvec, PostgresForm::kBit, PostgresForm::kJson, PostgresForm::kBytes}) {
    CheckPostgres(form, cell);
  }
  for (const VectorEncoding encoding : {VectorEncoding::kF32, VectorEncoding::kJsonJs, VectorEncoding::kJsonPython}) {
    CheckEncoding(encoding, cell);
  }
  return 0;
}
