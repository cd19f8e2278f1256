// SPDX-License-Identifier: Apache-2.0
#include "engine/rollback.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

// Of one page: what is read, compared and changed together.
constexpr size_t kPageRows = 512;
constexpr size_t kPageBytes = size_t{2} << 20;

constexpr int kRounds = 5;               // of looking again at rows of a page that come and go
constexpr size_t kMaxNamed = 1'000'000;  // of the rows that stay

// A row of the log, with copies of its own.
struct Logged {
  int64_t ordinal = 0;
  Key key;
  std::optional<std::string> content;
  bool sent = false;  // a change of it may have been made

  OldRow row() const {
    OldRow old{.ordinal = ordinal, .key = ViewOf(key)};
    if (content.has_value()) old.content = *content;
    return old;
  }
};

class Rollback {
 public:
  Rollback(absl::string_view name, RowTable* table, UndoReader* log, RollbackReport report)
      : name_(name), table_(table), log_(log), report_(std::move(report)) {}

  absl::StatusOr<RollbackReport> Run() {
    while (true) {
      ABSL_RETURN_IF_ERROR(LoadPage());
      if (page_.empty()) break;
      ABSL_RETURN_IF_ERROR(PutPageBack());
    }
    ABSL_RETURN_IF_ERROR(table_->TakeAway(log_, &report_));
    return std::move(report_);
  }

 private:
  // More than RollbackReport::Leave() would name: where another job has written since, these are its rows.
  void Leave(KeyView key, absl::string_view reason) {
    if (report_.left.size() < kMaxNamed) report_.left.push_back({Own(key), std::string(reason)});
    ++report_.rows_left;
  }
  absl::Status LoadPage();
  absl::Status PutPageBack();
  absl::Status PutBack(absl::Span<Logged* const> rows);
  absl::StatusOr<std::vector<RowChange>> Compare(absl::Span<Logged* const> rows);
  absl::StatusOr<std::optional<bool>> HoldsWhatWasWritten(const Logged& row, const RowNow& now);
  absl::Status Take(absl::Span<const RowChange> changes, absl::Span<const RowOutcome> outcomes,
                    absl::Span<Logged* const> rows);

  const absl::string_view name_;
  RowTable* const table_;
  UndoReader* const log_;
  std::vector<Logged> page_;
  std::vector<Logged*> again_;  // of page_
  RollbackReport report_;
};

absl::Status Rollback::LoadPage() {
  page_.clear();
  for (size_t bytes = 0; page_.size() < kPageRows && bytes < kPageBytes;) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<OldRow> row, log_->Next());
    if (!row.has_value()) break;
    Logged& logged = page_.emplace_back();
    logged.ordinal = row->ordinal;
    logged.key = Own(row->key);
    if (row->content.has_value()) logged.content = std::string(*row->content);
    bytes += row->content.has_value() ? row->content->size() : 0;
  }
  return absl::OkStatus();
}

absl::Status Rollback::PutPageBack() {
  std::vector<Logged*> rows;
  for (Logged& row : page_) rows.push_back(&row);
  for (int round = 0; !rows.empty(); ++round) {
    if (round == kRounds)
      return absl::UnavailableError(absl::StrCat(name_, ": rows are added and removed all the time; run this again"));
    again_.clear();
    ABSL_RETURN_IF_ERROR(PutBack(rows));
    rows = again_;
  }
  return absl::OkStatus();
}

absl::Status Rollback::PutBack(absl::Span<Logged* const> rows) {
  ABSL_ASSIGN_OR_RETURN(const std::vector<RowChange> changes, Compare(rows));
  std::vector<RowOutcome> outcomes(changes.size());
  ABSL_RETURN_IF_ERROR(table_->Apply(changes, absl::MakeSpan(outcomes)));
  return Take(changes, outcomes, rows);
}

