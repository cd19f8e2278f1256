// SPDX-License-Identifier: Apache-2.0
// A PostgreSQL table as target and as source, each beside the server's own bulk path over the same rows, turn by turn
// in the same run: `limit` and `reembed` are rows per second, `ratio` is what counts. The server runs on this machine
// with fsync off, so that its work and not the disk is measured.
#include <benchmark/benchmark.h>
#include <libpq-fe.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/pairs.h"
#include "engine/batch.h"
#include "io/store/postgres/postgres_reader.h"
#include "io/store/postgres/postgres_sink.h"
#include "io/store/postgres/postgres_source.h"
#include "io/store/postgres/postgres_vector.h"
#include "tests/fakes/postgres_server.h"

namespace reembed {
namespace {

constexpr int kRows = 4096;
constexpr int kBatchRows = 256;
constexpr int kBatchesPerWrite = 8;

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << status << "\n";
  std::exit(1);
}

// Rows with keys from 1 on, in batches; all have one vector.
class Rows {
 public:
  explicit Rows(int dim) : vector_(static_cast<size_t>(dim)) {
    for (int i = 0; i < dim; ++i) vector_[static_cast<size_t>(i)] = 1.0f / static_cast<float>(i + 1);
    for (int row = 0; row < kRows; ++row) {
      if (row % kBatchRows == 0) batches_.push_back(std::make_unique<Batch>(BatchLimits{}, dim));
      batches_.back()->AddRow(row, int64_t{row + 1}, row)->vector = vector_.data();
    }
    for (const auto& batch : batches_) views_.push_back(batch.get());
  }
  const std::vector<float>& vector() const { return vector_; }
  absl::Span<const Batch* const> views() const { return views_; }

 private:
  std::vector<float> vector_;
  std::vector<std::unique_ptr<Batch>> batches_;
  std::vector<const Batch*> views_;
};

// A session like that of another program: straight libpq.
class Session {
 public:
  Session() {
    const std::string uri = TestPostgres().Uri("");
    connection_ = PQconnectdb(uri.substr(0, uri.size() - 1).c_str());
    if (PQstatus(connection_) != CONNECTION_OK) Require(absl::InternalError(PQerrorMessage(connection_)));
  }
  ~Session() { PQfinish(connection_); }

  void Run(const std::string& sql) { Check(PQexec(connection_, sql.c_str())); }

