// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_source.h"

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/number/json_text.h"
#include "engine/number/json_value.h"
#include "engine/status_macros.h"
#include "io/store/qdrant/qdrant_collection.h"
#include "io/store/qdrant/qdrant_id.h"
#include "io/store/qdrant/qdrant_points.h"
#include "io/store/qdrant/qdrant_scroll.h"
#include "io/store/qdrant/qdrant_side.h"

namespace reembed {
namespace {

constexpr int kPage = 512;
constexpr int kCountedPage = 8192;
constexpr int kLookedAt = 32;  // points, for the field of the texts

// A location opened for reading texts, with everything about it checked.
struct Opened {
  QdrantLocation asked;
  std::unique_ptr<QdrantClient> client;
  std::string rows;  // the collection to read
  std::optional<QdrantCollection::Vector> vector;
  std::string where;   // filter of all conditions but that on the vector; empty: none
  std::string wanted;  // filter of the rows to embed
  // Of the ids, in the order of Qdrant: numbers, then UUIDs. nullopt: no bound.
  std::optional<QdrantId> from, before;
};

absl::StatusOr<std::optional<QdrantId>> BoundOf(const QdrantLocation& asked, const std::optional<Key>& key) {
  if (!key.has_value()) return std::nullopt;
  const std::optional<QdrantId> id = ParseQdrantId(ViewOf(*key));
  if (id.has_value()) return id;
  return absl::InvalidArgumentError(
      absl::StrCat(asked.Name(), ": ", KeyText(ViewOf(*key)), " is no id of a point, so it ends no range of them"));
}

// Members of a request; `first`: what else is wanted.
std::string RequestOf(const std::string& text, const std::string& filter) {
  std::string request = R"("with_payload":[)";
  AppendJsonString(text, &request);
  absl::StrAppend(&request, R"(],"with_vector":false)");
  if (!filter.empty()) absl::StrAppend(&request, R"(,"filter":)", filter);
  return request;
}

// A field that no point has is a mistake; one that some points lack is not.
absl::Status CheckTextField(const Opened& opened) {
  const std::string& field = opened.asked.text;
  QdrantClient::Answer answer =
      opened.client->Call({"POST", absl::StrCat("/collections/", QdrantPathPart(opened.rows), "/points/scroll"),
                           absl::StrCat(R"({"limit":)", kLookedAt, R"(,"with_payload":true,"with_vector":false})")});
  ABSL_RETURN_IF_ERROR(answer.status());
  const absl::StatusOr<QdrantPage> page = ReadQdrantPage(&*answer);
  if (!page.ok()) {
    return absl::Status(page.status().code(), absl::StrCat(opened.asked.Name(), ": ", page.status().message()));
  }
  std::vector<std::string> names;
  for (const QdrantPoint& point : page->points) {
    if (!QdrantFieldIn(point.payload, field).empty()) return absl::OkStatus();
    if (names.empty()) names = QdrantFieldNames(point.payload);
  }
  if (page->points.empty()) return absl::OkStatus();
  const std::string near = NearestName(field, names);
  return absl::NotFoundError(absl::StrCat(opened.asked.Name(), ": no payload field `", field, "` in the first ",
                                          page->points.size(), " points",
                                          !near.empty()   ? absl::StrCat("; did you mean &text=", near, "?")
                                          : names.empty() ? ": they have no payload"
                                                          : absl::StrCat("; there are: ", absl::StrJoin(names, ", "))));
}

absl::StatusOr<Opened> Open(const Location& location, const Selection& selection, const QdrantOptions& options) {
  if (!selection.resume_from.empty()) {
    return absl::InvalidArgumentError(
        "points of Qdrant have no order of yours to begin from; a job goes on by itself, and &filter chooses points");
  }
  ABSL_ASSIGN_OR_RETURN(QdrantLocation asked, ParseQdrantLocation(location));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<QdrantClient> client, QdrantClient::Make(asked.url, options));
  Opened opened{.asked = std::move(asked), .client = std::move(client)};
  ABSL_ASSIGN_OR_RETURN(opened.rows, QdrantRowsOf(opened.client.get(), opened.asked));
  ABSL_ASSIGN_OR_RETURN(const std::optional<QdrantCollection> collection,
                        GetQdrantCollection(opened.client.get(), opened.rows));
  if (!collection.has_value()) return NoQdrantCollection(opened.client.get(), opened.asked);
  if (const auto* vector = collection->Find(opened.asked.vector)) opened.vector = *vector;
  ABSL_ASSIGN_OR_RETURN(opened.from, BoundOf(opened.asked, selection.range.from));
  ABSL_ASSIGN_OR_RETURN(opened.before, BoundOf(opened.asked, selection.range.before));
  opened.where = AllQdrantFilters({opened.asked.filter, selection.where});
  opened.wanted = opened.where;
  const bool has = opened.vector.has_value() && opened.vector->dim == selection.dim;
  const std::string has_vector = HasQdrantVector(opened.asked.vector);
  if (selection.rows == Selection::Rows::kWithoutVector && has) {
    opened.wanted = absl::StrCat(R"({"must_not":[)", has_vector, "]",
                                 opened.where.empty() ? "" : absl::StrCat(R"(,"must":[)", opened.where, "]"), "}");
  }
  if (selection.rows == Selection::Rows::kWithVector) {
    // No point at all, where the vector is not there.
    opened.wanted = AllQdrantFilters({opened.where, has ? has_vector : R"({"has_id":[]})"});
  }
  if (!opened.where.empty()) {
    const absl::Status counted = CountQdrantPoints(opened.client.get(), opened.rows, opened.where).status();
    if (absl::IsInvalidArgument(counted)) {
      return absl::InvalidArgumentError(
          absl::StrCat(counted.message(),
                       "; a filter is Qdrant's own JSON, for example {\"must\":[{\"key\":\"type\","
                       "\"match\":{\"value\":\"note\"}}]}"));
    }
    ABSL_RETURN_IF_ERROR(counted);
  }
  ABSL_RETURN_IF_ERROR(CheckTextField(opened));
  return opened;
}

// The points of the range that a filter finds. The server counts by filters, which know no order of ids, so those of a
// range are walked over.
absl::StatusOr<int64_t> CountPoints(const Opened& opened, const std::string& filter) {
  if (!opened.from.has_value() && !opened.before.has_value()) {
    return CountQdrantPoints(opened.client.get(), opened.rows, filter);
  }
  std::string request = R"("with_payload":false,"with_vector":false)";
  if (!filter.empty()) absl::StrAppend(&request, R"(,"filter":)", filter);
  QdrantScroll scan(opened.client.get(), absl::StrCat("/collections/", QdrantPathPart(opened.rows)), request,
                    kCountedPage);
  if (opened.from.has_value()) scan.SeekTo(*opened.from);
  for (int64_t rows = 0;; ++rows) {
    ABSL_ASSIGN_OR_RETURN(const QdrantPoint* const point, scan.Next());
    if (point == nullptr || (opened.before.has_value() && point->id >= *opened.before)) return rows;
  }
}

class QdrantSource final : public Source {
 public:
  explicit QdrantSource(Opened opened)
      : opened_(std::move(opened)),
        path_(absl::StrCat("/collections/", QdrantPathPart(opened_.rows))),
        scan_(opened_.client.get(), path_, RequestOf(opened_.asked.text, opened_.wanted), kPage),
        find_(opened_.client.get(), path_, RequestOf(opened_.asked.text, opened_.where), kPage) {
    if (opened_.from.has_value()) scan_.SeekTo(*opened_.from);
  }

