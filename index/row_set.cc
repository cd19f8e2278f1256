// SPDX-License-Identifier: Apache-2.0
#include "index/row_set.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <optional>
#include <random>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/key.h"
#include "engine/number/normalize.h"
#include "engine/setting.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr size_t kPieceFloats = size_t{1} << 18;  // that are written at once
constexpr int64_t kRowsPerLook = 1024;

}  // namespace

// Floats that grow at their end and are then read: in memory, or mapped from a file without a name.
class RowSet::Vectors {
 public:
  static absl::StatusOr<std::unique_ptr<Vectors>> Make(const std::string& beside) {
    auto vectors = std::unique_ptr<Vectors>(new Vectors);
    if (beside.empty()) return vectors;
    vectors->name_ = absl::StrCat(beside, ".rows");
    // Not O_TMPFILE, which not every file system has.
    unlink(vectors->name_.c_str());
    vectors->file_ = open(vectors->name_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (vectors->file_ < 0) return absl::ErrnoToStatus(errno, absl::StrCat(vectors->name_, ": cannot create"));
    unlink(vectors->name_.c_str());
    return vectors;
  }

  Vectors(const Vectors&) = delete;
  Vectors& operator=(const Vectors&) = delete;
  ~Vectors() {
    if (map_ != nullptr) munmap(map_, bytes_);
    if (file_ >= 0) close(file_);
  }

  absl::Status Append(absl::Span<const float> row) {
    memory_.insert(memory_.end(), row.begin(), row.end());
    return file_ < 0 || memory_.size() < kPieceFloats ? absl::OkStatus() : WritePiece();
  }

  absl::Status Complete() {
    if (file_ < 0) return absl::OkStatus();
    ABSL_RETURN_IF_ERROR(WritePiece());
    memory_.shrink_to_fit();
    if (bytes_ == 0) return absl::OkStatus();
    void* const map = mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, file_, 0);
    if (map == MAP_FAILED) return absl::ErrnoToStatus(errno, absl::StrCat(name_, ": cannot map ", bytes_, " bytes"));
    map_ = map;
    return absl::OkStatus();
  }

  absl::Span<const float> all() const {
    if (map_ == nullptr) return memory_;
    return {static_cast<const float*>(map_), bytes_ / sizeof(float)};
  }

 private:
  Vectors() = default;

  absl::Status WritePiece() {
    const char* from = reinterpret_cast<const char*>(memory_.data());
    size_t left = memory_.size() * sizeof(float);
    while (left > 0) {
      const ssize_t written = write(file_, from, left);
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) {
        const int error = errno;
        const std::string what = absl::StrCat(name_, ": cannot write ", left, " more bytes of vectors");
        // A limit of the file system or of the user is a want of room, too.
        if (error != EFBIG) return absl::ErrnoToStatus(error, what);
        return absl::ResourceExhaustedError(absl::StrCat(what, ": ", std::strerror(error)));
      }
      from += written;
      left -= static_cast<size_t>(written);
      bytes_ += static_cast<size_t>(written);
    }
    memory_.clear();
    return absl::OkStatus();
  }

  std::string name_;
  int file_ = -1;
  void* map_ = nullptr;
  size_t bytes_ = 0;           // in the file
  std::vector<float> memory_;  // all, or those that are not in the file yet
};

// One pass over a reader.
class RowSet::Reading {
 public:
  Reading(const std::string& place, const RowSetOptions& options, RowSet* set)
      : place_(place), options_(options), set_(set) {}

  absl::Status Add(const StoredVector& row) {
    if (absl::Status fault = Fault(row); !fault.ok()) {
      if (!options_.skip_unusable) return fault;
      if (set_->passed_over_++ == 0) set_->fault_ = std::string(fault.message());
      return absl::OkStatus();
    }
    ABSL_RETURN_IF_ERROR(AddKey(row.key));
    checksum_.Add(row.vector.data(), row.vector.size() * sizeof(float));
    if (options_.metric != Metric::kCosine) return set_->vectors_->Append(row.vector);
    direction_.assign(row.vector.begin(), row.vector.end());
    ABSL_RETURN_IF_ERROR(NormalizeRows(absl::MakeSpan(direction_), set_->dim_));
    return set_->vectors_->Append(direction_);
  }

  uint64_t fingerprint() const { return checksum_.Value(); }

 private:
  std::string Prefix(KeyView key) const { return absl::StrCat(place_, ": row ", KeyText(key), ": "); }

  absl::Status Fault(const StoredVector& row) const {
    if (static_cast<int>(row.vector.size()) != set_->dim_) {
      return absl::InvalidArgumentError(absl::StrCat(Prefix(row.key), "expected a vector of ", set_->dim_,
                                                     " numbers, like the rows before, got ", row.vector.size()));
    }
    const VectorFault fault = CheckVector(row.vector);
    if (fault == VectorFault::kNotFinite || (fault == VectorFault::kAllZero && options_.metric == Metric::kCosine)) {
      return WithSetting(absl::InvalidArgumentError(
                             absl::StrCat(Prefix(row.key), "expected a vector with a direction, got ",
                                          fault == VectorFault::kAllZero ? "only zeros" : "a number that is not finite",
                                          "; mend the row, or leave such rows out")),
                         Setting::kSkipUnusable);
    }
    return absl::OkStatus();
  }

