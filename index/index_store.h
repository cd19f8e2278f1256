// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_INDEX_STORE_H_
#define REEMBED_INDEX_INDEX_STORE_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/embedding_client.h"
#include "index/faiss_io.h"
#include "index/index_files.h"

namespace reembed {

// The place of one index on disk: its files, the ones being written (`.partial`) and the ones kept (`.previous`,
// `.previous.2` and so on; nobody's file is taken away for that).
class IndexStore {
 public:
  explicit IndexStore(absl::string_view path);

  const std::string& path() const { return now_.index; }

  // Whether Replace() may write here: the directory is there, and what lies at these names is an index of this model.
  // Errors: kNotFound (directory), kInvalidArgument (something else is there; the message says to move it away).
  absl::Status CheckReplaceable(const Model& model) const;

  // The description, if all files are there and belong together. Reads them whole.
  // Errors: kNotFound, kDataLoss.
  absl::StatusOr<IndexDescription> CheckFinished() const;

  // Errors: as LoadFaissIndex(); kDataLoss also if the index is not as described.
  absl::StatusOr<FaissIndex> Load(const IndexDescription& description) const;

  // The content of the key file. Errors: as CheckFile().
  absl::StatusOr<std::string> LoadKeyLines(const IndexDescription& description) const {
    return ReadMarkedFile(now_.keys, description.keys_file);
  }

  enum class Old { kSave, kContinued };

  // Replaces the index, durably. A crash at any moment leaves the old files, or the new ones, or a mixture that
  // CheckFinished() tells from either; with Old::kSave the old ones are at `.previous` by then. `key_lines` is written
  // if the ids are ordinals. Fills in what the description says of the files.
  absl::Status Replace(const faiss::Index& index, absl::string_view key_lines, IndexDescription description,
                       Old old) const;

  // The same with a file that somebody else writes, durably: `write` is given its name, and makes it there.
  absl::Status ReplaceBy(absl::FunctionRef<absl::StatusOr<FileMark>(const std::string& path)> write,
                         absl::string_view key_lines, IndexDescription description, Old old) const;

  // What a run that died has left; of the index only the name, if it was there.
  void RemovePartialFiles() const;

 private:
  absl::Status LinkPrevious() const;

  IndexPaths now_;
  IndexPaths partial_;
};

}  // namespace reembed

#endif  // REEMBED_INDEX_INDEX_STORE_H_
