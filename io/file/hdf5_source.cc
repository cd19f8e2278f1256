// SPDX-License-Identifier: Apache-2.0
#include "io/file/hdf5_source.h"

#include <algorithm>
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
      : file_(std::move(file)), texts_(std::move(texts)), keys_(std::move(keys)), end_(texts_->rows()) {}

  // From now on there are no rows but these. Errors: kInvalidArgument (ends that are no numbers of rows).
  absl::Status SetRange(const KeyRange& range) {
    for (const auto& [end, row] : {std::pair(&range.from, &begin_), std::pair(&range.before, &end_)}) {
      if (!end->has_value()) continue;
      const auto* const number = std::get_if<int64_t>(&**end);
      if (number == nullptr || *number < 0) {
        return absl::InvalidArgumentError(absl::StrCat(file_->path(), ": `", KeyText(ViewOf(**end)),
                                                       "` is no number of a row, so no share ends there"));
      }
      *row = std::min(*number, texts_->rows());
    }
    next_ = begin_;
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<RowView>> Next() override {
    if (next_ >= end_) return std::nullopt;
    absl::StatusOr<std::optional<RowView>> row = RowAt(next_);
    if (row.ok()) ++next_;
    return row;
  }

  absl::Status SeekAfter(KeyView key) override {
    ABSL_ASSIGN_OR_RETURN(const std::optional<int64_t> row, FindRow(key));
    if (!row.has_value()) {
      return absl::NotFoundError(absl::StrCat(file_->path(), ": there is no row with the key ", KeyText(key)));
    }
    next_ = *row + 1;
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<RowView>> Find(KeyView key) override {
    ABSL_ASSIGN_OR_RETURN(const std::optional<int64_t> row, FindRow(key));
    if (!row.has_value()) return std::nullopt;
    next_ = *row + 1;
    return RowAt(*row);
  }

  absl::StatusOr<int64_t> CountRows() override { return std::max<int64_t>(0, end_ - begin_); }

  absl::StatusOr<std::vector<Key>> Cut(int shares) const {
    std::vector<Key> cuts;
    for (int share = 1; share < shares; ++share) {
      cuts.push_back(static_cast<int64_t>(static_cast<double>(texts_->rows()) * share / shares));
    }
    return cuts;
  }

 private:
  absl::StatusOr<std::optional<int64_t>> FindRow(KeyView key) {
    return reembed::FindRow(keys_.get(), begin_, end_, next_, key);
  }

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
  int64_t begin_ = 0, end_;  // of the share
  int64_t next_ = 0;         // <= end_, or begin_
  std::string problem_;
};

absl::StatusOr<std::unique_ptr<Hdf5Source>> Open(const Location& location) {
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

absl::StatusOr<std::unique_ptr<Source>> OpenHdf5Source(const Location& location, const KeyRange& range) {
  ABSL_RETURN_IF_ERROR(location.CheckParameters({"texts", "keys"}));
  ABSL_RETURN_IF_ERROR(TryHdf5(location.path, [&](bool all) {
    const absl::StatusOr<std::unique_ptr<Hdf5Source>> source = Open(location);
    if (!source.ok() || !(*source)->SetRange(range).ok()) return;
    absl::StatusOr<std::optional<RowView>> row = (*source)->Next();
    while (all && row.ok() && row->has_value()) row = (*source)->Next();
  }));
  return OpenUntriedHdf5Source(location, range);
}

absl::StatusOr<std::unique_ptr<Source>> OpenUntriedHdf5Source(const Location& location, const KeyRange& range) {
  ABSL_RETURN_IF_ERROR(location.CheckParameters({"texts", "keys"}));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<Hdf5Source> source, Open(location));
  ABSL_RETURN_IF_ERROR(source->SetRange(range));
  return source;
}

absl::StatusOr<std::vector<Key>> CutHdf5(const Location& location, int shares) {
  ABSL_RETURN_IF_ERROR(location.CheckParameters({"texts", "keys"}));
  ABSL_RETURN_IF_ERROR(TryHdf5(location.path, [&](bool) { Open(location).status().IgnoreError(); }));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Hdf5Source> source, Open(location));
  return source->Cut(shares);
}

}  // namespace reembed