  absl::Status AddKey(KeyView key) {
    const auto* const number = std::get_if<int64_t>(&key);
    const IdKind kind = number != nullptr ? IdKind::kKey : IdKind::kOrdinal;
    if (set_->ids_.empty()) set_->id_kind_ = kind;
    if (kind != set_->id_kind_) {
      return absl::InvalidArgumentError(
          absl::StrCat(Prefix(key), "expected ", kind == IdKind::kKey ? "text" : "an integer",
                       " as a key, like the rows before, got ", kind == IdKind::kKey ? "an integer" : "text",
                       "; choose a key column whose values are all of one kind"));
    }
    if (number == nullptr) {
      const auto text = std::get<absl::string_view>(key);
      const auto id = static_cast<int64_t>(set_->ids_.size());
      checksum_.Add(text.data(), text.size());
      KeyTable::AppendLine(id, text, &set_->key_lines_);
      set_->ids_.push_back(id);
      return absl::OkStatus();
    }
    if (*number < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(Prefix(key), "expected a key of at least 0, because FAISS marks missing results with -1"));
    }
    checksum_.Add(number, sizeof *number);
    return AddNumber(*number);
  }

  // Keys mostly ascend: only when one does not, those before are gathered to look for it.
  absl::Status AddNumber(int64_t key) {
    if (known_.empty() && !set_->ids_.empty() && key <= set_->ids_.back()) {
      known_.insert(set_->ids_.begin(), set_->ids_.end());
    }
    if (!known_.empty() && !known_.insert(key).second) {
      return absl::InvalidArgumentError(absl::StrCat(Prefix(key), "an earlier row has this key; keys must be unique"));
    }
    set_->ids_.push_back(key);
    return absl::OkStatus();
  }

  const std::string& place_;
  const RowSetOptions& options_;
  RowSet* const set_;
  Checksum checksum_;
  absl::flat_hash_set<int64_t> known_;
  std::vector<float> direction_;
};

RowSet::RowSet() = default;
RowSet::RowSet(RowSet&&) noexcept = default;
RowSet& RowSet::operator=(RowSet&&) noexcept = default;
RowSet::~RowSet() = default;

absl::Span<const float> RowSet::vectors() const { return vectors_->all(); }

absl::StatusOr<RowSet> RowSet::Read(VectorReader* reader, const std::string& place, const RowSetOptions& options,
                                    Seen seen) {
  RowSet set;
  set.dim_ = reader->dim();
  ABSL_ASSIGN_OR_RETURN(set.vectors_, Vectors::Make(options.beside));
  Reading reading(place, options, &set);
  try {
    for (;;) {
      ABSL_ASSIGN_OR_RETURN(const std::optional<StoredVector> row, reader->Next());
      if (!row.has_value()) break;
      ABSL_RETURN_IF_ERROR(reading.Add(*row));
      if (set.rows() % kRowsPerLook == 0) ABSL_RETURN_IF_ERROR(seen(set.rows()));
    }
    ABSL_RETURN_IF_ERROR(set.vectors_->Complete());
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat(place, ": not enough memory for ", set.rows(), " rows of ", set.dim_, " numbers"));
  }
  if (set.rows() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(place, ": expected rows with vectors, got none",
                     set.passed_over_ > 0 ? absl::StrCat(" that an index can hold: ", set.fault_) : ""));
  }
  set.fingerprint_ = reading.fingerprint();
  return set;
}

std::vector<int64_t> RowSet::Draw(int64_t count, uint64_t seed) const {
  count = std::min(count, rows());
  std::vector<int64_t> drawn;
  drawn.reserve(static_cast<size_t>(count));
  // Knuth's selection sampling: each row with the chance that leaves all samples equally likely. By our own division of
  // the random number, since that of the standard library is not the same everywhere.
  std::mt19937_64 random(seed);
  for (int64_t row = 0; static_cast<int64_t>(drawn.size()) < count; ++row) {
    const double lot = static_cast<double>(random() >> 11) * 0x1p-53;
    const int64_t wanted = count - static_cast<int64_t>(drawn.size());
    if (lot * static_cast<double>(rows() - row) < static_cast<double>(wanted)) drawn.push_back(row);
  }
  return drawn;
}

std::vector<float> RowSet::Gather(absl::Span<const int64_t> rows) const {
  std::vector<float> matrix;
  matrix.reserve(rows.size() * static_cast<size_t>(dim_));
  for (const int64_t row : rows) {
    const absl::Span<const float> from = vector(row);
    matrix.insert(matrix.end(), from.begin(), from.end());
  }
  return matrix;
}

}  // namespace reembed
