// SPDX-License-Identifier: Apache-2.0
#include "tools/exit_code.h"

#include "engine/pace/spend_cap.h"

namespace reembed {

ExitCode ExitCodeOf(const absl::Status& status) {
  if (IsSpendCapReached(status)) return kExitSpendCap;
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitDone;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnimplemented:
      return kExitUsage;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kDeadlineExceeded:
      return kExitTemporary;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kFailedPrecondition:
      return kExitFatal;
    case absl::StatusCode::kAborted:
      return kExitLocked;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitFailed;
  }
}

const char* OutcomeWord(const absl::Status& status) {
  switch (ExitCodeOf(status)) {
    case kExitDone:
      return "done";
    case kExitSpendCap:
      return "spend cap";
    case kExitUsage:
      return "cannot be done so";
    case kExitTemporary:
      return "temporary failure";
    case kExitFatal:
      return "key, quota, model or width";
    case kExitLocked:
      return "locked";
    case kExitInterrupted:
      return "stopped";
    default:
      return "failed";
  }
}

std::string OutcomeWord(const std::string& written) {
  for (int code = 0; code <= static_cast<int>(absl::StatusCode::kUnauthenticated); ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "");
    if (written == absl::StatusCodeToString(status.code())) return OutcomeWord(status);
  }
  return written;
}

const char* RejectWord(absl::StatusCode code, bool by_target) {
  if (code == absl::StatusCode::kNotFound) return "row is gone";
  if (by_target) return "refused by the target";
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return "unusable text";
    case absl::StatusCode::kDataLoss:
      return "unusable vector";
    default:
      return "refused by the API";
  }
}

}  // namespace reembed
