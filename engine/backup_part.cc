// SPDX-License-Identifier: Apache-2.0
#include "engine/backup_part.h"

namespace reembed {

std::string BackupTimestamp(absl::Time begun) { return absl::FormatTime("%Y%m%d_%H%M%S", begun, absl::UTCTimeZone()); }

}  // namespace reembed
