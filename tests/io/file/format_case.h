// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_IO_FILE_FORMAT_CASE_H_
#define REEMBED_TESTS_IO_FILE_FORMAT_CASE_H_

#include <memory>
#include <ostream>
#include <string>

#include "absl/status/statusor.h"
#include "engine/embedding_client.h"
#include "engine/location.h"
#include "engine/vector_reader.h"
#include "engine/vector_sink.h"

namespace reembed {

// A file format under test: its sink and its reader.
struct FormatCase {
  std::string scheme;
  absl::StatusOr<std::unique_ptr<VectorSink>> (*make_sink)(const Location&, const Model&);
  absl::StatusOr<std::unique_ptr<VectorReader>> (*open_reader)(const Location&);

  friend void PrintTo(const FormatCase& format, std::ostream* out) { *out << format.scheme; }

  Location At(const std::string& path) const { return {.scheme = scheme, .path = path}; }
};

}  // namespace reembed

#endif  // REEMBED_TESTS_IO_FILE_FORMAT_CASE_H_
