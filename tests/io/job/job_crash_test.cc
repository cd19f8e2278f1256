// SPDX-License-Identifier: Apache-2.0
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <thread>

#include "gmock/gmock.h"
#include "tests/io/job/job_fixture.h"

// A model checker in the manner of RocksDB's crash test: a child process works on a job with random operations and is
// killed at a random moment or at a random step of a commit; what it was told is in memory that outlives it, and the
// parent compares that with what the job directory holds.

namespace reembed {
namespace {

constexpr int kRounds = 40;
constexpr int kTexts = 300;    // different texts
constexpr int kKeys = 20'000;  // rows at most

std::string TextNumber(uint64_t number) { return absl::StrCat("text ", number); }

// What the child was promised. Lives in memory shared by both processes, written only after the promise was made.
struct Promises {
  std::atomic<int64_t> events;            // grows with everything the child does
  std::atomic<int64_t> acknowledged;      // rows with a vector that was right
  std::atomic<bool> text_bought[kTexts];  // a batch that bought it was answered OK
  std::atomic<bool> text_rejected[kTexts];
  std::atomic<int32_t> text_of_key[kKeys];  // -1: not acknowledged
  std::atomic<int64_t> position;            // saved and synced
  std::atomic<int64_t> bought_twice;        // must stay 0
  std::atomic<int64_t> wrong_vectors;       // must stay 0
};

// The child's work: a reading stage that numbers rows into batches, and two threads that keep them in random order.
class RandomWork {
 public:
  RandomWork(JobStore* store, Promises* promises, uint64_t seed) : store_(store), promises_(promises), random_(seed) {}

  void Run(int64_t batches) {
    ResumeEarlierRows();
    std::vector<std::thread> keepers;
    for (int i = 0; i < 2; ++i) keepers.emplace_back([this, i] { KeepInRandomOrder(i); });
    for (int64_t i = 0; i < batches; ++i) {
      ReadBatch();
      if (random_() % 16 == 0) SavePosition();
    }
    {
      const std::lock_guard lock(mutex_);
      reading_ = false;
    }
    for (std::thread& keeper : keepers) keeper.join();
    store_->Sync().IgnoreError();
  }

 private:
  struct Work {
    explicit Work(uint64_t seed) : random(seed) {}
    Flight flight;
    std::mt19937_64 random;
    std::vector<int> text_numbers;  // of rows
    std::vector<int> key_numbers;
  };

  // Provider and reader of this test agree: the text of a key is drawn anew each time it is read.
  void AddRow(const Enrolment& enrolment, int key, int text, Work* work) {
    if (enrolment.buy && promises_->text_bought[text]) ++promises_->bought_twice;
    TestRow row = {int64_t{key}, TextNumber(text)};
    if (enrolment.buy && enrolment.reject.ok()) {
      work->flight.batch.AddRowWithText(enrolment.ordinal, ViewOf(row.key), enrolment.slot, row.text, 1);
      const std::vector<float> vector = VectorOf(row.text);
      std::copy(vector.begin(), vector.end(), work->flight.batch.vectors().end() - kDim);
    } else {
      work->flight.batch.AddRow(enrolment.ordinal, ViewOf(row.key), enrolment.slot)->reject = enrolment.reject;
    }
    work->text_numbers.push_back(text);
    work->key_numbers.push_back(key);
  }

  void ResumeEarlierRows() {
    auto cursor = store_->Scan(0);
    auto work = std::make_unique<Work>(random_());
    for (auto row = (*cursor)->Next(); row.ok() && row->has_value(); row = (*cursor)->Next()) {
      if ((*row)->state == SlotState::kKept || (*row)->state == SlotState::kRejected) continue;
      const int text = static_cast<int>(random_() % kTexts);
      const int key = static_cast<int>(std::get<int64_t>((*row)->key));
      AddRow(store_->Resume(**row, HashText(TextNumber(text))), key, text, work.get());
      if (work->key_numbers.size() == 32) Push(std::exchange(work, std::make_unique<Work>(random_())));
    }
    Push(std::move(work));
  }

