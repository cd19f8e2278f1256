// SPDX-License-Identifier: Apache-2.0
// MemU's file of vectors.
#include "io/file/vectors_json.h"

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  static Scratch scratch;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  absl::StatusOr<std::unique_ptr<VectorsJson>> file = VectorsJson::Open(scratch.Write("vectors.json", bytes));
  Saw(file.status());
  if (!file.ok()) return 0;
  for (const VectorsJson::Collection& collection : (*file)->collections()) {
    Require((*file)->Find(collection.name) != nullptr, "a collection that is there is found");
    for (const auto& [id, at] : collection.by_id) {
      Require(at < collection.entries.size() && collection.Find(id) == &collection.entries[at], "an entry is found");
    }
    for (const VectorsJson::Entry& entry : collection.entries) {
      Require(entry.dim >= -1 && entry.dim <= static_cast<int64_t>(entry.vector.size()), "a width fits its text");
    }
  }
  return 0;
}
