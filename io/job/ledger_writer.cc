// SPDX-License-Identifier: Apache-2.0
#include "io/job/ledger_writer.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/kill_point.h"
#include "engine/status_macros.h"
#include "io/job/attempts_table.h"
#include "io/job/ledger_hash.h"

namespace reembed {
namespace {

// Rows or texts that one statement inserts: it takes a third less of the processor than one for each.
constexpr size_t kAtOnce = 32;

// Inserts kAtOnce tuples of so many parameters, but for those whose first one is NULL.
std::string ForMany(absl::string_view insert, int parameters) {
  std::string sql = absl::StrCat(insert, " SELECT * FROM (VALUES ");
  for (size_t i = 0; i < kAtOnce; ++i) {
    absl::StrAppend(&sql, i == 0 ? "(?" : ", (?");
    for (int rest = 1; rest < parameters; ++rest) sql += ", ?";
    sql += ")";
  }
  return sql + ") WHERE column1 IS NOT NULL";
}

// `bind` gets an item and the first of its `parameters`. What it binds must stay until the next kAtOnce items.
template <typename Item, typename Bind>
absl::Status InsertMany(absl::Span<const Item> items, int parameters, LedgerStatement* insert, Bind bind) {
  while (!items.empty()) {
    int parameter = 1;
    for (const Item& item : items.first(std::min(items.size(), kAtOnce))) {
      bind(item, parameter);
      parameter += parameters;
    }
    for (; parameter <= static_cast<int>(kAtOnce) * parameters; ++parameter) insert->BindNull(parameter);
    ABSL_RETURN_IF_ERROR(insert->Run());
    items.remove_prefix(std::min(items.size(), kAtOnce));
  }
  return absl::OkStatus();
}

// A provider's words are kept, but not a whole page of HTML.
constexpr size_t kMaxReasonBytes = 1000;

absl::string_view Shortened(absl::string_view reason) {
  if (reason.size() <= kMaxReasonBytes) return reason;
  size_t end = kMaxReasonBytes;
  // Not in the middle of a UTF-8 character.
  while (end > 0 && (static_cast<unsigned char>(reason[end]) & 0xC0) == 0x80) --end;
  return reason.substr(0, end);
}

}  // namespace

absl::StatusOr<std::unique_ptr<LedgerWriter>> LedgerWriter::Create(LedgerConnection* ledger) {
  std::unique_ptr<LedgerWriter> writer(new LedgerWriter(ledger));
  ABSL_RETURN_IF_ERROR(writer->Prepare());
  return writer;
}

absl::Status LedgerWriter::Prepare() {
  ABSL_ASSIGN_OR_RETURN(format_, ReadFormat(ledger_));
  const std::string insert_rows = ForMany("INSERT INTO rows(ordinal, key, slot)", 3);
  const std::string insert_texts = ForMany("INSERT INTO texts", 2);
  const std::pair<LedgerStatement*, absl::string_view> statements[] = {
      {&begin_, "BEGIN IMMEDIATE"},
      {&commit_, "COMMIT"},
      {&rollback_, "ROLLBACK"},
      {&insert_row_, insert_rows},
      {&move_row_, "UPDATE rows SET slot = ?2 WHERE ordinal = ?1"},
      {&insert_text_, insert_texts},
      {&insert_kept_,
       format_ == 1 ? "INSERT INTO kept VALUES(?1, ?2, ?3, ?4)" : "INSERT INTO kept VALUES(?1, ?2, ?3, ?4, ?5)"},
      {&insert_text_reject_, "INSERT INTO rejected_texts VALUES(?1, ?2, ?3)"},
      {&insert_reject_, "INSERT OR REPLACE INTO rejects VALUES(?1, ?2, ?3, ?4)"},
      {&delete_reject_, "DELETE FROM rejects WHERE ordinal = ?1 AND sink = ''"},
      {&delete_all_rejects_, "DELETE FROM rejects WHERE ordinal = ?1"},
      {&insert_owed_, "INSERT OR IGNORE INTO owed VALUES(?1, ?2, ?3)"},
      {&insert_owed_by_all_,
       "INSERT OR IGNORE INTO owed SELECT name, ?1, ?2 FROM sinks WHERE position > ?1 AND NOT EXISTS"
       " (SELECT 1 FROM owed WHERE sink = name AND ordinal = -1)"},
      {&delete_owed_, "DELETE FROM owed WHERE sink = ?1"},
      {&settle_,
       "DELETE FROM owed WHERE sink = ?1 AND NOT EXISTS"
       " (SELECT 1 FROM rejects r WHERE r.ordinal = owed.ordinal AND r.sink IN ('', ?1))"},
      {&insert_position_, "INSERT OR REPLACE INTO sinks VALUES(?1, ?2)"},
      {&insert_receipt_, "INSERT OR REPLACE INTO receipts VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)"},
      {&insert_receipt_details_, "INSERT OR REPLACE INTO receipt_details VALUES(?1, nullif(?2, 0), ?3)"},
      {&insert_meta_, "INSERT OR REPLACE INTO meta VALUES(?1, ?2)"},
      {&count_attempt_, kCountAttempt},
      {&forget_attempts_, "DELETE FROM attempts WHERE ordinal = ?1"}};
  for (const auto& [statement, sql] : statements) {
    ABSL_ASSIGN_OR_RETURN(*statement, ledger_->Prepare(sql));
  }
  return absl::OkStatus();
}

template <typename Body>
absl::Status LedgerWriter::InTransaction(Body body) {
  ABSL_RETURN_IF_ERROR(begin_.Run());
  absl::Status status = body();
  KillPoint("ledger: before the commit");
  if (status.ok()) status = commit_.Run();
  KillPoint("ledger: committed");
  // SQLite may have rolled back by itself; then this fails, and nothing is lost by that.
  if (!status.ok()) rollback_.Run().IgnoreError();
  return status;
}

absl::Status LedgerWriter::Commit(const LedgerChanges& changes) {
  ledger_->ExpectToWrite(changes.EstimatedBytes());
  return InTransaction([&] { return WriteAll(changes); });
}

absl::Status LedgerWriter::WriteAll(const LedgerChanges& changes) {
  ABSL_RETURN_IF_ERROR(WriteRows(changes));
  ABSL_RETURN_IF_ERROR(WriteOwed(changes));
  ABSL_RETURN_IF_ERROR(WriteTexts(changes));
  ABSL_RETURN_IF_ERROR(WriteRejects(changes));
  return WriteProgress(changes);
}

absl::Status LedgerWriter::WriteRows(const LedgerChanges& changes) {
  const absl::string_view keys = changes.key_bytes_;
  ABSL_RETURN_IF_ERROR(InsertMany(absl::MakeConstSpan(changes.rows_), 3, &insert_row_,
                                  [&](const LedgerChanges::Row& row, int parameter) {
                                    insert_row_.Bind(parameter, row.ordinal);
                                    if (row.text_bytes < 0) {
                                      insert_row_.Bind(parameter + 1, row.number);
                                    } else {
                                      insert_row_.BindText(parameter + 1, keys.substr(row.number, row.text_bytes));
                                    }
                                    insert_row_.Bind(parameter + 2, row.slot);
                                  }));
  for (const auto& [ordinal, slot] : changes.moved_rows_) {
    move_row_.Bind(1, ordinal);
    move_row_.Bind(2, slot);
    ABSL_RETURN_IF_ERROR(move_row_.Run());
  }
  return absl::OkStatus();
}

// Before the positions of this commit, which may be those of sinks that begin again.
absl::Status LedgerWriter::WriteOwed(const LedgerChanges& changes) {
  for (const LedgerChanges::ChangedRow& row : changes.changed_rows_) {
    move_row_.Bind(1, row.ordinal);
    move_row_.Bind(2, row.slot);
    ABSL_RETURN_IF_ERROR(move_row_.Run());
    // What was refused was the other text, or its vector.
    delete_all_rejects_.Bind(1, row.ordinal);
    ABSL_RETURN_IF_ERROR(delete_all_rejects_.Run());
    forget_attempts_.Bind(1, row.ordinal);
    ABSL_RETURN_IF_ERROR(forget_attempts_.Run());
    insert_owed_by_all_.Bind(1, row.ordinal);
    insert_owed_by_all_.Bind(2, row.old_slot);
    ABSL_RETURN_IF_ERROR(insert_owed_by_all_.Run());
  }
  for (const LedgerChanges::OwedRow& row : changes.owed_) {
    insert_owed_.BindText(1, row.sink);
    insert_owed_.Bind(2, row.ordinal);
    insert_owed_.Bind(3, -1);
    ABSL_RETURN_IF_ERROR(insert_owed_.Run());
  }
  for (const auto& [sink, rows] : changes.outdated_) {
    delete_owed_.BindText(1, sink);
    ABSL_RETURN_IF_ERROR(delete_owed_.Run());
    insert_owed_.BindText(1, sink);
    insert_owed_.Bind(2, -1);
    insert_owed_.Bind(3, rows);
    ABSL_RETURN_IF_ERROR(insert_owed_.Run());
    insert_position_.BindText(1, sink);
    insert_position_.Bind(2, 0);
    ABSL_RETURN_IF_ERROR(insert_position_.Run());
  }
  return absl::OkStatus();
}

absl::Status LedgerWriter::WriteTexts(const LedgerChanges& changes) {
  std::array<std::array<char, 16>, kAtOnce> hashes;
  ABSL_RETURN_IF_ERROR(InsertMany(absl::MakeConstSpan(changes.texts_), 2, &insert_text_,
                                  [&](const std::pair<int64_t, TextHash>& text, int parameter) {
                                    std::array<char, 16>& hash = hashes[parameter / 2];
                                    hash = EncodeHash(text.second);
                                    insert_text_.Bind(parameter, text.first);
                                    insert_text_.BindBlob(parameter + 1, absl::string_view(hash.data(), hash.size()));
                                  }));
  // First: what is damaged may have been bought again within one commit.
  ABSL_RETURN_IF_ERROR(DropKept(changes.dropped_));
  for (const KeptRun& run : changes.kept_) {
    ABSL_RETURN_IF_ERROR(WriteKept(run));
  }
  for (const LedgerChanges::Rejection& reject : changes.text_rejects_) {
    insert_text_reject_.Bind(1, reject.id);
    insert_text_reject_.Bind(2, static_cast<int64_t>(reject.reason.code()));
    insert_text_reject_.BindText(3, Shortened(reject.reason.message()));
    ABSL_RETURN_IF_ERROR(insert_text_reject_.Run());
  }
  return absl::OkStatus();
}

absl::Status LedgerWriter::WriteKept(const KeptRun& run) {
  insert_kept_.Bind(1, run.slots.begin);
  insert_kept_.Bind(2, run.slots.end);
  insert_kept_.Bind(3, static_cast<int64_t>(format_ == 1 ? run.checksum : SealOf(run)));
  insert_kept_.Bind(4, run.epoch);
  if (format_ > 1) insert_kept_.BindBlob(5, run.sums);
  return insert_kept_.Run();
}

absl::Status LedgerWriter::DropKept(absl::Span<const SlotRange> damaged) {
  if (damaged.empty()) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(
      ledger_->Execute("CREATE TEMP TABLE IF NOT EXISTS damaged(slot INTEGER PRIMARY KEY); DELETE FROM temp.damaged"));
  ABSL_ASSIGN_OR_RETURN(LedgerStatement note, ledger_->Prepare("INSERT OR IGNORE INTO temp.damaged VALUES(?1)"));
  for (const SlotRange& slots : damaged) {
    ABSL_RETURN_IF_ERROR(DropFromRuns(slots));
    for (int64_t slot = slots.begin; slot < slots.end; ++slot) {
      note.Bind(1, slot);
      ABSL_RETURN_IF_ERROR(note.Run());
    }
  }
  // One walk over all rows, since slots have no index.
  return ledger_->Execute(
      "INSERT OR IGNORE INTO owed SELECT name, ordinal, -1"
      " FROM rows CROSS JOIN temp.damaged ON damaged.slot = rows.slot CROSS JOIN sinks"
      " WHERE position > ordinal AND NOT EXISTS (SELECT 1 FROM owed WHERE sink = name AND ordinal = -1);"
      "DELETE FROM temp.damaged");
}

absl::Status LedgerWriter::DropFromRuns(const SlotRange& damaged) {
  std::vector<KeptRun> pieces;
  int64_t lost = 0;
  {
    ABSL_ASSIGN_OR_RETURN(
        LedgerStatement find,
        ledger_->Prepare(absl::StrCat("SELECT slot_begin, slot_end, checksum, epoch, ", format_ == 1 ? "x''" : "sums",
                                      " FROM kept WHERE slot_begin < ?2 AND slot_end > ?1")));
    find.Bind(1, damaged.begin);
    find.Bind(2, damaged.end);
    absl::StatusOr<bool> row = find.Step();
    for (; row.ok() && *row; row = find.Step()) {
      const SlotRange run = {find.Integer(0), find.Integer(1)};
      const int64_t epoch = find.Integer(3);
      const absl::string_view sums = find.Blob(4);
      lost += std::min(run.end, damaged.end) - std::max(run.begin, damaged.begin);
      for (const SlotRange& piece : {SlotRange{run.begin, damaged.begin}, SlotRange{damaged.end, run.end}}) {
        const int64_t from = (piece.begin - run.begin) * kSumBytes;
        // In format 1, or where the ledger itself is damaged, the whole run is named, and nothing of it stays.
        const bool stays = piece.size() > 0 && static_cast<int64_t>(sums.size()) == run.size() * kSumBytes;
        if (!stays) continue;
        pieces.push_back({.slots = piece,
                          .epoch = epoch,
                          .sums = std::string(
                              sums.substr(static_cast<size_t>(from), static_cast<size_t>(piece.size() * kSumBytes)))});
      }
    }
    ABSL_RETURN_IF_ERROR(row.status());
  }
  absl::Status status = ledger_->Execute(
      absl::StrCat("DELETE FROM kept WHERE slot_begin < ", damaged.end, " AND slot_end > ", damaged.begin));
  for (const KeptRun& piece : pieces) {
    if (status.ok()) status = WriteKept(piece);
  }
  return status.ok() ? AddToMeta(kMetaDamaged, lost) : status;
}

absl::Status LedgerWriter::WriteRejects(const LedgerChanges& changes) {
  // First: a row may be taken up and rejected again within one commit.
  for (const int64_t ordinal : changes.taken_back_) {
    delete_reject_.Bind(1, ordinal);
    ABSL_RETURN_IF_ERROR(delete_reject_.Run());
  }
  for (const LedgerChanges::Rejection& reject : changes.rejects_) {
    insert_reject_.Bind(1, reject.id);
    insert_reject_.BindText(2, reject.sink);
    insert_reject_.Bind(3, static_cast<int64_t>(reject.reason.code()));
    insert_reject_.BindText(4, Shortened(reject.reason.message()));
    ABSL_RETURN_IF_ERROR(insert_reject_.Run());
    count_attempt_.Bind(1, reject.id);
    count_attempt_.BindText(2, reject.sink);
    count_attempt_.Bind(3, run_);
    ABSL_RETURN_IF_ERROR(count_attempt_.Run());
  }
  return absl::OkStatus();
}

absl::Status LedgerWriter::WriteProgress(const LedgerChanges& changes) {
  for (const auto& [sink, position] : changes.positions_) {
    insert_position_.BindText(1, sink);
    insert_position_.Bind(2, position);
    ABSL_RETURN_IF_ERROR(insert_position_.Run());
  }
  for (const std::string& sink : changes.settled_) {
    settle_.BindText(1, sink);
    ABSL_RETURN_IF_ERROR(settle_.Run());
  }
  for (const Receipt& receipt : changes.receipts_) {
    insert_receipt_.Bind(1, receipt.run);
    insert_receipt_.Bind(2, absl::ToUnixMillis(receipt.started));
    insert_receipt_.Bind(3, absl::ToUnixMillis(receipt.ended));
    insert_receipt_.BindText(4, receipt.outcome);
    insert_receipt_.Bind(5, receipt.requests);
    insert_receipt_.Bind(6, receipt.requests_retried);
    insert_receipt_.Bind(7, receipt.http_429);
    insert_receipt_.Bind(8, receipt.tokens);
    insert_receipt_.BindReal(9, receipt.cost_usd);
    insert_receipt_.Bind(10, receipt.rows_embedded);
    insert_receipt_.Bind(11, receipt.rows_rejected);
    insert_receipt_.Bind(12, receipt.rows_possibly_rebought);
    ABSL_RETURN_IF_ERROR(insert_receipt_.Run());
    insert_receipt_details_.Bind(1, receipt.run);
    insert_receipt_details_.Bind(2, receipt.switched.has_value() ? absl::ToUnixMillis(*receipt.switched) : 0);
    insert_receipt_details_.BindText(3, receipt.endpoints);
    ABSL_RETURN_IF_ERROR(insert_receipt_details_.Run());
  }
  if (changes.dropped_texts_ > 0) {
    ABSL_ASSIGN_OR_RETURN(const int64_t rebought, ReadMetaNumber(ledger_, kMetaRebought));
    ABSL_RETURN_IF_ERROR(SetMeta(kMetaRebought, rebought + changes.dropped_texts_));
  }
  if (changes.spending_.has_value()) {
    ABSL_RETURN_IF_ERROR(SetMeta(kMetaSpending, *changes.spending_));
  }
  if (changes.all_read_) {
    ABSL_RETURN_IF_ERROR(SettleKills());
  }
  if (!changes.selection_.empty()) {
    insert_meta_.BindText(1, "selection");
    insert_meta_.BindText(2, changes.selection_);
    ABSL_RETURN_IF_ERROR(insert_meta_.Run());
  }
  return changes.forgets_rollback_ ? SetMeta(kMetaRolledBack, 0) : absl::OkStatus();
}

// What killed runs can have cost is known for good.
absl::Status LedgerWriter::SettleKills() {
  ABSL_ASSIGN_OR_RETURN(const int64_t kills, ReadMetaNumber(ledger_, kMetaOpenKills));
  if (kills == 0) return absl::OkStatus();  // what is not written needs no sync
  ABSL_ASSIGN_OR_RETURN(const int64_t texts, ReadTextCount(ledger_));
  ABSL_ASSIGN_OR_RETURN(const int64_t certain, CertainlyNotRebought(ledger_, texts, /*all_read=*/true));
  if (certain > 0) {
    ABSL_RETURN_IF_ERROR(AddToMeta(kMetaRebought, -certain));
  }
  for (const absl::string_view key : {kMetaOpenKills, kMetaOpenInFlight, kMetaOpenKept}) {
    ABSL_RETURN_IF_ERROR(SetMeta(key, 0));
  }
  return absl::OkStatus();
}

absl::Status LedgerWriter::AddToMeta(absl::string_view key, int64_t more) {
  const absl::StatusOr<int64_t> before = ReadMetaNumber(ledger_, key);
  return before.ok() ? SetMeta(key, *before + more) : before.status();
}

absl::Status LedgerWriter::SetMeta(absl::string_view key, int64_t value) {
  insert_meta_.BindText(1, key);
  insert_meta_.Bind(2, value);
  return insert_meta_.Run();
}

absl::StatusOr<int64_t> LedgerWriter::BeginRun(absl::Span<const SlotRange> damaged, int64_t kept,
                                               int64_t texts_in_flight) {
  ABSL_ASSIGN_OR_RETURN(const int64_t runs, ReadMetaNumber(ledger_, kMetaRuns));
  ABSL_ASSIGN_OR_RETURN(const int64_t clean, ReadMetaNumber(ledger_, kMetaClean));
  ABSL_ASSIGN_OR_RETURN(const int64_t unreceipted, ReadUnreceipted(ledger_));
  run_ = runs + 1;
  ABSL_RETURN_IF_ERROR(InTransaction([&] {
    absl::Status set = SetMeta(kMetaRuns, run_);
    if (set.ok()) set = SetMeta(kMetaUnreceipted, unreceipted);
    if (set.ok()) set = SetMeta(kMetaSpending, 0);
    if (set.ok()) set = NoteWhatAKillCosts(runs > 0 && clean == 0, kept, texts_in_flight);
    return set.ok() ? WriteBegin(damaged) : set;
  }));
  return run_;
}

absl::Status LedgerWriter::NoteWhatAKillCosts(bool was_killed, int64_t kept, int64_t texts_in_flight) {
  ABSL_ASSIGN_OR_RETURN(int64_t rebought, ReadMetaNumber(ledger_, kMetaRebought));
  const int64_t before = rebought;
  if (was_killed) {
    ABSL_ASSIGN_OR_RETURN(const int64_t in_flight, ReadMetaNumber(ledger_, kMetaInFlight));
    rebought += in_flight;
    for (const auto& [key, more] :
         {std::pair(kMetaOpenKills, int64_t{1}), {kMetaOpenInFlight, in_flight}, {kMetaOpenKept, kept}}) {
      ABSL_RETURN_IF_ERROR(AddToMeta(key, more));
    }
  }
  if (rebought != before) {
    ABSL_RETURN_IF_ERROR(SetMeta(kMetaRebought, rebought));
  }
  return SetMeta(kMetaInFlight, texts_in_flight);
}

absl::Status LedgerWriter::WriteBegin(absl::Span<const SlotRange> damaged) {
  ABSL_RETURN_IF_ERROR(SetMeta(kMetaClean, 0));
  ABSL_RETURN_IF_ERROR(DropKept(damaged));
  // Rows whose batch failed, or was cut off by a kill, have not been told that their text is refused.
  const absl::StatusOr<int64_t> rejected = ledger_->QueryInteger("SELECT count(*) FROM rejected_texts");
  if (!rejected.ok() || *rejected == 0) return rejected.status();
  ABSL_RETURN_IF_ERROR(CountAttemptsOfKilledRun(ledger_, run_ - 1));
  return ledger_->Execute(
      "INSERT OR IGNORE INTO rejects SELECT r.ordinal, '', t.code, t.reason"
      " FROM rows r CROSS JOIN rejected_texts t ON t.slot = r.slot");
}

absl::Status LedgerWriter::RecordRollback(absl::Span<const std::string> targets, absl::Time when) {
  ABSL_ASSIGN_OR_RETURN(LedgerStatement take_back, ledger_->Prepare("DELETE FROM rejects WHERE sink = ?1"));
  return InTransaction([&] {
    LedgerChanges changes;
    for (const std::string& target : targets) {
      changes.AddPosition(target, 0);
      delete_owed_.BindText(1, target);
      ABSL_RETURN_IF_ERROR(delete_owed_.Run());
      take_back.BindText(1, target);
      ABSL_RETURN_IF_ERROR(take_back.Run());
    }
    ABSL_RETURN_IF_ERROR(WriteProgress(changes));
    return SetMeta(kMetaRolledBack, absl::ToUnixMillis(when));
  });
}

absl::Status LedgerWriter::EndRun() {
  // The checkpoint makes the log durable before all else. Should it be kept from it by a reader and the power be lost,
  // this run counts as one that was killed.
  ABSL_RETURN_IF_ERROR(ledger_->Execute("PRAGMA synchronous = NORMAL"));
  ABSL_RETURN_IF_ERROR(InTransaction([&] { return SetMeta(kMetaClean, 1); }));
  return ledger_->Execute("PRAGMA wal_checkpoint(TRUNCATE)");
}

}  // namespace reembed
