// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_INDEX_FILES_H_
#define REEMBED_INDEX_INDEX_FILES_H_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/embedding_client.h"
#include "index/index_spec.h"

// The files of one index; the format is described in index_format.md.
namespace reembed {

struct IndexPaths {
  explicit IndexPaths(absl::string_view path);
  std::string index;        // PATH
  std::string description;  // PATH.json
  std::string keys;         // PATH.keys.jsonl; only where keys are text
};

// Tells whether a file is the one that it should be.
struct FileMark {
  int64_t bytes = 0;
  uint64_t checksum = 0;
  friend bool operator==(const FileMark&, const FileMark&) = default;
};

// The checksum of FileMark, over bytes in pieces of any size. It finds damage, it is no defence against an attacker:
// one changed 64-bit word always changes it, any other change goes unseen once in 2^64.
class Checksum {
 public:
  void Add(const void* bytes, size_t size);
  uint64_t Value() const;

 private:
  static constexpr int kLanes = 8;
  void AddBlock(const unsigned char* block);

  uint64_t lanes_[kLanes] = {1, 2, 3, 4, 5, 6, 7, 8};
  uint64_t size_ = 0;
  unsigned char open_[kLanes * 8] = {};  // the bytes of a block that is not full yet
};

// What the ids in the index are.
enum class IdKind { kKey, kOrdinal };

// What the index is: the content of PATH.json.
struct IndexDescription {
  Model model;
  Metric metric = Metric::kCosine;
  std::string asked_factory;  // as the job asked for it, perhaps without a number of lists
  std::string factory;        // as it was built
  int64_t rows = 0;
  int64_t trained_rows = 0;  // rows that were used to train it; 0: it needs no training
  IdKind id_kind = IdKind::kKey;
  std::string faiss_version;
  std::string source;       // where the texts of the rows are; may be empty
  std::string built_from;   // where the vectors were read from; empty: they came from a run
  int64_t seed = 0;         // of all that was drawn by lot: the training sample, first centroids
  int ef_construction = 0;  // 0: FAISS's own, or there is no graph
  // The lists stay in the file, and ids are in them: there is no IndexIDMap2, and the file is not read whole.
  bool is_mapped = false;
  // The file at the path is a list of so many files of FAISS, see shard_set.h; 0: it is the index itself.
  int64_t shards = 0;
  uint64_t fingerprint = 0;  // of all keys and vectors as they were read; 0: not taken
  // Search parameters that were found by measurement, which a search uses unless it is told others; 0: none.
  int nprobe = 0;
  int ef_search = 0;
  // Of that measurement: recall of the 10 nearest with these parameters, on so many held-out queries; 0 queries: none.
  double recall_at_10 = 0;
  int64_t recall_queries = 0;
  std::string reembed_version;  // that wrote it; empty: one that did not say so
  FileMark index_file;
  FileMark keys_file;  // bytes 0 if there is none
};

// Of the oldest format that can say it.
std::string DescriptionJson(const IndexDescription& description);

// Errors: kNotFound (no such file), kDataLoss (it is no description of an index).
absl::StatusOr<IndexDescription> ReadDescription(const std::string& path);

// Errors: kNotFound (no such file), kDataLoss (it is another file than `mark` says, or damaged).
absl::Status CheckFile(const std::string& path, const FileMark& mark);

// A file that is written from its beginning to its end and then made durable. Drops nothing by itself: a file that was
// not closed stays as far as it came.
class OutputFile {
 public:
  // Replaces what the file `path` has. A link is not followed, and a file that has other names is not written to.
  static absl::StatusOr<std::unique_ptr<OutputFile>> Create(const std::string& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Returns whether it worked; if not, Close() says why.
  [[nodiscard]] bool Write(const void* bytes, size_t size);

  // Errors: the first failure, e.g. kResourceExhausted (disk full).
  absl::StatusOr<FileMark> Close();

 private:
  OutputFile(const std::string& path, std::FILE* file) : path_(path), file_(file) {}

  const std::string path_;
  std::FILE* file_;
  absl::Status status_;
  Checksum checksum_;
  int64_t bytes_ = 0;
};

absl::StatusOr<FileMark> WriteWholeFile(const std::string& path, absl::string_view content);

// The content of a file of at most 1 MiB. Errors: kNotFound, kDataLoss (longer).
absl::StatusOr<std::string> ReadSmallFile(const std::string& path);

// Reads a file that must be the one that `mark` says. Errors: as CheckFile().
absl::StatusOr<std::string> ReadMarkedFile(const std::string& path, const FileMark& mark);

// Makes renames in the directory of `path` durable.
absl::Status SyncDirectoryOf(const std::string& path);

// Text keys in the order of the rows in the index, with their ids, which ascend.
class KeyTable {
 public:
  // Reads PATH.keys.jsonl, checked against `mark`.
  // Errors: as CheckFile(); kDataLoss also for a line that is not of the form {"id":12,"key":"abc"}.
  static absl::StatusOr<KeyTable> Read(const std::string& path, const FileMark& mark);

  // Appends the line of one row to *lines.
  static void AppendLine(int64_t id, absl::string_view key, std::string* lines);

  int64_t size() const { return static_cast<int64_t>(ids_.size()); }
  int64_t id(int64_t i) const { return ids_[i]; }
  // Lives as long as the table.
  absl::string_view key(int64_t i) const {
    return absl::string_view(text_).substr(begins_[i], begins_[i + 1] - begins_[i]);
  }
  // The place of an id; -1 if there is none.
  int64_t FindId(int64_t id) const;

 private:
  std::vector<int64_t> ids_;
  std::vector<size_t> begins_{0};
  std::string text_;
};

}  // namespace reembed

#endif  // REEMBED_INDEX_INDEX_FILES_H_
