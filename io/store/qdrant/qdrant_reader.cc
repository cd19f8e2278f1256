// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_reader.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/number/json_text.h"
#include "engine/number/json_value.h"
#include "engine/number/normalize.h"
#include "engine/number/number_array.h"
#include "engine/status_macros.h"
#include "io/store/qdrant/qdrant_collection.h"
#include "io/store/qdrant/qdrant_id.h"
#include "io/store/qdrant/qdrant_points.h"
#include "io/store/qdrant/qdrant_scroll.h"

namespace reembed {
namespace {

constexpr int kPageBytes = 4 << 20;
constexpr int kBytesPerNumber = 12;  // in JSON

std::string RequestOf(const QdrantLocation& asked) {
  std::string request = R"("with_vector":)";
  if (asked.vector.empty()) {
    request += "true";
  } else {
    request += "[";
    AppendJsonString(asked.vector, &request);
    request += "]";
  }
  request += R"(,"with_payload":)";
  if (!asked.hashed_ids) return request + "false";
  request += "[";
  AppendJsonString(asked.key, &request);
  return request + "]";
}

class QdrantReader final : public VectorReader {
 public:
  QdrantReader(QdrantLocation asked, std::unique_ptr<QdrantClient> client, QdrantCollection::Vector vector,
               int64_t rows)
      : asked_(std::move(asked)),
        client_(std::move(client)),
        vector_(std::move(vector)),
        rows_(rows),
        numbers_(static_cast<size_t>(vector_.dim)),
        scroll_(client_.get(), asked_.Path(), RequestOf(asked_),
                std::clamp(kPageBytes / (vector_.dim * kBytesPerNumber), 16, 1024)) {}

  int dim() const override { return vector_.dim; }
  int64_t rows() const override { return rows_; }

  absl::StatusOr<std::optional<StoredVector>> Next() override {
    while (true) {
      ABSL_ASSIGN_OR_RETURN(const QdrantPoint* point, scroll_.Next());
      if (point == nullptr) return std::nullopt;
      absl::StatusOr<std::optional<StoredVector>> vector = Take(*point);
      if (!vector.ok() || vector->has_value()) return vector;
    }
  }

  absl::StatusOr<std::optional<StoredVector>> Find(KeyView key) override {
    const std::optional<QdrantId> id = asked_.IdOf(key);
    if (!id.has_value()) return std::nullopt;
    ABSL_ASSIGN_OR_RETURN(const QdrantPoint* point, scroll_.Find(*id));
    if (point == nullptr) return std::nullopt;
    return Take(*point);
  }

  void Round(absl::Span<float> vector) const override {
    // A vector of zeros stays one.
    if (vector_.distance == "Cosine") NormalizeRows(vector, static_cast<int>(vector.size())).IgnoreError();
  }

 private:
  absl::StatusOr<std::optional<StoredVector>> Take(const QdrantPoint& point) {
    const absl::string_view json = QdrantVectorIn(point.vector, asked_.vector);
    if (json.empty()) return std::nullopt;
    key_ = point.id.AsKey();
    if (asked_.hashed_ids) {
      const std::optional<KeyView> key = JsonKey(QdrantFieldIn(point.payload, asked_.key), &space_);
      if (key.has_value()) key_ = Own(*key);
    }
    const std::optional<int> numbers = ParseNumberArray(json, absl::MakeSpan(numbers_));
    if (numbers != vector_.dim) {
      return absl::DataLossError(absl::StrCat(asked_.Name(), ": row ", KeyText(ViewOf(key_)), ": expected a vector of ",
                                              vector_.dim, " numbers, got ",
                                              numbers.has_value() ? absl::StrCat(*numbers) : "something else"));
    }
    return StoredVector{ViewOf(key_), numbers_};
  }

  const QdrantLocation asked_;
  const std::unique_ptr<QdrantClient> client_;
  const QdrantCollection::Vector vector_;
  const int64_t rows_;
  std::vector<float> numbers_;
  QdrantScroll scroll_;
  Key key_;
  std::string space_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorReader>> OpenQdrantReader(const Location& location, int dim,
                                                               const QdrantOptions& options) {
  ABSL_ASSIGN_OR_RETURN(QdrantLocation asked, ParseQdrantLocation(location));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<QdrantClient> client, QdrantClient::Make(asked.url, options));
  ABSL_ASSIGN_OR_RETURN(const std::optional<QdrantCollection> collection,
                        GetQdrantCollection(client.get(), asked.collection));
  if (!collection.has_value()) return NoQdrantCollection(client.get(), asked);
  ABSL_ASSIGN_OR_RETURN(QdrantCollection::Vector vector, FindQdrantVector(*collection, asked));
  if (dim > 0 && vector.dim != dim) {
    return absl::FailedPreconditionError(
        absl::StrCat(asked.Name(), ": holds vectors of ", vector.dim, " numbers, expected ", dim));
  }
  ABSL_ASSIGN_OR_RETURN(const int64_t rows, CountQdrantPoints(client.get(), asked.collection,
                                                              AllQdrantFilters({HasQdrantVector(asked.vector)})));
  return std::make_unique<QdrantReader>(std::move(asked), std::move(client), std::move(vector), rows);
}

}  // namespace reembed
