// SPDX-License-Identifier: Apache-2.0
#include "io/system/automem_rows.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/counted.h"
#include "engine/place_name.h"
#include "engine/setting.h"
#include "engine/status_macros.h"
#include "engine/vector_reader.h"
#include "io/store/qdrant/qdrant_collection.h"
#include "io/store/qdrant/qdrant_id.h"
#include "io/store/qdrant/qdrant_reader.h"
#include "io/store/qdrant/qdrant_target.h"
#include "io/system/automem_placeholder.h"

namespace reembed {
namespace {

constexpr size_t kShownIds = 5;

bool IsUuid(KeyView key) {
  const std::optional<QdrantId> id = ParseQdrantId(key);
  return id.has_value() && id->is_uuid;
}

// What the point of a memory has.
enum class Stored { kNothing, kOtherWidth, kPlaceholder, kVector };

// The points, if their collection is there.
class AutomemPoints {
 public:
  static absl::StatusOr<AutomemPoints> Open(const AutomemLocation& asked, const AutomemLogin& login) {
    absl::StatusOr<std::unique_ptr<VectorReader>> reader = OpenQdrantReader(asked.points, 0, login.points);
    if (absl::IsNotFound(reader.status())) return AutomemPoints(nullptr);
    ABSL_RETURN_IF_ERROR(reader.status());
    return AutomemPoints(*std::move(reader));
  }

  // 0: there is no collection.
  int dim() const { return reader_ == nullptr ? 0 : reader_->dim(); }
  int64_t count() const { return reader_ == nullptr ? 0 : reader_->rows(); }

  absl::StatusOr<Stored> Look(const RowView& row, int dim) {
    if (reader_ == nullptr) return Stored::kNothing;
    ABSL_ASSIGN_OR_RETURN(const std::optional<StoredVector> stored, reader_->Find(row.key));
    if (!stored.has_value()) return Stored::kNothing;
    if (reader_->dim() != dim) return Stored::kOtherWidth;
    const bool placeholder = row.text.has_value() && IsAutomemPlaceholder(*row.text, stored->vector);
    return placeholder ? Stored::kPlaceholder : Stored::kVector;
  }

 private:
  explicit AutomemPoints(std::unique_ptr<VectorReader> reader) : reader_(std::move(reader)) {}

  std::unique_ptr<VectorReader> reader_;
};

class AutomemSource final : public Source {
 public:
  AutomemSource(Location location, Selection selection, AutomemLogin login, std::unique_ptr<Source> nodes,
                std::optional<AutomemPoints> points)
      : location_(std::move(location)),
        selection_(std::move(selection)),
        login_(std::move(login)),
        nodes_(std::move(nodes)),
        points_(std::move(points)) {}

  absl::StatusOr<std::optional<RowView>> Next() override {
    while (true) {
      absl::StatusOr<std::optional<RowView>> row = nodes_->Next();
      if (!row.ok() || !row->has_value()) return row;
      if (!IsUuid((*row)->key)) {
        return absl::FailedPreconditionError(absl::StrCat(PlaceName(location_), ": row ", KeyText((*row)->key),
                                                          ": its id is no UUID, so it can have no point"));
      }
      if (!points_.has_value()) return row;
      ABSL_ASSIGN_OR_RETURN(const Stored stored, points_->Look(**row, selection_.dim));
      if ((stored == Stored::kVector) == (selection_.rows == Selection::Rows::kWithVector)) return row;
    }
  }

  absl::Status SeekAfter(KeyView key) override { return nodes_->SeekAfter(key); }
  absl::StatusOr<std::optional<RowView>> Find(KeyView key) override { return nodes_->Find(key); }

  absl::StatusOr<int64_t> CountRows() override {
    if (!points_.has_value()) return nodes_->CountRows();
    ABSL_ASSIGN_OR_RETURN(const Survey survey, SurveyAutomem(location_, selection_, login_));
    const bool with = selection_.rows == Selection::Rows::kWithVector;
    return with ? survey.rows_with_vector : survey.rows_selected - survey.rows_with_vector;
  }

