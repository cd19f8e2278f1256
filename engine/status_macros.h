// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_STATUS_MACROS_H_
#define REEMBED_ENGINE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// The two that newer releases of Abseil have, with their meaning; theirs stand where they are there.

// Returns from the function that it is in when `expr`, an absl::Status, is an error.
#ifndef ABSL_RETURN_IF_ERROR
#define ABSL_RETURN_IF_ERROR(expr)                                                         \
  do {                                                                                     \
    if (absl::Status reembed_status = (expr); !reembed_status.ok()) return reembed_status; \
  } while (false)
#endif

// Gives `lhs`, a variable or its declaration, the value of `expr`, an absl::StatusOr; returns its error, if it has one.
// Several statements: not behind an `if` without braces. Where there are commas outside of parentheses, put more.
#ifndef ABSL_ASSIGN_OR_RETURN
#define ABSL_ASSIGN_OR_RETURN(lhs, expr) \
  REEMBED_ASSIGN_OR_RETURN(REEMBED_CONCAT(reembed_status_or_, __LINE__), lhs, expr)
#define REEMBED_ASSIGN_OR_RETURN(status_or, lhs, expr)       \
  auto status_or = (expr);                                   \
  if (!status_or.ok()) return std::move(status_or).status(); \
  lhs = *std::move(status_or)
#define REEMBED_CONCAT(a, b) REEMBED_CONCAT_AS_IS(a, b)
#define REEMBED_CONCAT_AS_IS(a, b) a##b
#endif

#endif  // REEMBED_ENGINE_STATUS_MACROS_H_
