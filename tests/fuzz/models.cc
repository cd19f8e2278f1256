// SPDX-License-Identifier: Apache-2.0
// The table of known models.
#include <cstdlib>
#include <vector>

#include "tests/fuzz/fuzz.h"
#include "tools/presets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  static Scratch scratch;
  static const int found = setenv("REEMBED_DATA", scratch.dir().c_str(), 1);
  Require(found == 0, "the table is found");
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  scratch.Write("models.toml", text);
  const absl::StatusOr<std::vector<KnownModel>> models = LoadModels(Environment());
  Saw(models.status());
  if (!models.ok()) return 0;
  for (const KnownModel& model : *models) {
    (void)IsNameOf(model, "text:latest");
    Require(model.dim >= 0 && model.max_dim >= 0 && model.max_tokens >= 0, "no number of a model is below zero");
  }
  return 0;
}