 private:
  const Location location_;
  const Selection selection_;
  const AutomemLogin login_;
  const std::unique_ptr<Source> nodes_;
  std::optional<AutomemPoints> points_;  // nullopt: all rows are wanted, whatever they have
};

absl::StatusOr<std::unique_ptr<Source>> OpenNodes(const AutomemLocation& asked, Selection selection,
                                                  const AutomemLogin& login) {
  selection.rows = Selection::Rows::kAll;
  return OpenFalkorSource(asked.nodes, selection, login.graph);
}

// Points that have tags but none of the prefixes by which the server finds them: the trace of a program that replaced
// whole points and dropped what it did not know. [scripts/reembed_embeddings.py:205-215]
absl::StatusOr<int64_t> CountStripped(const AutomemLocation& asked, const AutomemLogin& login) {
  ABSL_ASSIGN_OR_RETURN(const QdrantLocation points, ParseQdrantLocation(asked.points));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<QdrantClient> client, QdrantClient::Make(points.url, login.points));
  return CountQdrantPoints(
      client.get(), points.collection,
      R"({"must":[{"is_empty":{"key":"tag_prefixes"}}],"must_not":[{"is_empty":{"key":"tags"}}]})");
}

// What is found of ids that no point can have.
class WrongIds {
 public:
  void Add(KeyView key) {
    if (count_++ < kShownIds) AppendFalkorKey(key, &shown_.emplace_back());
  }

  absl::Status Check(const Location& location) const {
    if (count_ == 0) return absl::OkStatus();
    const bool all = count_ <= kShownIds;
    const std::string ids = absl::StrJoin(shown_, ", ");
    return WithSetting(
        absl::FailedPreconditionError(absl::StrCat(
            PlaceName(location), ": ",
            Counted(static_cast<int64_t>(count_), "memory has an id that is no UUID, so it can have no point: ",
                    "memories have an id that is no UUID, so they can have no point: "),
            ids, all ? "" : ", ...", count_ == 1 ? "; give it a UUID, or leave it" : "; give them UUIDs, or leave them",
            " out by the condition 'NOT n.", FalkorName(location.Get("key", "id")), " IN [", all ? ids : "...", "]'")),
        Setting::kCondition);
  }

 private:
  size_t count_ = 0;
  std::vector<std::string> shown_;  // as Cypher
};

}  // namespace

absl::StatusOr<AutomemLocation> ParseAutomemLocation(const Location& location) {
  ABSL_RETURN_IF_ERROR(location.CheckParameters({"points", "label", "key", "text", "where"}));
  const std::string points = location.Get("points");
  if (points.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "automem:", location.path, ": where are the points? add &points=qdrant:http://HOST:6333/COLLECTION"));
  }
  ABSL_ASSIGN_OR_RETURN(Location collection, ParseLocation(points));
  if (collection.scheme != "qdrant") {
    return absl::InvalidArgumentError(
        absl::StrCat("automem:", location.path, ": points: expected qdrant:http://HOST:6333/COLLECTION, got ", points));
  }
  Location nodes{.scheme = "falkordb", .path = location.path};
  for (const auto& [name, otherwise] :
       {std::pair("label", "Memory"), std::pair("key", "id"), std::pair("text", "content"), std::pair("where", "")}) {
    if (std::string value = location.Get(name, otherwise); !value.empty()) nodes.parameters[name] = std::move(value);
  }
  return AutomemLocation{.nodes = std::move(nodes), .points = std::move(collection)};
}

bool HoldsAutomemPoints(const Location& source, const Location& target) {
  if (source.scheme != "automem" || target.scheme != "qdrant") return false;
  const absl::StatusOr<AutomemLocation> asked = ParseAutomemLocation(source);
  return asked.ok() && IsSameQdrantCollection(asked->points, target);
}

