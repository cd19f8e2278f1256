// SPDX-License-Identifier: Apache-2.0
#include "engine/finite_reader.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/number/normalize.h"

namespace reembed {
namespace {

class FiniteReader final : public VectorReader {
 public:
  FiniteReader(std::unique_ptr<VectorReader> reader, std::string place)
      : reader_(std::move(reader)), place_(std::move(place)) {}

  int dim() const override { return reader_->dim(); }
  int64_t rows() const override { return reader_->rows(); }
  absl::StatusOr<std::optional<StoredVector>> Next() override { return Checked(reader_->Next()); }
  absl::StatusOr<std::optional<StoredVector>> Find(KeyView key) override { return Checked(reader_->Find(key)); }
  void Round(absl::Span<float> vector) const override { reader_->Round(vector); }

 private:
  absl::StatusOr<std::optional<StoredVector>> Checked(absl::StatusOr<std::optional<StoredVector>> row) const {
    if (!row.ok() || !row->has_value() || CheckVector((*row)->vector) != VectorFault::kNotFinite) return row;
    return absl::DataLossError(absl::StrCat(place_, ": row ", KeyText((*row)->key),
                                            ": expected a vector of finite numbers, got one with NaN or infinity; ",
                                            "write it again with the program that made it"));
  }

  const std::unique_ptr<VectorReader> reader_;
  const std::string place_;
};

}  // namespace

std::unique_ptr<VectorReader> MakeFiniteReader(std::unique_ptr<VectorReader> reader, std::string place) {
  return std::make_unique<FiniteReader>(std::move(reader), std::move(place));
}

}  // namespace reembed
