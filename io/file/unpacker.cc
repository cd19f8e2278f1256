// SPDX-License-Identifier: Apache-2.0
#include "io/file/unpacker.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr size_t kInputBytes = size_t{256} << 10;
constexpr size_t kDroppedBytes = size_t{64} << 10;
constexpr absl::string_view kGzipMagic("\x1f\x8b", 2);
constexpr absl::string_view kZstdMagic("\x28\xb5\x2f\xfd", 4);

// Packed bytes that are not taken yet, and room for the text.
struct Flow {
  absl::Span<const char> in;
  absl::Span<char> out;
};

// One packed text, piece by piece.
class Format {
 public:
  virtual ~Format() = default;
  // Begins with the first packed byte.
  virtual void Begin() = 0;
  // Takes from the front of both as much as it can. Returns whether what it took ends a whole text, behind which there
  // may be another. Errors: kDataLoss (without the place).
  virtual absl::StatusOr<bool> Unpack(Flow* flow) = 0;
};

class Gzip final : public Format {
 public:
  // 16: with the header of gzip. Its only failure is want of memory, which Unpack() tells.
  Gzip() { ready_ = inflateInit2(&stream_, MAX_WBITS + 16) == Z_OK; }
  ~Gzip() override {
    if (ready_) inflateEnd(&stream_);
  }

  void Begin() override {
    if (ready_) inflateReset(&stream_);
  }

  absl::StatusOr<bool> Unpack(Flow* flow) override {
    if (!ready_) return absl::ResourceExhaustedError("out of memory");
    if (std::exchange(ended_, false)) inflateReset(&stream_);
    // zlib's own interface has no const.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(flow->in.data()));
    stream_.avail_in = static_cast<uInt>(flow->in.size());
    stream_.next_out = reinterpret_cast<Bytef*>(flow->out.data());
    stream_.avail_out = static_cast<uInt>(flow->out.size());
    const int code = inflate(&stream_, Z_NO_FLUSH);
    flow->in.remove_prefix(flow->in.size() - stream_.avail_in);
    flow->out.remove_prefix(flow->out.size() - stream_.avail_out);
    ended_ = code == Z_STREAM_END;
    if (code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR) return ended_;
    return absl::DataLossError(stream_.msg == nullptr ? "no reason given" : stream_.msg);
  }

 private:
  z_stream stream_ = {};
  bool ready_ = false;
  bool ended_ = false;
};

class Zstd final : public Format {
 public:
  Zstd() : stream_(ZSTD_createDStream()) {}
  ~Zstd() override { ZSTD_freeDStream(stream_); }

  void Begin() override {
    if (stream_ != nullptr) ZSTD_DCtx_reset(stream_, ZSTD_reset_session_only);
  }

  absl::StatusOr<bool> Unpack(Flow* flow) override {
    if (stream_ == nullptr) return absl::ResourceExhaustedError("out of memory");
    ZSTD_inBuffer in = {flow->in.data(), flow->in.size(), 0};
    ZSTD_outBuffer out = {flow->out.data(), flow->out.size(), 0};
    const size_t left = ZSTD_decompressStream(stream_, &out, &in);
    if (ZSTD_isError(left) != 0) return absl::DataLossError(ZSTD_getErrorName(left));
    flow->in.remove_prefix(in.pos);
    flow->out.remove_prefix(out.pos);
    return left == 0;
  }

 private:
  ZSTD_DStream* const stream_;
};

class PackedFile final : public Unpacker {
 public:
  // The file has `bytes` bytes, or had them a moment ago.
  PackedFile(const File* file, std::unique_ptr<Format> format, int64_t bytes)
      : file_(file),
        format_(std::move(format)),
        input_(std::clamp<size_t>(static_cast<size_t>(bytes), kZstdMagic.size(), kInputBytes)) {}

  absl::StatusOr<size_t> ReadAt(int64_t offset, absl::Span<char> to) override {
    if (offset < offset_) Rewind();
    std::vector<char> dropped(offset > offset_ ? kDroppedBytes : 0);
    while (offset_ < offset) {
      const size_t piece = std::min(static_cast<size_t>(offset - offset_), dropped.size());
      const absl::StatusOr<size_t> passed = Read(absl::MakeSpan(dropped.data(), piece));
      if (!passed.ok() || *passed < piece) return passed.ok() ? absl::StatusOr<size_t>(0) : passed;
    }
    return Read(to);
  }

 private:
  void Rewind() {
    format_->Begin();
    in_ = {};
    packed_ = 0;
    offset_ = 0;
    whole_ = true;
  }

  absl::StatusOr<size_t> Read(absl::Span<char> to) {
    Flow flow{.in = in_, .out = to};
    while (!flow.out.empty()) {
      if (flow.in.empty()) {
        ABSL_ASSIGN_OR_RETURN(const size_t read, file_->ReadAt(packed_, absl::MakeSpan(input_)));
        packed_ += static_cast<int64_t>(read);
        flow.in = absl::MakeConstSpan(input_).subspan(0, read);
      }
      const bool at_end = flow.in.empty();
      // The padding of tapes, which gzip passes over, too.
      if (whole_ && !at_end && flow.in.front() == '\0') flow.in = {};
      if (whole_ && at_end) break;
      if (flow.in.empty() && !at_end) continue;
      const size_t room = flow.out.size();
      const absl::StatusOr<bool> ended = format_->Unpack(&flow);
      if (!ended.ok()) return Damaged(ended.status().message());
      if (at_end && flow.out.size() == room && !*ended) return Damaged("it ends too early");
      whole_ = *ended;
    }
    in_ = flow.in;
    const size_t got = to.size() - flow.out.size();
    offset_ += static_cast<int64_t>(got);
    return got;
  }

  absl::Status Damaged(absl::string_view what) const {
    return absl::DataLossError(
        absl::StrCat(file_->path(), ": is damaged or cut short behind byte ", offset_, " of its text: ", what));
  }

  const File* const file_;
  const std::unique_ptr<Format> format_;
  std::vector<char> input_;
  absl::Span<const char> in_;  // of input_, not taken yet
  int64_t packed_ = 0;         // bytes of the file that were read
  int64_t offset_ = 0;         // in the text
  bool whole_ = true;          // a text has ended here, or none has begun
};

}  // namespace

absl::StatusOr<std::unique_ptr<Unpacker>> MakeUnpacker(const File* file) {
  if (!file->IsRegular()) return nullptr;
  std::string head(kZstdMagic.size(), '\0');
  ABSL_ASSIGN_OR_RETURN(const size_t read, file->ReadAt(0, absl::MakeSpan(head.data(), head.size())));
  head.resize(read);
  std::unique_ptr<Format> format;
  if (absl::StartsWith(head, kGzipMagic)) format = std::make_unique<Gzip>();
  if (absl::StartsWith(head, kZstdMagic)) format = std::make_unique<Zstd>();
  if (format == nullptr) return nullptr;
  ABSL_ASSIGN_OR_RETURN(const int64_t bytes, file->Size());
  return std::make_unique<PackedFile>(file, std::move(format), bytes);
}

}  // namespace reembed
