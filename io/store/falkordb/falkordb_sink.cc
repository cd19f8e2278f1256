// SPDX-License-Identifier: Apache-2.0
#include "io/store/falkordb/falkordb_sink.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/lost_writes.h"
#include "engine/number/float_list.h"
#include "engine/pace/stall_watch.h"
#include "engine/status_macros.h"
#include "engine/table_sink.h"
#include "io/store/falkordb/falkordb_fetch.h"
#include "io/store/falkordb/falkordb_nodes.h"
#include "io/store/falkordb/falkordb_undo.h"

namespace reembed {
namespace {

constexpr size_t kStatementBytes = size_t{1} << 20;
constexpr int64_t kMaxIndexDim = 4096;  // source: https://docs.falkordb.com/cypher/indexing/vector-index.html

// The indexes that matter here.
// As long as one that is being filled may stand still.
constexpr absl::Duration kIndexPatience = absl::Minutes(2);

struct Indexes {
  bool key = false;
  bool vector = false;
  int64_t vector_dim = 0;
  std::string unfinished;  // what the server says of one of the label's that it is filling; empty: all are filled
};

absl::StatusOr<Indexes> ReadIndexes(const FalkorNodes& nodes) {
  std::string label;
  AppendFalkorText(nodes.asked.label, &label);
  ABSL_ASSIGN_OR_RETURN(
      const FalkorRows rows,
      nodes.graph->Query(absl::StrCat(
          "CYPHER label=", label,
          " CALL db.indexes() YIELD label, types, options, entitytype, status WITH * WHERE label = $label AND "
          "entitytype = 'NODE' RETURN types, options, status")));
  Indexes found;
  for (size_t row = 0; row < rows.size(); ++row) {
    const FalkorCell types = (rows)(row, 0), options = (rows)(row, 1);
    if (const absl::string_view status = (rows)(row, 2).Text(); status != "OPERATIONAL") {
      found.unfinished = status.empty() ? "no status" : std::string(status);
    }
    for (size_t i = 0; i < types.size() / 2; ++i) {
      for (size_t k = 0; k < types.MapValue(i).size(); ++k) {
        const absl::string_view type = types.MapValue(i)[k].Text();
        if (types.MapKey(i) == nodes.asked.key && type == "RANGE") found.key = true;
        if (types.MapKey(i) == nodes.asked.vector && type == "VECTOR") found.vector = true;
      }
    }
    for (size_t i = 0; i < options.size() / 2; ++i) {
      if (options.MapKey(i) != nodes.asked.vector || options.MapValue(i).type() != FalkorCell::Type::kMap) continue;
      const FalkorCell of_vector = options.MapValue(i);
      for (size_t k = 0; k < of_vector.size() / 2; ++k) {
        if (of_vector.MapKey(k) == "dimension") found.vector_dim = of_vector.MapValue(k).Integer();
      }
    }
  }
  return found;
}

absl::Status CheckIndexes(const FalkorNodes& nodes, const Indexes& indexes, int dim) {
  if (indexes.vector && indexes.vector_dim != 0 && indexes.vector_dim != dim) {
    return OtherWidthError(nodes.Message(absl::StrCat("the vector index on `", nodes.asked.vector, "`")),
                           static_cast<int>(indexes.vector_dim), dim,
                           absl::StrCat("as it would leave the new ones out: DROP VECTOR INDEX ",
                                        nodes.OnProperty(nodes.asked.vector), ", or fill another property"));
  }
  if (!nodes.asked.index.empty() && dim > kMaxIndexDim) {
    return absl::FailedPreconditionError(
        nodes.Message(absl::StrCat("a vector index takes at most ", kMaxIndexDim, " numbers, not ", dim)));
  }
  return absl::OkStatus();
}

absl::StatusOr<FalkorNodes> OpenTarget(const Location& location, int dim, const FalkorOptions& options) {
  ABSL_ASSIGN_OR_RETURN(FalkorLocation asked, ParseFalkorLocation(location, options));
  if (asked.vector.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(asked.address.name, "/", asked.graph, ": no property for the vectors; add &vector=NAME"));
  }
  if (asked.vector == asked.key || asked.vector == asked.text || asked.vector == asked.model_property) {
    return absl::InvalidArgumentError(
        absl::StrCat(asked.address.name, "/", asked.graph, ": vector=", asked.vector, " is another property too"));
  }
  ABSL_ASSIGN_OR_RETURN(FalkorNodes nodes, OpenFalkorNodes(std::move(asked), "", options.patience));
  ABSL_ASSIGN_OR_RETURN(const Indexes indexes, ReadIndexes(nodes));
  ABSL_RETURN_IF_ERROR(CheckIndexes(nodes, indexes, dim));
  return nodes;
}

class FalkorRowWriter final : public RowWriter {
 public:
  FalkorRowWriter(FalkorNodes nodes, const Model& model) : nodes_(std::move(nodes)), model_(model) {}

