// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_VECTORS_JSON_REWRITE_H_
#define REEMBED_IO_FILE_VECTORS_JSON_REWRITE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "io/file/file.h"
#include "io/file/vectors_json.h"

namespace reembed {

// A new vectors.json in place of the old one, in which entries of one collection are others: byte for byte what MemU
// itself would write, every other entry as it stands, entries and collections in the order they have, new ones behind
// them. New entries wait in PATH.COLLECTION.partial, which goes with the object. Used by one thread.
class VectorsJsonRewrite {
 public:
  // Errors: kPermissionDenied, kInternal.
  static absl::StatusOr<std::unique_ptr<VectorsJsonRewrite>> Begin(const std::string& path,
                                                                   const std::string& collection);
  VectorsJsonRewrite(const VectorsJsonRewrite&) = delete;
  VectorsJsonRewrite& operator=(const VectorsJsonRewrite&) = delete;
  ~VectorsJsonRewrite();

  // The entry of `id` is this one, JSON as it is to stand in the file; the last call for an id counts.
  // Errors: kResourceExhausted.
  absl::Status Put(absl::string_view id, absl::string_view entry);

  // There is no entry of `id`. Not for an id that was Put().
  void Remove(absl::string_view id) { removed_.emplace(id); }

  bool empty() const { return places_.empty() && removed_.empty(); }

  struct CommitOptions {
    int dim = 0;                          // of every entry that was Put(); 0: any
    bool drops_empty_collection = false;  // if all its entries were removed
    bool drops_empty_file = false;        // if no collection is left then
  };
  // Writes the new file beside the old one, `old`, reads it back, and lets it take the name in one step.
  // Errors: kAborted (the old file was changed meanwhile), kResourceExhausted: then the old file stands as it was.
  absl::Status Commit(const VectorsJson& old, const CommitOptions& options);

 private:
  // Where a new entry is in the partial file.
  struct Place {
    int64_t begin = 0;
    int64_t size = 0;
    size_t order = 0;  // among the new ones
  };
  class Output;

  VectorsJsonRewrite(std::string path, std::string collection);
  std::string PartialPath() const;
  absl::Status AppendNew(const Place& place, Output* out);
  absl::Status AppendCollection(absl::string_view key, const VectorsJson::Collection* old, bool is_ours, Output* out);
  absl::Status AppendAll(const VectorsJson& old, bool drops_empty_collection, Output* out);
  absl::Status CheckNew(const std::string& path, const VectorsJson& old, const CommitOptions& options) const;

  const std::string path_, collection_;
  std::unique_ptr<Output> partial_;
  absl::flat_hash_map<std::string, Place> places_;  // by id
  absl::flat_hash_set<std::string> removed_;        // ids
  size_t collections_written_ = 0;
  std::string entry_;
};

}  // namespace reembed

#endif  // REEMBED_IO_FILE_VECTORS_JSON_REWRITE_H_
