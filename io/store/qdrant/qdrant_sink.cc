// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_sink.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/number/float_list.h"
#include "engine/number/json_text.h"
#include "engine/status_macros.h"
#include "engine/table_sink.h"
#include "io/store/qdrant/qdrant_collection.h"
#include "io/store/qdrant/qdrant_points.h"
#include "io/store/qdrant/qdrant_side.h"
#include "io/store/qdrant/qdrant_target.h"
#include "io/store/qdrant/qdrant_undo.h"
#include "io/store/qdrant/qdrant_writer.h"

namespace reembed {
namespace {

constexpr size_t kAskedIds = 1000;  // in one request that asks which points there are
constexpr size_t kAskedRows = 128;  // likewise with their vectors
constexpr int kDefaultM = 16;       // Qdrant's own: config/config.yaml, storage.hnsw_index.m
constexpr int kVanishedRounds = 5;

// One row of a Write(), whose key is the point's id as JSON.
struct Item {
  RowToWrite* row = nullptr;
  bool there = false;   // the point is, in the collection that is asked
  std::string payload;  // of the point, as JSON; only where points are merged
  std::string vectors;  // likewise: `"name":[...],` of the others
  std::string old;      // for the undo log
};

class QdrantRowWriter final : public RowWriter {
 public:
  QdrantRowWriter(QdrantTarget target, bool upserts, std::unique_ptr<QdrantPayloads> payloads)
      : target_(std::move(target)), upserts_(upserts), payloads_(std::move(payloads)) {}

  absl::StatusOr<bool> Prepare(const SinkContext& context) override {
    ABSL_RETURN_IF_ERROR(LookAtQdrantTarget(&target_));
    if (target_.asked.snapshot && target_.collection.has_value() && !context.begun) {
      ABSL_RETURN_IF_ERROR(MakeSnapshot());
    }
    ABSL_RETURN_IF_ERROR(KeepWhatIsMade(context.undo));
    if (target_.side.has_value()) {
      // Also when it is there: a run may have died before its indexes were made.
      ABSL_RETURN_IF_ERROR(MakeQdrantSide(client(), *target_.side));
      return !target_.side->side_is_there;
    }
    if (!target_.collection.has_value()) {
      empty_ = true;
      absl::Status made = MakeCollection();
      if (made.ok()) made = MakeIndexes();
      ABSL_RETURN_IF_ERROR(made);
      return true;
    }
    if (target_.collection->restore_m != 0) {
      ABSL_RETURN_IF_ERROR(MakeIndexes());
    }
    if (!target_.add_vector) return false;
    ABSL_RETURN_IF_ERROR(AddVector());
    return true;
  }

  absl::StatusOr<int64_t> Begin(const SinkContext& context, const SinkPosition& last) override {
    ABSL_RETURN_IF_ERROR(LookAtQdrantTarget(&target_));
    undo_ = context.undo;
    const QdrantLocation& asked = target_.asked;
    if (target_.side.has_value()) {
      if (!target_.side->side_is_there) {
        return NotPreparedError(asked.Name(), absl::StrCat("collection `", target_.side->side, "` beside it"));
      }
      return last.position;
    }
    if (!target_.collection.has_value())
      return NotPreparedError(asked.url, absl::StrCat("collection `", asked.collection, "`"));
    if (target_.add_vector) return NotPreparedError(asked.Name(), absl::StrCat("vector `", asked.vector, "`"));
    if (last.stored_rows == 0) return last.position;
    // Somebody may have removed it and made it again since.
    ABSL_ASSIGN_OR_RETURN(const int64_t points, CountQdrantPoints(client(), target_.rows, ""));
    return points == 0 ? 0 : last.position;
  }

  absl::Status NameRows(absl::Span<RowToWrite> rows) override {
    for (RowToWrite& row : rows) {
      if (const std::optional<QdrantId> id = target_.asked.IdOf(row.row->key); id.has_value()) {
        row.key = id->Json();
      } else {
        row.refusal = absl::InvalidArgumentError("its key is neither an unsigned integer nor a UUID");
      }
    }
    return absl::OkStatus();
  }

  absl::Status Write(absl::Span<RowToWrite* const> rows) override {
    items_.clear();
    std::vector<size_t> rest;
    for (RowToWrite* const row : rows) {
      rest.push_back(items_.size());
      items_.push_back({.row = row});
    }
    status_ = absl::OkStatus();
    for (int round = 0; status_.ok() && !rest.empty(); ++round) {
      if (!empty_) status_ = AskWhatIsThere(rest);
      if (status_.ok()) status_ = CompletePayloads(rest);
      if (status_.ok() && KeepsRows()) status_ = KeepOldVectors(rest);
      if (!status_.ok()) break;
      vanished_.clear();
      Store(rest);
      rest = vanished_;
      if (round == kVanishedRounds && !rest.empty()) {
        return absl::UnavailableError(
            absl::StrCat(target_.asked.Name(), ": points are added and removed all the time; run this again"));
      }
    }
    return status_;
  }

