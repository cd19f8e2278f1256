// SPDX-License-Identifier: Apache-2.0
// An SQLite table as source and as target, each beside SQLite's own limit: one prepared statement in a loop, over the
// same rows, in the same run; as target turn by turn, `ratio` is what counts. The vectors have 512 numbers, the texts
// about 600 bytes, as in an agentloop database.
#include <benchmark/benchmark.h>
#include <sqlite3.h>
#include <stdlib.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/pairs.h"
#include "engine/batch.h"
#include "io/store/sqlite/sqlite_reader.h"
#include "io/store/sqlite/sqlite_sink.h"
#include "io/store/sqlite/sqlite_source.h"
#include "tools/sample/agentloop_sample.h"

namespace reembed {
namespace {

constexpr int kRows = 20000;
constexpr int kDim = 512;
constexpr int kBatchRows = 256;
constexpr char kUpdate[] = "UPDATE messages SET embedding = ?2, embedding_model = ?3 WHERE rowid = ?1";

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << status << "\n";
  std::exit(1);
}

// A folder with a sample database in it, removed at the end.
class Sample {
 public:
  Sample() : folder_(std::filesystem::temp_directory_path() / "reembed-sqlite-bench-XXXXXX") {
    if (mkdtemp(folder_.data()) == nullptr) Require(absl::InternalError("no temporary folder"));
    Require(MakeAgentloopSample(Pristine(), {.rows = kRows, .text_bytes = 600}));
    Refresh();
  }
  ~Sample() { std::filesystem::remove_all(folder_); }

  // Puts a copy without vectors at path().
  void Refresh() const {
    std::filesystem::copy_file(Pristine(), path(), std::filesystem::copy_options::overwrite_existing);
  }

  std::string path() const { return folder_ + "/memory.db"; }

  Location At() const {
    return {
        .scheme = "sqlite",
        .path = path(),
        .parameters = {
            {"table", "messages"}, {"text", "content"}, {"vector", "embedding"}, {"model_column", "embedding_model"}}};
  }

 private:
  std::string Pristine() const { return folder_ + "/pristine.db"; }
  std::string folder_;
};

const Sample& TheSample() {
  static const Sample sample;
  return sample;
}

// The rows in batches; all have one vector, in which every number changes with Change(): SQLite writes no page whose
// bytes stay the same.
class Rows {
 public:
  Rows() : vector_(kDim) {
    for (int row = 0; row < kRows; ++row) {
      if (row % kBatchRows == 0) batches_.push_back(std::make_unique<Batch>(BatchLimits{}, kDim));
      batches_.back()->AddRow(row, int64_t{row + 1}, row)->vector = vector_.data();
    }
    for (const auto& batch : batches_) views_.push_back(batch.get());
  }
  void Change() {
    static float value = 0;  // of all benchmarks: the file remembers what the last one wrote
    std::fill(vector_.begin(), vector_.end(), ++value);
  }
  const std::vector<float>& vector() const { return vector_; }
  absl::Span<const Batch* const> views() const { return views_; }

 private:
  std::vector<float> vector_;
  std::vector<std::unique_ptr<Batch>> batches_;
  std::vector<const Batch*> views_;
};

class Connection {
 public:
  explicit Connection(const std::string& path) {
    if (sqlite3_open(path.c_str(), &db_) != SQLITE_OK) Require(absl::InternalError(sqlite3_errmsg(db_)));
    Run("PRAGMA cache_size = -65536");
  }
  ~Connection() {
    sqlite3_finalize(statement_);
    sqlite3_close(db_);
  }
  void Run(const char* sql) {
    if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK)
      Require(absl::InternalError(sqlite3_errmsg(db_)));
  }
  sqlite3_stmt* Prepare(const char* sql) {
    if (sqlite3_prepare_v2(db_, sql, -1, &statement_, nullptr) != SQLITE_OK)
      Require(absl::InternalError(sqlite3_errmsg(db_)));
    return statement_;
  }

 private:
  sqlite3* db_ = nullptr;
  sqlite3_stmt* statement_ = nullptr;
};

void Report(benchmark::State& state, int64_t bytes_per_row) {
  state.SetItemsProcessed(state.iterations() * kRows);
  state.SetBytesProcessed(state.iterations() * kRows * bytes_per_row);
}

// The limit: one statement over the whole table.
void BM_SqliteScanPlain(benchmark::State& state) {
  Connection connection(TheSample().path());
  sqlite3_stmt* statement = connection.Prepare("SELECT message_id, content FROM messages ORDER BY message_id");
  for (auto _ : state) {
    int64_t bytes = 0;
    while (sqlite3_step(statement) == SQLITE_ROW) {
      benchmark::DoNotOptimize(sqlite3_column_text(statement, 1));
      bytes += sqlite3_column_bytes(statement, 1);
    }
    sqlite3_reset(statement);
    benchmark::DoNotOptimize(bytes);
  }
  Report(state, 600);
}
BENCHMARK(BM_SqliteScanPlain)->Unit(benchmark::kMillisecond);