  absl::StatusOr<bool> Prepare(const SinkContext& context) override {
    ABSL_RETURN_IF_ERROR(nodes_.graph->client()->Persist([&]() -> absl::Status {
      // Looked at again: the application may have made or dropped one since the sink was made.
      ABSL_ASSIGN_OR_RETURN(const Indexes indexes, ReadIndexes(nodes_));
      ABSL_RETURN_IF_ERROR(CheckIndexes(nodes_, indexes, model_.dim));
      if (!indexes.key) {
        if (context.undo != nullptr) {
          ABSL_RETURN_IF_ERROR(LogFalkorKeyIndexMade(context.undo));
        }
        ABSL_RETURN_IF_ERROR(Change(absl::StrCat("CREATE INDEX ", nodes_.OnProperty(nodes_.asked.key))));
      }
      return WaitForIndexes();
    }));
    return false;
  }

  absl::StatusOr<int64_t> Begin(const SinkContext& context, const SinkPosition& last) override {
    undo_ = context.undo;
    bool keeps = false;
    ABSL_RETURN_IF_ERROR(nodes_.graph->client()->Persist([&]() -> absl::Status {
      ABSL_ASSIGN_OR_RETURN(const Indexes indexes, ReadIndexes(nodes_));
      ABSL_RETURN_IF_ERROR(CheckIndexes(nodes_, indexes, model_.dim));
      if (!indexes.key) {
        return NotPreparedError(nodes_.Message(absl::StrCat("label `", nodes_.asked.label, "`")),
                                absl::StrCat("index on `", nodes_.asked.key, "`"));
      }
      ABSL_RETURN_IF_ERROR(WaitForIndexes());
      ABSL_ASSIGN_OR_RETURN(server_, nodes_.graph->ServerRun());
      ABSL_ASSIGN_OR_RETURN(keeps, KeepsFile());
      return absl::OkStatus();
    }));
    waits_ = keeps;
    return keeps ? last.position : 0;
  }

  absl::Status NameRows(absl::Span<RowToWrite> rows) override {
    for (RowToWrite& row : rows) {
      if (CanBeFalkorKey(nodes_, row.row->key)) {
        AppendFalkorKey(row.row->key, &row.key.emplace());
      } else {
        SetGone(&row);
      }
    }
    return absl::OkStatus();
  }

  absl::Status Write(absl::Span<RowToWrite* const> rows) override {
    // Those that an index finds, and the others, each in a kind of statement of their own.
    std::vector<RowToWrite*> indexed, others;
    for (RowToWrite* const row : rows) (IsInFalkorIndex(row->row->key) ? indexed : others).push_back(row);
    ABSL_RETURN_IF_ERROR(StoreAll(Lookup::kIndex, indexed));
    return StoreAll(Lookup::kScan, others);
  }

  // The server is asked last: if it is still the one of Begin(), it has all that was written before.
  absl::Status Flush() override {
    if (waits_) {
      ABSL_ASSIGN_OR_RETURN(waits_, nodes_.graph->Sync());
    }
    return CheckServer();
  }

  // What this sink has completed may be lost until the job is done.
  absl::Status Publish(const SinkContext& context) override {
    if (nodes_.asked.index.empty()) return CheckServer();
    const absl::Status status = nodes_.graph->client()->Persist([&]() -> absl::Status {
      ABSL_ASSIGN_OR_RETURN(const Indexes indexes, ReadIndexes(nodes_));
      if (!indexes.vector) {
        if (context.undo != nullptr) {
          ABSL_RETURN_IF_ERROR(LogFalkorVectorIndexMade(context.undo));
        }
        ABSL_RETURN_IF_ERROR(Change(absl::StrCat("CREATE VECTOR INDEX ", nodes_.OnProperty(nodes_.asked.vector),
                                                 " OPTIONS {dimension:", model_.dim, ", similarityFunction:'",
                                                 nodes_.asked.index, "'}")));
      }
      return WaitForIndexes();
    });
    ABSL_RETURN_IF_ERROR(status);
    ABSL_RETURN_IF_ERROR(nodes_.graph->Sync().status());
    return CheckServer();
  }

