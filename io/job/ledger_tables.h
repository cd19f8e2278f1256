// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_LEDGER_TABLES_H_
#define REEMBED_IO_JOB_LEDGER_TABLES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/ledger.h"
#include "engine/vector_sink.h"
#include "io/job/job_records.h"
#include "io/job/ledger_sql.h"
#include "io/job/text_index.h"

namespace reembed {

// The tables of JOB/ledger.db as ledger_format.md describes them: making, recognising and reading them.
// Errors are those of LedgerConnection, and what each function adds.

// The format of ledgers that this program makes, and the newest it reads. One that is there keeps its own: in format 1
// runs of kept slots have one checksum each, since format 2 each slot has its own.
inline constexpr int kLedgerFormat = 2;

// No model is near this width; it bounds what a damaged ledger can ask for.
inline constexpr int kMaxLedgerDim = 1 << 20;

// What a ledger is for, and how it is kept; written when it is made.
struct LedgerHead {
  JobIdentity identity;
  KeepVectors keep_vectors = KeepVectors::kAlways;
};

// The format of an open ledger, 1 to kLedgerFormat.
absl::StatusOr<int> ReadFormat(LedgerConnection* ledger);

// Opens the ledger for its one writer; makes it if there is none. The caller holds the job's lock.
// Errors: kFailedPrecondition (made for another identity: names the field and both values; of a newer format; not a
// ledger at all).
absl::StatusOr<std::unique_ptr<LedgerConnection>> OpenLedger(const std::string& path, const LedgerHead& head);

// Changes nothing. Errors: kNotFound; kFailedPrecondition (as above).
absl::StatusOr<std::unique_ptr<LedgerConnection>> OpenLedgerReadOnly(const std::string& path);

absl::StatusOr<LedgerHead> ReadHead(LedgerConnection* ledger);

// One contiguous run of slots that one batch kept.
struct KeptRun {
  SlotRange slots;
  uint64_t checksum = 0;  // format 1: VectorFile::Checksum of its vectors; since format 2: SealOf() the run
  int64_t epoch = 0;      // see kEpochBytes
  std::string sums;       // since format 2: VectorFile::SlotSum of each slot, kSumBytes each, little-endian
};
inline constexpr int64_t kSumBytes = 4;

// Binds what the ledger says of a run together: 64-bit XXH3 of its slots, epoch and sums.
uint64_t SealOf(const KeptRun& run);

// Vectors are kept in epochs of about this many bytes. After a crash only the last two are read and checked: what was
// written earlier has long been on the disk, and reading all of a large job would take minutes.
inline constexpr int64_t kEpochBytes = int64_t{1} << 30;

// Rows numbered.
absl::StatusOr<int64_t> ReadRowCount(LedgerConnection* ledger);

// Texts numbered. Errors: kDataLoss (more than the ledger's size allows).
absl::StatusOr<int64_t> ReadTextCount(LedgerConnection* ledger);

// All texts in slot order, as kFree. Errors: kDataLoss (slots are not dense).
absl::Status ReadTexts(LedgerConnection* ledger, TextIndex* texts);

// In slot order, without their sums. Errors: kDataLoss (runs overlap, or are not within [0, texts)).
absl::StatusOr<std::vector<KeptRun>> ReadKeptRuns(LedgerConnection* ledger, int64_t texts);

// Likewise, one after another: a job has one for each batch of its runs, or nearly.
absl::Status ForEachKeptRun(LedgerConnection* ledger, int64_t texts, absl::FunctionRef<void(const KeptRun&)> found);

// In slot order. Errors: kDataLoss (not within [0, texts)).
absl::StatusOr<std::vector<int64_t>> ReadRejectedSlots(LedgerConnection* ledger, int64_t texts);

// Why the text of `slot` is rejected. Errors: kInternal (it is not).
absl::StatusOr<absl::Status> ReadTextReject(LedgerConnection* ledger, int64_t slot);

absl::StatusOr<SinkPosition> ReadPosition(LedgerConnection* ledger, absl::string_view sink);

// By ordinal and sink, at most `limit`; behind `after`, if there is one.
absl::StatusOr<std::vector<RejectedRow>> ReadRejects(LedgerConnection* ledger, int64_t limit,
                                                     const RejectedRow* after = nullptr);

// Fills what tables alone tell: not `kept_texts`, not `rows_pending`.
absl::StatusOr<JobStats> ReadStats(LedgerConnection* ledger);

// Of what killed runs had in flight, so many texts were not bought again for that, by what the ledger knows of `texts`
// texts. `all_read`: the source has been read to its end since.
absl::StatusOr<int64_t> CertainlyNotRebought(LedgerConnection* ledger, int64_t texts, bool all_read);

// In billionths of a US dollar: what runs may have spent beyond their receipts, the last one included.
absl::StatusOr<int64_t> ReadUnreceipted(LedgerConnection* ledger);
inline constexpr double kNanosPerDollar = 1e9;

// What meta says under `key` as a number; 0 if nothing.
absl::StatusOr<int64_t> ReadMetaNumber(LedgerConnection* ledger, absl::string_view key);

inline constexpr absl::string_view kMetaClean = "clean";  // 1: the last run ended by itself, and said so
inline constexpr absl::string_view kMetaRuns = "runs";    // how often the job was opened for writing
// How many texts the last run can have had in flight; and how many all killed runs together can have paid for in vain.
inline constexpr absl::string_view kMetaInFlight = "texts_in_flight";
inline constexpr absl::string_view kMetaRebought = "texts_possibly_rebought";
// How many texts had a kept vector that was found damaged: bought in vain, and again where a row needs it.
inline constexpr absl::string_view kMetaDamaged = "texts_damaged";
// Of the killed runs' texts, what is not final: of so many killed runs so many texts were in flight, when so many were
// kept (a sum over these runs). Once all rows have been read, what they lost is among the texts that the ledger knows.
inline constexpr absl::string_view kMetaOpenKills = "open_kills";
inline constexpr absl::string_view kMetaOpenInFlight = "open_in_flight";
inline constexpr absl::string_view kMetaOpenKept = "open_kept";
// In billionths of a US dollar: what the last run has spent at most, noted before it leaves; and what all runs before
// it may have spent beyond their receipts.
inline constexpr absl::string_view kMetaSpending = "spending_nanousd";
inline constexpr absl::string_view kMetaUnreceipted = "unreceipted_nanousd";
// When all targets were put back to what they were, in milliseconds since 1970; goes when a run writes again.
inline constexpr absl::string_view kMetaRolledBack = "rolled_back";

}  // namespace reembed

#endif  // REEMBED_IO_JOB_LEDGER_TABLES_H_
