// SPDX-License-Identifier: Apache-2.0
#include "io/file/hdf5_sink.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/output_form.h"
#include "engine/owed_rows.h"
#include "engine/status_macros.h"
#include "io/file/file.h"
#include "io/file/growing_file.h"
#include "io/file/hdf5_file.h"
#include "io/file/sink_checks.h"

namespace reembed {
namespace {

constexpr int64_t kChunkBytes = int64_t{1} << 20;
constexpr int64_t kKeyChunkRows = 4096;
constexpr size_t kKeyBytes = size_t{1} << 20;  // of text keys, before they are written

// What a `train` of ours is made of.
struct Rows {
  int dim = 0;
  OutputForm form;

  int64_t bytes() const { return OutputRowBytes(form.type, dim); }
  int64_t columns() const { return form.type == OutputType::kBinary ? bytes() : dim; }
};

// A file whose `train` is as asked for and may grow by chunks, and what is in it.
struct OurFile {
  std::unique_ptr<Hdf5File> file;
  std::unique_ptr<Hdf5Dataset> train;
  std::unique_ptr<Hdf5Dataset> keys;
};

// nullopt: it is not such a file, or has not exactly `rows` rows.
std::optional<OurFile> OpenOurs(const std::string& path, Hdf5File::Access access, const Rows& asked, int64_t rows) {
  absl::StatusOr<std::unique_ptr<Hdf5File>> file = Hdf5File::Open(path, access);
  if (!file.ok()) return std::nullopt;
  absl::StatusOr<std::unique_ptr<Hdf5Dataset>> train = (*file)->DatasetOrNull("train");
  absl::StatusOr<std::unique_ptr<Hdf5Dataset>> keys = (*file)->DatasetOrNull("keys");
  if (!train.ok() || *train == nullptr || !keys.ok() || *keys == nullptr) return std::nullopt;
  const Hdf5Dataset::Shape& vectors = (*train)->shape();
  const Hdf5Dataset::Shape& names = (*keys)->shape();
  if (!vectors.takes_chunks || vectors.output != asked.form.type || vectors.columns != asked.columns() ||
      vectors.rows != rows || names.rows != rows || names.dimensions != 1 ||
      (names.kind != Hdf5Kind::kIntegers && names.kind != Hdf5Kind::kTexts)) {
    return std::nullopt;
  }
  return OurFile{*std::move(file), *std::move(train), *std::move(keys)};
}

Hdf5Kind KindOf(KeyView key) { return std::holds_alternative<int64_t>(key) ? Hdf5Kind::kIntegers : Hdf5Kind::kTexts; }

class Hdf5Sink final : public VectorSink {
 public:
  Hdf5Sink(std::string path, Model model, const OutputForm& form)
      : path_(std::move(path)),
        partial_path_(PartialPath(path_)),
        model_(std::move(model)),
        train_rows_{.dim = model_.dim, .form = form} {}

  // The datasets must go before their file.
  ~Hdf5Sink() override { Close(); }

  RowOrder row_order() const override { return RowOrder::kAscending; }

  absl::StatusOr<int64_t> Open(const SinkContext&, const SinkPosition& last) override {
    const std::optional<int64_t> outdated = OutdatedRows(last);
    ABSL_ASSIGN_OR_RETURN(const bool complete, PathExists(path_));
    ABSL_ASSIGN_OR_RETURN(const bool partial, PathExists(partial_path_));
    if (last.position == 0 && !outdated.has_value() && complete && !partial) return ForeignFileError(path_);
    if (last.position > 0 && OpenOurs(path_, Hdf5File::Access::kRead, train_rows_, last.stored_rows).has_value()) {
      if (partial && unlink(partial_path_.c_str()) != 0) return FileError(partial_path_, "remove", errno);
      rows_ = last.stored_rows;
      return last.position;
    }
    // What has no rows is not worth keeping, either.
    keeps_previous_ = !OpenOurs(path_, Hdf5File::Access::kRead, train_rows_, outdated.value_or(0)).has_value();
    ABSL_RETURN_IF_ERROR(Remember(StartOver()));
    return 0;
  }

  absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) override {
    ABSL_RETURN_IF_ERROR(failure_);
    if (file_ == nullptr) {
      if (absl::Status status = GoOn(); !status.ok()) return Remember(std::move(status));
    }
    for (const Batch* batch : batches) {
      ABSL_RETURN_IF_ERROR(CheckWidth(path_, model_.dim, batch->dim()));
      for (const BatchRow& row : batch->rows()) {
        if (row.vector == nullptr) continue;
        if (absl::Status status = AddRow(row, refused); !status.ok()) return Remember(std::move(status));
      }
    }
    return absl::OkStatus();
  }