  // COPY of the rows [begin, end), encoded as they go.
  void CopyIn(const std::string& table, const Rows& rows, int begin, int end) {
    Check(PQexec(connection_, absl::StrCat("COPY ", table, " FROM STDIN (FORMAT BINARY)").c_str()));
    std::string data("PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19);
    for (int row = begin; row < end; ++row) {
      data.append({'\0', '\2'});
      AppendInt32(8, &data);
      AppendInt64(row + 1, &data);
      if (!AppendPostgresVector(PostgresForm::kVector, rows.vector(), &data)) std::exit(1);
      if (data.size() < (size_t{1} << 18) && row + 1 < end) continue;
      PQputCopyData(connection_, data.data(), static_cast<int>(data.size()));
      data.clear();
    }
    PQputCopyData(connection_, "\377\377", 2);
    PQputCopyEnd(connection_, nullptr);
    Check(PQgetResult(connection_));
    PQgetResult(connection_);
  }

  // COPY ... TO STDOUT; returns the bytes.
  int64_t CopyOut(const std::string& query) {
    Check(PQexec(connection_, absl::StrCat("COPY (", query, ") TO STDOUT (FORMAT BINARY)").c_str()));
    int64_t bytes = 0;
    char* data = nullptr;
    for (int size; (size = PQgetCopyData(connection_, &data, 0)) > 0; PQfreemem(data)) bytes += size;
    while (PGresult* result = PQgetResult(connection_)) PQclear(result);
    return bytes;
  }

 private:
  void Check(PGresult* result) {
    const ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_FATAL_ERROR) Require(absl::InternalError(PQerrorMessage(connection_)));
    PQclear(result);
  }
  PGconn* connection_;
};

std::unique_ptr<VectorSink> OpenSink(const std::string& parameters, int dim) {
  const Model model{.name = "bench", .dim = dim};
  auto sink = MakePostgresSink(TestPostgres().At(parameters), model);
  Require(sink.status());
  Require(PrepareAndOpen(sink->get(), {.model = model}, {}).status());
  return *std::move(sink);
}

void WriteAll(VectorSink* sink, const Rows& rows) {
  std::vector<RefusedRow> refused;
  for (size_t i = 0; i < rows.views().size(); i += kBatchesPerWrite) {
    Require(sink->Write(rows.views().subspan(i, kBatchesPerWrite), &refused));
  }
  if (!refused.empty()) Require(refused.front().reason);
}

// The limit: COPY BINARY into the empty table.
void BM_PostgresLoad(benchmark::State& state) {
  const int dim = static_cast<int>(state.range(0));
  const Rows rows(dim);
  Session session;
  session.Run(absl::StrCat("DROP TABLE IF EXISTS m; CREATE TABLE m (id bigint PRIMARY KEY, v vector(", dim, "))"));
  const auto sink = OpenSink("table=m&vector=v&mode=upsert", dim);
  ComparePairs(
      state, kRows, [&] { session.Run("TRUNCATE m"); }, [&] { session.CopyIn("m", rows, 0, kRows); },
      [&] { WriteAll(sink.get(), rows); });
}
BENCHMARK(BM_PostgresLoad)->ArgName("dim")->Arg(384)->Arg(1536)->UseManualTime()->Unit(benchmark::kMillisecond);

// The limit: as many transactions, each COPY BINARY into a temporary table and one UPDATE from it.
void BM_PostgresUpdate(benchmark::State& state) {
  const int dim = static_cast<int>(state.range(0));
  const Rows rows(dim);
  Session session;
  session.Run(absl::StrCat("CREATE TEMP TABLE stage (id bigint, v vector(", dim, ")) ON COMMIT DELETE ROWS"));
  const auto prepare = [&] {
    session.Run(absl::StrCat("DROP TABLE IF EXISTS m; CREATE TABLE m (id bigint PRIMARY KEY, c text, v vector(", dim,
                             ")); INSERT INTO m SELECT i, repeat('text ', 120) FROM generate_series(1, ", kRows,
                             ") i; ANALYZE m; CHECKPOINT"));
  };
  prepare();
  const auto sink = OpenSink("table=m&vector=v", dim);
  ComparePairs(
      state, kRows, prepare,
      [&] {
        for (int row = 0; row < kRows; row += kBatchesPerWrite * kBatchRows) {
          session.Run("BEGIN");
          session.CopyIn("stage", rows, row, row + kBatchesPerWrite * kBatchRows);
          session.Run("UPDATE m SET v = s.v FROM stage s WHERE m.id = s.id; COMMIT");
        }
      },
      [&] { WriteAll(sink.get(), rows); });
}
BENCHMARK(BM_PostgresUpdate)->ArgName("dim")->Arg(384)->Arg(1536)->UseManualTime()->Unit(benchmark::kMillisecond);

// The limit: COPY BINARY of key and text, in key order.
void BM_PostgresScan(benchmark::State& state) {
  Session session;
  session.Run(
      absl::StrCat("DROP TABLE IF EXISTS m; CREATE TABLE m (id bigint PRIMARY KEY, c text); INSERT INTO m SELECT "
                   "i, repeat('text ', 120) FROM generate_series(1, ",
                   kRows, ") i; ANALYZE m"));
  ComparePairs(
      state, kRows, [] {}, [&] { benchmark::DoNotOptimize(session.CopyOut("SELECT id, c FROM m ORDER BY id")); },
      [&] {
        auto source = OpenPostgresSource(TestPostgres().At("table=m&text=c"), {});
        Require(source.status());
        int64_t rows = 0;
        while (true) {
          const auto row = (*source)->Next();
          Require(row.status());
          if (!row->has_value()) break;
          ++rows;
        }
        if (rows != kRows) Require(absl::InternalError(absl::StrCat("expected ", kRows, " rows, got ", rows)));
      });
}
BENCHMARK(BM_PostgresScan)->UseManualTime()->Unit(benchmark::kMillisecond);

// The limit: COPY BINARY of key and vector, in key order.
void BM_PostgresReadVectors(benchmark::State& state) {
  const int dim = static_cast<int>(state.range(0));
  const Rows rows(dim);
  Session session;
  session.Run(absl::StrCat("DROP TABLE IF EXISTS m; CREATE TABLE m (id bigint PRIMARY KEY, v vector(", dim, "))"));
  session.CopyIn("m", rows, 0, kRows);
  ComparePairs(
      state, kRows, [] {}, [&] { benchmark::DoNotOptimize(session.CopyOut("SELECT id, v FROM m ORDER BY id")); },
      [&] {
        auto reader = OpenPostgresReader(TestPostgres().At("table=m&vector=v"));
        Require(reader.status());
        int64_t read = 0;
        while (true) {
          const auto row = (*reader)->Next();
          Require(row.status());
          if (!row->has_value()) break;
          ++read;
        }
        if (read != kRows) Require(absl::InternalError(absl::StrCat("expected ", kRows, " vectors, got ", read)));
      });
}
BENCHMARK(BM_PostgresReadVectors)->ArgName("dim")->Arg(1536)->UseManualTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace reembed