 private:
  // Whether the server is the one of Begin(), if there was one.
  absl::Status CheckServer() {
    if (server_.empty()) return absl::OkStatus();
    ABSL_ASSIGN_OR_RETURN(const std::string server, nodes_.graph->ServerRun());
    if (server == server_) return absl::OkStatus();
    return LostWritesError(nodes_.Message("the server was restarted or replaced, and may have lost what was written"));
  }

  // Whether the server comes back with what its append-only file was waited for. With appendfsync=no nobody has waited.
  absl::StatusOr<bool> KeepsFile() {
    const absl::StatusOr<RespReply> info = nodes_.graph->client()->Call({"INFO", "persistence"});
    if (absl::IsUnavailable(info.status())) return info.status();
    if (!info.ok() || !absl::StrContains(info->value().Text(), "aof_enabled:1")) return false;
    const absl::StatusOr<RespReply> policy = nodes_.graph->client()->Call({"CONFIG", "GET", "appendfsync"});
    if (absl::IsUnavailable(policy.status())) return policy.status();
    return !policy.ok() || policy->value()[1].Text() != "no";
  }

  absl::Status Change(absl::string_view cypher) {
    return nodes_.graph->Query(cypher, FalkorGraph::Access::kWrite).status();
  }

  // The server fills indexes in the background, and says how far it is.
  absl::Status WaitForIndexes() {
    StallWatch watch(kIndexPatience);
    while (true) {
      const absl::StatusOr<Indexes> indexes = ReadIndexes(nodes_);
      if (!indexes.ok() || indexes->unfinished.empty()) return indexes.status();
      if (watch.IsStalled(indexes->unfinished, MonotonicNow())) {
        return absl::DeadlineExceededError(nodes_.Message(absl::StrCat(
            "the server fills an index of `", nodes_.asked.label, "`, and has said \"", indexes->unfinished, "\" for ",
            absl::FormatDuration(kIndexPatience), "; see CALL db.indexes(), and run the same command again later")));
      }
      absl::SleepFor(absl::Milliseconds(20));
    }
  }

  // How the server comes to a node: by the index on the key, or by looking at all nodes of the label.
  enum class Lookup { kIndex, kScan };

  void SetGone(RowToWrite* row) const {
    row->SetGone(absl::StrCat("there is no node with this `", nodes_.asked.key, "` (any more)"));
  }

  absl::Status StoreAll(Lookup lookup, absl::Span<RowToWrite* const> rows) {
    ABSL_RETURN_IF_ERROR(LogFalkorNodes(nodes_, rows, undo_));
    for (Statement statement = Print(rows); !statement.rows.empty(); statement = Print(rows)) {
      ABSL_RETURN_IF_ERROR(Store(lookup, statement.list, statement.rows));
      rows.remove_prefix(statement.rows.size());
    }
    return absl::OkStatus();
  }

  // What one statement stores, as far as its bytes go.
  struct Statement {
    std::string list;  // [[key, [numbers]], ... without the last bracket
    absl::Span<RowToWrite* const> rows;
  };

  // The first of the rows.
  Statement Print(absl::Span<RowToWrite* const> rows) const {
    Statement statement;
    size_t printed = 0;
    while (printed < rows.size() && statement.list.size() < kStatementBytes) {
      const RowToWrite& row = *rows[printed++];
      absl::StrAppend(&statement.list, statement.list.empty() ? "[[" : ",[", *row.key, ",");
      AppendFloatList({row.row->vector, static_cast<size_t>(model_.dim)}, &statement.list);
      statement.list.push_back(']');
    }
    statement.rows = rows.first(printed);
    return statement;
  }

