// SPDX-License-Identifier: Apache-2.0
#include "io/job/kept_vectors.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

// Enough that the disk, not the calls, limits a check of the whole file.
constexpr int64_t kPieceBytes = int64_t{4} << 20;

void AddRange(const SlotRange& range, std::vector<SlotRange>* ranges) {
  if (!ranges->empty() && ranges->back().end == range.begin) {
    ranges->back().end = range.end;
  } else {
    ranges->push_back(range);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<KeptVectors>> KeptVectors::Open(LedgerConnection* ledger, const VectorFile* file) {
  ABSL_ASSIGN_OR_RETURN(const int format, ReadFormat(ledger));
  ABSL_ASSIGN_OR_RETURN(
      LedgerStatement find,
      ledger->Prepare(absl::StrCat("SELECT slot_begin, slot_end, checksum, epoch, ", format == 1 ? "x''" : "sums",
                                   " FROM kept WHERE slot_begin <= ?1 ORDER BY slot_begin DESC LIMIT 1")));
  return std::unique_ptr<KeptVectors>(new KeptVectors(format, file, std::move(find)));
}

absl::Status KeptVectors::Load(int64_t slot) {
  if (slot >= run_.slots.begin && slot < run_.slots.end) return absl::OkStatus();
  run_ = {};
  find_.Bind(1, slot);
  ABSL_ASSIGN_OR_RETURN(const bool found, find_.Step());
  if (found) {
    run_ = {.slots = {find_.Integer(0), find_.Integer(1)},
            .checksum = static_cast<uint64_t>(find_.Integer(2)),
            .epoch = find_.Integer(3),
            .sums = std::string(find_.Blob(4))};
    find_.Reset();
  }
  if (slot >= run_.slots.end) {
    run_ = {};
    return absl::DataLossError(absl::StrCat(file_->path(), ": slot ", slot, " is no longer in the ledger"));
  }
  if (format_ > 1) {
    is_sound_ =
        static_cast<int64_t>(run_.sums.size()) == run_.slots.size() * kSumBytes && SealOf(run_) == run_.checksum;
    return absl::OkStatus();
  }
  const absl::StatusOr<uint64_t> checksum = file_->ChecksumOf(run_.slots.begin, run_.slots.end);
  if (!checksum.ok() && !absl::IsDataLoss(checksum.status())) return checksum.status();
  is_sound_ = checksum.ok() && *checksum == run_.checksum;
  return absl::OkStatus();
}

bool KeptVectors::IsSound(int64_t slot, absl::Span<const float> vector) const {
  if (!is_sound_ || format_ == 1) return is_sound_;
  uint32_t sum = 0;
  std::memcpy(&sum, run_.sums.data() + (slot - run_.slots.begin) * kSumBytes, kSumBytes);
  return sum == VectorFile::SlotSum(slot, vector);
}

absl::Status KeptVectors::Damaged(int64_t begin, int64_t end) const {
  return absl::DataLossError(absl::StrCat(
      file_->path(), ": ",
      end - begin == 1 ? absl::StrCat("slot ", begin, " is") : absl::StrCat("slots ", begin, " to ", end - 1, " are"),
      " damaged; `reembed verify` can repair that by buying it again"));
}

absl::Status KeptVectors::Read(int64_t slot, absl::Span<float> vectors) {
  const auto dim = static_cast<size_t>(file_->dim());
  while (!vectors.empty()) {
    ABSL_RETURN_IF_ERROR(Load(slot));
    const auto wanted = static_cast<int64_t>(vectors.size() / dim);
    const int64_t end = std::min(run_.slots.end, slot + wanted);
    const absl::Span<float> part = vectors.first(static_cast<size_t>(end - slot) * dim);
    ABSL_RETURN_IF_ERROR(file_->Read(slot, part));
    for (size_t i = 0; i < part.size() / dim; ++i) {
      const int64_t at = slot + static_cast<int64_t>(i);
      if (IsSound(at, part.subspan(i * dim, dim))) continue;
      return format_ == 1 ? Damaged(run_.slots.begin, run_.slots.end) : Damaged(at, at + 1);
    }
    vectors.remove_prefix(part.size());
    slot = end;
  }
  return absl::OkStatus();
}

absl::Status KeptVectors::FindDamage(const SlotRange& run, std::vector<SlotRange>* damaged) {
  Forget();  // it may have been read before it was damaged
  ABSL_RETURN_IF_ERROR(Load(run.begin));
  ABSL_ASSIGN_OR_RETURN(const int64_t slots, file_->slots());
  if (!is_sound_) AddRange(run, damaged);
  if (!is_sound_ || format_ == 1) return absl::OkStatus();
  const int64_t dim = file_->dim();
  const int64_t piece_slots = std::max<int64_t>(1, kPieceBytes / (dim * static_cast<int64_t>(sizeof(float))));
  const int64_t end = std::min(run.end, slots);
  for (int64_t begin = run.begin; begin < end; begin += piece_slots) {
    const int64_t count = std::min(piece_slots, end - begin);
    piece_.resize(static_cast<size_t>(count * dim));
    ABSL_RETURN_IF_ERROR(file_->Read(begin, absl::MakeSpan(piece_)));
    for (int64_t i = 0; i < count; ++i) {
      const absl::Span<const float> vector(piece_.data() + i * dim, static_cast<size_t>(dim));
      if (!IsSound(begin + i, vector)) AddRange({begin + i, begin + i + 1}, damaged);
    }
  }
  if (run.end > end) AddRange({std::max(end, run.begin), run.end}, damaged);
  return absl::OkStatus();
}

absl::StatusOr<SlotRange> KeptVectors::LostWith(int64_t slot) {
  ABSL_RETURN_IF_ERROR(Load(slot));
  return format_ == 1 || !is_sound_ ? run_.slots : SlotRange{slot, slot + 1};
}

}  // namespace reembed