  void ReadBatch() {
    auto work = std::make_unique<Work>(random_());
    for (uint64_t i = 0; i <= random_() % 32; ++i) {
      const int key = static_cast<int>(store_->rows());
      if (key >= kKeys) break;
      if (random_() % 50 == 0) {
        store_->Reject(int64_t{key}, std::nullopt, absl::InvalidArgumentError("no text"));
        continue;
      }
      const int text = static_cast<int>(random_() % kTexts);
      AddRow(store_->Enrol(int64_t{key}, HashText(TextNumber(text))), key, text, work.get());
    }
    Push(std::move(work));
  }

  void SavePosition() {
    const int64_t position = store_->rows() / 2;
    store_->SavePosition("sink", position);
    if (store_->Sync().ok()) promises_->position = std::max<int64_t>(promises_->position, position);
    ++promises_->events;
  }

  void Push(std::unique_ptr<Work> work) {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(work));
  }

  void KeepInRandomOrder(uint64_t seed) {
    std::mt19937_64 random(seed);
    for (;;) {
      Work* work = nullptr;
      {
        const std::lock_guard lock(mutex_);
        if (waiting_.empty() && !reading_) return;
        if (!waiting_.empty()) {
          std::swap(waiting_[random() % waiting_.size()], waiting_.back());
          all_.push_back(std::move(waiting_.back()));
          waiting_.pop_back();
          work = all_.back().get();
        }
      }
      if (work == nullptr) {
        sched_yield();
        continue;
      }
      Provide(work);
      store_->Persist(&work->flight.batch, Done([this, work](const absl::Status& status) { Note(*work, status); }));
    }
  }

  static void Provide(Work* work) {
    if (work->random() % 10 == 0) work->flight.batch.Fail(absl::UnavailableError("no answer"));
    for (BatchText& text : work->flight.batch.texts()) {
      if (work->random() % 40 == 0) text.reject = absl::InvalidArgumentError("too long");
    }
  }

  void Note(const Work& work, const absl::Status& status) {
    ++promises_->events;
    const Batch& batch = work.flight.batch;
    if (batch.status().ok() && (status.ok() || absl::IsUnavailable(status))) NoteTexts(work);
    if (!status.ok()) return;
    for (size_t i = 0; i < batch.rows().size(); ++i) {
      if (!batch.rows()[i].reject.ok()) continue;
      if (work.flight.VectorOfRow(static_cast<int>(i)) != VectorOf(TextNumber(work.text_numbers[i]))) {
        ++promises_->wrong_vectors;
        continue;
      }
      promises_->text_of_key[work.key_numbers[i]] = work.text_numbers[i];
      ++promises_->acknowledged;
    }
  }

  // What the batch itself bought is the job's, also if rows of it have to be tried again.
  void NoteTexts(const Work& work) {
    for (size_t i = 0; i < work.text_numbers.size(); ++i) {
      const BatchRow& row = work.flight.batch.rows()[i];
      if (row.text < 0) continue;
      const bool rejected = !work.flight.batch.texts()[row.text].reject.ok();
      (rejected ? promises_->text_rejected : promises_->text_bought)[work.text_numbers[i]] = true;
    }
  }

  JobStore* const store_;
  Promises* const promises_;
  std::mt19937_64 random_;
  std::mutex mutex_;
  bool reading_ = true;
  std::vector<std::unique_ptr<Work>> waiting_;
  std::vector<std::unique_ptr<Work>> all_;  // with the ledger, or answered
};

class JobCrashTest : public JobTest {
 protected:
  JobCrashTest() {
    void* const shared = mmap(nullptr, sizeof(Promises), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    promises_ = new (shared) Promises{};
    for (auto& text : promises_->text_of_key) text = -1;
    for (int i = 0; i < kTexts; ++i) hashes_[HashText(TextNumber(i)).lo] = i;
  }
  ~JobCrashTest() override { munmap(promises_, sizeof(Promises)); }

  // One life of the child. It is killed at the `steps`-th step of its commits (if not negative), or by the parent after
  // `events` of what it does.
  void Live(uint64_t seed, int64_t steps, int64_t events) {
    const int64_t start = promises_->events;
    const pid_t child = fork();
    if (child == 0) {
      JobOptions options;
      options.on_step = [&steps](CommitStep) {
        if (steps-- == 0) raise(SIGKILL);
      };
      auto store = JobStore::Open(dir_, Identity(), std::move(options));
      if (!store.ok()) _exit(2);
      RandomWork work(store->get(), promises_, seed);
      work.Run(60);
      store->reset();  // answers what still waits, so before `work` goes
      _exit(0);
    }
    int status = 0;
    pid_t ended = 0;
    while (ended == 0 && promises_->events - start < events) {
      ended = waitpid(child, &status, WNOHANG);
      sched_yield();
    }
    if (ended == 0) {
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
    }
    ASSERT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0) << "the child failed: " << status;
  }

