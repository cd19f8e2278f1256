// SPDX-License-Identifier: Apache-2.0
// One new row among many that have not changed: how fast a run finds that out, beside its limit, a bare SELECT of key
// and text over the same table. Turn by turn; `ratio` is what counts.
#include <benchmark/benchmark.h>
#include <sqlite3.h>
#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <future>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bench/pairs.h"
#include "engine/row_comparison.h"
#include "io/job/job_store.h"
#include "io/store/sqlite/sqlite_source.h"

namespace reembed {
namespace {

constexpr int kDim = 2;  // the vectors do not matter
constexpr int kBatchRows = 512;

const JobIdentity kJob{
    .source = "s", .selection = "all rows", .recipe = "r", .model = "m", .normalization = "unit", .dim = kDim};

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << status << "\n";
  std::exit(1);
}

// Two hundred bytes, as of a note.
std::string TextOf(int64_t row) {
  std::string text = absl::StrCat("note ", row, ":");
  while (text.size() < 200) absl::StrAppend(&text, " word", row % 97 + static_cast<int64_t>(text.size()));
  text.resize(200);
  return text;
}

// A table of `rows` rows and one more, and the job that has embedded all but that.
class Notes {
 public:
  explicit Notes(int64_t rows)
      : rows_(rows), folder_(std::filesystem::temp_directory_path() / "reembed-changed-bench-XXXXXX") {
    if (mkdtemp(folder_.data()) == nullptr) Require(absl::InternalError("no temporary folder"));
    sqlite3_open((folder_ + "/notes.db").c_str(), &db_);
    Run("CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT, v BLOB); BEGIN");
    sqlite3_stmt* insert = nullptr;
    sqlite3_prepare_v2(db_, "INSERT INTO notes VALUES(?1, ?2, zeroblob(8))", -1, &insert, nullptr);
    auto store = JobStore::Open(job(), kJob);
    Require(store.status());
    Batch batch({.max_texts = kBatchRows, .max_rows = kBatchRows}, kDim);
    for (int64_t row = 0; row <= rows; ++row) {
      const std::string text = TextOf(row);
      sqlite3_bind_int64(insert, 1, row);
      sqlite3_bind_text(insert, 2, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
      sqlite3_step(insert);
      sqlite3_reset(insert);
      if (row == rows) break;
      const Enrolment enrolment = (*store)->Enrol(row, HashText(text));
      batch.AddRowWithText(enrolment.ordinal, row, enrolment.slot, text, 1);
      if (row % kBatchRows == kBatchRows - 1 || row == rows - 1) Persist(store->get(), &batch);
    }
    sqlite3_finalize(insert);
    Run("COMMIT");
    Require((*store)->Close());
  }
  ~Notes() {
    sqlite3_close(db_);
    std::filesystem::remove_all(folder_);
  }

  int64_t rows() const { return rows_; }
  std::string job() const { return folder_ + "/job"; }
  Location At() const {
    return {.scheme = "sqlite",
            .path = folder_ + "/notes.db",
            .parameters = {{"table", "notes"}, {"key", "id"}, {"text", "body"}, {"vector", "v"}}};
  }

  // Reads every key and text as a program would that does nothing with them. Returns the bytes.
  int64_t Select() const {
    sqlite3_stmt* select = nullptr;
    sqlite3_prepare_v2(db_, "SELECT id, body FROM notes ORDER BY id", -1, &select, nullptr);
    int64_t bytes = 0;
    while (sqlite3_step(select) == SQLITE_ROW) {
      benchmark::DoNotOptimize(sqlite3_column_int64(select, 0));
      benchmark::DoNotOptimize(sqlite3_column_text(select, 1));
      bytes += sqlite3_column_bytes(select, 1);
    }
    sqlite3_finalize(select);
    return bytes;
  }

 private:
  static void Persist(JobStore* store, Batch* batch) {
    for (float& value : batch->vectors()) value = 1;
    std::promise<absl::Status> kept;
    store->Persist(batch, Done([&kept](absl::Status status) { kept.set_value(std::move(status)); }));
    Require(kept.get_future().get());
    batch->Clear();
  }
  void Run(const char* sql) {
    if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
      Require(absl::InternalError(sqlite3_errmsg(db_)));
    }
  }

  const int64_t rows_;
  std::string folder_;
  sqlite3* db_ = nullptr;
};

// With a job that is open, as a run has it.
int64_t Compare(const Notes& notes, JobStore* job) {
  auto ledger = job->Scan(0);
  Require(ledger.status());
  auto source = OpenSqliteSource(notes.At(), {.rows = Selection::Rows::kAll, .dim = kDim});
  Require(source.status());
  const auto found = CompareRows(
      {.all = source->get(), .only_lacking = true}, *std::move(ledger),
      {[](const LedgerRow&, const TextHash&, std::optional<absl::string_view>) {}, [](const LedgerRow&) {}});
  Require(found.status());
  if (found->rows_changed != 0) Require(absl::InternalError("rows are said to be changed that are not"));
  return found->rows;
}

// REEMBED_BENCH_ROWS: how many; the figure in README.md is of a million.
void CompareBesideSelect(benchmark::State& state) {
  const char* const asked = std::getenv("REEMBED_BENCH_ROWS");
  const Notes notes(asked == nullptr ? 50000 : std::strtoll(asked, nullptr, 10));
  const auto select = [&] { benchmark::DoNotOptimize(notes.Select()); };
  const auto job = JobStore::Open(notes.job(), kJob);
  Require(job.status());
  const auto compare = [&] { benchmark::DoNotOptimize(Compare(notes, job->get())); };
  select();  // both find the file in memory
  compare();
  ComparePairs(
      state, notes.rows(), [] {}, select, compare);
}
BENCHMARK(CompareBesideSelect)->UseManualTime()->Iterations(7)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace reembed
