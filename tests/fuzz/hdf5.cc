// SPDX-License-Identifier: Apache-2.0
// HDF5 files: vectors, and texts. The library crashes over some of them, see io/file/hdf5_trial.h: another process
// takes each first, and here is read what it survived.
#include <memory>

#include "io/file/hdf5_reader.h"
#include "io/file/hdf5_source.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/other_process.h"

// The library asks for as many bytes as a damaged file says, and copes with getting none; so must the sanitizer. What
// it copies beyond its own memory is its fault, and it does not give back everything when it gives such a file up.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1:max_allocation_size_mb=512"; }
extern "C" const char* __asan_default_suppressions() { return "interceptor_via_lib:libhdf5"; }
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

namespace reembed::fuzz {
namespace {

Scratch& TheScratch() {
  static Scratch scratch;
  return scratch;
}

const Location& TheFile() {
  static const Location file{.scheme = "hdf5", .path = TheScratch().dir() + "/rows.h5"};
  return file;
}

void ReadIt() {
  absl::StatusOr<std::unique_ptr<VectorReader>> reader = OpenUntriedHdf5Reader(TheFile());
  Saw(reader.status());
  if (reader.ok() && (*reader)->rows() < 1000) ReadAll(reader->get());
  reader = absl::UnknownError("closed");
  Location texts = TheFile();
  texts.parameters = {{"texts", "keys"}};
  absl::StatusOr<std::unique_ptr<Source>> source = OpenUntriedHdf5Source(texts);
  Saw(source.status());
  if (source.ok() && (*source)->CountRows().value_or(0) < 1000) ReadAll(source->get());
}

OtherProcess& TheOther() {
  static OtherProcess other(ReadIt);
  return other;
}

}  // namespace
}  // namespace reembed::fuzz

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  using namespace reembed::fuzz;
  // Looked for at the end alone: what the library loses would cost a look at all memory for each input.
  AddOption("-detect_leaks=0", argc, argv);
  TheFile();
  TheOther();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed::fuzz;
  TheScratch().Write("rows.h5", {reinterpret_cast<const char*>(data), size});
  if (TheOther().Survives()) {
    ReadIt();
  } else {
    Saw("the library crashes");
  }
  return 0;
}
