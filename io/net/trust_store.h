// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_NET_TRUST_STORE_H_
#define REEMBED_IO_NET_TRUST_STORE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "io/net/proxy.h"

namespace reembed {

// The certificate authorities that servers are checked against.
struct TrustStore {
  std::string file;    // PEM bundle; empty: only the folder
  std::string folder;  // of certificates under the names of their hashes, besides; mostly empty
  std::string origin;  // who named them, for people: "SSL_CERT_FILE", "this system"
};

// What $SSL_CERT_FILE and $SSL_CERT_DIR name; else the first of the `usual` files that is there; else what
// $REEMBED_CERTIFI names, which is set where a Python package brings the command along.
// Errors: kFailedPrecondition (a variable names what cannot be read; there is none, and where it was looked for).
absl::StatusOr<TrustStore> FindTrustStore(absl::Span<const std::string> usual, VariableReader variable);

// By the variables of this process, and the places where libcurl and the common systems have them.
absl::StatusOr<TrustStore> FindTrustStore();

// The libraries that send requests and check certificates, with their versions, for people.
std::string HttpLibraryText();

}  // namespace reembed

#endif  // REEMBED_IO_NET_TRUST_STORE_H_
