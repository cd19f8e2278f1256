// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_QDRANT_OPENAPI_H_
#define REEMBED_TESTS_FAKES_QDRANT_OPENAPI_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace reembed {

// Checks a request against the OpenAPI text of Qdrant whose path is in the environment as REEMBED_QDRANT_OPENAPI
// (docs/redoc/v1.19.x/openapi.json in github.com/qdrant/qdrant): path, names in the query, and the body's whole shape.
// Stricter than Qdrant in one thing: unknown members are wrong. `parts`: of the path. Returns what is wrong; empty if
// nothing is, or if the variable is not set. Thread-safe.
std::string CheckAgainstQdrantOpenApi(const std::string& method, const std::vector<std::string>& parts,
                                      const std::string& query, absl::string_view body);

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_QDRANT_OPENAPI_H_
