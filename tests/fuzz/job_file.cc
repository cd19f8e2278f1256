// SPDX-License-Identifier: Apache-2.0
// job.toml, as a user or an earlier run has written it.
#include <string>

#include "tests/fuzz/fuzz.h"
#include "tools/options.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  static Scratch scratch;
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  CommandOptions options;
  options.job_file = scratch.Write("job.toml", text);
  const absl::Status status = ReadJobFile(&options);
  Saw(status);
  if (!status.ok()) return 0;
  const std::string written = WriteJobFile(options);
  CommandOptions again;
  again.job_file = scratch.Write("again.toml", written);
  Require(ReadJobFile(&again).ok(), "a job file that was written is read");
  Require(WriteJobFile(again) == written, "a job file is read as it was written");
  return 0;
}
