// SPDX-License-Identifier: Apache-2.0
#include "io/file/hdf5_source.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/counted.h"
#include "engine/status_macros.h"
#include "io/file/hdf5_column.h"
#include "io/file/hdf5_file.h"
#include "io/file/hdf5_trial.h"
#include "io/file/key_column.h"

namespace reembed {
namespace {

class Hdf5Source final : public Source {
 public:
  // `keys` may be null.
  Hdf5Source(std::unique_ptr<Hdf5File> file, std::unique_ptr<Hdf5TextColumn> texts, std::unique_ptr<KeyColumn> keys)
      : file_(std::move(file)), texts_(std::move(texts)), keys_(std::move(keys)) {}

  absl::StatusOr<std::optional<RowView>> Next() override {
    if (next_ == texts_->rows()) return std::nullopt;
    absl::StatusOr<std::optional<RowView>> row = RowAt(next_);
    if (row.ok()) ++next_;
    return row;
  }

  absl::Status SeekAfter(KeyView key) override {
    ABSL_ASSIGN_OR_RETURN(const std::optional<int64_t> row, FindRow(keys_.get(), texts_->rows(), next_, key));
    if (!row.has_value()) {
      return absl::NotFoundError(absl::StrCat(file_->path(), ": there is no row with the key ", KeyText(key)));
    }
    next_ = *row + 1;
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<RowView>> Find(KeyView key) override {
    ABSL_ASSIGN_OR_RETURN(const std::optional<int64_t> row, FindRow(keys_.get(), texts_->rows(), next_, key));
    if (!row.has_value()) return std::nullopt;
    next_ = *row + 1;
    return RowAt(*row);
  }

  absl::StatusOr<int64_t> CountRows() override { return texts_->rows(); }

 private:
  absl::StatusOr<std::optional<RowView>> RowAt(int64_t row) {
    ABSL_ASSIGN_OR_RETURN(const KeyView key, KeyOfRow(keys_.get(), row));
    const absl::StatusOr<absl::string_view> text = texts_->At(row);
    if (absl::IsOutOfRange(text.status())) {
      problem_ = std::string(text.status().message());
      return RowView{.key = key, .problem = problem_};
    }
    ABSL_RETURN_IF_ERROR(text.status());
    return RowView{.key = key, .text = *text};
  }

  const std::unique_ptr<Hdf5File> file_;
  const std::unique_ptr<Hdf5TextColumn> texts_;
  const std::unique_ptr<KeyColumn> keys_;
  int64_t next_ = 0;  // <= rows
  std::string problem_;
};

absl::StatusOr<std::unique_ptr<Source>> Open(const Location& location) {
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<Hdf5File> file, Hdf5File::Open(location.path, Hdf5File::Access::kRead));
  absl::StatusOr<std::unique_ptr<Hdf5Dataset>> dataset = file->Dataset(location.Get("texts", "texts"));
  ABSL_RETURN_IF_ERROR(dataset.status());
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<Hdf5TextColumn> texts, Hdf5TextColumn::Make(*std::move(dataset)));
  const std::string keys_name = location.Get("keys");
  if (keys_name.empty()) return std::make_unique<Hdf5Source>(std::move(file), std::move(texts), nullptr);
  dataset = file->Dataset(keys_name);
  ABSL_RETURN_IF_ERROR(dataset.status());
  if (const int64_t keys = (*dataset)->shape().rows; keys != texts->rows()) {
    return absl::InvalidArgumentError(absl::StrCat((*dataset)->name(), ": expected a key for each of ",
                                                   Counted(texts->rows(), "text", "texts"), ", got ", keys));
  }
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<KeyColumn> keys, MakeHdf5KeyColumn(*std::move(dataset)));
  return std::make_unique<Hdf5Source>(std::move(file), std::move(texts), std::move(keys));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Source>> OpenHdf5Source(const Location& location) {
  ABSL_RETURN_IF_ERROR(location.CheckParameters({"texts", "keys"}));
  ABSL_RETURN_IF_ERROR(TryHdf5(location.path, [&location](bool all) {
    const absl::StatusOr<std::unique_ptr<Source>> source = Open(location);
    if (!source.ok()) return;
    absl::StatusOr<std::optional<RowView>> row = (*source)->Next();
    while (all && row.ok() && row->has_value()) row = (*source)->Next();
  }));
  return Open(location);
}

}  // namespace reembed
