// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_undo.h"

#include <cmath>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/counted.h"
#include "engine/number/float_list.h"
#include "engine/number/json_reader.h"
#include "engine/number/json_text.h"
#include "engine/number/json_writer.h"
#include "engine/number/normalize.h"
#include "engine/number/number_array.h"
#include "engine/rollback.h"
#include "engine/status_macros.h"
#include "io/store/qdrant/qdrant_collection.h"
#include "io/store/qdrant/qdrant_points.h"
#include "io/store/qdrant/qdrant_writer.h"

namespace reembed {
namespace {

constexpr absl::string_view kSideNote = "side";
constexpr absl::string_view kCollectionNote = "collection";
constexpr absl::string_view kVectorNote = "vector";
constexpr absl::string_view kMade = "made";

// How OldRow::content begins, of an old vector that is there ...
constexpr char kFloats = 'f';  // little-endian binary32
constexpr char kJson = 'j';    // anything else, as it came
// ... and of a point that is not there, which will be added with a payload of this fingerprint.
constexpr char kNoPoint = 'p';

constexpr size_t kAskedRows = 128;  // in one request

// The JSON of what QdrantOldVector() made.
std::string VectorJson(absl::string_view content) {
  if (content[0] == kJson) return std::string(content.substr(1));
  std::vector<float> numbers((content.size() - 1) / sizeof(float));
  std::memcpy(numbers.data(), content.data() + 1, numbers.size() * sizeof(float));
  std::string json;
  AppendFloatList(numbers, &json);
  return json;
}

bool IsContent(absl::string_view content) {
  if (content.empty() || content[0] == kJson || content[0] == kNoPoint) return true;
  return content[0] == kFloats && content.size() % sizeof(float) == 1;
}

absl::Status Unlike(const QdrantLocation& asked, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(asked.Name(), ": ", status.message()));
}

// Whether the numbers are those that were written, as the server keeps them: scaled where the distance is Cosine, and
// rounded to what the vector's datatype can hold.
class Likeness {
 public:
  explicit Likeness(const QdrantCollection::Vector& vector) : cosine_(vector.distance == "Cosine") {
    const absl::string_view type = QdrantFieldIn(vector.json, "datatype");
    if (type.empty() || type == R"("float32")") {
      tolerance_ = 1e-5;
    } else if (type == R"("float16")") {
      tolerance_ = 2e-3;  // half of its last bit is 2^-11
    }
  }

  // False: the datatype keeps so little of a number that nothing can be said.
  bool can_tell() const { return tolerance_ > 0; }

  bool Holds(absl::string_view content, absl::Span<const float> written) {
    if (content.size() != 1 + written.size() * sizeof(float) || content[0] != kFloats) return false;
    now_.resize(written.size());
    std::memcpy(now_.data(), content.data() + 1, written.size() * sizeof(float));
    expected_.assign(written.begin(), written.end());
    // A vector of zeros stays one.
    if (cosine_) NormalizeRows(absl::MakeSpan(expected_), static_cast<int>(expected_.size())).IgnoreError();
    double difference = 0, length = 0;
    for (size_t i = 0; i < now_.size(); ++i) {
      const double by = double{now_[i]} - expected_[i];
      difference += by * by;
      length += double{expected_[i]} * expected_[i];
    }
    return difference <= tolerance_ * tolerance_ * length;
  }

 private:
  const bool cosine_;
  double tolerance_ = 0;
  std::vector<float> now_, expected_;
};

class PointRows final : public RowTable {
 public:
  // `asked` and `client` are borrowed.
  PointRows(const QdrantLocation& asked, QdrantClient* client, const QdrantCollection::Vector& vector, bool vector_made)
      : asked_(asked), client_(client), dim_(vector.dim), vector_made_(vector_made), likeness_(vector) {}

  absl::Status Read(absl::Span<const OldRow> rows, absl::Span<RowNow> now) override;
  absl::StatusOr<std::optional<bool>> Holds(const RowNow& now, absl::Span<const float> written) override {
    return likeness_.can_tell() ? std::optional(likeness_.Holds(now.content, written)) : std::nullopt;
  }
  absl::Status Apply(absl::Span<const RowChange> changes, absl::Span<RowOutcome> outcomes) override;
  absl::Status TakeAway(UndoReader* log, RollbackReport* report) override;

