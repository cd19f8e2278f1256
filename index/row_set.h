// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_ROW_SET_H_
#define REEMBED_INDEX_ROW_SET_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/key.h"
#include "engine/vector_reader.h"
#include "index/index_files.h"
#include "index/index_spec.h"

namespace reembed {

struct RowSetOptions {
  Metric metric = Metric::kCosine;
  // Beside which file the vectors are kept while this lives, in one without a name that goes with the process, however
  // it ends; the system reads and drops its pages as it likes. Empty: in memory.
  std::string beside;
  bool skip_unusable = false;  // pass over rows that no index holds, instead of ending at the first
};

// All rows that an index is built from or measured against: a matrix, and the keys. Vectors are of unit length where
// the metric is cosine. Movable, read by any number of threads.
class RowSet {
 public:
  // Told of every so many rows; an error ends the reading with it.
  using Seen = absl::FunctionRef<absl::Status(int64_t rows)>;

  // Reads `reader` to its end. `place`: for messages.
  // Errors: kInvalidArgument (no rows; a row without a direction or with numbers that are not finite; a key that comes
  // twice, is negative, or of another kind than the first: the message names the row), kResourceExhausted (disk full,
  // or memory), and those of the reader.
  static absl::StatusOr<RowSet> Read(VectorReader* reader, const std::string& place, const RowSetOptions& options,
                                     Seen seen);

  // Takes rows one by one, from somebody who knows that an index can hold them.
  class Writer {
   public:
    // `beside`: as in RowSetOptions. Errors: of the file system.
    static absl::StatusOr<std::unique_ptr<Writer>> Make(int dim, Metric metric, const std::string& beside);
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;
    ~Writer();

    absl::Span<const int64_t> ids() const;  // of the rows so far
    int64_t rows() const { return static_cast<int64_t>(ids().size()); }

    // Precondition: `vector` [dim] is finite, and has a direction where the metric is cosine; all keys are of one kind
    // and each comes once; `id` is the key where that is an integer, and ascends where keys are texts.
    // Errors: kResourceExhausted (disk full).
    absl::Status Add(KeyView key, int64_t id, absl::Span<const float> vector);

    // All of them; nothing may be added any more. Errors: as Add().
    absl::StatusOr<RowSet> Finish();

   private:
    struct State;
    explicit Writer(std::unique_ptr<State> state);
    const std::unique_ptr<State> state_;
  };

  RowSet(RowSet&&) noexcept;
  RowSet& operator=(RowSet&&) noexcept;
  ~RowSet();

  int dim() const { return dim_; }
  int64_t rows() const { return static_cast<int64_t>(ids_.size()); }
  absl::Span<const float> vectors() const;  // [rows, dim]
  absl::Span<const float> vector(int64_t row) const {
    return vectors().subspan(static_cast<size_t>(row) * dim_, static_cast<size_t>(dim_));
  }

  IdKind id_kind() const { return id_kind_; }
  absl::Span<const int64_t> ids() const { return ids_; }  // [rows]: keys, or ascending numbers where keys are texts
  const std::string& key_lines() const { return key_lines_; }  // of text keys, as KeyTable has them
  uint64_t fingerprint() const { return fingerprint_; }        // of all keys and vectors as they were read
  int64_t passed_over() const { return passed_over_; }         // rows without a usable vector
  const std::string& first_fault() const { return fault_; }    // what was wrong with the first of them

  // `count` different rows drawn by lot, ascending; all of them if there are not more.
  std::vector<int64_t> Draw(int64_t count, uint64_t seed) const;

  // A copy of these rows, [rows, dim].
  std::vector<float> Gather(absl::Span<const int64_t> rows) const;

 private:
  class Vectors;
  class Reading;
  RowSet();

  int dim_ = 0;
  IdKind id_kind_ = IdKind::kKey;
  std::vector<int64_t> ids_;
  std::string key_lines_;
  std::unique_ptr<Vectors> vectors_;
  uint64_t fingerprint_ = 0;
  int64_t passed_over_ = 0;
  std::string fault_;
};

}  // namespace reembed

#endif  // REEMBED_INDEX_ROW_SET_H_
