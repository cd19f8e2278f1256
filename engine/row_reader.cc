// SPDX-License-Identifier: Apache-2.0
#include "engine/row_reader.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/number/json_text.h"
#include "engine/owed_rows.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

// The white space of Unicode 15 beyond ASCII (PropList.txt, White_Space), in UTF-8.
constexpr absl::string_view kWideSpaces[] = {
    "\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81", "\xe2\x80\x82", "\xe2\x80\x83",
    "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86", "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a",
    "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};

bool IsWhiteSpace(absl::string_view text) {
  while (!text.empty()) {
    if (absl::ascii_isspace(static_cast<unsigned char>(text.front()))) {
      text.remove_prefix(1);
      continue;
    }
    const auto* const wide = std::find_if(std::begin(kWideSpaces), std::end(kWideSpaces),
                                          [text](absl::string_view space) { return absl::StartsWith(text, space); });
    if (wide == std::end(kWideSpaces)) return false;
    text.remove_prefix(wide->size());
  }
  return true;
}

size_t KeyBytes(KeyView key) {
  const auto* text = std::get_if<absl::string_view>(&key);
  return text == nullptr ? 0 : text->size();
}

}  // namespace

absl::Status CheckText(std::optional<absl::string_view> text, size_t max_bytes) {
  if (!text.has_value()) return absl::InvalidArgumentError("the text is NULL");
  if (text->empty()) return absl::InvalidArgumentError("the text is empty");
  if (text->size() > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the text has ", text->size(), " bytes, more than the limit of ", max_bytes));
  }
  if (!IsValidUtf8(*text)) return absl::InvalidArgumentError("the text is not valid UTF-8");
  if (IsWhiteSpace(*text)) return absl::InvalidArgumentError("the text is only white space");
  return absl::OkStatus();
}

absl::Status CheckRow(const RowView& row, size_t max_bytes) {
  if (!row.text.has_value() && !row.problem.empty()) return absl::InvalidArgumentError(row.problem);
  return CheckText(row.text, max_bytes);
}

RowReader::RowReader(Source* source, RowLedger* ledger, const TokenCounter* count_tokens, const BatchLimits& limits,
                     Options options)
    : source_(source),
      ledger_(ledger),
      count_tokens_(count_tokens),
      options_(std::move(options)),
      packer_(limits, options_.estimator, options_.quota_tokens, options_.learned),
      old_rows_(ledger->rows()) {
  if (options_.lookup == nullptr) options_.lookup = source_;
  std::sort(options_.cuts.begin(), options_.cuts.end());
}

absl::StatusOr<FillResult> RowReader::Fill(Batch* batch) {
  packer_.Begin();
  text_bytes_ = 0;
  absl::StatusOr<FillResult> filled = FillRows(batch);
  packer_.Close(static_cast<int>(batch->texts().size()), batch->tokens());
  return filled;
}

absl::StatusOr<FillResult> RowReader::FillRows(Batch* batch) {
  if (!old_done_) {
    absl::StatusOr<FillResult> filled = FillOld(batch);
    if (!filled.ok() || *filled == FillResult::kFilled) return filled;
  }
  if (!owed_done_) {
    absl::StatusOr<FillResult> filled = FillOwed(batch);
    if (!filled.ok() || *filled == FillResult::kFilled) return filled;
  }
  return FillNew(batch);
}

void RowReader::Extend(Batch* batch, int64_t ordinal) {
  const RowRange range = batch->range();
  batch->set_range(range.size() == 0 ? RowRange{ordinal, ordinal + 1} : RowRange{range.begin, ordinal + 1});
}

RowReader::Prepared RowReader::Prepare(const RowView& row, size_t max_bytes, int max_parts) const {
  Prepared prepared;
  // A text that is cut need not fit before that.
  const bool may_cut = options_.text_limit.policy == LongText::kTruncate;
  max_bytes = std::min(max_bytes, options_.max_text_bytes);
  prepared.problem = CheckRow(row, may_cut ? options_.max_text_bytes : max_bytes);
  if (!prepared.problem.ok()) return prepared;
  const std::optional<absl::string_view>& text = row.text;
  std::vector<absl::string_view> parts = {*text};
  if (may_cut && options_.text_limit.meter == nullptr && text->size() > max_bytes) {
    // The client cuts by what the provider says; so much it will never need.
    parts = {WholeWords(*text, max_bytes)};
    prepared.embedded = Embedded::kTruncated;
  } else if (IsTooLong(options_.text_limit, *text)) {
    absl::StatusOr<std::vector<absl::string_view>> fitted = FitText(options_.text_limit, *text, max_parts);
    if (!fitted.ok()) {
      prepared.problem = fitted.status();
      return prepared;
    }
    parts = *std::move(fitted);
    const bool split = options_.text_limit.policy == LongText::kSplit;
    prepared.embedded = split ? Embedded::kSplit : Embedded::kTruncated;
  }
  for (const absl::string_view part : parts) {
    prepared.parts.push_back({.text = part, .tokens = (*count_tokens_)(part)});
    prepared.tokens += prepared.parts.back().tokens;
    prepared.bytes += part.size();
  }
  if (prepared.bytes > max_bytes) prepared.problem = CheckText(text, max_bytes);
  return prepared;
}

