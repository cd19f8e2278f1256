// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FUZZ_FUZZ_H_
#define REEMBED_TESTS_FUZZ_FUZZ_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/source.h"
#include "engine/vector_reader.h"

// What fuzz targets share. A target is a file with a LLVMFuzzerTestOneInput(); its corpus is data/fuzz/<name>.
namespace reembed::fuzz {

// An input, a byte at a time from its front: choices first, then what is to be parsed.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  // A number below `choices` (at most 64): '0' is the first, so that a corpus can be written by hand. 0 at the end.
  size_t Choose(size_t choices);

  absl::string_view rest() const { return rest_; }

 private:
  absl::string_view rest_;
};

// The bytes cut into pieces, none of them empty, at places that follow from the bytes.
class Pieces {
 public:
  explicit Pieces(absl::string_view bytes);
  // Empty after the last.
  absl::string_view Next();

 private:
  absl::string_view rest_;
  uint64_t random_;
};

// Ends the process, which the fuzzer takes for a finding, unless it holds.
void Require(bool holds, absl::string_view what);

// How it ends the process. Default: std::abort().
void SetEndOfFinding(void (*end)());

// What became of the input: a program that is compiled without a view of its edges is steered by this alone.
void Saw(const absl::Status& status);
void Saw(absl::string_view outcome);

bool SameBits(absl::Span<const float> a, absl::Span<const float> b);

// A folder of this process in $TMPDIR or in memory, gone at its end.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const std::string& dir() const { return dir_; }
  // Replaces what the file had; returns its path.
  std::string Write(const std::string& name, absl::string_view bytes);

 private:
  std::string dir_;
  std::map<std::string, int> files_;  // -> its descriptor
};

// Walks over all rows twice, once by Find() too, and checks what every reader promises.
void ReadAll(VectorReader* reader);
void ReadAll(Source* source);

}  // namespace reembed::fuzz

#endif  // REEMBED_TESTS_FUZZ_FUZZ_H_
