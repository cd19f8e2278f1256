// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_VECTORS_JSON_BACKUP_H_
#define REEMBED_IO_FILE_VECTORS_JSON_BACKUP_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/file/backup_folder.h"

namespace reembed {

// Copies MemU's file of vectors `from` into the new file `to`, and reads the copy as MemU does. MemU writes the file
// in place, so a copy that is not whole is made anew a few times. Returns its entries by collection.
// Errors: as VectorsJson::Open (names `from`); of the file system.
absl::StatusOr<RowCounts> BackUpVectorsJson(const std::string& from, const std::string& to);

// Gives the copy `from` the name `to` in one step. Errors: kAborted (another process has it open); kDataLoss (the copy
// is not what MemU could read); of the file system.
absl::Status RestoreVectorsJson(const std::string& from, const std::string& to);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_VECTORS_JSON_BACKUP_H_
