// SPDX-License-Identifier: Apache-2.0
#include "tools/registry.h"

#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/finite_reader.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "index/faiss_sink.h"
#include "index/index_reader.h"
#include "io/file/fbin_sink.h"
#include "io/file/hdf5_reader.h"
#include "io/file/hdf5_sink.h"
#include "io/file/hdf5_source.h"
#include "io/file/jsonl_reader.h"
#include "io/file/jsonl_sink.h"
#include "io/file/jsonl_source.h"
#include "io/file/matrix_reader.h"
#include "io/file/npy_sink.h"
#include "io/store/falkordb/falkordb_lock.h"
#include "io/store/falkordb/falkordb_reader.h"
#include "io/store/falkordb/falkordb_sink.h"
#include "io/store/falkordb/falkordb_source.h"
#include "io/store/falkordb/falkordb_undo.h"
#include "io/store/file_lock.h"
#include "io/store/postgres/postgres_import.h"
#include "io/store/postgres/postgres_import_undo.h"
#include "io/store/postgres/postgres_lock.h"
#include "io/store/postgres/postgres_reader.h"
#include "io/store/postgres/postgres_sink.h"
#include "io/store/postgres/postgres_source.h"
#include "io/store/postgres/postgres_undo.h"
#include "io/store/qdrant/qdrant_reader.h"
#include "io/store/qdrant/qdrant_sink.h"
#include "io/store/qdrant/qdrant_source.h"
#include "io/store/qdrant/qdrant_undo.h"
#include "io/store/sqlite/libsql_sink.h"
#include "io/store/sqlite/sqlite_lock.h"
#include "io/store/sqlite/sqlite_reader.h"
#include "io/store/sqlite/sqlite_sink.h"
#include "io/store/sqlite/sqlite_source.h"
#include "io/system/automem_payload.h"
#include "io/system/automem_record.h"
#include "io/system/automem_rows.h"
#include "io/system/memu_rows.h"
#include "io/system/memu_sink.h"

