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

struct RowSet::Writer::State {
  State(int dim, Metric metric) : metric(metric) { set.dim_ = dim; }

  const Metric metric;
  RowSet set;
  Checksum checksum;  // of keys and vectors, as they come
  std::vector<float> direction;
};

RowSet::Writer::Writer(std::unique_ptr<State> state) : state_(std::move(state)) {}
RowSet::Writer::~Writer() = default;

absl::StatusOr<std::unique_ptr<RowSet::Writer>> RowSet::Writer::Make(int dim, Metric metric,
                                                                     const std::string& beside) {
  auto state = std::make_unique<State>(dim, metric);
  ABSL_ASSIGN_OR_RETURN(state->set.vectors_, Vectors::Make(beside));
  return std::unique_ptr<Writer>(new Writer(std::move(state)));
}

absl::Span<const int64_t> RowSet::Writer::ids() const { return state_->set.ids(); }

absl::Status RowSet::Writer::Add(KeyView key, int64_t id, absl::Span<const float> vector) {
  RowSet& set = state_->set;
  if (const auto* const text = std::get_if<absl::string_view>(&key)) {
    set.id_kind_ = IdKind::kOrdinal;
    state_->checksum.Add(text->data(), text->size());
    KeyTable::AppendLine(id, *text, &set.key_lines_);
  } else {
    state_->checksum.Add(&id, sizeof id);
  }
  set.ids_.push_back(id);
  state_->checksum.Add(vector.data(), vector.size() * sizeof(float));
  if (state_->metric != Metric::kCosine) return set.vectors_->Append(vector);
  state_->direction.assign(vector.begin(), vector.end());
  ABSL_RETURN_IF_ERROR(NormalizeRows(absl::MakeSpan(state_->direction), set.dim_));
  return set.vectors_->Append(state_->direction);
}

absl::StatusOr<RowSet> RowSet::Writer::Finish() {
  ABSL_RETURN_IF_ERROR(state_->set.vectors_->Complete());
  state_->set.fingerprint_ = state_->checksum.Value();
  return std::move(state_->set);
}

// One pass over a reader.
class RowSet::Reading {
 public:
  Reading(const std::string& place, const RowSetOptions& options, int dim, Writer* writer)
      : place_(place), options_(options), dim_(dim), writer_(writer) {}

  absl::Status Add(const StoredVector& row) {
    if (absl::Status fault = Fault(row); !fault.ok()) {
      if (!options_.skip_unusable) return fault;
      if (passed_over_++ == 0) fault_ = std::string(fault.message());
      return absl::OkStatus();
    }
    ABSL_ASSIGN_OR_RETURN(const int64_t id, IdOf(row.key));
    return writer_->Add(row.key, id, row.vector);
  }

  int64_t passed_over() const { return passed_over_; }
  const std::string& fault() const { return fault_; }

 private:
  std::string Prefix(KeyView key) const { return absl::StrCat(place_, ": row ", KeyText(key), ": "); }

  absl::Status Fault(const StoredVector& row) const {
    if (static_cast<int>(row.vector.size()) != dim_) {
      return absl::InvalidArgumentError(absl::StrCat(Prefix(row.key), "expected a vector of ", dim_,
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

  absl::StatusOr<int64_t> IdOf(KeyView key) {
    const auto* const number = std::get_if<int64_t>(&key);
    const IdKind kind = number != nullptr ? IdKind::kKey : IdKind::kOrdinal;
    if (writer_->rows() == 0) kind_ = kind;
    if (kind != kind_) {
      return absl::InvalidArgumentError(
          absl::StrCat(Prefix(key), "expected ", kind == IdKind::kKey ? "text" : "an integer",
                       " as a key, like the rows before, got ", kind == IdKind::kKey ? "an integer" : "text",
                       "; choose a key column whose values are all of one kind"));
    }
    if (number == nullptr) return writer_->rows();
    if (*number < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(Prefix(key), "expected a key of at least 0, because FAISS marks missing results with -1"));
    }
    ABSL_RETURN_IF_ERROR(CheckNew(*number));
    return *number;
  }

  // Keys mostly ascend: only when one does not, those before are gathered to look for it.
  absl::Status CheckNew(int64_t key) {
    const absl::Span<const int64_t> before = writer_->ids();
    if (known_.empty() && !before.empty() && key <= before.back()) known_.insert(before.begin(), before.end());
    if (!known_.empty() && !known_.insert(key).second) {
      return absl::InvalidArgumentError(absl::StrCat(Prefix(key), "an earlier row has this key; keys must be unique"));
    }
    return absl::OkStatus();
  }

  const std::string& place_;
  const RowSetOptions& options_;
  const int dim_;
  Writer* const writer_;
  IdKind kind_ = IdKind::kKey;
  int64_t passed_over_ = 0;
  std::string fault_;
  absl::flat_hash_set<int64_t> known_;
};

RowSet::RowSet() = default;
RowSet::RowSet(RowSet&&) noexcept = default;
RowSet& RowSet::operator=(RowSet&&) noexcept = default;
RowSet::~RowSet() = default;

absl::Span<const float> RowSet::vectors() const { return vectors_->all(); }

absl::StatusOr<RowSet> RowSet::Read(VectorReader* reader, const std::string& place, const RowSetOptions& options,
                                    Seen seen) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Writer> writer,
                        Writer::Make(reader->dim(), options.metric, options.beside));
  Reading reading(place, options, reader->dim(), writer.get());
  try {
    for (;;) {
      ABSL_ASSIGN_OR_RETURN(const std::optional<StoredVector> row, reader->Next());
      if (!row.has_value()) break;
      ABSL_RETURN_IF_ERROR(reading.Add(*row));
      if (writer->rows() % kRowsPerLook == 0) ABSL_RETURN_IF_ERROR(seen(writer->rows()));
    }
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat(place, ": not enough memory for ", writer->rows(), " rows of ", reader->dim(), " numbers"));
  }
  ABSL_ASSIGN_OR_RETURN(RowSet set, writer->Finish());
  set.passed_over_ = reading.passed_over();
  set.fault_ = reading.fault();
  if (set.rows() > 0) return set;
  return absl::InvalidArgumentError(
      absl::StrCat(place, ": expected rows with vectors, got none",
                   set.passed_over_ > 0 ? absl::StrCat(" that an index can hold: ", set.fault_) : ""));
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
