// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PLACE_NAME_H_
#define REEMBED_ENGINE_PLACE_NAME_H_

#include <string>

#include "absl/strings/string_view.h"
#include "engine/location.h"

namespace reembed {

// How messages call a place: a file by its path, a server by its address with the scheme. Without its parameters.
std::string PlaceName(const Location& place);

// Whether `name`, as a ledger remembers it, is the text of `place`: as it is now, or as it was written before every
// path was made absolute, with a path (its own or that of a parameter) that is the end of the one in `place`.
bool IsNameOf(absl::string_view name, const Location& place);

}  // namespace reembed

#endif  // REEMBED_ENGINE_PLACE_NAME_H_
