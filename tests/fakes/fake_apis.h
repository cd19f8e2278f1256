// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_FAKE_APIS_H_
#define REEMBED_TESTS_FAKES_FAKE_APIS_H_

#include <vector>

#include "tests/fakes/dialect_server.h"

namespace reembed {

// One row for each API, from its documents, and by intention not from the product's own table.
std::vector<FakeApi> FakeApis();

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_FAKE_APIS_H_
