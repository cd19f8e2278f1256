// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_VECTORS_JSON_H_
#define REEMBED_IO_FILE_VECTORS_JSON_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace reembed {

// The file in which MemU keeps all vectors of all users: an object of collections, each an object of entries by row id,
//   "0198...": {"user_id": "u", "agent_id": "a", "vector": [0.1, ...], "text": "..." or null}
// Source: github.com/NevaMind-AI/memU, src/memu/storage/vector_db.py at a55c32b.
// A copy of the file is mapped and checked from end to end, and only places are remembered: some 150 bytes an entry.
// The copy has no name and ends with the object. Where it cannot be made (a folder that is read only, a full disk) the
// file itself is mapped, and must not be cut short while it is open: MemU, which writes it in place, should not run.
class VectorsJson {
 public:
  // The pieces are JSON values as they stand in the file.
  struct Entry {
    absl::string_view key;    // with quotes
    absl::string_view value;  // the whole entry
    absl::string_view user_id, agent_id, vector;
    absl::string_view text;  // empty: the entry has none
    int64_t dim = 0;         // numbers in `vector`; 0: it is empty or null; -1: it is no array of finite numbers
  };
  struct Collection {
    absl::string_view key;  // with quotes
    std::string name;
    std::vector<Entry> entries;                      // in the file's order
    absl::flat_hash_map<std::string, size_t> by_id;  // -> index in `entries`
    const Entry* Find(absl::string_view id) const;   // null: none
  };

  // A file that is not there is one without collections.
  // Errors: kDataLoss (not JSON, or an entry without one of the keys that MemU must find: names byte and entry, since
  // MemU forgets all vectors when it meets such a file); kNotFound, kPermissionDenied, kUnavailable.
  static absl::StatusOr<std::unique_ptr<VectorsJson>> Open(const std::string& path);
  VectorsJson(const VectorsJson&) = delete;
  VectorsJson& operator=(const VectorsJson&) = delete;
  ~VectorsJson();

  absl::Span<const Collection> collections() const { return collections_; }
  const Collection* Find(absl::string_view name) const;  // null: none

  // Whether another file has taken the path since, or it was changed.
  bool HasChanged() const;

 private:
  explicit VectorsJson(std::string path) : path_(std::move(path)) {}
  absl::Status Map();
  absl::Status Parse();

  const std::string path_;
  const char* data_ = nullptr;
  size_t size_ = 0;
  uint64_t identity_[4] = {};  // what fstat said of the file: inode, size, time of change
  std::vector<Collection> collections_;
};

// One entry as Python's json.dump(indent=2) writes it at its depth, behind its id and colon. `text_token`: JSON.
void AppendVectorsJsonEntry(absl::string_view user_id, absl::string_view agent_id, absl::Span<const float> vector,
                            absl::string_view text_token, std::string* out);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_VECTORS_JSON_H_