  absl::Status Store(Lookup lookup, const std::string& list, absl::Span<RowToWrite* const> sent) {
    std::string cypher = absl::StrCat("CYPHER rows=", list, "]");
    if (!nodes_.asked.model_property.empty()) {
      cypher += " model=";
      AppendFalkorText(model_.name, &cypher);
    }
    const std::string vector = nodes_.Property(nodes_.asked.vector);
    // The server takes vectors for equal whose numbers differ by less than 1, and then does not set the property (seen
    // with FalkorDB 4.16.3). So something else comes between, which is no NULL as there may be a constraint; all in one
    // statement, so nobody sees a node without a vector.
    absl::StrAppend(&cypher, " UNWIND $rows AS r MATCH (n:", FalkorName(nodes_.asked.label), ") WHERE ",
                    nodes_.KeyIs("r[0]", lookup == Lookup::kIndex), " WITH n, vecf32(r[1]) AS v SET ", vector,
                    " = '' WITH n, v SET ", vector, " = v",
                    nodes_.asked.model_property.empty()
                        ? ""
                        : absl::StrCat(", ", nodes_.Property(nodes_.asked.model_property), " = $model"),
                    " RETURN count(n)");
    int64_t stored = 0;
    absl::Status status = nodes_.graph->client()->Persist([&] {
      const absl::StatusOr<FalkorRows> rows = nodes_.graph->Query(cypher, FalkorGraph::Access::kWrite);
      if (rows.ok()) stored = rows->size() == 1 ? (*rows)(0, 0).Integer() : 0;
      return rows.status();
    });
    if (!status.ok() || stored >= static_cast<int64_t>(sent.size())) return status;
    std::vector<KeyView> keys;
    for (const RowToWrite* const row : sent) keys.push_back(row->row->key);
    ABSL_ASSIGN_OR_RETURN(const std::vector<bool> there, FindFalkorKeys(nodes_, keys));
    for (size_t i = 0; i < sent.size(); ++i) {
      if (there[i]) continue;
      SetGone(sent[i]);
      ++stored;
    }
    if (stored >= static_cast<int64_t>(sent.size())) return absl::OkStatus();
    return absl::UnavailableError(nodes_.Message("nodes were made while their vectors were written; run it again"));
  }

  const FalkorNodes nodes_;
  const Model model_;
  UndoLog* undo_ = nullptr;
  bool waits_ = false;  // for the append-only file
  std::string server_;  // FalkorGraph::ServerRun() when it began
};

}  // namespace

namespace {

// Whether this user may write to this server, which may be a replica: a statement that could write, and finds nothing.
absl::Status CheckMayWrite(const FalkorNodes& nodes) {
  const std::string vector = nodes.Property(nodes.asked.vector);
  return nodes.graph
      ->Query(absl::StrCat("MATCH (n:", FalkorName(nodes.asked.label), ") WHERE false SET ", vector, " = ", vector),
              FalkorGraph::Access::kWrite)
      .status();
}

}  // namespace

absl::StatusOr<std::unique_ptr<VectorSink>> MakeFalkorSink(const Location& location, const Model& model,
                                                           const FalkorOptions& options) {
  if (model.dim <= 0) return absl::InternalError("a model without a width");
  ABSL_ASSIGN_OR_RETURN(FalkorNodes nodes, OpenTarget(location, model.dim, options));
  ABSL_RETURN_IF_ERROR(CheckMayWrite(nodes));
  const std::string place = nodes.Message(absl::StrCat("label `", nodes.asked.label, "`"));
  return MakeTableSink(place, model.dim, std::make_unique<FalkorRowWriter>(std::move(nodes), model));
}

absl::StatusOr<std::vector<std::string>> FalkorChanges(const Location& location, const Model& model,
                                                       const FalkorOptions& options) {
  ABSL_ASSIGN_OR_RETURN(FalkorNodes nodes, OpenTarget(location, model.dim, options));
  ABSL_ASSIGN_OR_RETURN(const Indexes indexes, ReadIndexes(nodes));
  std::vector<std::string> changes;
  if (!indexes.key) {
    changes.push_back(
        absl::StrCat("makes an index of ", nodes.asked.label, " on ", nodes.asked.key, ", by which nodes are found"));
  }
  if (!nodes.asked.index.empty() && !indexes.vector) {
    changes.push_back(absl::StrCat("makes a vector index (", nodes.asked.index, ") of ", nodes.asked.label, " on ",
                                   nodes.asked.vector, " at the end"));
  }
  if (indexes.vector) {
    changes.push_back(absl::StrCat(
        "keeps the vector index on ", nodes.asked.vector,
        " up to date with every row, which is slow; it is faster to drop it first and to make it again afterwards"));
  }
  return changes;
}

}  // namespace reembed
