// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_NET_HTTP_HEAD_H_
#define REEMBED_IO_NET_HTTP_HEAD_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace reembed {

// Of one reply, trailers and interim replies included.
inline constexpr size_t kMaxHttpHeadBytes = size_t{64} << 10;

// Takes the next line of a reply's head, with or without its end, into `headers`: names in lower case, values without
// blanks around them. A status line forgets those before it, which belonged to an interim reply; what is no header is
// passed over. `bytes` is the length of all lines so far, 0 at first. False: the head is longer than kMaxHttpHeadBytes,
// and the line is not taken.
bool TakeHttpHeadLine(absl::string_view line, size_t* bytes, std::vector<std::pair<std::string, std::string>>* headers);

}  // namespace reembed

#endif  // REEMBED_IO_NET_HTTP_HEAD_H_