bool RowReader::Place(Batch* batch) {
  Waiting& row = *waiting_;
  const size_t key_bytes = KeyBytes(row.key);
  const bool kept = row.old.has_value() && row.old->state == SlotState::kKept;
  if (!kept && !row.prepared.has_value()) {
    const BatchLimits& limits = batch->limits();
    row.prepared = Prepare({.key = row.key, .text = row.text, .problem = row.problem},
                           limits.max_text_bytes - std::min(limits.max_text_bytes, key_bytes), limits.max_texts);
  }
  const bool has_text = !kept && row.prepared->problem.ok();
  const int texts = has_text ? static_cast<int>(row.prepared->parts.size()) : 0;
  if (!batch->Fits(key_bytes + (has_text ? row.prepared->bytes : 0), texts)) return false;
  const RequestSize size{
      .texts = static_cast<int>(batch->texts().size()), .tokens = batch->tokens(), .bytes = text_bytes_};
  if (has_text &&
      !packer_.Takes(
          size, {.texts = texts, .tokens = row.prepared->tokens, .bytes = static_cast<int64_t>(row.prepared->bytes)})) {
    return false;
  }

  BatchRow* added;
  if (kept) {
    added = batch->AddRow(row.old->ordinal, row.key, row.old->slot);
    added->replayed = true;
  } else if (!has_text) {
    const std::optional<int64_t> known = row.old.has_value() ? std::optional<int64_t>(row.old->ordinal) : std::nullopt;
    added = batch->AddRow(ledger_->Reject(row.key, known, row.prepared->problem), row.key, -1);
    added->reject = std::move(row.prepared->problem);
  } else {
    const TextHash hash = HashText(*row.text);
    Enrolment enrolment = row.old.has_value() ? ledger_->Resume(*row.old, hash) : ledger_->Enrol(row.key, hash);
    added = enrolment.buy ? batch->AddRowWithParts(enrolment.ordinal, row.key, enrolment.slot, row.prepared->parts)
                          : batch->AddRow(enrolment.ordinal, row.key, enrolment.slot);
    if (enrolment.buy) text_bytes_ += static_cast<int64_t>(row.prepared->bytes);
    added->embedded = row.prepared->embedded;
    added->reject = std::move(enrolment.reject);
  }
  Extend(batch, added->ordinal);
  waiting_.reset();
  return true;
}

absl::StatusOr<FillResult> RowReader::FillOld(Batch* batch) {
  if (cursor_ == nullptr) {
    if (options_.from >= old_rows_) {
      old_done_ = true;
      return FillResult::kEnd;
    }
    ABSL_ASSIGN_OR_RETURN(cursor_, ledger_->Scan(options_.from));
  }
  while (true) {
    if (!waiting_.has_value()) {
      ABSL_ASSIGN_OR_RETURN(std::optional<LedgerRow> next, cursor_->Next());
      if (!next.has_value()) {
        cursor_.reset();
        old_done_ = true;
        return batch->range().size() > 0 ? FillResult::kFilled : FillResult::kEnd;
      }
      waiting_ = Waiting{.old = *next, .key = next->key};
    }
    const LedgerRow& row = *waiting_->old;
    const bool must_begin_here = std::binary_search(options_.cuts.begin(), options_.cuts.end(), row.ordinal);
    if (must_begin_here && batch->range().size() > 0) return FillResult::kFilled;
    if (row.state == SlotState::kRejected || (row.state == SlotState::kKept && !options_.replay)) {
      Extend(batch, row.ordinal);
      waiting_.reset();
      continue;
    }
    ABSL_ASSIGN_OR_RETURN(const bool placed, PlaceOld(batch));
    if (!placed) return FillResult::kFilled;
  }
}

