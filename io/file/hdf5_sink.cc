#include "io/file/hdf5_sink.h"

#include <hdf5.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/key.h"
#include "io/file/file.h"
#include "io/file/growing_file.h"
#include "io/file/hdf5_columns.h"
#include "io/file/hdf5_library.h"
#include "io/file/hdf5_writers.h"
#include "io/file/sink_checks.h"

namespace reembed {
namespace {

class Hdf5Sink final : public VectorSink {
 public:
  Hdf5Sink(std::string path, Model model)
      : path_(std::move(path)), partial_path_(PartialPath(path_)), model_(std::move(model)) {}

  ~Hdf5Sink() override { CloseAll(); }

  RowOrder row_order() const override { return RowOrder::kAscending; }

  absl::StatusOr<int64_t> Open(const SinkContext&, const SinkPosition& last) override {
    const absl::StatusOr<bool> complete = PathExists(path_);
    if (!complete.ok()) return complete.status();
    const absl::StatusOr<bool> partial = PathExists(partial_path_);
    if (!partial.ok()) return partial.status();
    if (*complete && last.position == 0 && !*partial) return ForeignFileError(path_);
    if (*complete && last.position > 0 && HoldsExactly(last.stored_rows)) {
      rows_ = last.stored_rows;
      return last.position;
    }
    if (absl::Status status = Keep(StartOver()); !status.ok()) return status;
    return 0;
  }

  absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) override {
    if (!failure_.ok()) return failure_;
    return Keep(WriteBatches(batches, refused));
  }

  // Nothing of a file that is open for writing can be relied on; Open() says so.
  absl::Status Flush() override { return failure_; }

  absl::Status Finish() override {
    if (!failure_.ok() || !file_.ok()) return failure_;
    return Keep(Complete());
  }

 private:
  absl::Status Keep(absl::Status status) {
    if (failure_.ok()) failure_ = std::move(status);
    return failure_;
  }

  // Whether the complete file has `rows` rows of our width, each with a key.
  bool HoldsExactly(int64_t rows) const {
    const absl::StatusOr<Hdf5Id> file = OpenHdf5ToRead(path_);
    if (!file.ok()) return false;
    const absl::StatusOr<Hdf5Matrix> train = OpenHdf5Matrix(*file, path_, "train");
    if (!train.ok() || train->rows != rows || train->dim != model_.dim) return false;
    return rows == 0 || OpenHdf5Keys(*file, path_, "keys", rows).ok();
  }

