// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_JOB_STORE_H_
#define REEMBED_IO_JOB_JOB_STORE_H_

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/ledger.h"
#include "engine/mutex.h"
#include "engine/owed_rows.h"
#include "io/job/job_lock.h"
#include "io/job/job_records.h"
#include "io/job/kept_vectors.h"
#include "io/job/ledger_sql.h"
#include "io/job/ledger_tables.h"
#include "io/job/ledger_writer.h"
#include "io/job/text_index.h"
#include "io/job/vector_file.h"

namespace reembed {

// How far a commit has come.
enum class CommitStep { kVectorsWritten, kVectorsDurable, kCommitted };

struct JobOptions {
  KeepVectors keep_vectors = KeepVectors::kAlways;

  // What Open() reads of the vectors of earlier runs, to drop those that are damaged.
  enum class Check { kAfterCrash, kEverything };  // kAfterCrash: the newest, and only if the last run did not end well
  Check check = Check::kAfterCrash;

  // The most texts that this run can have paid for at any moment without their vectors being persisted; a kill costs no
  // more. Recorded at the start.
  int64_t texts_in_flight = 0;

  // Called by the ledger's thread after each step; tests kill the process there.
  absl::AnyInvocable<void(CommitStep)> on_step;
};

// What Open() found.
struct Recovery {
  bool unclean_end = false;          // the last run was killed
  int64_t damaged_texts = 0;         // whose persisted vector is damaged: they will be bought again
  int64_t texts_without_vector = 0;  // numbered earlier, neither persisted nor rejected. After an unclean end some of
                                     // them may have been paid for
};

// A job directory: the ledger and the vectors of a job (see ledger_format.md).
//
// A thread of its own does all writing, in group commits: it takes all changes so far, writes the vectors, makes them
// durable, commits the ledger, and calls the Done callbacks; changes that arrive meanwhile are the next commit. So a
// slow disk gets larger commits, and no lock is held during disk access. On a slow disk a commit also waits a moment
// for batches that come back at once; otherwise the batches of a run would split into two halves, each waiting for the
// other's commit.
// After the first failed write nothing is persisted or acknowledged any more, and every call returns that failure: what
// the disk did with the data is not known, so it is never retried within a run.
//
// Threads: as Ledger says; everything that Ledger does not declare may be called by any thread. Done callbacks run on
// the ledger's thread or on the caller's, with no lock held; they must not call Sync(), Position(), Stats() or Close().
class JobStore final : public Ledger, public OwedRows {
 public:
  // Makes the directory (only for its owner) or opens it.
  // Errors: kAborted (in use by another run); kFailedPrecondition (made for another identity, by a newer format, or
  // not a job directory); kDataLoss (damaged, or vectors.f32 is gone); kResourceExhausted, kPermissionDenied,
  // kInternal.
  static absl::StatusOr<std::unique_ptr<JobStore>> Open(const std::string& dir, const JobIdentity& identity,
                                                        JobOptions options = {});
  ~JobStore() override;  // Close()

  int64_t rows() const override;
  absl::StatusOr<std::unique_ptr<LedgerCursor>> Scan(int64_t from) override;  // the cursor must not outlive the store
  Enrolment Enrol(KeyView key, const TextHash& hash) override;
  Enrolment Resume(const LedgerRow& row, const TextHash& hash) override;
  int64_t Reject(KeyView key, std::optional<int64_t> ordinal, const absl::Status& reason) override;
  void Persist(Batch* batch, Done done) override;
  int HeldUp() const override;
  absl::StatusOr<SinkPosition> Position(absl::string_view sink) override;
  void SavePosition(absl::string_view sink, int64_t position) override;
  absl::StatusOr<std::vector<int64_t>> Owed(absl::string_view sink) override;
  absl::Status BeginAgain(absl::string_view sink) override;
  void Settle(absl::string_view sink) override;
  void Refuse(absl::string_view sink, absl::Span<const RefusedRow> rows) override;

  // The text of a row of an earlier run has changed: the row gets the slot of the new text, and is owed to every target
  // that has it. Called like Resume(), before any batch. Not where no vectors are persisted.
  void Change(const LedgerRow& row, const TextHash& hash);

  // A target has lost the vector of a row: the row is owed to it. Likewise.
  void Owe(absl::string_view sink, int64_t ordinal);

  // What the job is for, as it was made; its selection is the widest that a run has asked for.
  absl::StatusOr<JobIdentity> identity();

  // The first run of the job that also takes rows with a vector: `sink`, if not empty, is served again from its first
  // row, since the vectors there may be of any origin. Durable when it returns.
  absl::Status WidenSelection(absl::string_view sink);
  absl::Status Sync() override;

  // Reads the persisted vectors of rows from ordinal `from` on, and of rows that are owed, and drops those that are
  // damaged: their texts are bought again, and targets that have the old vector get the new one. Called before any
  // batch. recovery() counts them; durable when it returns.
  absl::Status DropDamaged(int64_t from);

  // Number of this run of the job, from 1.
  int64_t run() const { return run_; }
  const Recovery& recovery() const { return recovery_; }

  // Durable when it returns.
  absl::Status RecordReceipt(const Receipt& receipt);

  // Records texts of requests that were dropped in flight: they may have been paid for, and will be bought again.
  // Durable when it returns.
  absl::Status NoteDropped(int64_t texts);

  // Likewise for texts that this run will send again. Any thread; never blocks. `noted` is called on the ledger's
  // thread when that is durable, or with the error; at once if the ledger has failed before.
  void NoteLost(int64_t texts, Done noted);