  absl::Status Publish(const SinkContext&) override {
    // Another sink may have published it, or a run that died.
    ABSL_RETURN_IF_ERROR(LookAtQdrantTarget(&target_));
    if (target_.side.has_value()) return SwitchQdrantSide(client(), *target_.side, target_.asked.keep_old);
    ABSL_ASSIGN_OR_RETURN(const std::optional<QdrantCollection> now, GetQdrantCollection(client(), target_.rows));
    if (!now.has_value()) return NoQdrantCollection(client(), target_.asked);
    if (now->restore_m == 0 || now->hnsw_m != 0) return absl::OkStatus();
    return BuildQdrantGraph(client(), target_.rows, now->restore_m);
  }

 private:
  QdrantClient* client() { return target_.client.get(); }
  std::string Path(absl::string_view collection, absl::string_view rest = "") const {
    return absl::StrCat("/collections/", QdrantPathPart(collection), rest);
  }

  std::string VectorConfig() const {
    return absl::StrCat(R"({"size":)", target_.model.dim, R"(,"distance":)", JsonQuoted(target_.asked.distance), "}");
  }

  // The graph comes last, as one build of it costs less than many insertions. That it has to be built is noted where a
  // later run finds it; servers that keep no notes (before 1.16) build it at once.
  absl::Status MakeCollection() {
    const std::string& name = target_.asked.vector;
    const std::string vectors =
        name.empty() ? VectorConfig() : absl::StrCat("{", JsonQuoted(name), ":", VectorConfig(), "}");
    ABSL_RETURN_IF_ERROR(client()
                             ->Call({"PUT", Path(target_.rows),
                                     absl::StrCat(R"({"vectors":)", vectors, R"(,"hnsw_config":{"m":0},"metadata":{)",
                                                  R"("reembed_hnsw_m":)", kDefaultM, R"(,"reembed_model":)",
                                                  JsonQuoted(target_.model.name), "}}")})
                             .status());
    ABSL_ASSIGN_OR_RETURN(const std::optional<QdrantCollection> now, GetQdrantCollection(client(), target_.rows));
    if (now.has_value() && now->restore_m == 0) return BuildQdrantGraph(client(), target_.rows, kDefaultM);
    return absl::OkStatus();
  }

  // Those that the rows' system wants, in a collection that was made here, perhaps by a run that died.
  absl::Status MakeIndexes() {
    if (payloads_ == nullptr) return absl::OkStatus();
    for (const std::string& field : payloads_->keyword_indexes()) {
      ABSL_RETURN_IF_ERROR(
          client()
              ->Call({"PUT", Path(target_.rows, "/index?wait=true"),
                      absl::StrCat(R"({"field_name":)", JsonQuoted(field), R"(,"field_schema":"keyword"})")})
              .status());
    }
    return absl::OkStatus();
  }

  // Source: PUT /collections/{name}/vectors/{vector_name}, Qdrant 1.18.
  absl::Status AddVector() {
    absl::Status added =
        client()
            ->Call({"PUT", Path(target_.rows, absl::StrCat("/vectors/", QdrantPathPart(target_.asked.vector))),
                    absl::StrCat(R"({"dense":)", VectorConfig(), "}")})
            .status();
    if (!absl::IsNotFound(added) && !absl::IsUnimplemented(added)) return added;
    return absl::UnimplementedError(absl::StrCat(target_.asked.Name(), ": has no vector `", target_.asked.vector,
                                                 "`, and this server is too old to add one (Qdrant 1.18 can); name a "
                                                 "new collection as the target"));
  }

  // On the server, where GET .../snapshots lists it. A run that dies before its first row makes another one.
  absl::Status MakeSnapshot() {
    return client()->Call({"POST", Path(target_.asked.collection, "/snapshots?wait=true"), ""}).status();
  }

  absl::Status KeepWhatIsMade(UndoLog* undo) const {
    if (undo == nullptr) return absl::OkStatus();
    if (target_.side.has_value()) return LogQdrantSide(*target_.side, undo);
    if (!target_.collection.has_value()) return LogQdrantCollectionMade(undo);
    return target_.add_vector ? LogQdrantVectorMade(undo) : absl::OkStatus();
  }

  // Not where the way back is another collection, or where nothing was before.
  bool KeepsRows() const { return undo_ != nullptr && !target_.side.has_value() && !empty_; }

