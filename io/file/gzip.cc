// SPDX-License-Identifier: Apache-2.0
#include "io/file/gzip.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "engine/number/json_scanner.h"
#include "engine/number/json_value.h"
#include "engine/status_macros.h"
#include "io/file/file.h"

namespace reembed {
namespace {

constexpr unsigned kChunkBytes = 1u << 20;
// Of one element: no node or point comes near it, and a file that is no JSON must not fill the memory.
constexpr size_t kMaxTokenBytes = size_t{256} << 20;

// The text of a gzip file, as much of it as is wanted at a time.
class GzipText {
 public:
  static absl::StatusOr<GzipText> Open(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return FileError(path, "open", errno);
    gzFile const file = gzdopen(fd, "rb");
    if (file == nullptr) {
      close(fd);
      return absl::ResourceExhaustedError(absl::StrCat(path, ": out of memory"));
    }
    gzbuffer(file, kChunkBytes);
    return GzipText(path, file);
  }
  GzipText(GzipText&& other) noexcept : path_(other.path_), file_(std::exchange(other.file_, nullptr)) {}
  ~GzipText() {
    if (file_ != nullptr) gzclose_r(file_);
  }

  // Has `parse` read from where the text goes on, again with more text while it needs that. It returns whether it
  // could. What it took up to scanner->position() is behind us then; its tokens live until the next call.
  absl::Status Take(absl::string_view expected, absl::FunctionRef<bool(JsonScanner*)> parse) {
    text_.erase(0, used_);
    passed_ += static_cast<int64_t>(used_);
    used_ = 0;
    for (;;) {
      JsonScanner scanner(text_, JsonScanner::Numbers::kPython);
      // At the end of what is there a number may go on.
      if (parse(&scanner) && (ended_ || scanner.position() < text_.size())) {
        used_ = scanner.position();
        return absl::OkStatus();
      }
      if (ended_ || text_.size() > kMaxTokenBytes) {
        return absl::DataLossError(absl::StrCat(path_, ": expected ", expected, " at byte ",
                                                passed_ + static_cast<int64_t>(scanner.position()),
                                                " of its text, got something else; is it whole?"));
      }
      ABSL_RETURN_IF_ERROR(Read());
    }
  }

 private:
  GzipText(std::string path, gzFile file) : path_(std::move(path)), file_(file) {}

  absl::Status Read() {
    const size_t size = text_.size();
    text_.resize(size + kChunkBytes);
    const int got = gzread(file_, text_.data() + size, kChunkBytes);
    text_.resize(size + static_cast<size_t>(std::max(got, 0)));
    int code = Z_OK;
    const char* const words = gzerror(file_, &code);
    if (got < 0 || (code != Z_OK && code != Z_STREAM_END)) {
      return absl::DataLossError(absl::StrCat(path_, ": is damaged or cut short (", words, ")"));
    }
    ended_ = got == 0;
    return absl::OkStatus();
  }

  const std::string path_;
  gzFile file_;
  std::string text_;
  size_t used_ = 0;     // of text_, behind us
  int64_t passed_ = 0;  // bytes before text_
  bool ended_ = false;
};

}  // namespace

absl::StatusOr<GzipWriter> GzipWriter::Create(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return FileError(path, "make", errno);
  // Vectors as text hardly get smaller by a better level, which takes several times as long.
  gzFile const file = gzdopen(fd, "wb1");
  if (file == nullptr) {
    close(fd);
    return absl::ResourceExhaustedError(absl::StrCat(path, ": out of memory"));
  }
  gzbuffer(file, kChunkBytes);
  return GzipWriter(path, file);
}

GzipWriter::~GzipWriter() {
  if (file_ != nullptr) gzclose_w(file_);
}

absl::Status GzipWriter::Error() const {
  int code = Z_OK;
  const char* const words = gzerror(file_, &code);
  if (code == Z_ERRNO) return FileError(path_, "write", errno);
  return absl::InternalError(absl::StrCat(path_, ": could not compress: ", words));
}

absl::Status GzipWriter::Append(absl::string_view bytes) {
  while (!bytes.empty()) {
    const size_t piece = std::min<size_t>(bytes.size(), kChunkBytes);
    errno = 0;
    if (gzwrite(file_, bytes.data(), static_cast<unsigned>(piece)) == 0) return Error();
    bytes.remove_prefix(piece);
  }
  return absl::OkStatus();
}

absl::Status GzipWriter::Close() {
  errno = 0;
  const int code = gzclose_w(std::exchange(file_, nullptr));
  if (code == Z_OK) return absl::OkStatus();
  return FileError(path_, "write", errno == 0 ? EIO : errno);
}

absl::Status ReadGzipJson(
    const std::string& path,
    absl::FunctionRef<absl::Status(absl::string_view member, absl::string_view token, bool element)> take) {
  ABSL_ASSIGN_OR_RETURN(GzipText text, GzipText::Open(path));
  ABSL_RETURN_IF_ERROR(text.Take("{", [](JsonScanner* s) { return s->Take('{'); }));
  bool ended = false;
  const auto separator = [&](char end, bool first) {
    return text.Take(absl::StrCat(absl::string_view(&end, 1), first ? "" : " or a comma"), [&, end](JsonScanner* s) {
      ended = s->Peek() == end;
      return s->Peek() != '\0' && (ended ? s->Take(end) : first || s->Take(','));
    });
  };
  for (bool first = true;; first = false) {
    ABSL_RETURN_IF_ERROR(separator('}', first));
    if (ended) break;
    std::string name;
    bool is_array = false;
    absl::string_view token;
    absl::Status status = text.Take("a member", [&](JsonScanner* s) {
      std::string space;
      if (!s->TakeString(&token)) return false;
      name = std::string(JsonString(token, &space).value_or(""));
      if (!s->Take(':')) return false;
      is_array = s->Peek() == '[';
      return is_array ? s->Take('[') : s->TakeValue(&token);
    });
    ABSL_RETURN_IF_ERROR(status);
    if (!is_array) {
      ABSL_RETURN_IF_ERROR(take(name, token, false));
      continue;
    }
    for (bool first_element = true;; first_element = false) {
      ABSL_RETURN_IF_ERROR(separator(']', first_element));
      if (std::exchange(ended, false)) break;
      status = text.Take("a value", [&](JsonScanner* s) { return s->TakeValue(&token); });
      ABSL_RETURN_IF_ERROR(status);
      ABSL_RETURN_IF_ERROR(take(name, token, true));
    }
  }
  return text.Take("the end", [](JsonScanner* s) { return s->AtEnd(); });
}

}  // namespace reembed
