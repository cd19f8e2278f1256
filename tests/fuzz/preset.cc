// SPDX-License-Identifier: Apache-2.0
// Presets of memory systems.
#include "tests/fuzz/fuzz.h"
#include "tools/presets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<SystemPreset> preset = ParseSystemPreset(text, "preset.toml");
  Saw(preset.status());
  if (!preset.ok()) return 0;
  Require(!preset->streams.empty(), "a preset has a stream");
  Require(preset->dim >= 0, "a width is not below zero");
  for (const PresetProvider& provider : preset->providers) {
    Require(provider.dim >= 0 && provider.max_dim >= 0, "a provider's width is not below zero");
  }
  return 0;
}
