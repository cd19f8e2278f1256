// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_HRANA_ANSWER_H_
#define REEMBED_IO_STORE_SQLITE_HRANA_ANSWER_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "io/store/sqlite/hrana.h"

// Reads the answers of a pipeline. `server` is for messages. Errors: as in hrana.h; kUnavailable also for an answer
// that is no such one, as it may be cut short.
namespace reembed {

// Of `describe`.
absl::Status ReadHranaParameters(const HranaServer& server, const std::string& answer, int* parameters);

// Of `execute`: replaces *rows.
absl::Status ReadHranaRows(const HranaServer& server, const std::string& answer, HranaRows* rows);

// Where the stream goes on.
absl::Status ReadHranaStream(const HranaServer& server, const std::string& answer, HranaStream* stream);

// Of a batch of BEGIN, `statements` statements, COMMIT and ROLLBACK: appends the outcomes of the statements to *steps,
// which is empty; see HranaConnection::Transact().
absl::Status ReadHranaSteps(const HranaServer& server, const std::string& answer, size_t statements,
                            std::vector<HranaStep>* steps);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_HRANA_ANSWER_H_