  // Nothing of an unfinished file survives a crash, see Open(); this only lets a full disk be known early.
  absl::Status Flush() override {
    if (!failure_.ok() || file_ == nullptr) return failure_;
    return Remember(file_->Flush());
  }

  absl::Status Complete() override {
    if (!failure_.ok() || file_ == nullptr) return failure_;
    return Remember(CompleteFile());
  }

 private:
  absl::Status Remember(absl::Status status) {
    if (failure_.ok()) failure_ = std::move(status);
    return failure_;
  }

  void Close() {
    keys_.reset();
    train_.reset();
    file_.reset();
  }

  absl::Status StartOver() {
    started_over_ = true;
    Close();
    const int64_t chunk_rows = std::max<int64_t>(kChunkBytes / train_rows_.bytes(), 1);
    ABSL_ASSIGN_OR_RETURN(file_, Hdf5File::Create(partial_path_));
    ABSL_ASSIGN_OR_RETURN(train_, file_->AddMatrix("train", train_rows_.form.type, chunk_rows, train_rows_.columns()));
    const bool is_binary = train_rows_.form.type == OutputType::kBinary;
    for (const auto& [name, value] :
         {std::pair("distance", is_binary ? "hamming" : "angular"),
          std::pair("point_type", is_binary ? "bit" : "float"), std::pair("model", model_.name.c_str())}) {
      ABSL_RETURN_IF_ERROR(file_->SetAttribute(name, std::string(value)));
    }
    ABSL_RETURN_IF_ERROR(file_->SetAttribute("dimension", int64_t{model_.dim}));
    rows_ = 0;
    SetUpChunk(chunk_rows);
    return SyncFolderOf(path_);
  }

  // Begins a copy of the finished file.
  absl::Status GoOn() {
    // The keys of an empty file have no kind yet.
    if (rows_ == 0) return StartOver();
    ABSL_ASSIGN_OR_RETURN(const File complete, File::OpenToRead(path_));
    ABSL_ASSIGN_OR_RETURN(const int64_t bytes, complete.Size());
    ABSL_RETURN_IF_ERROR(CopyDurably(path_, partial_path_, bytes));
    std::optional<OurFile> copy = OpenOurs(partial_path_, Hdf5File::Access::kWrite, train_rows_, rows_);
    if (!copy.has_value()) return absl::DataLossError(absl::StrCat(path_, ": changed while it was copied"));
    file_ = std::move(copy->file);
    train_ = std::move(copy->train);
    keys_ = std::move(copy->keys);
    SetUpChunk(train_->shape().chunk_rows);
    // Only whole chunks are written, so the rows of the last one are written again.
    const int64_t last = rows_ % chunk_rows_;
    chunk_.resize(static_cast<size_t>(last * train_rows_.bytes()));
    return last == 0 ? absl::OkStatus() : train_->ReadBytes(rows_ - last, last, chunk_.data());
  }

  void SetUpChunk(int64_t chunk_rows) {
    chunk_rows_ = chunk_rows;
    chunk_.clear();
    chunk_.reserve(static_cast<size_t>(chunk_rows * train_rows_.bytes()));
  }

  absl::Status AddRow(const BatchRow& row, std::vector<RefusedRow>* refused) {
    const auto* const text = std::get_if<absl::string_view>(&row.key);
    if (text != nullptr && absl::StrContains(*text, '\0')) {
      refused->push_back(
          {row.ordinal, absl::InvalidArgumentError(absl::StrCat(path_, ": a key with a NUL byte has no place here"))});
      return absl::OkStatus();
    }
    if (keys_ != nullptr && KindOf(row.key) != keys_->shape().kind) {
      refused->push_back({row.ordinal, absl::InvalidArgumentError(absl::StrCat(
                                           path_, ": row ", KeyText(row.key), ": expected a key like the first, of ",
                                           NameOf(keys_->shape().kind), ", got one of ", NameOf(KindOf(row.key)),
                                           "; choose a target that takes both"))});
      return absl::OkStatus();
    }
    const absl::Status fits = AppendOutput(train_rows_.form, {row.vector, static_cast<size_t>(model_.dim)}, &chunk_);
    if (!fits.ok()) {
      refused->push_back({row.ordinal, absl::Status(fits.code(), absl::StrCat(path_, ": row ", KeyText(row.key), ": ",
                                                                              fits.message()))});
      return absl::OkStatus();
    }
    ABSL_RETURN_IF_ERROR(AddKey(row.key));
    ++rows_;
    return rows_ % chunk_rows_ == 0 ? WriteChunk() : absl::OkStatus();
  }

