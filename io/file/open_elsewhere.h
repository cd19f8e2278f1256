// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_OPEN_ELSEWHERE_H_
#define REEMBED_IO_FILE_OPEN_ELSEWHERE_H_

#include <string>

#include "absl/status/status.h"

namespace reembed {

// Whether another process has the file open, as far as /proc shows it to this user: what is about to be replaced must
// not be in use, and an idle program holds no lock that would say so. A file that is not there is nobody's.
// Errors: kAborted (names the process).
absl::Status CheckNotOpenElsewhere(const std::string& path);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_OPEN_ELSEWHERE_H_
