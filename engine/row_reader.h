// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_ROW_READER_H_
#define REEMBED_ENGINE_ROW_READER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/batch.h"
#include "engine/ledger.h"
#include "engine/owed_rows.h"
#include "engine/pace/request_packer.h"
#include "engine/source.h"
#include "engine/text/long_text.h"
#include "engine/text/token_counter.h"
#include "engine/text/token_estimator.h"

namespace reembed {

enum class FillResult { kFilled, kEnd };

// Decides which row enters which batch: first the rows of earlier runs that a sink still needs or that were never
// bought, in ordinal order, then those that are owed, then the new rows of the source. But for batches of owed rows,
// they get ascending, disjoint ranges of ordinals.
// Rows without a usable text are rejected here, with the reason; so are, cut or split those with a text that is
// certainly too long for the model. Not thread-safe.
class RowReader {
 public:
  struct Options {
    int64_t from = 0;           // the lowest ordinal any sink needs
    bool replay = true;         // whether there is a sink that wants rows which are bought already
    std::vector<int64_t> cuts;  // ordinals at which a batch must begin, because a sink does; any order
    int64_t max_new_rows = 0;   // 0: all
    TextLimit text_limit;
    size_t max_text_bytes = kMaxTextBytes;      // see PipelineOptions
    const TokenEstimator* estimator = nullptr;  // see RequestPacker
    int64_t quota_tokens = 0;                   // likewise
    LearnedCapsOfAll learned;                   // likewise
    std::vector<int64_t> owed;          // ordinals of rows that sinks with higher positions must get again; ascending
    Source* lookup = nullptr;           // as PipelineParts
    const NewRows* new_rows = nullptr;  // as PipelineParts
  };

  // All are borrowed. `limits`: of the batches that Fill() will get.
  RowReader(Source* source, RowLedger* ledger, const TokenCounter* count_tokens, const BatchLimits& limits,
            Options options);

  // Fills a cleared batch. kEnd: there was no row left, the batch is empty.
  // Errors: of the source or the ledger.
  absl::StatusOr<FillResult> Fill(Batch* batch);

 private:
  // What will be embedded of a row.
  struct Prepared {
    absl::Status problem;  // not OK: nothing
    std::vector<TextPart> parts;
    int64_t tokens = 0;
    size_t bytes = 0;
    Embedded embedded = Embedded::kWhole;
  };

  // A row that is known but has not found room yet. The views are the source's, which is not called meanwhile.
  struct Waiting {
    std::optional<LedgerRow> old;  // nullopt: a new row
    KeyView key;
    std::optional<absl::string_view> text;
    absl::string_view problem = {};  // as RowView
    std::optional<Prepared> prepared;
  };

  absl::StatusOr<FillResult> FillRows(Batch* batch);
  absl::StatusOr<FillResult> FillOld(Batch* batch);
  absl::StatusOr<FillResult> FillOwed(Batch* batch);
  absl::StatusOr<FillResult> FillNew(Batch* batch);
  absl::StatusOr<std::optional<LedgerRow>> NextOwed();
  // Places the row of an earlier run that waits; false: the batch is full.
  absl::StatusOr<bool> PlaceOld(Batch* batch);
  absl::Status StartNew();
  // The next row that the ledger does not have, into waiting_; false: there is none.
  absl::StatusOr<bool> NextNew();
  Prepared Prepare(const RowView& row, size_t max_bytes, int max_parts) const;
  // Adds the row, or leaves it in waiting_ when it does not fit.
  [[nodiscard]] bool Place(Batch* batch);
  void Extend(Batch* batch, int64_t ordinal);

  Source* const source_;
  RowLedger* const ledger_;
  const TokenCounter* const count_tokens_;
  Options options_;
  RequestPacker packer_;
  int64_t text_bytes_ = 0;                // of the texts that the batch buys
  const int64_t old_rows_;                // numbered before this run
  std::unique_ptr<LedgerCursor> cursor_;  // null once the old rows are through
  bool old_done_ = false;
  bool owed_done_ = false;
  size_t next_owed_ = 0;     // in options_.owed
  size_t next_new_key_ = 0;  // in NewRows::keys
  bool new_started_ = false;
  bool source_done_ = false;
  int64_t new_rows_ = 0;
  std::optional<Waiting> waiting_;
};

// Why a text cannot be embedded; OK if it can. A text of white space only says as little as an empty one. `max_bytes`
// bounds what is sent of it.
absl::Status CheckText(std::optional<absl::string_view> text, size_t max_bytes);

// Likewise, of a row.
absl::Status CheckRow(const RowView& row, size_t max_bytes);

}  // namespace reembed

#endif  // REEMBED_ENGINE_ROW_READER_H_
