// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_IO_JOB_JOB_FIXTURE_H_
#define REEMBED_TESTS_IO_JOB_JOB_FIXTURE_H_

#include <filesystem>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "io/job/job_reader.h"
#include "io/job/job_store.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {

inline constexpr int kDim = 8;

// The one right vector of a text, as the fake provider of these tests gives it.
inline std::vector<float> VectorOf(const TextHash& hash) {
  std::mt19937_64 random(hash.lo ^ hash.hi);
  std::vector<float> vector(kDim);
  for (float& value : vector) value = static_cast<float>(random() % 100'000) / 1000;
  return vector;
}
inline std::vector<float> VectorOf(absl::string_view text) { return VectorOf(HashText(text)); }

// A row and its text.
struct TestRow {
  Key key;
  std::string text;
};

// A batch on its way to Persist(), and the answer.
struct Flight {
  explicit Flight(int max_rows = 64) : batch({.max_texts = max_rows, .max_rows = max_rows}, kDim) {}

  absl::Status Answer() { return done.get_future().get(); }
  std::vector<float> VectorOfRow(int row) const {
    const float* const vector = batch.rows()[row].vector;
    return vector == nullptr ? std::vector<float>() : std::vector<float>(vector, vector + kDim);
  }

  Batch batch;
  std::promise<absl::Status> done;
};

class JobTest : public ::testing::Test {
 protected:
  JobTest() {
    std::string name = absl::StrCat(::testing::TempDir(), "/job-XXXXXX");
    root_ = mkdtemp(name.data());
    dir_ = root_ + "/job";
  }
  ~JobTest() override {
    store_.reset();
    std::filesystem::remove_all(root_);
  }

  static JobIdentity Identity() {
    return {.source = "sqlite:a.db?table=t",
            .selection = "all",
            .recipe = "text",
            .model = "model-1",
            .normalization = "as received",
            .dim = kDim};
  }

  // Opens store_, closing the one before.
  absl::Status Open(JobOptions options = {}) {
    store_.reset();
    absl::StatusOr<std::unique_ptr<JobStore>> store = JobStore::Open(dir_, Identity(), std::move(options));
    if (!store.ok()) return store.status();
    store_ = *std::move(store);
    return absl::OkStatus();
  }

  // Puts a row that was numbered into a flight, with its text and right vector if this batch buys it.
  static void Add(const Enrolment& enrolment, const TestRow& row, Flight* flight) {
    if (!enrolment.reject.ok() || !enrolment.buy) {
      flight->batch.AddRow(enrolment.ordinal, ViewOf(row.key), enrolment.slot)->reject = enrolment.reject;
      return;
    }
    flight->batch.AddRowWithText(enrolment.ordinal, ViewOf(row.key), enrolment.slot, row.text, 1);
    const std::vector<float> vector = VectorOf(row.text);
    std::copy(vector.begin(), vector.end(), flight->batch.vectors().end() - kDim);
  }

  // Numbers rows into a new flight.
  std::unique_ptr<Flight> Enrol(const std::vector<TestRow>& rows) {
    auto flight = std::make_unique<Flight>();
    for (const TestRow& row : rows) Add(store_->Enrol(ViewOf(row.key), HashText(row.text)), row, flight.get());
    return flight;
  }

  void Send(Flight* flight) {
    store_->Persist(&flight->batch, Done([flight](absl::Status status) { flight->done.set_value(std::move(status)); }));
  }

  // Numbers, keeps and waits.
  std::unique_ptr<Flight> KeepRows(const std::vector<TestRow>& rows) {
    std::unique_ptr<Flight> flight = Enrol(rows);
    Send(flight.get());
    EXPECT_THAT(flight->Answer(), IsOk());
    return flight;
  }

  // Everything a cursor says.
  struct Seen {
    int64_t ordinal;
    std::string key;
    int64_t slot;
    SlotState state;
    friend bool operator==(const Seen&, const Seen&) = default;
  };
  static std::vector<Seen> ReadAll(absl::StatusOr<std::unique_ptr<LedgerCursor>> cursor) {
    EXPECT_THAT(cursor, IsOk());
    std::vector<Seen> rows;
    if (!cursor.ok()) return rows;
    for (auto row = (*cursor)->Next(); row.ok() && row->has_value(); row = (*cursor)->Next()) {
      rows.push_back({(*row)->ordinal, KeyText((*row)->key), (*row)->slot, (*row)->state});
    }
    return rows;
  }

  std::string root_;
  std::string dir_;
  std::unique_ptr<JobStore> store_;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_IO_JOB_JOB_FIXTURE_H_
