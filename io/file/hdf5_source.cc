#include "io/file/hdf5_source.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "io/file/hdf5_columns.h"
#include "io/file/hdf5_library.h"

namespace reembed {
namespace {

class Hdf5Source final : public Source {
 public:
  Hdf5Source(std::string path, Hdf5Strings texts, std::unique_ptr<KeyColumn> keys)
      : path_(std::move(path)), texts_(std::move(texts)), keys_(std::move(keys)) {}

  absl::StatusOr<std::optional<RowView>> Next() override {
    if (next_ >= texts_.rows()) return std::nullopt;
    const absl::StatusOr<KeyView> key = KeyOfRow(keys_.get(), next_);
    if (!key.ok()) return key.status();
    const absl::StatusOr<std::optional<absl::string_view>> text = texts_.At(next_);
    if (!text.ok()) return text.status();
    ++next_;
    return RowView{.key = *key, .text = *text};
  }

  absl::Status SeekAfter(KeyView key) override {
    const absl::StatusOr<std::optional<int64_t>> row = FindRow(keys_.get(), texts_.rows(), next_, key);
    if (!row.ok()) return row.status();
    if (!row->has_value()) {
      return absl::NotFoundError(absl::StrCat(path_, ": expected a row ", KeyText(key), ", got none"));
    }
    next_ = **row + 1;
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<RowView>> Find(KeyView key) override {
    const absl::StatusOr<std::optional<int64_t>> row = FindRow(keys_.get(), texts_.rows(), next_, key);
    if (!row.ok()) return row.status();
    if (!row->has_value()) return std::nullopt;
    next_ = **row;
    return Next();
  }

  absl::StatusOr<int64_t> CountRows() override { return texts_.rows(); }

 private:
  const std::string path_;
  Hdf5Strings texts_;
  const std::unique_ptr<KeyColumn> keys_;
  int64_t next_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Source>> OpenHdf5Source(const Location& location) {
  if (absl::Status status = location.CheckParameters({"texts", "keys"}); !status.ok()) return status;
  const absl::StatusOr<Hdf5Id> file = OpenHdf5ToRead(location.path);
  if (!file.ok()) return file.status();
  absl::StatusOr<Hdf5Strings> texts = Hdf5Strings::Open(*file, location.path, location.Get("texts", "texts"));
  if (!texts.ok()) return texts.status();
  std::unique_ptr<KeyColumn> keys;
  if (const std::string name = location.Get("keys"); !name.empty()) {
    absl::StatusOr<std::unique_ptr<KeyColumn>> column = OpenHdf5Keys(*file, location.path, name, texts->rows());
    if (!column.ok()) return column.status();
    keys = std::move(*column);
  }
  return std::make_unique<Hdf5Source>(location.path, std::move(*texts), std::move(keys));
}

}  // namespace reembed