 private:
  absl::Status TakePoints(absl::Span<const OldRow> rows, absl::Span<RowNow> now, std::string* answer);
  std::string IdOf(KeyView key) const;  // as JSON; empty: the key cannot be an id
  bool HasOurPayload(const OldRow& old, absl::string_view payload) const;
  absl::Status Remove(absl::string_view what, absl::string_view more, absl::Span<const RowChange> changes,
                      const std::vector<size_t>& places);
  absl::Status PutVectors(absl::Span<const RowChange> changes, const std::vector<size_t>& places,
                          absl::Span<RowOutcome> outcomes);

  const QdrantLocation& asked_;
  QdrantClient* const client_;
  const int dim_;
  const bool vector_made_;
  Likeness likeness_;
};

std::string PointRows::IdOf(KeyView key) const {
  const std::optional<QdrantId> id = asked_.IdOf(key);
  return id.has_value() ? id->Json() : "";
}

absl::Status PointRows::Read(absl::Span<const OldRow> rows, absl::Span<RowNow> now) {
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::optional<absl::string_view>& content = rows[i].content;
    if (IdOf(rows[i].key).empty() || (content.has_value() && !IsContent(*content))) {
      return absl::DataLossError(absl::StrCat("undo.db: row ", KeyText(rows[i].key), ": is damaged"));
    }
    now[i].was_there = content.has_value() && (content->empty() || (*content)[0] != kNoPoint);
  }
  absl::Status failure;
  for (size_t begin = 0; begin < rows.size(); begin += kAskedRows) {
    const absl::Span<const OldRow> part = rows.subspan(begin, kAskedRows);
    const absl::Span<RowNow> part_now = now.subspan(begin, kAskedRows);
    std::string body = R"({"ids":[)";
    bool payload = false;
    for (size_t i = 0; i < part.size(); ++i) {
      absl::StrAppend(&body, IdOf(part[i].key), ",");
      payload = payload || !part_now[i].was_there;
    }
    body.back() = ']';
    absl::StrAppend(&body, R"(,"with_payload":)", payload ? "true" : "false", R"(,"with_vector":)",
                    AskForQdrantVector(asked_.vector), "}");
    client_->Start({"POST", asked_.Path("/points"), std::move(body)},
                   [this, part, part_now, &failure](QdrantClient::Answer answer) {
                     failure.Update(answer.ok() ? TakePoints(part, part_now, &*answer) : answer.status());
                   });
  }
  client_->Drain();
  return failure;
}

// Whether the payload is what the sink puts into a point that it adds.
bool PointRows::HasOurPayload(const OldRow& old, absl::string_view payload) const {
  if (old.content.has_value()) return QdrantPayloadPrint(payload) == old.content->substr(1);
  const std::vector<std::string> fields = QdrantFieldNames(payload);
  if (fields.empty() || !asked_.hashed_ids) return fields.empty();
  return fields.size() == 1 && fields[0] == asked_.key;
}

absl::Status PointRows::TakePoints(absl::Span<const OldRow> rows, absl::Span<RowNow> now, std::string* answer) {
  const absl::StatusOr<QdrantPage> page = ReadQdrantPage(answer);
  if (!page.ok()) return Unlike(asked_, page.status());
  absl::flat_hash_map<std::string, const QdrantPoint*> by_id;
  for (const QdrantPoint& point : page->points) by_id[point.id.Json()] = &point;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto found = by_id.find(IdOf(rows[i].key));
    if (found == by_id.end()) continue;
    now[i].there = true;
    now[i].content = QdrantOldVector(found->second->vector, asked_.vector, dim_);
    if (!now[i].was_there && !HasOurPayload(rows[i], found->second->payload)) {
      now[i].stays = "the job added this point, and somebody has changed its payload since";
    }
  }
  return absl::OkStatus();
}

absl::Status PointRows::Apply(absl::Span<const RowChange> changes, absl::Span<RowOutcome> outcomes) {
  std::vector<size_t> put, removed, stripped;
  for (size_t i = 0; i < changes.size(); ++i) {
    const std::optional<absl::string_view>& content = changes[i].content;
    (!content.has_value() ? removed : content->empty() ? stripped : put).push_back(i);
  }
  ABSL_RETURN_IF_ERROR(Remove("/points/delete", "", changes, removed));
  ABSL_RETURN_IF_ERROR(Remove("/points/vectors/delete", absl::StrCat(R"(,"vector":[)", JsonQuoted(asked_.vector), "]"),
                              changes, stripped));
  return PutVectors(changes, put, outcomes);
}

