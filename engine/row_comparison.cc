// SPDX-License-Identifier: Apache-2.0
#include "engine/row_comparison.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/container/flat_hash_map.h"
#include "engine/read_ahead.h"
#include "engine/row_reader.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr size_t kPageRows = 4096;  // to wake a thread takes as long as to read some hundred rows

// Rows of the source behind the last that the ledger knows, after which the others are taken for new ones.
constexpr int64_t kMaxTrailing = int64_t{1} << 16;

struct LedgerPage {
  std::vector<LedgerRow> rows;
  std::deque<std::string> keys;  // of rows with a text as key

  void Clear() {
    rows.clear();
    keys.clear();
  }
};

absl::StatusOr<bool> Fill(LedgerCursor* cursor, LedgerPage* page) {
  page->rows.reserve(kPageRows);
  while (page->rows.size() < kPageRows) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<LedgerRow> next, cursor->Next());
    if (!next.has_value()) return false;
    LedgerRow& row = page->rows.emplace_back(*next);
    if (const auto* text = std::get_if<absl::string_view>(&row.key)) {
      row.key = absl::string_view(page->keys.emplace_back(*text));
    }
  }
  return true;
}

// Both sides are databases, and to read one takes as long as to read the other: the ledger has a thread. The source has
// not, since to hand its texts on from one processor to another costs more than to hash them where they lie.
class LedgerAhead {
 public:
  explicit LedgerAhead(std::unique_ptr<LedgerCursor> cursor)
      : cursor_(std::move(cursor)), pages_([this](LedgerPage* page) { return Fill(cursor_.get(), page); }) {}

  // The row under way; null behind the last.
  const LedgerRow* row() const { return at_ < page_.rows.size() ? &page_.rows[at_] : nullptr; }

  absl::Status Next() {
    if (++at_ < page_.rows.size()) return absl::OkStatus();
    at_ = 0;
    absl::StatusOr<bool> more = true;
    do more = pages_.Next(&page_);
    while (more.ok() && *more && page_.rows.empty());
    return more.status();
  }

 private:
  const std::unique_ptr<LedgerCursor> cursor_;
  LedgerPage page_;
  size_t at_ = 0;
  ReadAhead<LedgerPage> pages_;
};

TextHash HashNow(std::optional<absl::string_view> text) { return HashText(text.value_or("")); }

// nullopt: keys of two kinds.
std::optional<bool> IsLess(KeyView a, KeyView b) {
  if (a.index() != b.index()) return std::nullopt;
  return a < b;
}

class Comparison {
 public:
  Comparison(const ComparedRows& rows, std::unique_ptr<LedgerCursor> ledger, const RowFindings& findings)
      : rows_(rows), findings_(findings), ledger_(std::move(ledger)) {}

  absl::StatusOr<RowComparison> Run() {
    ABSL_RETURN_IF_ERROR(ledger_.Next());
    ABSL_RETURN_IF_ERROR(NextLacking());
    ABSL_RETURN_IF_ERROR(Walk());
    ABSL_RETURN_IF_ERROR(Drain());
    ABSL_RETURN_IF_ERROR(SettleDeferred());
    CollectNew();
    return std::move(found_);
  }

 private:
  // A row of the source that the ledger has not shown yet.
  struct Unknown {
    int64_t number = 0;  // of the row, in source order
    bool lacks = false;
    uint64_t text = 0;   // of its text's hash
    int64_t place = -1;  // in candidates_; -1: nobody wants it
  };
  // A row of the ledger that the source has not shown yet.
  struct Unseen {
    int64_t ordinal = 0;
    int64_t slot = -1;
    TextHash hash;
    SlotState state = SlotState::kFree;
  };
  // A row that may be new.
  struct Candidate {
    Key key;
    int64_t number = 0;
    bool known = false;
  };
  // A row whose two sides did not meet, with another text as it seems.
  struct Deferred {
    Unseen row;
    Key key;
  };

