// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_undo.h"

#include <simdjson.h>

#include <cmath>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/counted.h"
#include "engine/number/float_list.h"
#include "engine/number/json_text.h"
#include "engine/number/normalize.h"
#include "engine/number/number_array.h"
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

constexpr size_t kPageRows = 512;
constexpr size_t kAskedRows = 128;  // in one request
constexpr int kVanishedRounds = 5;

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

struct Row {
  int64_t ordinal = 0;
  Key key;
  std::optional<std::string> old;  // nullopt: the point was not there
  std::string id;                  // as JSON
  bool there = false;
  std::string now;      // as `old`
  std::string payload;  // of points that were not there
  std::string added;    // likewise: fingerprint of the payload that the sink gave it; empty: its own
  bool sent = false;    // a request for it has been answered with a failure, which another point may have caused
};

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

class PointRollback {
 public:
  PointRollback(const QdrantLocation& asked, QdrantClient* client, const QdrantCollection::Vector& vector,
                UndoReader* old_rows)
      : asked_(asked), client_(client), old_rows_(old_rows), dim_(vector.dim), likeness_(vector) {}

  absl::StatusOr<RollbackReport> Run() {
    while (true) {
      ABSL_RETURN_IF_ERROR(LoadPage());
      if (page_.empty()) break;
      ABSL_RETURN_IF_ERROR(PutPageBack());
    }
    if (!likeness_.can_tell()) {
      report_.notes.push_back("the vectors' datatype rounds too much to see whether somebody changed them since");
    }
    return std::move(report_);
  }

 private:
  absl::Status LoadPage();
  absl::Status PutPageBack();
  absl::Status Ask(absl::Span<const size_t> rows);
  absl::Status TakePoints(absl::Span<const size_t> rows, std::string* answer);
  absl::Status Sort(absl::Span<const size_t> rows);
  absl::StatusOr<bool> HoldsWhatWasWritten(const Row& row);
  bool HasOurPayload(const Row& row) const;
  absl::Status Remove();
  absl::Status PutVectors(std::vector<size_t>* vanished);

  const QdrantLocation& asked_;
  QdrantClient* const client_;
  UndoReader* const old_rows_;
  const int dim_;
  Likeness likeness_;
  RollbackReport report_;
  std::vector<Row> page_;
  // Indexes into page_: what is to be done.
  std::vector<size_t> to_put_, to_remove_, to_strip_;
};

absl::Status PointRollback::LoadPage() {
  page_.clear();
  while (page_.size() < kPageRows) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<OldRow> logged, old_rows_->Next());
    if (!logged.has_value()) return absl::OkStatus();
    Row row{.ordinal = logged->ordinal, .key = Own(logged->key)};
    const std::optional<QdrantId> id = asked_.IdOf(logged->key);
    const std::optional<absl::string_view> content = logged->content;
    if (!id.has_value() || (content.has_value() && !IsContent(*content))) {
      return absl::DataLossError(absl::StrCat("undo.db: row ", KeyText(ViewOf(row.key)), ": is damaged"));
    }
    row.id = id->Json();
    if (content.has_value() && !content->empty() && (*content)[0] == kNoPoint) {
      row.added = std::string(content->substr(1));
    } else if (content.has_value()) {
      row.old = std::string(*content);
    }
    page_.push_back(std::move(row));
  }
  return absl::OkStatus();
}

absl::Status PointRollback::PutPageBack() {
  std::vector<size_t> rest(page_.size());
  for (size_t i = 0; i < rest.size(); ++i) rest[i] = i;
  for (int round = 0; !rest.empty(); ++round) {
    if (round == kVanishedRounds) {
      return absl::UnavailableError(absl::StrCat(asked_.Name(), ": points come and go; run this again"));
    }
    ABSL_RETURN_IF_ERROR(Ask(rest));
    ABSL_RETURN_IF_ERROR(Sort(rest));
    ABSL_RETURN_IF_ERROR(Remove());
    ABSL_RETURN_IF_ERROR(PutVectors(&rest));
  }
  return absl::OkStatus();
}

absl::Status PointRollback::Ask(absl::Span<const size_t> rows) {
  absl::Status failure;
  for (size_t begin = 0; begin < rows.size(); begin += kAskedRows) {
    const absl::Span<const size_t> part = rows.subspan(begin, kAskedRows);
    std::string body = R"({"ids":[)";
    bool payload = false;
    for (const size_t i : part) {
      absl::StrAppend(&body, page_[i].id, ",");
      payload = payload || !page_[i].old.has_value();
    }
    body.back() = ']';
    absl::StrAppend(&body, R"(,"with_payload":)", payload ? "true" : "false", R"(,"with_vector":)",
                    AskForQdrantVector(asked_.vector), "}");
    client_->Start({"POST", asked_.Path("/points"), std::move(body)},
                   [this, part, &failure](QdrantClient::Answer answer) {
                     failure.Update(answer.ok() ? TakePoints(part, &*answer) : answer.status());
                   });
  }
  client_->Drain();
  return failure;
}

