// SPDX-License-Identifier: Apache-2.0
#include "io/file/npy_stream_sink.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/output_form.h"
#include "engine/status_macros.h"
#include "io/file/file.h"
#include "io/file/matrix_format.h"
#include "io/file/sink_checks.h"
#include "io/file/stream_output.h"

namespace reembed {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr char kName[] = "standard output";

// Gone with the process, however that ends.
absl::StatusOr<File> NamelessFile() {
  const char* const named = std::getenv("TMPDIR");
  const std::string folder = named == nullptr || *named == '\0' ? "/tmp" : named;
  const int fd = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0) return File(fd, folder);
  // Not every file system has files without names.
  std::string path = folder + "/reembed-XXXXXX";
  const int named_fd = mkostemp(path.data(), O_CLOEXEC);
  if (named_fd < 0) {
    return FileError(folder, "keep the rows there until all are known; TMPDIR names another folder", errno);
  }
  unlink(path.c_str());
  return File(named_fd, folder);
}

class NpyStreamSink final : public VectorSink {
 public:
  NpyStreamSink(int fd, int dim) : fd_(fd), dim_(dim) {}

  RowOrder row_order() const override { return RowOrder::kAscending; }

  absl::StatusOr<int64_t> Open(const SinkContext&, const SinkPosition&) override {
    ABSL_RETURN_IF_ERROR(Begin());
    rows_ = bytes_ = 0;
    buffer_.clear();
    order_ = AscendingRows();
    ABSL_RETURN_IF_ERROR(rows_file_.Truncate(0));
    return 0;
  }

  absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>*) override {
    for (const Batch* const batch : batches) {
      ABSL_RETURN_IF_ERROR(CheckWidth(kName, dim_, batch->dim()));
      for (const BatchRow& row : batch->rows()) {
        if (row.vector == nullptr) continue;
        ABSL_RETURN_IF_ERROR(order_.Check(kName, row));
        buffer_.append(reinterpret_cast<const char*>(row.vector), static_cast<size_t>(dim_) * sizeof(float));
        ++rows_;
        if (buffer_.size() < kBufferBytes) continue;
        ABSL_RETURN_IF_ERROR(Flush());
      }
    }
    return absl::OkStatus();
  }

  absl::Status Flush() override {
    if (buffer_.empty()) return absl::OkStatus();
    ABSL_RETURN_IF_ERROR(rows_file_.WriteAt(bytes_, buffer_));
    bytes_ += static_cast<int64_t>(buffer_.size());
    buffer_.clear();
    return absl::OkStatus();
  }

  absl::Status Complete() override { return Flush(); }

  // Not in Complete(), behind which rows that have changed meanwhile may come once more.
  absl::Status Publish(const SinkContext&) override {
    if (std::exchange(published_, true)) return absl::OkStatus();
    ABSL_RETURN_IF_ERROR(Begin());
    ABSL_RETURN_IF_ERROR(WriteToStream(fd_, kNpyFormat.header(rows_, dim_, OutputType::kFloat32)));
    std::string piece;
    for (int64_t done = 0; done < bytes_;) {
      piece.resize(static_cast<size_t>(std::min<int64_t>(kBufferBytes, bytes_ - done)));
      ABSL_ASSIGN_OR_RETURN(const size_t read, rows_file_.ReadAt(done, absl::MakeSpan(piece)));
      if (read != piece.size()) return absl::DataLossError(absl::StrCat(kName, ": the rows were cut short meanwhile"));
      ABSL_RETURN_IF_ERROR(WriteToStream(fd_, piece));
      done += static_cast<int64_t>(read);
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Begin() {
    if (rows_file_.fd() >= 0) return absl::OkStatus();
    ABSL_ASSIGN_OR_RETURN(rows_file_, NamelessFile());
    return absl::OkStatus();
  }

  const int fd_;
  const int dim_;
  File rows_file_;
  int64_t rows_ = 0;   // buffer_ included
  int64_t bytes_ = 0;  // in the file
  std::string buffer_;
  bool published_ = false;  // a part of it may be out, so nothing can follow
  AscendingRows order_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorSink>> MakeNpyStreamSink(const Location& location, const Model& model, int fd) {
  ABSL_RETURN_IF_ERROR(location.CheckParameters({}));
  return std::make_unique<NpyStreamSink>(fd, model.dim);
}

}  // namespace reembed