  absl::Status NextLacking() {
    lacking_.reset();
    if (rows_.lacking == nullptr) return absl::OkStatus();
    ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> next, rows_.lacking->Next());
    if (next.has_value()) lacking_ = next->key;
    return absl::OkStatus();
  }

  bool IsWanted(bool lacks) const { return !rows_.only_lacking || lacks; }

  absl::Status Walk() {
    absl::Status status;
    const auto wants_more = [this] {
      if (ledger_.row() != nullptr) return true;
      return !unseen_.empty() && found_.rows - last_number_ <= kMaxTrailing;
    };
    if (!wants_more()) return absl::OkStatus();
    ABSL_RETURN_IF_ERROR(rows_.all->ShowRows([&](const RowView& row) {
      if (absl::Status taken = Take(row); !taken.ok()) {
        status = std::move(taken);
        return false;
      }
      return wants_more();
    }));
    return status;
  }

  absl::Status Take(const RowView& row) {
    ++found_.rows;
    found_.text_bytes += row.text.has_value() ? static_cast<int64_t>(row.text->size()) : 0;
    bool lacks = rows_.lacking == nullptr && rows_.all_lack;
    if (lacking_.has_value() && *lacking_ == row.key) {
      lacks = true;
      ABSL_RETURN_IF_ERROR(NextLacking());
    }
    const LedgerRow* const known = ledger_.row();
    if (known == nullptr || !(known->key == row.key)) return TakeUnknown(row, lacks);
    Meet(*known, row.text, lacks);
    SetLast(row.key);
    return ledger_.Next();
  }

  absl::Status TakeUnknown(const RowView& row, bool lacks) {
    const uint64_t print = KeyPrint(row.key);
    if (const auto unseen = unseen_.find(print); unseen != unseen_.end()) {
      const Unseen& old = unseen->second;
      Meet({.ordinal = old.ordinal, .key = row.key, .slot = old.slot, .hash = old.hash, .state = old.state}, row.text,
           lacks);
      SetLast(row.key);
      unseen_.erase(unseen);
      return absl::OkStatus();
    }
    Unknown unknown{.number = found_.rows, .lacks = lacks};
    if (IsWanted(lacks)) {
      unknown.place = static_cast<int64_t>(candidates_.size());
      candidates_.push_back({Own(row.key), found_.rows});
    }
    if (ledger_.row() == nullptr) return absl::OkStatus();
    if (rows_.texts) unknown.text = HashNow(row.text).lo;
    unknown_.insert_or_assign(print, unknown);
    // In front of what the ledger has next: it cannot be there unless out of order. Behind it: that one is gone, or out
    // of order.
    if (IsLess(row.key, ledger_.row()->key).value_or(false)) return absl::OkStatus();
    return Advance();
  }

  // One row of the ledger on, and then over all that the source has shown already.
  absl::Status Advance() {
    bool first = true;
    while (const LedgerRow* const row = ledger_.row()) {
      const uint64_t print = KeyPrint(row->key);
      const auto unknown = unknown_.find(print);
      if (unknown == unknown_.end() && !first) return absl::OkStatus();
      if (unknown == unknown_.end()) {
        unseen_.insert_or_assign(print, Unseen{row->ordinal, row->slot, row->hash, row->state});
      } else {
        MeetLate(*row, unknown->second);
        unknown_.erase(unknown);
      }
      first = false;
      ABSL_RETURN_IF_ERROR(ledger_.Next());
    }
    return absl::OkStatus();
  }

  // The rest of the ledger, against what the source has shown.
  absl::Status Drain() {
    while (ledger_.row() != nullptr && !unknown_.empty()) {
      const auto unknown = unknown_.find(KeyPrint(ledger_.row()->key));
      if (unknown != unknown_.end()) {
        MeetLate(*ledger_.row(), unknown->second);
        unknown_.erase(unknown);
      }
      ABSL_RETURN_IF_ERROR(ledger_.Next());
    }
    return absl::OkStatus();
  }

  void SetLast(KeyView key) {
    last_number_ = found_.rows;
    if (const auto* number = std::get_if<int64_t>(&key)) {
      last_ = *number;
    } else if (auto* text = last_.has_value() ? std::get_if<std::string>(&*last_) : nullptr) {
      const absl::string_view view = std::get<absl::string_view>(key);
      text->assign(view.data(), view.size());
    } else {
      last_ = Own(key);
    }
  }

  bool MayDiffer(const LedgerRow& row) const {
    return rows_.texts && (row.state == SlotState::kKept || row.state == SlotState::kRejected);
  }

  // Of a row that was rejected before it had a text the ledger knows no hash: one that can be used is another.
  bool Differs(const LedgerRow& row, TextHash now, std::optional<absl::string_view> text) const {
    if (row.slot >= 0) return !(row.hash == now);
    if (rows_.usable != nullptr) return rows_.usable(text);
    return CheckText(text, std::numeric_limits<size_t>::max()).ok();
  }

  void Meet(const LedgerRow& row, std::optional<absl::string_view> text, bool lacks) {
    if (MayDiffer(row)) {
      const TextHash now = HashNow(text);
      if (Differs(row, now, text)) return TellChanged(row, now, text);
    }
    if (!lacks || row.state != SlotState::kKept) return;
    ++found_.rows_lost;
    findings_.lost(row);
  }

  // Apart and by value, so that the hash of each of the others stays in registers.
  ABSL_ATTRIBUTE_NOINLINE void TellChanged(const LedgerRow& row, TextHash now, std::optional<absl::string_view> text) {
    ++found_.rows_changed;
    findings_.changed(row, now, text);
  }

  void MeetLate(const LedgerRow& row, const Unknown& unknown) {
    if (unknown.place >= 0) candidates_[static_cast<size_t>(unknown.place)].known = true;
    if (unknown.number > last_number_) {
      last_number_ = unknown.number;
      last_ = Own(row.key);
    }
    if (MayDiffer(row) && (row.slot < 0 || row.hash.lo != unknown.text)) {
      deferred_.push_back({{row.ordinal, row.slot, row.hash, row.state}, Own(row.key)});
    } else if (unknown.lacks && row.state == SlotState::kKept) {
      ++found_.rows_lost;
      findings_.lost(row);
    }
  }

  absl::Status SettleDeferred() {
    for (const Deferred& late : deferred_) {
      ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> now, rows_.all->Find(ViewOf(late.key)));
      if (!now.has_value()) continue;
      Meet({.ordinal = late.row.ordinal,
            .key = ViewOf(late.key),
            .slot = late.row.slot,
            .hash = late.row.hash,
            .state = late.row.state},
           now->text, false);
    }
    return absl::OkStatus();
  }

  void CollectNew() {
    for (Candidate& candidate : candidates_) {
      if (candidate.known || candidate.number > last_number_) continue;
      found_.new_rows.keys.push_back(std::move(candidate.key));
    }
    found_.new_rows.after = std::move(last_);
    for (const auto& [print, row] : unseen_) found_.new_rows.known.insert(print);
  }

  const ComparedRows rows_;
  const RowFindings findings_;
  LedgerAhead ledger_;
  std::optional<KeyView> lacking_;  // the next row of `lacking`
  RowComparison found_;
  absl::flat_hash_map<uint64_t, Unknown> unknown_;
  absl::flat_hash_map<uint64_t, Unseen> unseen_;
  std::vector<Candidate> candidates_;
  std::vector<Deferred> deferred_;
  std::optional<Key> last_;  // of the source, that the ledger has
  int64_t last_number_ = 0;
};

}  // namespace

uint64_t KeyPrint(KeyView key) {
  const auto* const number = std::get_if<int64_t>(&key);
  if (number == nullptr) return HashText(std::get<absl::string_view>(key)).lo;
  // SplitMix64's mixing: a bijection.
  uint64_t mixed = static_cast<uint64_t>(*number) + 0x9e3779b97f4a7c15u;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
  return mixed ^ (mixed >> 31);
}

absl::StatusOr<RowComparison> CompareRows(const ComparedRows& rows, std::unique_ptr<LedgerCursor> ledger,
                                          const RowFindings& findings) {
  return Comparison(rows, std::move(ledger), findings).Run();
}

}  // namespace reembed