void BM_SqliteScanSource(benchmark::State& state) {
  const Selection selection{.rows = state.range(0) != 0 ? Selection::Rows::kWithoutVector : Selection::Rows::kAll,
                            .dim = kDim + 1};
  for (auto _ : state) {
    auto source = OpenSqliteSource(TheSample().At(), selection);
    Require(source.status());
    int64_t rows = 0;
    while (true) {
      const auto row = (*source)->Next();
      Require(row.status());
      if (!row->has_value()) break;
      ++rows;
    }
    if (rows != kRows) Require(absl::InternalError(absl::StrCat("expected ", kRows, " rows, got ", rows)));
  }
  Report(state, 600);
}
BENCHMARK(BM_SqliteScanSource)->ArgName("without_vector")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

void UpdatePlain(Connection* connection, sqlite3_stmt* statement, const Rows& rows, int64_t batches_per_commit) {
  const int64_t rows_per_commit = batches_per_commit * kBatchRows;
  for (int64_t row = 0; row < kRows; ++row) {
    if (row % rows_per_commit == 0) connection->Run("BEGIN IMMEDIATE");
    sqlite3_bind_int64(statement, 1, row + 1);
    sqlite3_bind_blob64(statement, 2, rows.vector().data(), kDim * sizeof(float), SQLITE_STATIC);
    sqlite3_bind_text(statement, 3, "bench", -1, SQLITE_STATIC);
    if (sqlite3_step(statement) != SQLITE_DONE) Require(absl::InternalError("update"));
    sqlite3_reset(statement);
    if (row + 1 == kRows || (row + 1) % rows_per_commit == 0) connection->Run("COMMIT");
  }
}

std::unique_ptr<VectorSink> OpenSink() {
  const Model model{.name = "bench", .dim = kDim};
  auto sink = MakeSqliteSink(TheSample().At(), model);
  Require(sink.status());
  Require(PrepareAndOpen(sink->get(), {.model = model}, {}).status());
  return *std::move(sink);
}

void UpdateThroughSink(VectorSink* sink, const Rows& rows, size_t batches_per_write) {
  std::vector<RefusedRow> refused;
  for (size_t i = 0; i < rows.views().size(); i += batches_per_write) {
    Require(sink->Write(rows.views().subspan(i, batches_per_write), &refused));
  }
  if (!refused.empty()) Require(refused.front().reason);
}

// The limit of both: the same rows and as many transactions, one UPDATE by rowid after the other.

void BM_SqliteUpdate(benchmark::State& state) {
  Rows rows;
  Connection connection(TheSample().path());
  sqlite3_stmt* const statement = connection.Prepare(kUpdate);
  const std::unique_ptr<VectorSink> sink = OpenSink();
  ComparePairs(
      state, kRows, [&] { rows.Change(); }, [&] { UpdatePlain(&connection, statement, rows, state.range(0)); },
      [&] { UpdateThroughSink(sink.get(), rows, static_cast<size_t>(state.range(0))); });
}

// The first time rows grow and move to other pages.
void BM_SqliteFirstFill(benchmark::State& state) {
  const Rows rows;
  ComparePairs(
      state, kRows, [] { TheSample().Refresh(); },
      [&] {
        Connection connection(TheSample().path());
        UpdatePlain(&connection, connection.Prepare(kUpdate), rows, state.range(0));
      },
      [&] { UpdateThroughSink(OpenSink().get(), rows, static_cast<size_t>(state.range(0))); });
}

// One batch, some, and the whole table in one transaction.
void Transactions(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("batches")->Arg(1)->Arg(8)->Arg(1000)->Unit(benchmark::kMillisecond)->UseManualTime();
}
BENCHMARK(BM_SqliteFirstFill)->Apply(Transactions);
BENCHMARK(BM_SqliteUpdate)->Apply(Transactions);

void BM_SqliteReadVectors(benchmark::State& state) {
  {
    Connection connection(TheSample().path());
    connection.Run("UPDATE messages SET embedding = zeroblob(2048) WHERE embedding IS NULL");
  }
  for (auto _ : state) {
    auto reader = OpenSqliteReader(TheSample().At(), {.dim = kDim});
    Require(reader.status());
    int64_t rows = 0;
    while (true) {
      const auto stored = (*reader)->Next();
      Require(stored.status());
      if (!stored->has_value()) break;
      ++rows;
    }
    if (rows != kRows) Require(absl::InternalError(absl::StrCat("expected ", kRows, " vectors, got ", rows)));
  }
  Report(state, kDim * sizeof(float));
}
BENCHMARK(BM_SqliteReadVectors)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace reembed
