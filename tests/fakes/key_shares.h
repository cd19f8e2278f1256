// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_KEY_SHARES_H_
#define REEMBED_TESTS_FAKES_KEY_SHARES_H_

#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "engine/key.h"
#include "engine/selection.h"
#include "engine/source.h"
#include "engine/survey.h"

namespace reembed {

// Fails the test unless the shares that meet at `cuts` are the whole: each row in one of them, in the order of the
// whole, and counted and surveyed there. At least two shares must have rows.
void ExpectSharesAreTheWhole(const std::vector<Key>& cuts,
                             absl::FunctionRef<absl::StatusOr<std::unique_ptr<Source>>(const KeyRange&)> open,
                             absl::FunctionRef<absl::StatusOr<Survey>(const KeyRange&)> survey);

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_KEY_SHARES_H_
