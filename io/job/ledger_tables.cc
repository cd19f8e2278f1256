// SPDX-License-Identifier: Apache-2.0
#include "io/job/ledger_tables.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/owed_rows.h"
#include "engine/place_name.h"
#include "engine/setting.h"
#include "engine/status_macros.h"
#include "io/job/attempts_table.h"
#include "io/job/ledger_hash.h"
#include "io/job/owed_table.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace reembed {
namespace {

// "RMBD": what `file` and the SQLite shell show of the database's kind.
constexpr int64_t kApplicationId = 0x524D4244;

constexpr absl::string_view kSchema = R"sql(
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE rows(ordinal INTEGER PRIMARY KEY, stream INTEGER NOT NULL DEFAULT 0, key NOT NULL, slot INTEGER NOT NULL);
CREATE TABLE texts(slot INTEGER PRIMARY KEY, hash BLOB NOT NULL);
CREATE TABLE kept(slot_begin INTEGER PRIMARY KEY, slot_end INTEGER NOT NULL, checksum INTEGER NOT NULL,
                  epoch INTEGER NOT NULL, sums BLOB NOT NULL);
CREATE TABLE rejected_texts(slot INTEGER PRIMARY KEY, code INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE TABLE rejects(ordinal INTEGER NOT NULL, sink TEXT NOT NULL, code INTEGER NOT NULL, reason TEXT NOT NULL,
                     PRIMARY KEY(ordinal, sink)) WITHOUT ROWID;
CREATE TABLE sinks(name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE receipts(run INTEGER PRIMARY KEY, started INTEGER NOT NULL, ended INTEGER NOT NULL, outcome TEXT NOT NULL,
                      requests INTEGER NOT NULL, requests_retried INTEGER NOT NULL, http_429 INTEGER NOT NULL,
                      tokens INTEGER NOT NULL, cost_usd REAL NOT NULL, rows_embedded INTEGER NOT NULL,
                      rows_rejected INTEGER NOT NULL, rows_possibly_rebought INTEGER NOT NULL);
)sql";

// Beside `receipts` and not in it: ledgers that were made before it, and programs that know nothing of it, stay good.
constexpr absl::string_view kReceiptDetails =
    "CREATE TABLE IF NOT EXISTS receipt_details(run INTEGER PRIMARY KEY, switched INTEGER, endpoints TEXT NOT NULL)";

constexpr absl::string_view kKeepAlways = "always";
constexpr absl::string_view kKeepNever = "never";

// The identity as meta holds it: key, and the words for it in messages.
struct HeadField {
  absl::string_view key;
  std::string value;
};

std::array<HeadField, 7> FieldsOf(const LedgerHead& head) {
  return {{{"source", head.identity.source},
           {"selection", head.identity.selection},
           {"recipe", head.identity.recipe},
           {"model", head.identity.model},
           {"normalization", head.identity.normalization},
           {"dim", absl::StrCat(head.identity.dim)},
           {"keep_vectors", std::string(head.keep_vectors == KeepVectors::kAlways ? kKeepAlways : kKeepNever)}}};
}

absl::StatusOr<std::string> ReadMetaText(LedgerConnection* ledger, absl::string_view key) {
  ABSL_ASSIGN_OR_RETURN(LedgerStatement query, ledger->Prepare("SELECT value FROM meta WHERE key = ?1"));
  query.BindText(1, key);
  ABSL_ASSIGN_OR_RETURN(const bool row, query.Step());
  if (!row) return absl::DataLossError(absl::StrCat(ledger->path(), ": meta has no ", key));
  return std::string(query.Text(0));
}

absl::Status CreateTables(LedgerConnection* ledger, const LedgerHead& head) {
  // One transaction: a crash leaves either no ledger or a whole one.
  ABSL_RETURN_IF_ERROR(ledger->Execute("BEGIN IMMEDIATE"));
  absl::Status status = ledger->Execute(absl::StrCat(kSchema, kReceiptDetails, ";", kOwedTable,
                                                     ";PRAGMA application_id = ", kApplicationId,
                                                     "; PRAGMA user_version = ", kLedgerFormat));
  absl::StatusOr<LedgerStatement> insert;
  if (status.ok()) status = (insert = ledger->Prepare("INSERT INTO meta VALUES(?1, ?2)")).status();
  for (const HeadField& field : FieldsOf(head)) {
    if (!status.ok()) break;
    insert->BindText(1, field.key);
    insert->BindText(2, field.value);
    status = insert->Run();
  }
  if (status.ok()) status = AddAttemptsTable(ledger);
  if (status.ok()) status = ledger->Execute("COMMIT");
  return status;
}

// Whether an older version wrote down the same source with a relative path.
bool IsFormerSource(const HeadField& field, absl::string_view found) {
  if (absl::string_view(field.key) != "source") return false;
  const absl::StatusOr<Location> source = ParseLocation(field.value);
  return source.ok() && IsNameOf(found, *source);
}

absl::Status RenameSource(LedgerConnection* ledger, absl::string_view source) {
  ABSL_ASSIGN_OR_RETURN(LedgerStatement update, ledger->Prepare("UPDATE meta SET value = ?1 WHERE key = 'source'"));
  update.BindText(1, source);
  return update.Run();
}

absl::Status CheckIdentity(LedgerConnection* ledger, const LedgerHead& head) {
  for (const HeadField& field : FieldsOf(head)) {
    ABSL_ASSIGN_OR_RETURN(const std::string found, ReadMetaText(ledger, field.key));
    if (found == field.value) continue;
    if (IsFormerSource(field, found)) {
      ABSL_RETURN_IF_ERROR(RenameSource(ledger, field.value));
      continue;
    }
    // Whether rows that have a vector are taken, too, is a matter of a run.
    if (field.key == "selection" && ConditionOf(found) == ConditionOf(field.value)) continue;
    return WithSetting(
        absl::FailedPreconditionError(absl::StrCat(ledger->path(), ": this job was made for ", field.key, " `", found,
                                                   "`, and not for `", field.value,
                                                   "`; leave the job directory out, so that the right one is found, or "
                                                   "name the one that belongs to these arguments")),
        Setting::kJob);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> IsEmpty(LedgerConnection* ledger) {
  ABSL_ASSIGN_OR_RETURN(const int64_t tables, ledger->QueryInteger("SELECT count(*) FROM sqlite_master"));
  return tables == 0;
}

absl::Status CheckFormat(LedgerConnection* ledger) {
  ABSL_ASSIGN_OR_RETURN(const int64_t application, ledger->QueryInteger("PRAGMA application_id"));
  ABSL_ASSIGN_OR_RETURN(const int64_t format, ledger->QueryInteger("PRAGMA user_version"));
  if (application != kApplicationId) {
    return WithSetting(absl::FailedPreconditionError(absl::StrCat(
                           ledger->path(), ": not a ledger of reembed; name the directory of a job, or none")),
                       Setting::kJob);
  }
  if (format > kLedgerFormat) {
    return absl::FailedPreconditionError(absl::StrCat(ledger->path(), ": format ", format,
                                                      " is newer than what this program knows (", kLedgerFormat,
                                                      "); use a newer reembed"));
  }
  if (format < 1) return absl::DataLossError(absl::StrCat(ledger->path(), ": format ", format, " does not exist"));
  return absl::OkStatus();
}

// The bytes of a number, little-endian.
template <typename Number>
void AppendBytes(Number number, std::string* bytes) {
  for (size_t i = 0; i < sizeof(number); ++i)
    bytes->push_back(static_cast<char>(static_cast<uint64_t>(number) >> 8 * i));
}

absl::Status StatusFrom(int64_t code, absl::string_view reason) {
  // Codes are the canonical ones, 1 to 16; anything else cannot have been written by us.
  return absl::Status(code >= 1 && code <= 16 ? static_cast<absl::StatusCode>(code) : absl::StatusCode::kUnknown,
                      reason);
}

absl::Status OutOfRange(LedgerConnection* ledger, absl::string_view table, int64_t slot) {
  return absl::DataLossError(absl::StrCat(ledger->path(), ": ", table, ": slot ", slot, " does not fit the texts"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<LedgerConnection>> OpenLedger(const std::string& path, const LedgerHead& head) {
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<LedgerConnection> ledger,
                        LedgerConnection::Open(path, LedgerAccess::kReadWrite));
  ABSL_ASSIGN_OR_RETURN(const bool empty, IsEmpty(ledger.get()));
  if (empty) {
    ABSL_RETURN_IF_ERROR(CreateTables(ledger.get(), head));
  }
  ABSL_RETURN_IF_ERROR(CheckFormat(ledger.get()));
  ABSL_RETURN_IF_ERROR(CheckIdentity(ledger.get(), head));
  for (const absl::string_view table : {kReceiptDetails, kOwedTable}) {
    ABSL_RETURN_IF_ERROR(ledger->Execute(std::string(table)));
  }
  ABSL_RETURN_IF_ERROR(AddAttemptsTable(ledger.get()));
  return ledger;
}

absl::StatusOr<std::unique_ptr<LedgerConnection>> OpenLedgerReadOnly(const std::string& path) {
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<LedgerConnection> ledger,
                        LedgerConnection::Open(path, LedgerAccess::kReadOnly));
  ABSL_ASSIGN_OR_RETURN(const bool empty, IsEmpty(ledger.get()));
  if (empty) {
    return absl::NotFoundError(absl::StrCat(path, ": holds no job: a run was killed before it had begun one"));
  }
  ABSL_RETURN_IF_ERROR(CheckFormat(ledger.get()));
  return ledger;
}

absl::StatusOr<int> ReadFormat(LedgerConnection* ledger) {
  ABSL_ASSIGN_OR_RETURN(const int64_t format, ledger->QueryInteger("PRAGMA user_version"));
  return static_cast<int>(format);
}

uint64_t SealOf(const KeptRun& run) {
  std::string bytes;
  for (const int64_t number : {run.slots.begin, run.slots.end, run.epoch}) AppendBytes(number, &bytes);
  bytes.append(run.sums);
  return XXH3_64bits(bytes.data(), bytes.size());
}

absl::StatusOr<LedgerHead> ReadHead(LedgerConnection* ledger) {
  LedgerHead head;
  std::string keep;
  const std::pair<absl::string_view, std::string*> texts[] = {{"source", &head.identity.source},
                                                              {"selection", &head.identity.selection},
                                                              {"recipe", &head.identity.recipe},
                                                              {"model", &head.identity.model},
                                                              {"normalization", &head.identity.normalization},
                                                              {"keep_vectors", &keep}};
  for (const auto& [key, value] : texts) {
    ABSL_ASSIGN_OR_RETURN(*value, ReadMetaText(ledger, key));
  }
  head.keep_vectors = keep == kKeepNever ? KeepVectors::kNever : KeepVectors::kAlways;
  ABSL_ASSIGN_OR_RETURN(const int64_t dim, ReadMetaNumber(ledger, "dim"));
  if (dim < 1 || dim > kMaxLedgerDim) return absl::DataLossError(absl::StrCat(ledger->path(), ": dim is ", dim));
  head.identity.dim = static_cast<int>(dim);
  return head;
}

absl::StatusOr<int64_t> ReadMetaNumber(LedgerConnection* ledger, absl::string_view key) {
  ABSL_ASSIGN_OR_RETURN(LedgerStatement query, ledger->Prepare("SELECT value FROM meta WHERE key = ?1"));
  query.BindText(1, key);
  ABSL_ASSIGN_OR_RETURN(const bool row, query.Step());
  return row ? query.Integer(0) : 0;
}

absl::StatusOr<int64_t> ReadRowCount(LedgerConnection* ledger) {
  return ledger->QueryInteger("SELECT max(ordinal) + 1 FROM rows");
}

absl::StatusOr<int64_t> ReadTextCount(LedgerConnection* ledger) {
  ABSL_ASSIGN_OR_RETURN(const int64_t count, ledger->QueryInteger("SELECT max(slot) + 1 FROM texts"));
  ABSL_ASSIGN_OR_RETURN(
      const int64_t bytes,
      ledger->QueryInteger("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"));
  // A text takes more than its 16 bytes of hash: a damaged slot number must not size a table in memory.
  if (count < 0 || count > std::min(TextIndex::kMaxSlots, bytes / 16)) return OutOfRange(ledger, "texts", count);
  return count;
}

absl::Status ReadTexts(LedgerConnection* ledger, TextIndex* texts) {
  ABSL_ASSIGN_OR_RETURN(const int64_t count, ReadTextCount(ledger));
  texts->Expect(count);
  ABSL_ASSIGN_OR_RETURN(LedgerStatement query, ledger->Prepare("SELECT slot, hash FROM texts ORDER BY slot"));
  // Added many at a time: each goes to another place in memory, and the processor waits for several at once then.
  constexpr size_t kPage = 256;
  std::vector<TextHash> page;
  page.reserve(kPage);
  const auto add = [&page, texts]() -> absl::Status {
    for (const TextHash& hash : page) ABSL_RETURN_IF_ERROR(texts->Add(hash, SlotState::kFree));
    page.clear();
    return absl::OkStatus();
  };
  absl::StatusOr<bool> row = query.Step();
  for (; row.ok() && *row; row = query.Step()) {
    const int64_t slot = query.Integer(0);
    TextHash hash;
    if (slot != texts->size() + static_cast<int64_t>(page.size()) || !DecodeHash(query.Blob(1), &hash)) {
      return absl::DataLossError(absl::StrCat(ledger->path(), ": texts: slot ", slot, " is missing or damaged"));
    }
    page.push_back(hash);
    if (page.size() == kPage) ABSL_RETURN_IF_ERROR(add());
  }
  ABSL_RETURN_IF_ERROR(row.status());
  return add();
}

absl::StatusOr<std::vector<KeptRun>> ReadKeptRuns(LedgerConnection* ledger, int64_t texts) {
  std::vector<KeptRun> runs;
  ABSL_RETURN_IF_ERROR(ForEachKeptRun(ledger, texts, [&runs](const KeptRun& run) { runs.push_back(run); }));
  return runs;
}

absl::Status ForEachKeptRun(LedgerConnection* ledger, int64_t texts, absl::FunctionRef<void(const KeptRun&)> found) {
  ABSL_ASSIGN_OR_RETURN(LedgerStatement query,
                        ledger->Prepare("SELECT slot_begin, slot_end, checksum, epoch FROM kept ORDER BY slot_begin"));
  int64_t end = 0;
  absl::StatusOr<bool> row = query.Step();
  for (; row.ok() && *row; row = query.Step()) {
    const KeptRun run = {.slots = {query.Integer(0), query.Integer(1)},
                         .checksum = static_cast<uint64_t>(query.Integer(2)),
                         .epoch = query.Integer(3)};
    if (run.slots.begin < end || run.slots.end <= run.slots.begin || run.slots.end > texts) {
      return OutOfRange(ledger, "kept", run.slots.begin);
    }
    end = run.slots.end;
    found(run);
  }
  return row.status();
}

absl::StatusOr<std::vector<int64_t>> ReadRejectedSlots(LedgerConnection* ledger, int64_t texts) {
  ABSL_ASSIGN_OR_RETURN(LedgerStatement query, ledger->Prepare("SELECT slot FROM rejected_texts ORDER BY slot"));
  std::vector<int64_t> slots;
  absl::StatusOr<bool> row = query.Step();
  for (; row.ok() && *row; row = query.Step()) {
    slots.push_back(query.Integer(0));
    if (slots.back() < 0 || slots.back() >= texts) return OutOfRange(ledger, "rejected_texts", slots.back());
  }
  ABSL_RETURN_IF_ERROR(row.status());
  return slots;
}

absl::StatusOr<absl::Status> ReadTextReject(LedgerConnection* ledger, int64_t slot) {
  ABSL_ASSIGN_OR_RETURN(LedgerStatement query,
                        ledger->Prepare("SELECT code, reason FROM rejected_texts WHERE slot = ?1"));
  query.Bind(1, slot);
  ABSL_ASSIGN_OR_RETURN(const bool row, query.Step());
  if (!row) return absl::InternalError(absl::StrCat(ledger->path(), ": slot ", slot, " is not rejected"));
  // Built in place: a StatusOr<Status> would take a bare Status for its error.
  return absl::StatusOr<absl::Status>(absl::in_place, StatusFrom(query.Integer(0), query.Text(1)));
}

absl::StatusOr<SinkPosition> ReadPosition(LedgerConnection* ledger, absl::string_view sink) {
  ABSL_ASSIGN_OR_RETURN(
      LedgerStatement query,
      ledger->Prepare(
          "SELECT position, (SELECT count(DISTINCT ordinal) FROM rejects WHERE ordinal < position AND sink IN ('', ?1))"
          " FROM sinks WHERE name = ?1"));
  query.BindText(1, sink);
  ABSL_ASSIGN_OR_RETURN(const bool row, query.Step());
  if (!row) return SinkPosition{};
  const SinkPosition position{.position = query.Integer(0), .stored_rows = query.Integer(0) - query.Integer(1)};
  ABSL_ASSIGN_OR_RETURN(const int64_t rows, ReadRowCount(ledger));
  // Taken at its word, rows that come later would never get to the target, and nobody would say so.
  if (position.position < 0 || position.position > rows) {
    return absl::DataLossError(absl::StrCat(ledger->path(), ": sinks: expected at most ", rows, " rows in ", sink,
                                            ", as many as the job has, got ", position.position));
  }
  ABSL_ASSIGN_OR_RETURN(const int64_t outdated, ReadOutdatedRows(ledger, sink));
  return outdated >= 0 ? OutdatedPosition(outdated) : position;
}

absl::StatusOr<std::vector<RejectedRow>> ReadRejects(LedgerConnection* ledger, int64_t limit,
                                                     const RejectedRow* after) {
  ABSL_ASSIGN_OR_RETURN(const bool counted, HasAttemptsTable(ledger));
  ABSL_ASSIGN_OR_RETURN(LedgerStatement query,
                        ledger->Prepare(absl::StrCat(
                            "SELECT j.ordinal, key, j.sink, code, reason, ", counted ? "coalesce(attempts, 1)" : "1",
                            " FROM rejects j JOIN rows r ON r.ordinal = j.ordinal",
                            counted ? " LEFT JOIN attempts a ON a.ordinal = j.ordinal AND a.sink = j.sink" : "",
                            " WHERE (j.ordinal, j.sink) > (?2, ?3) ORDER BY j.ordinal, j.sink LIMIT ?1")));
  query.Bind(1, limit);
  query.Bind(2, after == nullptr ? int64_t{-1} : after->ordinal);
  query.BindText(3, after == nullptr ? absl::string_view("") : absl::string_view(after->sink));
  std::vector<RejectedRow> rejects;
  absl::StatusOr<bool> row = query.Step();
  for (; row.ok() && *row; row = query.Step()) {
    rejects.push_back({.ordinal = query.Integer(0),
                       .key = Own(query.KeyAt(1)),
                       .sink = std::string(query.Text(2)),
                       .reason = StatusFrom(query.Integer(3), query.Text(4)),
                       .attempts = query.Integer(5)});
  }
  ABSL_RETURN_IF_ERROR(row.status());
  return rejects;
}

absl::StatusOr<int64_t> CertainlyNotRebought(LedgerConnection* ledger, int64_t texts, bool all_read) {
  ABSL_ASSIGN_OR_RETURN(const int64_t kills, ReadMetaNumber(ledger, kMetaOpenKills));
  ABSL_ASSIGN_OR_RETURN(const int64_t in_flight, ReadMetaNumber(ledger, kMetaOpenInFlight));
  ABSL_ASSIGN_OR_RETURN(const int64_t kept, ReadMetaNumber(ledger, kMetaOpenKept));
  // What the only kill lost and what was bought again since is in the ledger. Of several kills the later ones may have
  // lost again what the earlier ones had, so only the end tells.
  if (kills != 1 && !all_read) return 0;
  return std::max<int64_t>(0, in_flight - std::max<int64_t>(0, kills * texts - kept));
}

absl::StatusOr<int64_t> ReadUnreceipted(LedgerConnection* ledger) {
  ABSL_ASSIGN_OR_RETURN(const int64_t before, ReadMetaNumber(ledger, kMetaUnreceipted));
  ABSL_ASSIGN_OR_RETURN(const int64_t spending, ReadMetaNumber(ledger, kMetaSpending));
  ABSL_ASSIGN_OR_RETURN(
      LedgerStatement receipt,
      ledger->Prepare("SELECT cost_usd FROM receipts WHERE run = (SELECT value FROM meta WHERE key = 'runs')"));
  ABSL_ASSIGN_OR_RETURN(const bool found, receipt.Step());
  const double cost = found ? receipt.Real(0) : 0;
  return before + std::max<int64_t>(0, spending - static_cast<int64_t>(std::llround(cost * kNanosPerDollar)));
}

namespace {

absl::StatusOr<std::vector<Receipt>> ReadReceipts(LedgerConnection* ledger) {
  ABSL_ASSIGN_OR_RETURN(const int64_t detailed,
                        ledger->QueryInteger("SELECT count(*) FROM sqlite_master WHERE name = 'receipt_details'"));
  ABSL_ASSIGN_OR_RETURN(
      LedgerStatement receipts,
      ledger->Prepare(detailed > 0 ? "SELECT r.*, coalesce(switched, 0), coalesce(endpoints, '') FROM receipts r "
                                     "LEFT JOIN receipt_details USING (run) ORDER BY run"
                                   : "SELECT *, 0, '' FROM receipts ORDER BY run"));
  std::vector<Receipt> all;
  absl::StatusOr<bool> row = receipts.Step();
  for (; row.ok() && *row; row = receipts.Step()) {
    all.push_back({.run = receipts.Integer(0),
                   .started = absl::FromUnixMillis(receipts.Integer(1)),
                   .ended = absl::FromUnixMillis(receipts.Integer(2)),
                   .outcome = std::string(receipts.Text(3)),
                   .requests = receipts.Integer(4),
                   .requests_retried = receipts.Integer(5),
                   .http_429 = receipts.Integer(6),
                   .tokens = receipts.Integer(7),
                   .cost_usd = receipts.Real(8),
                   .rows_embedded = receipts.Integer(9),
                   .rows_rejected = receipts.Integer(10),
                   .rows_possibly_rebought = receipts.Integer(11),
                   .endpoints = std::string(receipts.Text(13))});
    if (const int64_t switched = receipts.Integer(12); switched != 0) {
      all.back().switched = absl::FromUnixMillis(switched);
    }
  }
  ABSL_RETURN_IF_ERROR(row.status());
  return all;
}

}  // namespace

absl::StatusOr<JobStats> ReadStats(LedgerConnection* ledger) {
  JobStats stats;
  const std::pair<absl::string_view, int64_t*> counts[] = {
      {"SELECT max(ordinal) + 1 FROM rows", &stats.rows},
      {"SELECT max(slot) + 1 FROM texts", &stats.texts},
      {"SELECT count(*) FROM rejects WHERE sink = ''", &stats.rejected_rows},
      {"SELECT count(*) FROM rejects WHERE sink <> ''", &stats.refused_rows}};
  for (const auto& [sql, count] : counts) {
    ABSL_ASSIGN_OR_RETURN(*count, ledger->QueryInteger(sql));
  }
  if (stats.refused_rows > 0) {
    ABSL_ASSIGN_OR_RETURN(
        LedgerStatement refused,
        ledger->Prepare("SELECT count(*), total(gone) FROM (SELECT min(code = ?1) AS gone FROM rejects "
                        "AS r WHERE sink <> '' AND NOT EXISTS (SELECT 1 FROM rejects AS all_sinks "
                        "WHERE all_sinks.ordinal = r.ordinal AND all_sinks.sink = '') GROUP BY ordinal)"));
    refused.Bind(1, static_cast<int64_t>(absl::StatusCode::kNotFound));
    ABSL_RETURN_IF_ERROR(refused.Step().status());
    stats.rows_gone = static_cast<int64_t>(refused.Real(1));
    stats.rows_refused = refused.Integer(0) - stats.rows_gone;
  }
  ABSL_ASSIGN_OR_RETURN(const int64_t rolled_back, ReadMetaNumber(ledger, kMetaRolledBack));
  if (rolled_back != 0) stats.rolled_back = absl::FromUnixMillis(rolled_back);
  ABSL_ASSIGN_OR_RETURN(const int64_t rebought, ReadMetaNumber(ledger, kMetaRebought));
  ABSL_ASSIGN_OR_RETURN(const int64_t certain, CertainlyNotRebought(ledger, stats.texts, /*all_read=*/false));
  ABSL_ASSIGN_OR_RETURN(const int64_t damaged, ReadMetaNumber(ledger, kMetaDamaged));
  stats.texts_damaged = damaged;
  stats.texts_possibly_rebought = std::max<int64_t>(0, rebought - certain) + damaged;
  ABSL_ASSIGN_OR_RETURN(const int64_t unreceipted, ReadUnreceipted(ledger));
  stats.unreceipted_usd = static_cast<double>(unreceipted) / kNanosPerDollar;
  ABSL_ASSIGN_OR_RETURN(LedgerStatement sinks, ledger->Prepare("SELECT name, position FROM sinks ORDER BY name"));
  absl::StatusOr<bool> row = sinks.Step();
  for (; row.ok() && *row; row = sinks.Step()) {
    stats.sinks.emplace_back(std::string(sinks.Text(0)), sinks.Integer(1));
  }
  ABSL_RETURN_IF_ERROR(row.status());
  for (auto& [name, position] : stats.sinks) {
    ABSL_ASSIGN_OR_RETURN(const int64_t outdated, ReadOutdatedRows(ledger, name));
    if (outdated >= 0) position = 0;  // what stands there is not what the job knows
  }
  ABSL_ASSIGN_OR_RETURN(stats.receipts, ReadReceipts(ledger));
  return stats;
}

}  // namespace reembed
