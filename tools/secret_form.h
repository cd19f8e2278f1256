// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SECRET_FORM_H_
#define REEMBED_TOOLS_SECRET_FORM_H_

#include "absl/strings/string_view.h"

namespace reembed {

// A secret in a flag is in the shell's history, in the list of processes, and in job.toml.

// Whether a value has the form of a secret: a scheme with credentials (Bearer ..., Basic ...), a prefix that vendors
// give their keys (sk-, AIza, hf_, ...), a JSON web token, or a long run of mixed letters and digits. Names, URLs,
// UUIDs and the ids of organizations have not.
bool LooksLikeSecret(absl::string_view value);

// Whether a header of this name holds nothing but credentials, in whatever form: Authorization, Cookie, api-key and the
// other whole names that APIs use.
bool IsCredentialHeader(absl::string_view name);

// The first parameter of a URL's query whose name or value is that of a secret; empty: none is.
absl::string_view SecretParameter(absl::string_view url);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SECRET_FORM_H_
