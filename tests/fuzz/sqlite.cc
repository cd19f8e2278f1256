// SPDX-License-Identifier: Apache-2.0
// Databases that are damaged, or made by somebody who means harm: read as a source, and as a target.
#include "engine/location.h"
#include "io/store/sqlite/sqlite_reader.h"
#include "io/store/sqlite/sqlite_source.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  static Scratch scratch;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Location location{.scheme = "sqlite",
                          .path = scratch.Write("rows.db", bytes),
                          .parameters = {{"table", "rows"}, {"key", "id"}, {"text", "body"}, {"vector", "vector"}}};
  absl::StatusOr<std::unique_ptr<Source>> source = OpenSqliteSource(location, {.dim = 2});
  Saw(source.status());
  for (int rows = 0; source.ok() && rows < 1000; ++rows) {
    const absl::StatusOr<std::optional<RowView>> row = (*source)->Next();
    Saw(row.status());
    if (!row.ok() || !row->has_value()) break;
  }
  absl::StatusOr<std::unique_ptr<VectorReader>> reader = OpenSqliteReader(location);
  Saw(reader.status());
  for (int rows = 0; reader.ok() && rows < 1000; ++rows) {
    const absl::StatusOr<std::optional<StoredVector>> row = (*reader)->Next();
    Saw(row.status());
    if (!row.ok() || !row->has_value()) break;
    Require((*row)->vector.size() == static_cast<size_t>((*reader)->dim()), "a vector has the reader's width");
  }
  return 0;
}