  void CheckPromises() {
    EXPECT_EQ(promises_->bought_twice, 0);
    EXPECT_EQ(promises_->wrong_vectors, 0);
    ASSERT_THAT(Open({.check = JobOptions::Check::kEverything}), IsOk());
    EXPECT_EQ(store_->recovery().damaged_texts, 0);
    EXPECT_GE(store_->Position("sink")->position, promises_->position);
    const auto reader = JobReader::Open(dir_);
    ASSERT_THAT(reader, IsOk());
    std::map<int64_t, LedgerRow> rows;
    auto cursor = (*reader)->Scan(0);
    ASSERT_THAT(cursor, IsOk());
    for (auto row = (*cursor)->Next();; row = (*cursor)->Next()) {
      ASSERT_THAT(row, IsOk());
      if (!row->has_value()) break;
      CheckRow(**row, **reader);
      rows[std::get<int64_t>((*row)->key)] = **row;
    }
    EXPECT_EQ(static_cast<int64_t>(rows.size()), (*reader)->rows());
    for (int key = 0; key < kKeys; ++key) {
      const int text = promises_->text_of_key[key];
      if (text < 0) continue;
      ASSERT_EQ(rows.count(key), 1u) << "an acknowledged row is lost: " << key;
      ASSERT_EQ(rows[key].state, SlotState::kKept) << key;
      ASSERT_EQ(rows[key].hash, HashText(TextNumber(text))) << key;
    }
    store_.reset();
  }

  void CheckRow(const LedgerRow& row, const JobReader& reader) {
    // This test numbers keys as the ledger numbers rows.
    ASSERT_EQ(std::get<int64_t>(row.key), row.ordinal);
    if (row.slot < 0) {
      ASSERT_EQ(row.state, SlotState::kRejected);
      return;
    }
    ASSERT_EQ(hashes_.count(row.hash.lo), 1u) << row.ordinal;
    const int text = hashes_[row.hash.lo];
    if (promises_->text_bought[text]) {
      ASSERT_EQ(row.state, SlotState::kKept) << "a paid vector is lost: text " << text;
    }
    if (promises_->text_rejected[text]) {
      ASSERT_EQ(row.state, SlotState::kRejected) << text;
    }
    if (row.state != SlotState::kKept) return;
    std::vector<float> vector(kDim);
    ASSERT_THAT(reader.ReadVector(row.slot, absl::MakeSpan(vector)), IsOk());
    ASSERT_EQ(vector, VectorOf(row.hash)) << "a foreign vector: row " << row.ordinal;
  }

  Promises* promises_;
  std::map<uint64_t, int> hashes_;
};

TEST_F(JobCrashTest, KeepsItsPromisesWhereverItIsKilled) {
  std::random_device device;
  const uint64_t seed = device();
  std::mt19937_64 random(seed);
  int64_t acknowledged = 0;
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(absl::StrCat("seed ", seed, ", round ", round));
    // The texts run out; then a new job begins.
    if (round % 8 == 0) {
      std::filesystem::remove_all(dir_);
      acknowledged += promises_->acknowledged;
      new (promises_) Promises{};
      for (auto& text : promises_->text_of_key) text = -1;
    }
    const bool at_step = random() % 2 == 0;
    Live(random(), at_step ? static_cast<int64_t>(random() % 12) : -1, at_step ? 1'000'000 : random() % 40);
    if (HasFatalFailure()) return;
    CheckPromises();
    if (HasFailure()) return;
  }
  EXPECT_GT(acknowledged, 0) << "the test has tested nothing";
}

}  // namespace
}  // namespace reembed
