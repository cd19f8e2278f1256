// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_OTHER_FORMAT_H_
#define REEMBED_IO_FILE_OTHER_FORMAT_H_

#include <string>

#include "absl/strings/string_view.h"

namespace reembed {

// What a file is that has such a first line, and is not lines of JSON in UTF-8: "is ...", with what to do, behind the
// file's name. Empty: it may be.
std::string OtherFormat(absl::string_view line);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_OTHER_FORMAT_H_
