// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_LOCATION_H_
#define REEMBED_ENGINE_LOCATION_H_

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace reembed {

struct StoreKind;

// Where rows come from or vectors go: `scheme:path?name=value&...`, e.g. `sqlite:memory.db?table=messages&key=id`.
// Percent escapes in names and values, after the `?`, are decoded; the path is taken literally. A stream's
// place is its scheme, without a path: `-` (also said as jsonl:-), `npy:-`.
struct Location {
  std::string scheme;
  std::string path;
  std::map<std::string, std::string> parameters;
  std::string secret;  // token for the server, from `authToken=`; never in ToString() or messages
  // Whether the server has answered this process before: if so, callers wait for it when it is away. Shared by copies;
  // may be null.
  std::shared_ptr<std::atomic<bool>> answered;

  // The value, or `otherwise` if the parameter is absent.
  std::string Get(absl::string_view name, absl::string_view otherwise = "") const;

  // kInvalidArgument if a parameter is not in `known`: names it and the most similar known one.
  absl::Status CheckParameters(absl::Span<const absl::string_view> known) const;

  // The URI again, in one fixed form: names sorted, values escaped. Equal locations have equal text.
  std::string ToString() const;
};

// `jsonl:-?name=value` is `-` with parameters. `kinds`: all known kinds, if a user wrote the URI; errors then name the
// variable for a secret, and the likely scheme of a path without one. A token is removed from URIs of kinds that have
// one; without `kinds`, from all URIs.
// Errors: kInvalidArgument (no scheme, empty path, a parameter twice or without `=`, a password, also inside libpq's
// options=: locations are stored in ledgers and shown in messages). No error shows a token.
absl::StatusOr<Location> ParseLocation(absl::string_view uri, absl::Span<const StoreKind* const> kinds = {});

// Replaces every escape like %41 by its byte. Errors: kInvalidArgument (a % without two hex digits).
absl::StatusOr<std::string> PercentDecode(absl::string_view text);

// The candidate most similar to `word` by edit distance, for "did you mean"; empty if none is similar.
std::string NearestName(absl::string_view word, absl::Span<const std::string> candidates);

}  // namespace reembed

#endif  // REEMBED_ENGINE_LOCATION_H_