std::string AutomemSecret(absl::string_view graph_password, absl::string_view qdrant_key) {
  return absl::StrCat(graph_password, "\n", qdrant_key);
}

AutomemLogin AutomemLoginOf(const Location& location) {
  const size_t end = std::min(location.secret.find('\n'), location.secret.size());
  AutomemLogin login;
  login.graph.password = location.secret.substr(0, end);
  if (end < location.secret.size()) login.points.api_key = location.secret.substr(end + 1);
  return login;
}

absl::StatusOr<std::unique_ptr<Source>> OpenAutomemSource(const Location& location, const Selection& selection,
                                                          const AutomemLogin& login) {
  ABSL_ASSIGN_OR_RETURN(const AutomemLocation asked, ParseAutomemLocation(location));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<Source> nodes, OpenNodes(asked, selection, login));
  std::optional<AutomemPoints> points;
  if (selection.rows != Selection::Rows::kAll) {
    ABSL_ASSIGN_OR_RETURN(points, AutomemPoints::Open(asked, login));
  }
  return std::make_unique<AutomemSource>(location, selection, login, std::move(nodes), std::move(points));
}

absl::StatusOr<Survey> SurveyAutomem(const Location& location, const Selection& selection, const AutomemLogin& login) {
  ABSL_ASSIGN_OR_RETURN(const AutomemLocation asked, ParseAutomemLocation(location));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Source> nodes, OpenNodes(asked, selection, login));
  ABSL_ASSIGN_OR_RETURN(AutomemPoints points, AutomemPoints::Open(asked, login));
  Survey survey;
  WrongIds wrong;
  int64_t placeholders = 0;
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> row, nodes->Next());
    if (!row.has_value()) break;
    ++survey.rows_selected;
    if (!IsUuid(row->key)) {
      wrong.Add(row->key);
      continue;
    }
    ABSL_ASSIGN_OR_RETURN(const Stored stored, points.Look(*row, selection.dim));
    survey.rows_null += stored == Stored::kNothing ? 1 : 0;
    survey.rows_with_vector += stored == Stored::kVector ? 1 : 0;
    placeholders += stored == Stored::kPlaceholder ? 1 : 0;
  }
  ABSL_RETURN_IF_ERROR(wrong.Check(location));
  const int64_t others = survey.rows_selected - survey.rows_null - survey.rows_with_vector - placeholders;
  if (survey.rows_with_vector > 0) survey.AddWidth(selection.dim, survey.rows_with_vector);
  if (others > 0) survey.AddWidth(points.dim(), others);
  const bool whole = selection.where.empty() && selection.resume_from.empty() && selection.range.empty() &&
                     location.Get("where").empty();
  if (whole) survey.orphans = std::max<int64_t>(0, points.count() - (survey.rows_selected - survey.rows_null));
  if (placeholders > 0) {
    survey.remarks.push_back(absl::StrCat(Counted(placeholders, "point has a placeholder", "points have a placeholder"),
                                          ", which AutoMem stores when its embedding API fails"));
  }
  if (points.dim() == 0) return survey;
  if (points.dim() != selection.dim) {
    survey.remarks.push_back(
        absl::StrCat("points without a memory, or whose memory has no text, get no vector of ", selection.dim,
                     " numbers: they are only in the collection that is kept under another name (unless keep_old=no)"));
  }
  ABSL_ASSIGN_OR_RETURN(const int64_t stripped, CountStripped(asked, login));
  if (stripped > 0) {
    survey.remarks.push_back(
        absl::StrCat(Counted(stripped, "point has tags without tag_prefixes, so AutoMem finds it by no prefix",
                             "points have tags without tag_prefixes, so AutoMem finds them by no prefix"),
                     "; other fields may be lost too, as by its own re-embedding script"));
  }
  return survey;
}

}  // namespace reembed
