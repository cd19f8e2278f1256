// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_CRASH_SERVER_STORES_H_
#define REEMBED_TESTS_CRASH_SERVER_STORES_H_

#include <memory>
#include <string>

#include "tests/crash/crash_store.h"

namespace reembed {

// One of ServerStores().
std::unique_ptr<CrashStore> MakeServerStore(const std::string& name);

}  // namespace reembed

#endif  // REEMBED_TESTS_CRASH_SERVER_STORES_H_
