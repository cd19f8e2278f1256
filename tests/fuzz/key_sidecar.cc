// SPDX-License-Identifier: Apache-2.0
// The keys beside a file of vectors.
#include "io/file/key_sidecar.h"

#include "io/file/key_column.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  static Scratch scratch;
  Input input(data, size);
  const auto rows = static_cast<int64_t>(input.Choose(8));
  scratch.Write("vectors.npy.keys.jsonl", input.rest());
  absl::StatusOr<std::unique_ptr<KeyColumn>> keys = OpenKeySidecar(scratch.dir() + "/vectors.npy", rows);
  Saw(keys.status());
  if (!keys.ok()) return 0;
  Require(*keys != nullptr, "a sidecar that is there is read");
  std::optional<Key> last;
  for (int64_t row = 0; row < rows; ++row) {
    const absl::StatusOr<KeyView> key = (*keys)->At(row);
    Saw(key.status());
    if (!key.ok()) return 0;
    last = Own(*key);
  }
  if (!last.has_value()) return 0;
  const absl::StatusOr<std::optional<int64_t>> found = FindRow(keys->get(), rows, 0, ViewOf(*last));
  Require(found.ok() && found->has_value(), "a key that is there is found");
  const absl::StatusOr<KeyView> at = (*keys)->At(**found);
  Require(at.ok() && *at == ViewOf(*last), "where it is found it is");
  return 0;
}
