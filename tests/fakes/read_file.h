// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_READ_FILE_H_
#define REEMBED_TESTS_FAKES_READ_FILE_H_

#include <fstream>
#include <sstream>
#include <string>

namespace reembed {

// All bytes of a file; none of one that cannot be read.
inline std::string ReadFile(const std::string& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_READ_FILE_H_
