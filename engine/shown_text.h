// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_SHOWN_TEXT_H_
#define REEMBED_ENGINE_SHOWN_TEXT_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

// What of a text that somebody else wrote may be shown.
namespace reembed {

// `text` as a terminal, a log and a line of JSON may get it: control characters (C0, DEL, C1) in JSON's spelling as
// \u001b, bytes that are no UTF-8 as U+FFFD, user and password of a URL as [...]. Line breaks (also \r\n) and tabs
// stay.
std::string ShownText(absl::string_view text);

// The same of what belongs into one line: line breaks become escapes, too.
std::string ShownLine(absl::string_view text);

// How many bytes of `rest`, which stands behind :// in a URL, are user and password; 0: there are none.
size_t UrlLoginBytes(absl::string_view rest);

// `message` with every run of bytes that it shares with `secret` replaced by [...]. Runs of at least `shortest` bytes
// count, or the whole secret if that is shorter; so neither an API key nor a text gets into messages in long pieces.
std::string MaskShared(absl::string_view message, absl::string_view secret, size_t shortest);

// At most `max_bytes` bytes of it, cut between UTF-8 characters, control characters as spaces; of what is not UTF-8
// only the ASCII is left.
std::string Shorten(absl::string_view message, size_t max_bytes);

// The words of a server for a message: without what they share with one of `secrets`, and shortened.
std::string ServerWords(absl::string_view words, absl::Span<const std::string> secrets, size_t max_bytes);

// The values in `words`, as in "-c app.password=x --api_token=y", whose name says that they are secret.
std::vector<std::string> SecretValues(absl::string_view words);

}  // namespace reembed

#endif  // REEMBED_ENGINE_SHOWN_TEXT_H_
