// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_BATCH_H_
#define REEMBED_ENGINE_BATCH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/key.h"
#include "engine/number/normalize.h"

namespace reembed {

// Half-open range [begin, end) of row ordinals. An ordinal is the number that the ledger gave a selected row, dense
// from 0; it never changes and is never reused.
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  friend bool operator==(const RowRange&, const RowRange&) = default;
};

// Fixed limits of one batch. Multiplied by the number of batches in flight they limit the memory of the whole run.
struct BatchLimits {
  int max_texts = 256;                        // texts to embed, including parts of texts: inputs of one request
  int max_rows = 512;                         // rows; more than texts because rows may share a text
  int64_t max_tokens = 0;                     // model tokens that the API takes in one request; 0: not limited
  size_t max_text_bytes = size_t{1} << 20;    // keys and texts of one batch in total; so also the longest text
  size_t max_reply_bytes = size_t{64} << 20;  // a longer reply is an error
};

// From which part of its text the vector of a row is made.
enum class Embedded : uint8_t {
  kWhole,      // the whole text
  kTruncated,  // its beginning: the text is too long for the model
  kSplit,      // the mean of its parts: the text is too long for the model
};

// One row of a batch. When the sinks get it, it has a vector or a reason why it has none.
struct BatchRow {
  int64_t ordinal = 0;
  int64_t slot = -1;              // the place of its text's vector in the vector store; -1: it has none
  int text = -1;                  // index into the batch's texts; -1: another batch buys, or has bought, its text
  KeyView key;                    // valid until Batch::Clear()
  const float* vector = nullptr;  // [dim], set by `persist`; valid until Batch::Clear(). Null: the sinks skip this row
  absl::Status reject;            // not OK: this row gets no vector in any run, and this is why
  bool replayed = false;          // its vector was bought by an earlier run and is written to a sink again
  Embedded embedded = Embedded::kWhole;  // unknown for replayed rows
};

// A text to embed, or a part of one, for Batch::AddRowWithText().
struct TextPart {
  absl::string_view text;
  int64_t tokens = 0;
};

// Whether a text is too long for the model, in tokens as the provider counts them. 0: it gave no number.
struct Overlength {
  bool refused = false;
  bool estimated = false;  // the text was not sent: the numbers are our estimates
  int64_t limit = 0;       // tokens
  int64_t tokens = 0;      // of the text as it was sent
};

// What went wrong with the replies for one text so far. Used only by the client.
struct ReplyTrouble {
  int faults = 0;            // replies without a usable vector for it
  int most = 0;              // maximum number of texts in its next request; 0: as many as fit
  int64_t taken_before = 0;  // vectors that the client had received when the trouble began
  bool compared = false;     // since then the client has sent a control text
};

// One text to embed, and the result.
struct BatchText {
  absl::string_view text;  // UTF-8, not empty; valid until Batch::Clear()
  int64_t slot = 0;        // where its vector belongs
  int64_t tokens = 0;      // model tokens, counted or estimated
  absl::Status reject;     // not OK: the provider refused this text, with this message
  int part_of = -1;        // this and all texts with the same number are parts of one text, until MergeParts()
  Overlength too_long;     // in addition to `reject`: it was refused because of its length
  Embedded embedded = Embedded::kWhole;  // what the client has embedded of it
  bool answered = false;                 // Decode() has its vector, which is paid for: the text is not sent again
  ReplyTrouble trouble;
};

// A vector of a reply that was decoded while the reply arrived: the k-th of them is in row first_text + k of the batch.
struct DecodedVector {
  size_t at = 0;  // position of its placeholder in the body, ""
  VectorFault fault = VectorFault::kNone;
};

// The answer to one request: `texts` texts from `first_text` on. A client that splits a batch makes several.
struct Reply {
  int first_text = 0;
  int texts = 0;
  std::vector<int> order;  // its k-th vector is that of text first_text + order[k]; empty: of first_text + k
  std::string body;        // without these vectors:
  std::vector<DecodedVector> decoded;  // in the order of the body
};

