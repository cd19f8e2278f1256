// SPDX-License-Identifier: Apache-2.0
#include "engine/table_sink.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/key.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

class TableSink final : public VectorSink {
 public:
  TableSink(absl::string_view place, int dim, std::unique_ptr<RowWriter> writer)
      : place_(place), dim_(dim), writer_(std::move(writer)) {}

  absl::StatusOr<bool> Prepare(const SinkContext& context) override {
    ABSL_RETURN_IF_ERROR(CheckWidth(place_, dim_, context.model.dim));
    return writer_->Prepare(context);
  }

  absl::StatusOr<int64_t> Open(const SinkContext& context, const SinkPosition& last) override {
    ABSL_RETURN_IF_ERROR(CheckWidth(place_, dim_, context.model.dim));
    return writer_->Begin(context, last);
  }

  absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) override {
    ABSL_RETURN_IF_ERROR(Collect(batches));
    if (rows_.empty()) return absl::OkStatus();
    ABSL_RETURN_IF_ERROR(writer_->NameRows(absl::MakeSpan(rows_)));
    const std::vector<RowToWrite*> wanted = Wanted();
    if (!wanted.empty()) {
      ABSL_RETURN_IF_ERROR(writer_->Write(wanted));
    }
    for (const RowToWrite& row : rows_) {
      if (!row.refusal.ok()) refused->push_back({row.row->ordinal, Named(row)});
    }
    return absl::OkStatus();
  }

  absl::Status Flush() override { return writer_->Flush(); }
  absl::Status Complete() override { return writer_->Complete(); }
  absl::Status Publish(const SinkContext& context) override { return writer_->Publish(context); }

 private:
  absl::Status Collect(absl::Span<const Batch* const> batches) {
    rows_.clear();
    for (const Batch* const batch : batches) {
      ABSL_RETURN_IF_ERROR(CheckWidth(place_, dim_, batch->dim()));
      for (const BatchRow& row : batch->rows()) {
        if (row.vector != nullptr) rows_.push_back({.row = &row});
      }
    }
    // Rows are numbered in the order of the source, which is the order of the table when both are the same.
    std::sort(rows_.begin(), rows_.end(),
              [](const RowToWrite& a, const RowToWrite& b) { return a.row->ordinal < b.row->ordinal; });
    return absl::OkStatus();
  }

  // As if rows were written one by one: the last of a key stays.
  std::vector<RowToWrite*> Wanted() {
    std::vector<RowToWrite*> wanted;
    wanted.reserve(rows_.size());
    absl::flat_hash_set<absl::string_view> later;
    for (auto row = rows_.rbegin(); row != rows_.rend(); ++row) {
      if (row->refusal.ok() && (!row->key.has_value() || later.insert(*row->key).second)) wanted.push_back(&*row);
    }
    std::reverse(wanted.begin(), wanted.end());
    return wanted;
  }

  absl::Status Named(const RowToWrite& row) const {
    return absl::Status(row.refusal.code(),
                        absl::StrCat(place_, ": row ", KeyText(row.row->key), ": ", row.refusal.message()));
  }

  const std::string place_;
  const int dim_;
  const std::unique_ptr<RowWriter> writer_;
  std::vector<RowToWrite> rows_;  // of one Write()
};

}  // namespace

std::unique_ptr<VectorSink> MakeTableSink(absl::string_view place, int dim, std::unique_ptr<RowWriter> writer) {
  return std::make_unique<TableSink>(place, dim, std::move(writer));
}

absl::Status LogOldRows(absl::Span<RowToWrite* const> rows, UndoLog* log,
                        absl::FunctionRef<absl::StatusOr<bool>(size_t row, std::optional<absl::string_view>*)> find) {
  if (log == nullptr) return absl::OkStatus();
  size_t next = 0;
  return log->Log([&]() -> absl::StatusOr<std::optional<OldRow>> {
    while (next < rows.size()) {
      OldRow old{.ordinal = rows[next]->row->ordinal, .key = rows[next]->row->key};
      ABSL_ASSIGN_OR_RETURN(const bool shown, find(next++, &old.content));
      if (shown) return old;
    }
    return std::nullopt;
  });
}

}  // namespace reembed
