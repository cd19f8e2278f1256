// SPDX-License-Identifier: Apache-2.0
// HDF5 files: vectors, and texts.
#include "io/file/hdf5_reader.h"
#include "io/file/hdf5_source.h"
#include "tests/fuzz/fuzz.h"

// The library asks for as many bytes as a damaged file says, and copes with getting none; so must the sanitizer. It
// does not give back everything when it gives such a file up.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  static Scratch scratch;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Location location{.scheme = "hdf5", .path = scratch.Write("rows.h5", bytes)};
  absl::StatusOr<std::unique_ptr<VectorReader>> reader = OpenHdf5Reader(location);
  Saw(reader.status());
  if (reader.ok() && (*reader)->rows() < 1000) ReadAll(reader->get());
  reader = absl::UnknownError("closed");
  Location texts = location;
  texts.parameters = {{"texts", "keys"}};
  absl::StatusOr<std::unique_ptr<Source>> source = OpenHdf5Source(texts);
  Saw(source.status());
  if (source.ok() && (*source)->CountRows().value_or(0) < 1000) ReadAll(source->get());
  return 0;
}