// What moves through the pipeline: rows and their texts, then one matrix of their vectors.
// Not thread-safe: one stage at a time writes to a batch; the sinks share it read-only.
// Buffers are allocated once and live as long as the batch.
class Batch {
 public:
  Batch(const BatchLimits& limits, int dim);
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  // Removes the content; frees no memory.
  void Clear();

  // Whether a row with a key and `texts` texts, 0 or more, of so many bytes in total still fits. Tokens are checked by
  // RequestPacker.
  [[nodiscard]] bool Fits(size_t key_and_text_bytes, int texts) const;

  // Adds a row without text (bought elsewhere, or rejected); copies the key. Precondition: Fits().
  BatchRow* AddRow(int64_t ordinal, KeyView key, int64_t slot);

  // Adds a row whose text this batch buys; copies key and text. Precondition: Fits().
  BatchRow* AddRowWithText(int64_t ordinal, KeyView key, int64_t slot, absl::string_view text, int64_t tokens);

  // As AddRowWithText(), for a text that is embedded in parts. All parts are in this batch, so that the complete vector
  // is persisted.
  BatchRow* AddRowWithParts(int64_t ordinal, KeyView key, int64_t slot, absl::Span<const TextPart> parts);

  // After Decode: joins the parts of each text into one text again. Its vector is the mean of its parts' vectors,
  // weighted by tokens and scaled to length 1; if a part was refused, the text is refused.
  void MergeParts();

  // The ordinals that this batch covers, including rows that it skips because they are done.
  const RowRange& range() const { return range_; }
  void set_range(RowRange range) { range_ = range; }

  absl::Span<BatchRow> rows() { return absl::MakeSpan(rows_); }
  absl::Span<const BatchRow> rows() const { return rows_; }
  absl::Span<BatchText> texts() { return absl::MakeSpan(texts_); }
  absl::Span<const BatchText> texts() const { return texts_; }
  int64_t tokens() const { return tokens_; }
  int dim() const { return dim_; }
  const BatchLimits& limits() const { return limits_; }

  // The vectors of texts(), shape [texts().size(), dim], row-major; written by the client between Send and the end of
  // Decode.
  absl::Span<float> vectors();
  absl::Span<const float> vectors() const;

  // For the ledger: room for vectors of `rows` more rows that do not come from this batch's texts, [rows, dim]. At most
  // max_rows rows in all until Clear().
  absl::Span<float> TakeLoadSpace(int rows);

  // Between Send and Decode; used only by the client.
  std::vector<Reply>& replies() { return replies_; }
  const std::vector<Reply>& replies() const { return replies_; }

  // First failure of any stage; later stages pass a failed batch through. Its rows stay pending, but the
  // vectors that the client has for some of its texts are paid for and are persisted: see HasVector().
  const absl::Status& status() const { return status_; }
  void Fail(absl::Status status);
  // As Fail(), if its vectors may be of another model or batch: none is persisted.
  void Distrust(absl::Status status);

  // After Decode: whether a text has a vector that can be persisted. In a failed batch only answered texts have.
  bool HasVector(const BatchText& text) const { return text.reject.ok() && (status_.ok() || text.answered); }

  // How often some of its texts were sent again because a reply was unusable.
  int attempts() const { return attempts_; }
  void NextAttempt() { ++attempts_; }

  // The most memory, in bytes, that one batch uses: texts, vectors, reply and request body.
  static int64_t BytesOf(const BatchLimits& limits, int dim);

 private:
  absl::string_view Copy(absl::string_view bytes);
  void MergeInto(size_t first, size_t end);

  const BatchLimits limits_;
  const int dim_;
  RowRange range_;
  std::vector<BatchRow> rows_;
  std::vector<BatchText> texts_;
  std::unique_ptr<char[]> arena_;  // max_text_bytes
  size_t arena_used_ = 0;
  int64_t tokens_ = 0;
  std::unique_ptr<float[]> vectors_;  // [max_texts, dim]
  std::unique_ptr<float[]> loaded_;   // [max_rows, dim], made when a row needs it; used from its beginning
  int loaded_rows_ = 0;
  std::vector<Reply> replies_;
  absl::Status status_;
  int attempts_ = 0;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_BATCH_H_