// `more`: members of the request.
absl::Status PointRows::Remove(absl::string_view what, absl::string_view more, absl::Span<const RowChange> changes,
                               const std::vector<size_t>& places) {
  if (places.empty()) return absl::OkStatus();
  std::string body = R"({"points":[)";
  for (const size_t place : places) absl::StrAppend(&body, IdOf(changes[place].key), ",");
  body.back() = ']';
  absl::StrAppend(&body, more, "}");
  return client_->Call({"POST", asked_.Path(absl::StrCat(what, "?wait=true")), std::move(body)}).status();
}

absl::Status PointRows::PutVectors(absl::Span<const RowChange> changes, const std::vector<size_t>& places,
                                   absl::Span<RowOutcome> outcomes) {
  absl::Status failure;
  QdrantWriter put(client_, asked_.Path("/points/vectors"),
                   [&](absl::Span<const size_t> tags, const absl::Status& status) {
                     RowOutcome outcome;
                     if (absl::IsNotFound(status)) {
                       outcome.kind = RowOutcome::Kind::kAgain;
                     } else if (absl::IsInvalidArgument(status) || absl::IsOutOfRange(status)) {
                       outcome = {RowOutcome::Kind::kRefused, std::string(status.message())};
                     } else {
                       failure.Update(status);
                     }
                     for (const size_t place : tags) outcomes[place] = outcome;
                   });
  for (const size_t place : places) {
    const std::string json = VectorJson(*changes[place].content);
    absl::StrAppend(put.Add(place), R"({"id":)", IdOf(changes[place].key), R"(,"vector":)",
                    asked_.vector.empty() ? json : absl::StrCat("{", JsonQuoted(asked_.vector), ":", json, "}"), "}");
  }
  put.Finish();
  return failure;
}

// What a run was about to put in a collection's place.
struct KeptSide {
  QdrantSide side;
  int old_dim = 0;
};

absl::StatusOr<KeptSide> ReadSide(const std::string& note, const QdrantLocation& asked) {
  KeptSide kept;
  int64_t dim = 0, old_dim = 0;
  const std::optional<JsonObject> json = JsonObject::Parse(note);
  const bool good = json.has_value() && json->Take("alias", &kept.side.alias) && json->Take("real", &kept.side.real) &&
                    json->Take("side", &kept.side.side) && json->Take("before", &kept.side.before) &&
                    json->Take("dim", &dim) && json->Take("old_dim", &old_dim);
  if (!good) return absl::DataLossError(absl::StrCat("undo.db: what it says of ", asked.Name(), " is damaged"));
  kept.side.vector = asked.vector;
  kept.side.dim = static_cast<int>(dim);
  kept.old_dim = static_cast<int>(old_dim);
  return kept;
}

absl::StatusOr<RollbackReport> PutCollectionBack(const KeptSide& kept, QdrantClient* client) {
  const QdrantSide& side = kept.side;
  ABSL_ASSIGN_OR_RETURN(const bool switched, SwitchQdrantSideBack(client, side, kept.old_dim));
  ABSL_ASSIGN_OR_RETURN(const int64_t points, CountQdrantPoints(client, side.real, ""));
  RollbackReport report;
  (switched ? report.rows_restored : report.rows_unchanged) = points;
  if (switched) {
    report.notes.push_back(side.alias.empty() ? absl::StrCat("the collection ", side.real, " is what it was before")
                                              : absl::StrCat("the alias ", side.alias, " means ", side.real, " again"));
  }
  ABSL_ASSIGN_OR_RETURN(const std::optional<QdrantCollection> beside, GetQdrantCollection(client, side.side));
  if (beside.has_value()) {
    report.notes.push_back(absl::StrCat("the collection ", side.side, " stays, with the new vectors and whatever was ",
                                        "written since the switch; delete it if nobody needs it"));
  }
  return report;
}

// Takes the vector's name away again unless somebody uses it.
absl::Status PointRows::TakeAway(UndoReader*, RollbackReport* report) {
  if (!likeness_.can_tell()) {
    report->notes.push_back("the vectors' datatype rounds too much to see whether somebody changed them since");
  }
  if (!vector_made_) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(const int64_t with, CountQdrantPoints(client_, asked_.collection,
                                                              AllQdrantFilters({HasQdrantVector(asked_.vector)})));
  absl::Status gone = absl::FailedPreconditionError(Counted(with, "point has it", "points have it"));
  if (with == 0) {
    gone =
        client_->Call({"DELETE", asked_.Path(absl::StrCat("/vectors/", QdrantPathPart(asked_.vector))), ""}).status();
    if (absl::IsUnavailable(gone)) return gone;
  }
  report->notes.push_back(gone.ok() ? absl::StrCat("took away the vector ", asked_.vector, ", which the job had added")
                                    : absl::StrCat("the vector ", asked_.vector,
                                                   " stays, which the job had added: ", std::string(gone.message())));
  return absl::OkStatus();
}