  absl::Status KeepOldVectors(absl::Span<const size_t> rows) {
    std::vector<RowToWrite*> to_keep;
    for (const size_t i : rows) to_keep.push_back(items_[i].row);
    return LogOldRows(to_keep, undo_,
                      [&](size_t row, std::optional<absl::string_view>* content) -> absl::StatusOr<bool> {
                        Item& item = items_[rows[row]];
                        if (!item.there && payloads_ != nullptr) item.old = QdrantNoPoint(item.payload);
                        if (item.there || payloads_ != nullptr) *content = item.old;
                        return item.there || (upserts_ && item.row->refusal.ok());
                      });
  }

  absl::Span<const float> VectorOf(const Item& item) const {
    return {item.row->row->vector, static_cast<size_t>(target_.model.dim)};
  }

  // Sets Item::there, and where points are merged what they have.
  absl::Status AskWhatIsThere(absl::Span<const size_t> rows) {
    const bool merge = target_.side.has_value();
    const std::string path = Path(merge ? target_.side->base : target_.rows, "/points");
    const size_t asked = merge || KeepsRows() ? kAskedRows : kAskedIds;
    absl::Status failure;
    for (size_t begin = 0; begin < rows.size(); begin += asked) {
      const absl::Span<const size_t> part = rows.subspan(begin, asked);
      std::string body = R"({"ids":[)";
      for (const size_t i : part) absl::StrAppend(&body, *items_[i].row->key, ",");
      body.back() = ']';
      absl::StrAppend(&body, R"(,"with_payload":)", merge ? "true" : "false", R"(,"with_vector":)", AskedVectors(),
                      "}");
      client()->Start({"POST", path, std::move(body)}, [this, part, &failure](QdrantClient::Answer answer) {
        failure.Update(answer.ok() ? TakePoints(part, &*answer) : answer.status());
      });
    }
    client()->Drain();
    return failure;
  }

  // Names of the vectors that a merged point keeps, or of the one that will be overwritten, as JSON.
  std::string AskedVectors() const {
    if (!target_.side.has_value()) return KeepsRows() ? AskForQdrantVector(target_.asked.vector) : "false";
    std::string names;
    for (const QdrantCollection::Vector& vector : target_.side->like.vectors) {
      if (vector.name == target_.side->vector) continue;
      absl::StrAppend(&names, names.empty() ? "" : ",", JsonQuoted(vector.name));
    }
    return names.empty() ? "false" : absl::StrCat("[", names, "]");
  }

  absl::Status TakePoints(absl::Span<const size_t> rows, std::string* answer) {
    const absl::StatusOr<QdrantPage> page = ReadQdrantPage(answer);
    if (!page.ok()) {
      return absl::Status(page.status().code(), absl::StrCat(target_.asked.Name(), ": ", page.status().message()));
    }
    absl::flat_hash_map<std::string, const QdrantPoint*> by_id;
    for (const QdrantPoint& point : page->points) by_id[point.id.Json()] = &point;
    for (const size_t i : rows) {
      Item& item = items_[i];
      const auto found = by_id.find(*item.row->key);
      item.there = found != by_id.end();
      if (item.there && KeepsRows()) {
        item.old = QdrantOldVector(found->second->vector, target_.asked.vector, target_.model.dim);
      }
      if (!item.there || !target_.side.has_value()) continue;
      item.payload = std::string(found->second->payload);
      item.vectors.clear();
      for (const QdrantCollection::Vector& vector : target_.side->like.vectors) {
        if (vector.name == target_.side->vector) continue;
        const absl::string_view json = QdrantVectorIn(found->second->vector, vector.name);
        if (!json.empty()) absl::StrAppend(&item.vectors, JsonQuoted(vector.name), ":", json, ",");
      }
    }
    return absl::OkStatus();
  }

  // Of the points that Store() puts whole.
  absl::Status CompletePayloads(absl::Span<const size_t> rows) {
    if (payloads_ == nullptr) return absl::OkStatus();
    std::vector<KeyView> keys;
    std::vector<std::string*> payloads;
    std::vector<Item*> added;
    for (const size_t i : rows) {
      Item& item = items_[i];
      if (item.there ? !target_.side.has_value() : !upserts_) continue;
      keys.push_back(item.row->row->key);
      payloads.push_back(&item.payload);
      if (!item.there) added.push_back(&item);
    }
    if (keys.empty()) return absl::OkStatus();
    ABSL_RETURN_IF_ERROR(payloads_->Complete(keys, payloads));
    for (Item* const item : added) {
      if (item->payload.empty()) item->row->SetGone("is gone from the source");
    }
    return absl::OkStatus();
  }

