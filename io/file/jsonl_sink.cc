// SPDX-License-Identifier: Apache-2.0
#include "io/file/jsonl_sink.h"

#include <charconv>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/key.h"
#include "engine/status_macros.h"
#include "io/file/growing_file.h"
#include "io/file/jsonl_reader.h"
#include "io/file/line_reader.h"
#include "io/file/sink_checks.h"
#include "io/file/stream_output.h"

namespace reembed {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr size_t kMaxNumberBytes = 16;  // "-1.17549435e-38,"

void AppendLine(const BatchRow& row, int dim, std::string* out) {
  absl::StrAppend(out, "{\"key\":", KeyJson(row.key), ",\"embedding\":[");
  const size_t begin = out->size();
  out->resize(begin + static_cast<size_t>(dim) * kMaxNumberBytes);
  char* to = out->data() + begin;
  for (int i = 0; i < dim; ++i) {
    to = std::to_chars(to, to + kMaxNumberBytes, row.vector[i]).ptr;
    *to++ = ',';
  }
  out->resize(static_cast<size_t>(to - out->data()) - 1);  // without the last comma
  out->append("]}\n");
}

// Bytes of the first `rows` lines, if the vector in the first has `dim` numbers.
absl::StatusOr<std::optional<int64_t>> BytesOfLines(const File& file, int64_t rows, int dim) {
  LineReader lines(&file);
  const absl::StatusOr<std::optional<Line>> first = lines.Next();
  if (absl::IsDataLoss(first.status())) return std::nullopt;
  ABSL_RETURN_IF_ERROR(first.status());
  if (rows > 0 && (!first->has_value() || CountJsonlNumbers(**first) != dim)) return std::nullopt;
  return OffsetBehindLines(file, rows);
}

class JsonlSink final : public VectorSink {
 public:
  JsonlSink(const std::string& path, int dim) : path_(path), dim_(dim), files_({Lines(path, dim)}) {}

  RowOrder row_order() const override { return RowOrder::kAscending; }

  absl::StatusOr<int64_t> Open(const SinkContext&, const SinkPosition& last) override { return files_.Open(last); }

  absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>*) override {
    ABSL_RETURN_IF_ERROR(files_.BeginWriting());
    for (const Batch* const batch : batches) {
      ABSL_RETURN_IF_ERROR(CheckWidth(path_, dim_, batch->dim()));
      for (const BatchRow& row : batch->rows()) {
        if (row.vector == nullptr) continue;
        ABSL_RETURN_IF_ERROR(order_.Check(path_, row));
        line_.clear();
        AppendLine(row, dim_, &line_);
        ABSL_RETURN_IF_ERROR(files_.Append(0, line_));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Flush() override { return files_.Flush(); }
  absl::Status Complete() override { return files_.Finish(); }

 private:
  static GrowingFile Lines(const std::string& path, int dim) {
    return {.path = path, .header = "", .measure = [dim](const File& file, int64_t rows) {
              return BytesOfLines(file, rows, dim);
            }};
  }

  const std::string path_;
  const int dim_;
  GrowingFiles files_;
  AscendingRows order_;
  std::string line_;
};

class JsonlStreamSink final : public VectorSink {
 public:
  explicit JsonlStreamSink(int fd) : fd_(fd) {}

  RowOrder row_order() const override { return RowOrder::kAscending; }

  absl::StatusOr<int64_t> Open(const SinkContext&, const SinkPosition&) override { return 0; }

  absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>*) override {
    for (const Batch* const batch : batches) {
      for (const BatchRow& row : batch->rows()) {
        if (row.vector == nullptr) continue;
        ABSL_RETURN_IF_ERROR(order_.Check("standard output", row));
        AppendLine(row, batch->dim(), &buffer_);
        if (buffer_.size() < kBufferBytes) continue;
        ABSL_RETURN_IF_ERROR(Flush());
      }
    }
    return absl::OkStatus();
  }

  absl::Status Flush() override {
    if (failure_.ok()) failure_ = WriteToStream(fd_, buffer_);
    buffer_.clear();
    return failure_;
  }

  absl::Status Complete() override { return Flush(); }

 private:
  const int fd_;
  AscendingRows order_;
  std::string buffer_;
  absl::Status failure_;  // a part of a line may be out, so nothing can follow
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorSink>> MakeJsonlSink(const Location& location, const Model& model) {
  ABSL_RETURN_IF_ERROR(CheckFileTarget(location, model));
  return std::make_unique<JsonlSink>(location.path, model.dim);
}

std::unique_ptr<VectorSink> MakeJsonlStreamSink(int fd) { return std::make_unique<JsonlStreamSink>(fd); }

}  // namespace reembed