  absl::StatusOr<std::optional<RowView>> Next() override {
    const absl::StatusOr<const QdrantPoint*> point = scan_.Next();
    if (point.ok() && *point != nullptr && opened_.before.has_value() && (*point)->id >= *opened_.before) {
      return std::nullopt;
    }
    return Row(point);
  }

  absl::Status SeekAfter(KeyView key) override {
    const std::optional<QdrantId> id = ParseQdrantId(key);
    if (!id.has_value()) {
      return absl::NotFoundError(absl::StrCat(opened_.asked.Name(), ": ", KeyText(key), " is no id of a point"));
    }
    scan_.SeekAfter(*id);
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<RowView>> Find(KeyView key) override {
    const std::optional<QdrantId> id = ParseQdrantId(key);
    if (!id.has_value()) return std::nullopt;
    return Row(find_.Find(*id));
  }

  absl::StatusOr<int64_t> CountRows() override { return CountPoints(opened_, opened_.wanted); }

 private:
  absl::StatusOr<std::optional<RowView>> Row(const absl::StatusOr<const QdrantPoint*>& point) {
    ABSL_RETURN_IF_ERROR(point.status());
    if (*point == nullptr) return std::nullopt;
    key_ = (*point)->id.AsKey();
    const absl::string_view field = QdrantFieldIn((*point)->payload, opened_.asked.text);
    RowView row{.key = ViewOf(key_), .text = JsonString(field, &space_)};
    if (!row.text.has_value() && !field.empty() && JsonKindName(field) != "null") {
      problem_ = absl::StrCat("expected `", opened_.asked.text, "` to be a string, got ", JsonKindName(field));
      row.problem = problem_;
    }
    return row;
  }

  const Opened opened_;
  const std::string path_;
  QdrantScroll scan_, find_;
  Key key_;
  std::string space_;
  std::string problem_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Source>> OpenQdrantSource(const Location& location, const Selection& selection,
                                                         const QdrantOptions& options) {
  ABSL_ASSIGN_OR_RETURN(Opened opened, Open(location, selection, options));
  return std::make_unique<QdrantSource>(std::move(opened));
}

absl::StatusOr<Survey> SurveyQdrant(const Location& location, const Selection& selection,
                                    const QdrantOptions& options) {
  ABSL_ASSIGN_OR_RETURN(const Opened opened, Open(location, selection, options));
  ABSL_ASSIGN_OR_RETURN(const int64_t selected, CountPoints(opened, opened.where));
  Survey survey{.rows_selected = selected, .rows_null = selected};
  if (!opened.vector.has_value()) return survey;
  ABSL_ASSIGN_OR_RETURN(const int64_t filled,
                        CountPoints(opened, AllQdrantFilters({opened.where, HasQdrantVector(opened.asked.vector)})));
  survey.rows_null -= filled;
  if (opened.vector->dim == selection.dim) survey.rows_with_vector = filled;
  if (filled > 0) survey.AddWidth(opened.vector->dim, filled);
  return survey;
}

}  // namespace reembed