absl::StatusOr<bool> RowReader::PlaceOld(Batch* batch) {
  const LedgerRow& row = *waiting_->old;
  if (row.state != SlotState::kKept && !waiting_->text.has_value()) {
    ABSL_ASSIGN_OR_RETURN(std::optional<RowView> found, options_.lookup->Find(row.key));
    if (!found.has_value()) {
      const absl::Status gone = absl::NotFoundError("the row is gone from the source");
      if (!batch->Fits(KeyBytes(row.key), 0)) return false;
      ledger_->Reject(row.key, row.ordinal, gone);
      batch->AddRow(row.ordinal, row.key, -1)->reject = gone;
      Extend(batch, row.ordinal);
      waiting_.reset();
      return true;
    }
    waiting_->text = found->text;
    waiting_->problem = found->problem;
  }
  return Place(batch);
}

absl::StatusOr<std::optional<LedgerRow>> RowReader::NextOwed() {
  // Pages of the ledger that hold none are passed over by opening it anew.
  constexpr int64_t kFar = 1 << 15;
  if (next_owed_ == options_.owed.size()) return std::nullopt;
  const int64_t wanted = options_.owed[next_owed_++];
  const int64_t last = next_owed_ >= 2 ? options_.owed[next_owed_ - 2] : -1;
  if (cursor_ == nullptr || wanted - last > kFar) {
    ABSL_ASSIGN_OR_RETURN(cursor_, ledger_->Scan(wanted));
  }
  while (true) {
    ABSL_ASSIGN_OR_RETURN(std::optional<LedgerRow> row, cursor_->Next());
    if (!row.has_value()) return absl::InternalError(absl::StrCat("the ledger lost its row ", wanted));
    if (row->ordinal == wanted) return row;
  }
}

absl::StatusOr<FillResult> RowReader::FillOwed(Batch* batch) {
  while (true) {
    if (!waiting_.has_value()) {
      ABSL_ASSIGN_OR_RETURN(std::optional<LedgerRow> next, NextOwed());
      if (!next.has_value()) {
        cursor_.reset();
        owed_done_ = true;
        return batch->range().size() > 0 ? FillResult::kFilled : FillResult::kEnd;
      }
      if (next->state == SlotState::kRejected) continue;
      waiting_ = Waiting{.old = *next, .key = next->key};
    }
    ABSL_ASSIGN_OR_RETURN(const bool placed, PlaceOld(batch));
    batch->set_range(OwedRange(static_cast<int64_t>(batch->rows().size())));
    if (!placed) return FillResult::kFilled;
  }
}

absl::Status RowReader::StartNew() {
  new_started_ = true;
  if (options_.new_rows != nullptr) {
    return options_.new_rows->after.has_value() ? source_->SeekAfter(ViewOf(*options_.new_rows->after))
                                                : absl::OkStatus();
  }
  if (old_rows_ == 0) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<LedgerCursor> last, ledger_->Scan(old_rows_ - 1));
  ABSL_ASSIGN_OR_RETURN(const std::optional<LedgerRow> row, last->Next());
  if (!row.has_value()) return absl::InternalError(absl::StrCat("the ledger lost its row ", old_rows_ - 1));
  return source_->SeekAfter(row->key);
}

absl::StatusOr<bool> RowReader::NextNew() {
  if (source_done_ || (options_.max_new_rows > 0 && new_rows_ >= options_.max_new_rows)) return false;
  const NewRows* const found = options_.new_rows;
  while (found != nullptr && next_new_key_ < found->keys.size()) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> row,
                          options_.lookup->Find(ViewOf(found->keys[next_new_key_++])));
    if (!row.has_value()) continue;  // it went meanwhile
    waiting_ = Waiting{.key = row->key, .text = row->text, .problem = row->problem};
    return true;
  }
  if (!new_started_) {
    ABSL_RETURN_IF_ERROR(StartNew());
  }
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> next, source_->Next());
    if (!next.has_value()) {
      source_done_ = true;
      return false;
    }
    if (found != nullptr && !found->known.empty() && found->known.contains(KeyPrint(next->key))) continue;
    waiting_ = Waiting{.key = next->key, .text = next->text, .problem = next->problem};
    return true;
  }
}

absl::StatusOr<FillResult> RowReader::FillNew(Batch* batch) {
  while (true) {
    if (!waiting_.has_value()) {
      ABSL_ASSIGN_OR_RETURN(const bool next, NextNew());
      if (!next) return batch->range().size() > 0 ? FillResult::kFilled : FillResult::kEnd;
      ++new_rows_;
    }
    if (!Place(batch)) return FillResult::kFilled;
  }
}

}  // namespace reembed