  absl::Status StartOver() {
    const Hdf5Lock lock;
    file_ = Hdf5Id(H5Fcreate(partial_path_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
    if (!file_.ok()) return Hdf5Error(partial_path_, "make");
    for (const auto& [name, value] : {std::pair<const char*, std::string>("distance", "angular"),
                                      {"point_type", "float"},
                                      {"model", model_.name}}) {
      if (absl::Status status = WriteHdf5Attribute(file_, partial_path_, name, value); !status.ok()) return status;
    }
    if (absl::Status status = WriteHdf5Attribute(file_, partial_path_, "dimension", model_.dim); !status.ok()) {
      return status;
    }
    absl::StatusOr<Hdf5ChunkWriter> train =
        Hdf5ChunkWriter::Create(file_, partial_path_, "train", Hdf5Number::kFloat32, model_.dim);
    if (!train.ok()) return train.status();
    train_.emplace(std::move(*train));
    return absl::OkStatus();
  }

  absl::Status GoOnWithCopy() {
    {
      const absl::StatusOr<File> complete = File::OpenToRead(path_);
      if (!complete.ok()) return complete.status();
      const absl::StatusOr<int64_t> size = complete->Size();
      if (!size.ok()) return size.status();
      if (absl::Status status = CopyDurably(path_, partial_path_, *size); !status.ok()) return status;
    }
    const Hdf5Lock lock;
    file_ = Hdf5Id(H5Fopen(partial_path_.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    if (!file_.ok()) return Hdf5Error(partial_path_, "open for writing");
    absl::StatusOr<Hdf5ChunkWriter> train =
        Hdf5ChunkWriter::Continue(file_, partial_path_, "train", Hdf5Number::kFloat32, model_.dim);
    if (!train.ok()) return train.status();
    train_.emplace(std::move(*train));
    return rows_ > 0 ? GoOnWithKeys() : absl::OkStatus();
  }

  absl::Status GoOnWithKeys() {
    const absl::StatusOr<Hdf5Dataset> keys = Hdf5Dataset::Open(file_, partial_path_, "keys");
    if (!keys.ok()) return keys.status();
    if (H5Tget_class(keys->type.get()) == H5T_STRING) {
      absl::StatusOr<Hdf5StringWriter> texts = Hdf5StringWriter::Continue(file_, partial_path_, "keys", rows_);
      if (!texts.ok()) return texts.status();
      text_keys_.emplace(std::move(*texts));
      return absl::OkStatus();
    }
    absl::StatusOr<Hdf5ChunkWriter> numbers =
        Hdf5ChunkWriter::Continue(file_, partial_path_, "keys", Hdf5Number::kInt64, 1);
    if (!numbers.ok()) return numbers.status();
    integer_keys_.emplace(std::move(*numbers));
    return absl::OkStatus();
  }

  // The first row decides of what type the keys are.
  absl::Status MakeKeys(KeyView first) {
    if (std::holds_alternative<int64_t>(first)) {
      absl::StatusOr<Hdf5ChunkWriter> numbers =
          Hdf5ChunkWriter::Create(file_, partial_path_, "keys", Hdf5Number::kInt64, 1);
      if (numbers.ok()) integer_keys_.emplace(std::move(*numbers));
      return numbers.status();
    }
    absl::StatusOr<Hdf5StringWriter> texts = Hdf5StringWriter::Create(file_, partial_path_, "keys");
    if (texts.ok()) text_keys_.emplace(std::move(*texts));
    return texts.status();
  }

  absl::Status WriteBatches(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) {
    if (!file_.ok()) {
      if (absl::Status status = GoOnWithCopy(); !status.ok()) return status;
    }
    for (const Batch* const batch : batches) {
      if (absl::Status status = CheckDim(path_, model_.dim, *batch); !status.ok()) return status;
      for (const BatchRow& row : batch->rows()) {
        if (row.vector == nullptr) continue;
        if (absl::Status status = WriteRow(row, refused); !status.ok()) return status;
      }
    }
    return absl::OkStatus();
  }

  absl::Status WriteRow(const BatchRow& row, std::vector<RefusedRow>* refused) {
    if (absl::Status status = order_.Check(path_, row); !status.ok()) return status;
    const auto* const number = std::get_if<int64_t>(&row.key);
    const auto* const text = std::get_if<absl::string_view>(&row.key);
    if (text != nullptr && text->find('\0') != absl::string_view::npos) {
      refused->push_back({row.ordinal, absl::InvalidArgumentError(absl::StrCat(
                                           path_, ": row ", KeyJson(row.key),
                                           ": expected a key without NUL bytes, which end a string in HDF5"))});
      return absl::OkStatus();
    }
    if (!integer_keys_.has_value() && !text_keys_.has_value()) {
      if (absl::Status status = MakeKeys(row.key); !status.ok()) return status;
    }
    if (integer_keys_.has_value() != (number != nullptr)) {
      return absl::FailedPreconditionError(
          absl::StrCat(path_, ": row ", KeyText(row.key), ": expected ", integer_keys_.has_value() ? "integer" : "text",
                       " keys as in the rows before; choose another format for mixed keys"));
    }
    const absl::Status status = number != nullptr ? integer_keys_->Append(number) : text_keys_->Append(*text);
    return status.ok() ? train_->Append(row.vector) : status;
  }

  absl::Status Complete() {
    if (absl::Status status = train_->Finish(); !status.ok()) return status;
    if (integer_keys_.has_value()) {
      if (absl::Status status = integer_keys_->Finish(); !status.ok()) return status;
    }
    if (text_keys_.has_value()) {
      if (absl::Status status = text_keys_->Finish(); !status.ok()) return status;
    }
    {
      const Hdf5Lock lock;
      if (H5Fflush(file_.get(), H5F_SCOPE_GLOBAL) < 0 || !CloseAll()) return Hdf5Error(partial_path_, "finish");
    }
    {
      const absl::StatusOr<File> file = File::OpenToWrite(partial_path_);
      if (!file.ok()) return file.status();
      if (absl::Status status = file->Sync(); !status.ok()) return status;
    }
    return RenameDurably(partial_path_, path_);
  }

  // False if the file could not be written to its end.
  bool CloseAll() {
    train_.reset();
    integer_keys_.reset();
    text_keys_.reset();
    return file_.CloseNow();
  }

  const std::string path_;
  const std::string partial_path_;
  const Model model_;
  Hdf5Id file_;  // the partial one; none while the complete one is all there is
  std::optional<Hdf5ChunkWriter> train_;
  std::optional<Hdf5ChunkWriter> integer_keys_;
  std::optional<Hdf5StringWriter> text_keys_;
  int64_t rows_ = 0;  // of the complete file that is gone on with
  AscendingRows order_;
  absl::Status failure_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorSink>> MakeHdf5Sink(const Location& location, const Model& model) {
  if (absl::Status status = CheckFileTarget(location, model); !status.ok()) return status;
  return std::make_unique<Hdf5Sink>(location.path, model);
}

}  // namespace reembed