absl::StatusOr<std::vector<RowChange>> Rollback::Compare(absl::Span<Logged* const> rows) {
  std::vector<OldRow> old;
  for (const Logged* const row : rows) old.push_back(row->row());
  std::vector<RowNow> now(rows.size());
  ABSL_RETURN_IF_ERROR(table_->Read(old, absl::MakeSpan(now)));
  std::vector<RowChange> changes;
  for (size_t i = 0; i < rows.size(); ++i) {
    const bool as_before = now[i].there == now[i].was_there && (!now[i].there || now[i].content == rows[i]->content);
    if (as_before) {
      ++(rows[i]->sent ? report_.rows_restored : report_.rows_unchanged);
      continue;
    }
    if (!now[i].there) {
      ++report_.rows_gone;
      continue;
    }
    if (!now[i].stuck.empty()) {
      Leave(old[i].key, now[i].stuck);
      continue;
    }
    ABSL_ASSIGN_OR_RETURN(const std::optional<bool> ours, HoldsWhatWasWritten(*rows[i], now[i]));
    if (!ours.value_or(true)) {
      Leave(old[i].key, "its vector is not the one that the job wrote");
    } else if (now[i].was_there) {
      changes.push_back({.row = i, .key = old[i].key, .content = old[i].content});
    } else if (!ours.has_value()) {
      Leave(old[i].key, "the job added this row, and what it wrote is not known, so somebody may have changed it");
    } else if (!now[i].stays.empty()) {
      Leave(old[i].key, now[i].stays);
    } else {
      changes.push_back({.row = i, .key = old[i].key});
    }
  }
  return changes;
}

absl::StatusOr<std::optional<bool>> Rollback::HoldsWhatWasWritten(const Logged& row, const RowNow& now) {
  ABSL_ASSIGN_OR_RETURN(const std::optional<absl::Span<const float>> written, log_->WrittenVector(row.ordinal));
  if (!written.has_value()) return std::nullopt;
  return table_->Holds(now, *written);
}

// Those that were refused together are asked about in halves.
absl::Status Rollback::Take(absl::Span<const RowChange> changes, absl::Span<const RowOutcome> outcomes,
                            absl::Span<Logged* const> rows) {
  std::vector<Logged*> together;
  for (size_t i = 0; i < changes.size(); ++i) {
    Logged* const row = rows[changes[i].row];
    switch (outcomes[i].kind) {
      case RowOutcome::Kind::kDone:
        ++report_.rows_restored;
        break;
      case RowOutcome::Kind::kAgain:
        row->sent = true;
        again_.push_back(row);
        break;
      case RowOutcome::Kind::kTogether:
        if (changes.size() > 1) {
          together.push_back(row);
          break;
        }
        [[fallthrough]];
      case RowOutcome::Kind::kRefused:
        Leave(changes[i].key, outcomes[i].why);
        break;
    }
  }
  if (together.empty()) return absl::OkStatus();
  const absl::Span<Logged* const> all = together;
  const size_t half = (all.size() + 1) / 2;
  ABSL_RETURN_IF_ERROR(PutBack(all.first(half)));
  return half == all.size() ? absl::OkStatus() : PutBack(all.subspan(half));
}

// Calls `count` with each row of the log.
template <typename Count>
absl::Status CountRows(UndoReader* log, Count count) {
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<OldRow> row, log->Next());
    if (!row.has_value()) return absl::OkStatus();
    count(*row);
  }
}

}  // namespace

absl::StatusOr<RollbackReport> RollBackRows(absl::string_view name, RowTable* table, UndoReader* log,
                                            RollbackReport report) {
  return Rollback(name, table, log, std::move(report)).Run();
}

absl::Status CountRowsGone(UndoReader* log, absl::string_view note, RollbackReport* report) {
  report->notes.emplace_back(note);
  return CountRows(
      log, [report](const OldRow& row) { ++(row.content.has_value() ? report->rows_gone : report->rows_unchanged); });
}

absl::Status CountRowsUnchanged(UndoReader* log, RollbackReport* report) {
  return CountRows(log, [report](const OldRow&) { ++report->rows_unchanged; });
}

absl::Status LeaveRows(UndoReader* log, absl::string_view why, RollbackReport* report) {
  return CountRows(log, [report, why](const OldRow& row) { report->Leave(row.key, why); });
}

}  // namespace reembed