namespace reembed {
namespace {

using SourceOr = absl::StatusOr<std::unique_ptr<Source>>;
using SinkOr = absl::StatusOr<std::unique_ptr<VectorSink>>;
using LockOr = absl::StatusOr<std::unique_ptr<TargetLock>>;
using ReaderOr = absl::StatusOr<std::unique_ptr<VectorReader>>;

absl::StatusOr<std::vector<std::string>> NoChanges(const Location&, const Model&) { return std::vector<std::string>(); }

// ParsePlace() has put passwords and keys beside the location.
FalkorOptions FalkorLogin(const Location& location) { return {.password = location.secret}; }
QdrantOptions QdrantLogin(const Location& location) {
  QdrantOptions options{.api_key = location.secret};
  if (location.answered != nullptr) options.answered = location.answered;
  return options;
}

constexpr Scheme PostgresScheme(const char* name) {
  return {name,
          "postgres://USER@HOST/DATABASE?table=T&key=K&text=C&vector=V",
          OpenPostgresSource,
          [](const Location& l, const Model& m, const Location& source) -> SinkOr {
            return l.Get("mode") == "insert" ? MakePostgresImportSink(l, m, source) : MakePostgresSink(l, m);
          },
          [](const Location& l, int dim) -> ReaderOr { return OpenPostgresReader(l, {.dim = dim}); },
          SurveyPostgres,
          [](const Location& l, const Model& m) {
            return l.Get("mode") == "insert" ? PostgresImportChanges(l, m) : PostgresChanges(l, m);
          },
          nullptr,
          [](const Location& l, UndoReader* old) {
            return l.Get("mode") == "insert" ? RollBackPostgresImport(l, old) : RollBackPostgres(l, old);
          },
          [](const Location& l, const Model& m) {
            return l.Get("mode") == "insert" ? PostgresImportOverwriting(l, m) : PostgresOverwriting(l, m);
          },
          nullptr,
          [](const Location& l, const LockOwner& self, const LeaseNote&) { return LockPostgresColumn(l, self); }};
}

// Points of a system's own rows get what the system keeps beside the vector.
SinkOr MakeQdrantTarget(const Location& location, const Model& model, const Location& source) {
  if (!HoldsAutomemPoints(source, location)) {
    return MakeQdrantSink(location, model, IsSameQdrantCollection(source, location), QdrantLogin(location));
  }
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<QdrantPayloads> payloads, OpenAutomemPayloads(source, AutomemLoginOf(source)));
  return MakeQdrantSink(location, model, false, QdrantLogin(location), std::move(payloads));
}

constexpr Scheme kSchemes[] = {
    {"sqlite", "sqlite:PATH?table=T&key=K&text=C&vector=V", OpenSqliteSource,
     [](const Location& l, const Model& m, const Location&) -> SinkOr { return MakeSqliteSink(l, m); },
     [](const Location& l, int dim) -> ReaderOr { return OpenSqliteReader(l, {.dim = dim}); }, SurveySqlite,
     [](const Location& l, const Model& m) { return SqliteChanges(l, m.dim); }, nullptr, RollBackSqlite, nullptr,
     nullptr, [](const Location& l, const LockOwner& self, const LeaseNote&) { return LockSqliteColumn(l, self); }},
    {"libsql", "libsql://HOST?table=T&key=K&text=C&vector=V", OpenSqliteSource,
     [](const Location& l, const Model& m, const Location&) -> SinkOr { return MakeLibsqlSink(l, m); },
     [](const Location& l, int dim) -> ReaderOr { return OpenSqliteReader(l, {.dim = dim}); }, SurveySqlite,
     [](const Location& l, const Model& m) { return LibsqlChanges(l, m); }, nullptr, RollBackLibsql, nullptr, nullptr,
     LockLibsqlColumn},
    PostgresScheme("postgres"),
    PostgresScheme("postgresql"),
    {"qdrant", "qdrant:http://HOST:6333/COLLECTION?text=content",
     [](const Location& l, const Selection& s) -> SourceOr { return OpenQdrantSource(l, s, QdrantLogin(l)); },
     MakeQdrantTarget, [](const Location& l, int dim) -> ReaderOr { return OpenQdrantReader(l, dim, QdrantLogin(l)); },
     [](const Location& l, const Selection& s) { return SurveyQdrant(l, s, QdrantLogin(l)); },
     [](const Location& l, const Model& m) { return QdrantChanges(l, m, QdrantLogin(l)); }, CheckQdrantKey,
     [](const Location& l, UndoReader* old) { return RollBackQdrant(l, old, QdrantLogin(l)); },
     [](const Location& l, const Model& m) { return QdrantOverwriting(l, m, QdrantLogin(l)); }},
    {"falkordb", "falkordb://HOST/GRAPH?label=L&key=P&text=P&vector=P",
     [](const Location& l, const Selection& s) -> SourceOr { return OpenFalkorSource(l, s, FalkorLogin(l)); },
     [](const Location& l, const Model& m, const Location&) -> SinkOr { return MakeFalkorSink(l, m, FalkorLogin(l)); },
     [](const Location& l, int dim) -> ReaderOr { return OpenFalkorReader(l, dim, FalkorLogin(l)); },
     [](const Location& l, const Selection& s) { return SurveyFalkor(l, s, FalkorLogin(l)); },
     [](const Location& l, const Model& m) { return FalkorChanges(l, m, FalkorLogin(l)); }, nullptr,
     [](const Location& l, UndoReader* old) { return RollBackFalkor(l, old, FalkorLogin(l)); }, nullptr, nullptr,
     [](const Location& l, const LockOwner& self, const LeaseNote& note) {
       return LockFalkorProperty(l, self, FalkorLogin(l), note);
     }},
    {"jsonl", "jsonl:PATH?key=id&text=text",
     [](const Location& l, const Selection& s) -> SourceOr { return OpenJsonlSource(l, {.strict = s.strict}); },
     [](const Location& l, const Model& m, const Location&) -> SinkOr { return MakeJsonlSink(l, m); },
     [](const Location& l, int) -> ReaderOr { return OpenJsonlReader(l); }},
    {"hdf5", "hdf5:PATH", [](const Location& l, const Selection&) -> SourceOr { return OpenHdf5Source(l); },
     [](const Location& l, const Model& m, const Location&) -> SinkOr { return MakeHdf5Sink(l, m); },
     [](const Location& l, int) -> ReaderOr { return OpenHdf5Reader(l); }},
    {"npy", "npy:PATH", nullptr,
     [](const Location& l, const Model& m, const Location&) -> SinkOr { return MakeNpySink(l, m); },
     [](const Location& l, int) -> ReaderOr { return OpenNpyReader(l); }},
    {"fbin", "fbin:PATH", nullptr,
     [](const Location& l, const Model& m, const Location&) -> SinkOr { return MakeFbinSink(l, m); },
     [](const Location& l, int) -> ReaderOr { return OpenFbinReader(l); }},
    {"faiss", "faiss:PATH?factory=HNSW32", nullptr,
     [](const Location& l, const Model& m, const Location& source) -> SinkOr {
       return MakeFaissSink(l, m, {.source = source.ToString()});
     },
     [](const Location& l, int) -> ReaderOr { return IndexReader::Open(l.path); }, nullptr, nullptr, CheckFaissKey},
    {"memu", "memu:vectors.json?db=memu.db&collection=items&table=memory_items&text=summary", OpenMemuSource,
     [](const Location& l, const Model& m, const Location& source) -> SinkOr { return MakeMemuSink(l, m, source); },
     [](const Location& l, int dim) -> ReaderOr { return OpenMemuReader(l, dim); }, SurveyMemu, NoChanges, nullptr,
     RollBackMemu, nullptr, nullptr,
     [](const Location& l, const LockOwner& self, const LeaseNote&) -> LockOr {
       return LockFileColumn(l.path, l.Get("collection"), absl::StrCat(l.path, ": ", l.Get("collection")), self);
     }},
    {"automem", "automem://HOST/GRAPH?points=qdrant:http://HOST:6333/COLLECTION",
     [](const Location& l, const Selection& s) -> SourceOr { return OpenAutomemSource(l, s, AutomemLoginOf(l)); },
     nullptr, nullptr, [](const Location& l, const Selection& s) { return SurveyAutomem(l, s, AutomemLoginOf(l)); },
     nullptr, nullptr, nullptr, nullptr,
     [](const Location& l, const RunRecord& record) -> SourceOr {
       return KeepAutomemRecord(l, record, AutomemLoginOf(l));
     }},
    {"-", "- (JSON lines on standard input or output)",
     [](const Location& l, const Selection& s) -> SourceOr { return OpenJsonlSource(l, {.strict = s.strict}); },
     [](const Location& l, const Model&, const Location&) -> SinkOr {
       ABSL_RETURN_IF_ERROR(l.CheckParameters({}));
       return MakeJsonlStreamSink(STDOUT_FILENO);
     },
     nullptr},
};

// The scheme of `location`, if it can be used as asked.
template <typename Role>
absl::StatusOr<Role> Find(const Location& location, Role Scheme::*role, absl::string_view what) {
  std::vector<std::string> able;
  for (const Scheme& scheme : kSchemes) {
    if (scheme.*role == nullptr) continue;
    if (location.scheme == scheme.name) return scheme.*role;
    able.push_back(scheme.name);
  }
  // A kind that is known, but not for this, has no near one.
  const std::string near = FindScheme(location.scheme) == nullptr ? NearestName(location.scheme, able) : "";
  return absl::InvalidArgumentError(absl::StrCat(
      location.ToString(), ": `", location.scheme, "` is no ", what,
      near.empty() ? absl::StrCat("; these are: ", absl::StrJoin(able, ", "), "; `reembed run --help` shows them whole")
                   : absl::StrCat("; did you mean `", near, "`?")));
}

}  // namespace

absl::Span<const Scheme> Schemes() { return kSchemes; }

const Scheme* FindScheme(absl::string_view name) {
  for (const Scheme& scheme : kSchemes) {
    if (scheme.name == name) return &scheme;
  }
  return nullptr;
}

SourceOr OpenSource(const Location& location, const Selection& selection) {
  ABSL_ASSIGN_OR_RETURN(const auto open, Find(location, &Scheme::open_source, "source"));
  return (open)(location, selection);
}

SinkOr MakeSink(const Location& location, const Model& model, const Location& source) {
  ABSL_ASSIGN_OR_RETURN(const auto make, Find(location, &Scheme::make_sink, "target"));
  return (make)(location, model, source);
}

ReaderOr OpenReader(const Location& location, int dim) {
  ABSL_ASSIGN_OR_RETURN(const auto open, Find(location, &Scheme::open_reader, "target that can be read back"));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<VectorReader> reader, (open)(location, dim));
  return MakeFiniteReader(std::move(reader), PlaceName(location));
}

}  // namespace reembed