  // Updates the points that are there, and adds the others. Where points are merged they are all put whole.
  void Store(absl::Span<const size_t> rows) {
    const bool merge = target_.side.has_value();
    const auto failed = [this](absl::Span<const size_t> tags, const absl::Status& status, bool update) {
      if (update && absl::IsNotFound(status)) {
        vanished_.insert(vanished_.end(), tags.begin(), tags.end());
      } else if (absl::IsOutOfRange(status) || absl::IsInvalidArgument(status)) {
        for (const size_t i : tags) items_[i].row->refusal = status;
      } else {
        status_.Update(status);
      }
    };
    QdrantWriter update(client(), Path(target_.rows, "/points/vectors"),
                        [&](absl::Span<const size_t> tags, const absl::Status& s) { failed(tags, s, true); });
    QdrantWriter put(client(), Path(target_.rows, "/points"),
                     [&](absl::Span<const size_t> tags, const absl::Status& s) { failed(tags, s, false); });
    for (const size_t i : rows) {
      Item& item = items_[i];
      if (!item.row->refusal.ok()) continue;
      if (item.there && !merge) {
        AppendUpdate(item, update.Add(i));
      } else if (item.there || upserts_) {
        AppendPoint(item, put.Add(i));
      } else {
        item.row->SetGone("is gone from the collection");
      }
    }
    update.Finish();
    put.Finish();
    NoteTaken(rows);
  }

  // As long as the server has taken none it is not for the sake of the points.
  void NoteTaken(absl::Span<const size_t> rows) {
    const auto refused = [this](size_t i) { return absl::IsInvalidArgument(items_[i].row->refusal); };
    if (rows.empty() || any_taken_) return;
    any_taken_ = !std::all_of(rows.begin(), rows.end(), refused);
    if (any_taken_) return;
    const RowToWrite& first = *items_[rows.front()].row;
    status_.Update(absl::Status(
        first.refusal.code(),
        absl::StrCat(target_.asked.Name(), ": row ", KeyText(first.row->key), ": ", first.refusal.message())));
  }

  void AppendUpdate(const Item& item, std::string* json) const {
    absl::StrAppend(json, R"({"id":)", *item.row->key, R"(,"vector":)");
    AppendQdrantVector(target_.asked.vector, VectorOf(item), json);
    json->push_back('}');
  }

  void AppendPoint(const Item& item, std::string* json) const {
    absl::StrAppend(json, R"({"id":)", *item.row->key, R"(,"vector":)");
    if (item.vectors.empty()) {
      AppendQdrantVector(target_.asked.vector, VectorOf(item), json);
    } else {
      absl::StrAppend(json, "{", item.vectors, JsonQuoted(target_.asked.vector), ":");
      AppendFloatList(VectorOf(item), json);
      json->push_back('}');
    }
    if (!item.payload.empty()) {
      absl::StrAppend(json, R"(,"payload":)", item.payload);
    } else if (target_.asked.hashed_ids) {
      absl::StrAppend(json, R"(,"payload":{)", JsonQuoted(target_.asked.key), ":", KeyJson(item.row->row->key), "}");
    }
    json->push_back('}');
  }

  QdrantTarget target_;
  const bool upserts_;
  UndoLog* undo_ = nullptr;
  bool any_taken_ = false;  // by the server, of all points so far
  const std::unique_ptr<QdrantPayloads> payloads_;
  bool empty_ = false;            // nothing was in the collection when it was opened: no need to ask
  std::vector<Item> items_;       // of one Write()
  std::vector<size_t> vanished_;  // of items_: gone between question and update
  absl::Status status_;           // of one Write()
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorSink>> MakeQdrantSink(const Location& location, const Model& model,
                                                           bool same_as_source, const QdrantOptions& options,
                                                           std::unique_ptr<QdrantPayloads> payloads) {
  ABSL_ASSIGN_OR_RETURN(QdrantTarget target, OpenQdrantTarget(location, model, options));
  const QdrantLocation::Mode mode = target.asked.mode;
  const bool upserts = mode == QdrantLocation::Mode::kDefault ? !same_as_source : mode == QdrantLocation::Mode::kUpsert;
  if (!upserts && !target.collection.has_value() && !target.side.has_value()) {
    return NoQdrantCollection(target.client.get(), target.asked);
  }
  ABSL_RETURN_IF_ERROR(CheckMayWriteQdrant(target.client.get(), target.asked));
  const std::string place = target.asked.Name();
  return MakeTableSink(place, model.dim,
                       std::make_unique<QdrantRowWriter>(std::move(target), upserts, std::move(payloads)));
}

}  // namespace reembed