  // Records that this run will have spent at most so many US dollars. Durable when it returns. Any thread.
  absl::Status NoteSpending(double usd);

  // Records that every row of the source is numbered, and every row taken has a vector or a reject; the ledger then
  // corrects its estimate of what killed runs have cost. Durable when it returns.
  absl::Status NoteAllRead();

  // Clears the mark of a rollback, and the undo log that it put back, before the targets are written to again.
  absl::Status ForgetRollback();

  // As they are on disk, after a Sync(). Reads all rows.
  absl::StatusOr<JobStats> Stats();
  // By ordinal and sink, at most `limit`; behind `after`, if there is one; after a Sync().
  absl::StatusOr<std::vector<RejectedRow>> ListRejects(int64_t limit, const RejectedRow* after = nullptr);

  // Writes what is pending, records that the run ended well, and unlocks the directory. Batches that wait for others
  // get kUnavailable. Later calls fail. Returns the first failure since the start.
  absl::Status Close();

 private:
  // Rows that wait before they are written without being asked for, and before Enrol() waits for that: together with
  // what is being written they bound the memory of rows that no batch carries (60 bytes a row and its key).
  static constexpr size_t kUrgentRows = size_t{1} << 15;
  static constexpr size_t kMaxWaitingRows = size_t{1} << 17;

  // A batch and its answer, until it is given.
  struct Waiting {
    Batch* batch;
    Done done;
    std::vector<int> own_texts;  // OwnTexts()
    std::vector<int> stored;     // rows whose vector is to be loaded
    std::vector<int> refused;    // rows whose text another batch found to be rejected
  };

  JobStore(const std::string& dir, const JobIdentity& identity, JobOptions options);

  // Open(), in its order.
  absl::Status OpenFiles();
  absl::Status LoadTexts();
  absl::Status OpenVectors(bool are_kept);
  absl::StatusOr<std::vector<SlotRange>> FindDamageSinceCrash(int64_t texts);
  absl::StatusOr<std::vector<SlotRange>> FindDamageFrom(int64_t from);

  // From here on a commit is slow: what comes a little later is worth waiting for.
  static constexpr absl::Duration kSlowCommit = absl::Milliseconds(20);

  void Break(absl::Status failure) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropKept(absl::Span<const SlotRange> damaged) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Buy(const TextHash& hash, Enrolment* enrolment) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  SlotState StateOf(const LedgerRow& row) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsDecided(Waiting* waiting) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WaitForRoom(MutexLock* lock) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WakeIfFull() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Gather(MutexLock* lock) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ApplyStates(absl::Span<const Waiting> group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CheckClaims(absl::Span<const Waiting> group) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Called without the mutexes.
  void RecordTextReject(Enrolment* enrolment);
  absl::StatusOr<absl::Status> TextReject(int64_t slot);

  // The ledger's thread (job_store_thread.cc).
  void Loop();
  absl::Status CommitGroup(absl::Span<const Waiting> group);
  absl::Status WriteGroup(absl::Span<const Waiting> group);
  void RecordRejects(const Waiting& waiting);
  void Settle(std::vector<Waiting> group, const absl::Status& committed, absl::Duration took);
  absl::Status Finish(const Waiting& waiting);
  absl::Status DropDamagedRows(const Waiting& waiting);
  void AnswerAll(std::vector<Waiting> waiting, const absl::Status& status);
  void Step(CommitStep step);

  const std::string dir_;
  const LedgerHead head_;
  JobOptions options_;
  int64_t run_ = 0;
  Recovery recovery_;

  std::unique_ptr<JobLock> lock_;
  std::unique_ptr<VectorFile> vectors_;  // null if none are kept
  int format_ = kLedgerFormat;

  // The ledger's thread alone.
  std::unique_ptr<LedgerConnection> ledger_;
  std::unique_ptr<LedgerWriter> writer_;
  std::unique_ptr<KeptVectors> kept_;  // null if none are kept
  LedgerChanges writing_;
  std::vector<Waiting> parked_;  // kept, but with rows whose text another batch is buying
  int64_t epoch_ = 0;
  int64_t epoch_bytes_ = 0;

  Mutex reader_mutex_;
  std::unique_ptr<LedgerConnection> reader_ ABSL_GUARDED_BY(reader_mutex_);

  mutable Mutex mutex_;
  std::condition_variable_any wake_;         // there is work
  std::condition_variable_any changed_;      // a commit has ended
  TextIndex texts_ ABSL_GUARDED_BY(mutex_);  // empty if no vectors are kept
  int64_t rows_ ABSL_GUARDED_BY(mutex_) = 0;
  LedgerChanges pending_ ABSL_GUARDED_BY(mutex_);
  std::vector<Waiting> queue_ ABSL_GUARDED_BY(mutex_);
  std::vector<Done> notes_ ABSL_GUARDED_BY(mutex_);                   // of what is in pending_
  int committing_ ABSL_GUARDED_BY(mutex_) = 0;                        // batches of the commit under way
  absl::Duration last_commit_ ABSL_GUARDED_BY(mutex_);                // how long it took
  std::map<std::string, int64_t> positions_ ABSL_GUARDED_BY(mutex_);  // of the sinks of this run
  int64_t taken_ ABSL_GUARDED_BY(mutex_) = 0;                         // commits begun
  int64_t done_ ABSL_GUARDED_BY(mutex_) = 0;                          // commits ended
  bool flush_wanted_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status broken_ ABSL_GUARDED_BY(mutex_);  // the first failure

  std::thread thread_;
};

}  // namespace reembed

#endif  // REEMBED_IO_JOB_JOB_STORE_H_