  absl::Status AddKey(KeyView key) {
    if (keys_ == nullptr) {
      ABSL_ASSIGN_OR_RETURN(keys_, file_->AddDataset("keys", KindOf(key), kKeyChunkRows, 0));
    }
    if (const auto* const number = std::get_if<int64_t>(&key)) {
      number_keys_.push_back(*number);
      return number_keys_.size() < kKeyChunkRows ? absl::OkStatus() : WriteKeys();
    }
    text_keys_.emplace_back(std::get<absl::string_view>(key));
    text_key_bytes_ += text_keys_.back().size();
    return text_keys_.size() < kKeyChunkRows && text_key_bytes_ < kKeyBytes ? absl::OkStatus() : WriteKeys();
  }

  absl::Status WriteKeys() {
    absl::Status status = absl::OkStatus();
    if (!number_keys_.empty()) status = keys_->Append(number_keys_);
    if (!text_keys_.empty()) status = keys_->Append(text_keys_);
    number_keys_.clear();
    text_keys_.clear();
    text_key_bytes_ = 0;
    return status;
  }

  // The chunk with the last row. What lies behind that row in it is zero.
  absl::Status WriteChunk() {
    const int64_t first = (rows_ - 1) / chunk_rows_ * chunk_rows_;
    chunk_.resize(static_cast<size_t>(chunk_rows_ * train_rows_.bytes()), '\0');
    absl::Status status = train_->WriteChunk(rows_, first, chunk_);
    chunk_.clear();
    return status;
  }

  absl::Status CompleteFile() {
    if (rows_ % chunk_rows_ != 0) {
      ABSL_RETURN_IF_ERROR(WriteChunk());
    }
    if (keys_ == nullptr) {
      ABSL_ASSIGN_OR_RETURN(keys_, file_->AddDataset("keys", Hdf5Kind::kIntegers, kKeyChunkRows, 0));
    }
    ABSL_RETURN_IF_ERROR(WriteKeys());
    ABSL_RETURN_IF_ERROR(file_->Flush());
    Close();
    // The library closes a file without telling whether all of it was written, so look again before it gets its name.
    if (!OpenOurs(partial_path_, Hdf5File::Access::kRead, train_rows_, rows_).has_value()) {
      return absl::UnavailableError(absl::StrCat(partial_path_, ": not readable after it was written; run again"));
    }
    ABSL_ASSIGN_OR_RETURN(const File partial, File::OpenToWrite(partial_path_));
    ABSL_RETURN_IF_ERROR(partial.Sync());
    // Whatever stands there now does not live on in the new file.
    ABSL_RETURN_IF_ERROR(started_over_ && keeps_previous_ ? MoveToPrevious(path_) : absl::OkStatus());
    return RenameDurably(partial_path_, path_);
  }

  const std::string path_;
  const std::string partial_path_;
  const Model model_;
  const Rows train_rows_;
  bool started_over_ = false;
  bool keeps_previous_ = true;  // of what has the name by then; not of what this job made before
  absl::Status failure_;
  std::unique_ptr<Hdf5File> file_;  // PATH.partial; null while a finished file is all there is
  std::unique_ptr<Hdf5Dataset> train_;
  std::unique_ptr<Hdf5Dataset> keys_;  // null until the first row
  int64_t rows_ = 0;                   // those that are only in memory included
  int64_t chunk_rows_ = 0;
  std::string chunk_;                 // the rows of the last chunk, as they will lie in the file
  std::vector<int64_t> number_keys_;  // not yet written
  std::vector<std::string> text_keys_;
  size_t text_key_bytes_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorSink>> MakeHdf5Sink(const Location& location, const Model& model) {
  ABSL_RETURN_IF_ERROR(location.CheckParameters(kOutputParameters));
  ABSL_ASSIGN_OR_RETURN(const OutputForm form, OutputFormOf(location));
  if (model.dim <= 0 || model.dim > Hdf5Dataset::kMaxColumns) {
    return absl::InvalidArgumentError(absl::StrCat(location.path, ": expected vectors of 1 to ",
                                                   Hdf5Dataset::kMaxColumns, " numbers, got ", model.dim));
  }
  if (const absl::Status status = CheckOutputWidth(form.type, model.dim); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat(location.path, ": ", status.message()));
  }
  ABSL_RETURN_IF_ERROR(CheckTargetPath(location.path));
  return std::make_unique<Hdf5Sink>(location.path, model, form);
}

}  // namespace reembed
