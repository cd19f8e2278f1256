// SPDX-License-Identifier: Apache-2.0
#include "io/job/batch_keeping.h"

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "engine/status_macros.h"

namespace reembed {

std::vector<int> OwnTexts(const Batch& batch) {
  std::vector<int> own(batch.rows().size(), -1);
  absl::flat_hash_map<int64_t, int> text_of_slot;
  for (size_t i = 0; i < own.size(); ++i) {
    const BatchRow& row = batch.rows()[i];
    own[i] = row.text;
    if (row.text >= 0 || row.slot < 0) continue;
    // Only now: most batches have no row without a text of its own.
    if (text_of_slot.empty()) {
      for (size_t t = 0; t < batch.texts().size(); ++t) text_of_slot[batch.texts()[t].slot] = static_cast<int>(t);
    }
    const auto found = text_of_slot.find(row.slot);
    if (found != text_of_slot.end()) own[i] = found->second;
  }
  return own;
}

absl::Status WriteVectors(const Batch& batch, int format, VectorFile* file, std::vector<KeptRun>* runs) {
  const absl::Span<const BatchText> texts = batch.texts();
  const size_t dim = batch.dim();
  for (size_t begin = 0; begin < texts.size();) {
    if (!batch.HasVector(texts[begin])) {
      ++begin;
      continue;
    }
    size_t end = begin + 1;
    while (end < texts.size() && batch.HasVector(texts[end]) && texts[end].slot == texts[end - 1].slot + 1) ++end;
    const absl::Span<const float> vectors = batch.vectors().subspan(begin * dim, (end - begin) * dim);
    ABSL_RETURN_IF_ERROR(file->Write(texts[begin].slot, vectors));
    KeptRun run = {.slots = {texts[begin].slot, texts[end - 1].slot + 1}};
    if (format == 1) {
      run.checksum = VectorFile::Checksum(vectors);
    } else {
      run.sums.reserve((end - begin) * kSumBytes);
      for (size_t i = begin; i < end; ++i) {
        const uint32_t sum = VectorFile::SlotSum(texts[i].slot, batch.vectors().subspan(i * dim, dim));
        run.sums.append(reinterpret_cast<const char*>(&sum), sizeof(sum));
      }
    }
    runs->push_back(std::move(run));
    begin = end;
  }
  return absl::OkStatus();
}

absl::Status LoadVectors(absl::Span<const int> rows, KeptVectors* kept, Batch* batch) {
  const absl::Span<BatchRow> batch_rows = batch->rows();
  for (size_t begin = 0; begin < rows.size();) {
    // Rows and slots that follow each other have their room and their vectors side by side.
    size_t end = begin + 1;
    while (end < rows.size() && rows[end] == rows[end - 1] + 1 &&
           batch_rows[rows[end]].slot == batch_rows[rows[end - 1]].slot + 1) {
      ++end;
    }
    const absl::Span<float> vectors = batch->TakeLoadSpace(static_cast<int>(end - begin));
    ABSL_RETURN_IF_ERROR(kept->Read(batch_rows[rows[begin]].slot, vectors));
    for (size_t i = begin; i < end; ++i) batch_rows[rows[i]].vector = vectors.data() + (i - begin) * batch->dim();
    begin = end;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<SlotRange>> FindDamage(absl::Span<const KeptRun> runs, int64_t from_epoch,
                                                  const VectorFile& file, KeptVectors* vectors) {
  ABSL_ASSIGN_OR_RETURN(const int64_t slots, file.slots());
  std::vector<SlotRange> damaged;
  for (const KeptRun& run : runs) {
    if (run.slots.end <= slots && run.epoch < from_epoch) continue;
    ABSL_RETURN_IF_ERROR(vectors->FindDamage(run.slots, &damaged));
  }
  return damaged;
}

}  // namespace reembed