absl::Status PointRollback::TakePoints(absl::Span<const size_t> rows, std::string* answer) {
  const absl::StatusOr<QdrantPage> page = ReadQdrantPage(answer);
  if (!page.ok()) return Unlike(asked_, page.status());
  absl::flat_hash_map<std::string, const QdrantPoint*> by_id;
  for (const QdrantPoint& point : page->points) by_id[point.id.Json()] = &point;
  for (const size_t i : rows) {
    Row& row = page_[i];
    const auto found = by_id.find(row.id);
    row.there = found != by_id.end();
    if (!row.there) continue;
    row.now = QdrantOldVector(found->second->vector, asked_.vector, dim_);
    if (!row.old.has_value()) row.payload = std::string(found->second->payload);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> PointRollback::HoldsWhatWasWritten(const Row& row) {
  ABSL_ASSIGN_OR_RETURN(const std::optional<absl::Span<const float>> written, old_rows_->WrittenVector(row.ordinal));
  // Where nobody knows, a vector is put back, but no point is removed.
  if (!written.has_value() || !likeness_.can_tell()) return row.old.has_value();
  return likeness_.Holds(row.now, *written);
}

// What the sink puts into a point that it adds.
bool PointRollback::HasOurPayload(const Row& row) const {
  if (!row.added.empty()) return QdrantPayloadPrint(row.payload) == row.added;
  const std::vector<std::string> fields = QdrantFieldNames(row.payload);
  if (fields.empty() || !asked_.hashed_ids) return fields.empty();
  return fields.size() == 1 && fields[0] == asked_.key;
}

// Decides what is to be done with each.
absl::Status PointRollback::Sort(absl::Span<const size_t> rows) {
  to_put_.clear();
  to_remove_.clear();
  to_strip_.clear();
  for (const size_t i : rows) {
    const Row& row = page_[i];
    const bool as_before = row.there == row.old.has_value() && (!row.there || row.now == *row.old);
    if (as_before) {
      ++(row.sent ? report_.rows_restored : report_.rows_unchanged);
      continue;
    }
    if (!row.there) {
      ++report_.rows_gone;
      continue;
    }
    ABSL_ASSIGN_OR_RETURN(const bool ours, HoldsWhatWasWritten(row));
    if (!ours) {
      report_.Leave(ViewOf(row.key), "its vector is not the one that the job wrote");
    } else if (row.old.has_value()) {
      (row.old->empty() ? to_strip_ : to_put_).push_back(i);
    } else if (HasOurPayload(row)) {
      to_remove_.push_back(i);
    } else {
      report_.Leave(ViewOf(row.key), "the job added this point, and somebody has changed its payload since");
    }
  }
  return absl::OkStatus();
}

absl::Status PointRollback::Remove() {
  const auto list = [&](const std::vector<size_t>& rows) {
    std::string ids = R"({"points":[)";
    for (const size_t i : rows) absl::StrAppend(&ids, page_[i].id, ",");
    ids.back() = ']';
    return ids;
  };
  if (!to_remove_.empty()) {
    ABSL_RETURN_IF_ERROR(
        client_->Call({"POST", asked_.Path("/points/delete?wait=true"), list(to_remove_) + "}"}).status());
    report_.rows_restored += static_cast<int64_t>(to_remove_.size());
  }
  if (!to_strip_.empty()) {
    ABSL_RETURN_IF_ERROR(client_
                             ->Call({"POST", asked_.Path("/points/vectors/delete?wait=true"),
                                     absl::StrCat(list(to_strip_), R"(,"vector":[)", JsonQuoted(asked_.vector), "]}")})
                             .status());
    report_.rows_restored += static_cast<int64_t>(to_strip_.size());
  }
  return absl::OkStatus();
}

absl::Status PointRollback::PutVectors(std::vector<size_t>* vanished) {
  vanished->clear();
  absl::Status failure;
  size_t failed_rows = 0;
  QdrantWriter put(client_, asked_.Path("/points/vectors"),
                   [&](absl::Span<const size_t> tags, const absl::Status& status) {
                     failed_rows += tags.size();
                     if (absl::IsNotFound(status)) {
                       for (const size_t i : tags) page_[i].sent = true;
                       vanished->insert(vanished->end(), tags.begin(), tags.end());
                     } else {
                       failure.Update(status);
                     }
                   });
  for (const size_t i : to_put_) {
    const std::string json = VectorJson(*page_[i].old);
    absl::StrAppend(put.Add(i), R"({"id":)", page_[i].id, R"(,"vector":)",
                    asked_.vector.empty() ? json : absl::StrCat("{", JsonQuoted(asked_.vector), ":", json, "}"), "}");
  }
  put.Finish();
  report_.rows_restored += static_cast<int64_t>(to_put_.size() - failed_rows);
  return failure;
}

// What a run was about to put in a collection's place.
struct KeptSide {
  QdrantSide side;
  int old_dim = 0;
};

absl::StatusOr<KeptSide> ReadSide(const std::string& note, const QdrantLocation& asked) {
  simdjson::dom::parser parser;
  simdjson::dom::element json;
  std::string_view alias, real, side, before;
  int64_t dim = 0, old_dim = 0;
  const bool good = parser.parse(note).get(json) == simdjson::SUCCESS &&
                    json["alias"].get(alias) == simdjson::SUCCESS && json["real"].get(real) == simdjson::SUCCESS &&
                    json["side"].get(side) == simdjson::SUCCESS && json["before"].get(before) == simdjson::SUCCESS &&
                    json["dim"].get(dim) == simdjson::SUCCESS && json["old_dim"].get(old_dim) == simdjson::SUCCESS;
  if (!good) return absl::DataLossError(absl::StrCat("undo.db: what it says of ", asked.Name(), " is damaged"));
  KeptSide kept;
  kept.side.alias = std::string(alias);
  kept.side.real = std::string(real);
  kept.side.side = std::string(side);
  kept.side.before = std::string(before);
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
absl::Status TakeVectorAway(const QdrantLocation& asked, QdrantClient* client, RollbackReport* report) {
  ABSL_ASSIGN_OR_RETURN(const int64_t with,
                        CountQdrantPoints(client, asked.collection, AllQdrantFilters({HasQdrantVector(asked.vector)})));
  absl::Status gone = absl::FailedPreconditionError(Counted(with, "point has it", "points have it"));
  if (with == 0) {
    gone = client->Call({"DELETE", asked.Path(absl::StrCat("/vectors/", QdrantPathPart(asked.vector))), ""}).status();
    if (absl::IsUnavailable(gone)) return gone;
  }
  report->notes.push_back(gone.ok() ? absl::StrCat("took away the vector ", asked.vector, ", which the job had added")
                                    : absl::StrCat("the vector ", asked.vector,
                                                   " stays, which the job had added: ", std::string(gone.message())));
  return absl::OkStatus();
}

// The rows, where there is nothing left that they could be put back into.
absl::Status CountUnchanged(UndoReader* old_rows, RollbackReport* report) {
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<OldRow> row, old_rows->Next());
    if (!row.has_value()) return absl::OkStatus();
    ++report->rows_unchanged;
  }
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

absl::Status KeepQdrantSide(const QdrantSide& side, UndoLog* log) {
  const QdrantCollection::Vector* const old = side.like.Find(side.vector);
  return log->KeepNote(kSideNote,
                       absl::StrCat(R"({"alias":)", JsonQuoted(side.alias), R"(,"real":)", JsonQuoted(side.real),
                                    R"(,"side":)", JsonQuoted(side.side), R"(,"before":)", JsonQuoted(side.before),
                                    R"(,"dim":)", side.dim, R"(,"old_dim":)", old == nullptr ? 0 : old->dim, "}"));
}

absl::Status KeepQdrantCollectionMade(UndoLog* log) { return log->KeepNote(kCollectionNote, kMade); }

absl::Status KeepQdrantVectorMade(UndoLog* log) { return log->KeepNote(kVectorNote, kMade); }

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
  ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> collection_made, old_rows->FindNote(kCollectionNote));
  if (collection_made.has_value()) {
    RollbackReport report;
    if (!collection.has_value()) return report;
    report.notes.push_back(
        absl::StrCat("the collection ", asked.Name(), " stays, which the job had made; delete it if nobody needs it"));
    return report;
  }
  if (!collection.has_value()) return NoQdrantCollection(client.get(), asked);
  ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> vector_made, old_rows->FindNote(kVectorNote));
  RollbackReport report;
  if (vector_made.has_value() && collection->Find(asked.vector) == nullptr) {
    // An earlier rollback has taken it away.
    ABSL_RETURN_IF_ERROR(CountUnchanged(old_rows, &report));
    return report;
  }
  ABSL_ASSIGN_OR_RETURN(const QdrantCollection::Vector vector, FindQdrantVector(*collection, asked));
  ABSL_ASSIGN_OR_RETURN(RollbackReport done, PointRollback(asked, client.get(), vector, old_rows).Run());
  if (vector_made.has_value()) {
    ABSL_RETURN_IF_ERROR(TakeVectorAway(asked, client.get(), &done));
  }
  return done;
}

}  // namespace reembed
