// SPDX-License-Identifier: Apache-2.0
#include "io/file/key_sidecar.h"

#include <simdjson.h>

#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/counted.h"
#include "engine/number/json_value.h"
#include "engine/status_macros.h"
#include "io/file/line_reader.h"

namespace reembed {
namespace {

class KeySidecar final : public KeyColumn {
 public:
  explicit KeySidecar(File file) : file_(std::move(file)), lines_(&file_) {}

  absl::StatusOr<KeyView> At(int64_t row) override {
    if (row == row_ && key_.has_value()) return *key_;
    key_.reset();
    if (row < lines_.number() - 1) lines_.SeekTo(0, 1);
    while (true) {
      ABSL_ASSIGN_OR_RETURN(const std::optional<Line> line, lines_.Next());
      if (!line.has_value()) {
        return absl::DataLossError(absl::StrCat(file_.path(), ": expected a key in line ", row + 1, ", got the end"));
      }
      if (line->number < row + 1) continue;
      row_ = row;
      return Parse(*line);
    }
  }

 private:
  absl::StatusOr<KeyView> Parse(const Line& line) {
    simdjson::ondemand::document document;
    std::string_view token;
    const absl::string_view text = absl::StripAsciiWhitespace(line.text);
    // One value and no more: then its token is the whole line.
    if (parser_.iterate(line.text.data(), line.text.size(), line.text.size() + kLinePadding).get(document) ==
            simdjson::SUCCESS &&
        document.raw_json_token().get(token) == simdjson::SUCCESS &&
        absl::StripAsciiWhitespace({token.data(), token.size()}) == text) {
      key_ = JsonKey(text, &space_);
    }
    if (key_.has_value()) return *key_;
    return absl::DataLossError(absl::StrCat(file_.path(), ": line ", line.number, " at byte ", line.offset,
                                            ": expected an integer or a string, got something else"));
  }

  const File file_;
  LineReader lines_;
  simdjson::ondemand::parser parser_;
  std::string space_;
  int64_t row_ = -1;
  std::optional<KeyView> key_;  // of row_; into lines_ or space_
};

absl::StatusOr<std::optional<int64_t>> BytesOfKeys(const File& file, int64_t rows) {
  return OffsetBehindLines(file, rows);
}

}  // namespace

std::string KeySidecarPath(absl::string_view path) { return absl::StrCat(path, ".keys.jsonl"); }

GrowingFile GrowingKeySidecar(absl::string_view path) {
  return {.path = KeySidecarPath(path), .header = "", .measure = BytesOfKeys};
}

absl::StatusOr<std::unique_ptr<KeyColumn>> OpenKeySidecar(absl::string_view path, int64_t rows) {
  absl::StatusOr<File> file = File::OpenToRead(KeySidecarPath(path));
  if (absl::IsNotFound(file.status())) return nullptr;
  ABSL_RETURN_IF_ERROR(file.status());
  ABSL_ASSIGN_OR_RETURN(const int64_t lines, CountLines(*file));
  if (lines != rows) {
    return absl::DataLossError(absl::StrCat(file->path(), ": expected a key for each of ", Counted(rows, "row", "rows"),
                                            ", got ", lines, "; move it away to use row numbers"));
  }
  return std::make_unique<KeySidecar>(std::move(*file));
}

}  // namespace reembed