// The collection that the job made, if nothing is in it; a note says what became of it.
absl::Status TakeCollectionAway(const QdrantLocation& asked, QdrantClient* client, RollbackReport* report) {
  ABSL_ASSIGN_OR_RETURN(const int64_t points, CountQdrantPoints(client, asked.collection, ""));
  if (points > 0) {
    report->notes.push_back(absl::StrCat("the collection ", asked.Name(),
                                         " stays, which the job had made: ", Counted(points, "point is", "points are"),
                                         " in it; delete it if nobody needs it"));
    return absl::OkStatus();
  }
  ABSL_RETURN_IF_ERROR(client->Call({"DELETE", asked.Path(""), ""}).status());
  report->notes.push_back(absl::StrCat("took away the collection ", asked.Name(), ", which the job had made"));
  return absl::OkStatus();
}

}  // namespace

std::string QdrantOldVector(absl::string_view vector, absl::string_view name, int dim) {
  const absl::string_view json = QdrantVectorIn(vector, name);
  if (json.empty()) return "";
  std::vector<float> numbers(static_cast<size_t>(dim));
  std::string content;
  if (ParseNumberArray(json, absl::MakeSpan(numbers)) == dim) {
    content.push_back(kFloats);
    content.append(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(float));
  } else {
    content.push_back(kJson);
    content.append(json.data(), json.size());
  }
  return content;
}

std::string QdrantNoPoint(absl::string_view payload) {
  return absl::StrCat(absl::string_view(&kNoPoint, 1), QdrantPayloadPrint(payload));
}

std::string AskForQdrantVector(absl::string_view name) {
  return name.empty() ? "true" : absl::StrCat("[", JsonQuoted(name), "]");
}

absl::Status LogQdrantSide(const QdrantSide& side, UndoLog* log) {
  const QdrantCollection::Vector* const old = side.like.Find(side.vector);
  return log->LogNote(kSideNote, JsonWriter()
                                     .Add("alias", side.alias)
                                     .Add("real", side.real)
                                     .Add("side", side.side)
                                     .Add("before", side.before)
                                     .Add("dim", side.dim)
                                     .Add("old_dim", old == nullptr ? 0 : old->dim)
                                     .ToString());
}

absl::Status LogQdrantCollectionMade(UndoLog* log) { return log->LogNote(kCollectionNote, kMade); }

absl::Status LogQdrantVectorMade(UndoLog* log) { return log->LogNote(kVectorNote, kMade); }

absl::StatusOr<RollbackReport> RollBackQdrant(const Location& location, UndoReader* old_rows,
                                              const QdrantOptions& options) {
  ABSL_ASSIGN_OR_RETURN(const QdrantLocation asked, ParseQdrantLocation(location));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<QdrantClient> client, QdrantClient::Make(asked.url, options));
  ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> side, old_rows->FindNote(kSideNote));
  if (side.has_value()) {
    ABSL_ASSIGN_OR_RETURN(const KeptSide kept, ReadSide(*side, asked));
    return PutCollectionBack(kept, client.get());
  }
  ABSL_ASSIGN_OR_RETURN(const std::optional<QdrantCollection> collection,
                        GetQdrantCollection(client.get(), asked.collection));
  RollbackReport report;
  if (!collection.has_value()) {
    ABSL_RETURN_IF_ERROR(
        CountRowsGone(old_rows, absl::StrCat("the collection ", asked.Name(), " is not there any more"), &report));
    return report;
  }
  ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> collection_made, old_rows->FindNote(kCollectionNote));
  if (collection_made.has_value()) {
    ABSL_RETURN_IF_ERROR(TakeCollectionAway(asked, client.get(), &report));
    return report;
  }
  ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> vector_made, old_rows->FindNote(kVectorNote));
  if (collection->Find(asked.vector) == nullptr) {
    // An earlier rollback has taken it away, or somebody else.
    ABSL_RETURN_IF_ERROR(
        vector_made.has_value()
            ? CountRowsUnchanged(old_rows, &report)
            : LeaveRows(old_rows, absl::StrCat("the vector ", asked.vector, " is gone from the collection"), &report));
    return report;
  }
  ABSL_ASSIGN_OR_RETURN(const QdrantCollection::Vector vector, FindQdrantVector(*collection, asked));
  PointRows rows(asked, client.get(), vector, vector_made.has_value());
  return RollBackRows(asked.Name(), &rows, old_rows);
}

}  // namespace reembed
