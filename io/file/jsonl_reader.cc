// SPDX-License-Identifier: Apache-2.0
#include "io/file/jsonl_reader.h"

#include <simdjson.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/number/json_value.h"
#include "engine/status_macros.h"
#include "io/file/matrix_format.h"
#include "io/file/unpacker.h"

namespace reembed {
namespace {

absl::string_view TokenOf(simdjson::ondemand::value value) {
  const std::string_view token = value.raw_json_token();
  return {token.data(), token.size()};
}

bool AtEnd(simdjson::ondemand::document& document) {
  return document.current_location().error() == simdjson::OUT_OF_BOUNDS;
}

// One line {"key":...,"embedding":[...]} at a time.
class VectorLineParser {
 public:
  // Errors: kDataLoss (what is wrong, without the place).
  absl::Status Parse(const Line& line) {
    key_.reset();
    has_vector_ = false;
    simdjson::ondemand::document document;
    simdjson::ondemand::object object;
    if (parser_.iterate(line.text.data(), line.text.size(), line.text.size() + kLinePadding).get(document) !=
            simdjson::SUCCESS ||
        document.get_object().get(object) != simdjson::SUCCESS) {
      return absl::DataLossError("expected a JSON object, got something else");
    }
    for (simdjson::simdjson_result<simdjson::ondemand::field> field : object) {
      std::string_view name;
      simdjson::ondemand::value value;
      if (field.unescaped_key().get(name) != simdjson::SUCCESS || field.value().get(value) != simdjson::SUCCESS) {
        return absl::DataLossError("expected a JSON object, got a broken one");
      }
      if (name == "key") key_ = JsonKey(TokenOf(value), &space_);
      if (name != "embedding") continue;
      ABSL_RETURN_IF_ERROR(ParseVector(value));
    }
    if (!AtEnd(document)) return absl::DataLossError("expected one JSON object, got more behind it");
    if (!key_.has_value()) return absl::DataLossError("expected a `key` that is an integer or a string, got none");
    if (!has_vector_) return absl::DataLossError("expected an `embedding`, got none");
    return absl::OkStatus();
  }

  // Of the last line; valid until the next.
  KeyView key() const { return *key_; }
  const std::vector<float>& vector() const { return vector_; }

 private:
  absl::Status ParseVector(simdjson::ondemand::value value) {
    simdjson::ondemand::array numbers;
    if (value.get_array().get(numbers) != simdjson::SUCCESS) {
      return absl::DataLossError("expected `embedding` to be an array, got something else");
    }
    vector_.clear();
    for (simdjson::simdjson_result<simdjson::ondemand::value> element : numbers) {
      simdjson::ondemand::value number;
      if (element.get(number) != simdjson::SUCCESS) return absl::DataLossError("expected an array, got a broken one");
      // Through double it would be rounded twice.
      const std::optional<float> parsed = JsonFloat(TokenOf(number));
      if (!parsed.has_value() || vector_.size() >= static_cast<size_t>(kMaxDim)) {
        return absl::DataLossError(absl::StrCat("expected number ", vector_.size(), " of the embedding to be a float"));
      }
      vector_.push_back(*parsed);
    }
    has_vector_ = true;
    return absl::OkStatus();
  }

  simdjson::ondemand::parser parser_;
  std::string space_;
  std::optional<KeyView> key_;
  bool has_vector_ = false;
  std::vector<float> vector_;
};

class JsonlReader final : public VectorReader {
 public:
  // `unpacker` (may be null) is for `file`.
  JsonlReader(std::unique_ptr<File> file, std::unique_ptr<Unpacker> unpacker)
      : file_(std::move(file)), unpacker_(std::move(unpacker)), lines_(file_.get(), unpacker_.get()) {}

  absl::Status Open() {
    absl::StatusOr<std::optional<Line>> line = lines_.Next();
    for (; line.ok() && line->has_value(); line = lines_.Next()) {
      if (IsBlank(**line)) continue;
      if (rows_++ > 0) continue;
      ABSL_RETURN_IF_ERROR(Parse(**line));
      dim_ = static_cast<int>(parser_.vector().size());
      if (dim_ == 0) return Damaged(**line, "expected numbers in `embedding`, got none");
    }
    lines_.SeekTo(0, 1);
    return line.status();
  }

  int dim() const override { return dim_; }
  int64_t rows() const override { return rows_; }

  absl::StatusOr<std::optional<StoredVector>> Next() override {
    while (true) {
      ABSL_ASSIGN_OR_RETURN(const std::optional<Line> line, lines_.Next());
      if (!line.has_value()) return std::nullopt;
      if (IsBlank(*line)) continue;
      ABSL_RETURN_IF_ERROR(Parse(*line));
      if (static_cast<int>(parser_.vector().size()) != dim_) {
        return Damaged(*line, absl::StrCat("row ", KeyText(parser_.key()), ": expected ", dim_, " numbers, got ",
                                           parser_.vector().size()));
      }
      return StoredVector{.key = parser_.key(), .vector = parser_.vector()};
    }
  }

  absl::StatusOr<std::optional<StoredVector>> Find(KeyView key) override {
    const int64_t start = lines_.offset();
    while (true) {
      absl::StatusOr<std::optional<StoredVector>> row = Next();
      if (!row.ok() || !row->has_value()) {
        ABSL_RETURN_IF_ERROR(row.status());
        break;
      }
      if ((*row)->key == key) return row;
    }
    lines_.SeekTo(0, 1);
    while (lines_.offset() < start) {
      absl::StatusOr<std::optional<StoredVector>> row = Next();
      if (!row.ok() || !row->has_value() || (*row)->key == key) return row;
    }
    return std::nullopt;
  }

 private:
  static bool IsBlank(const Line& line) { return absl::StripLeadingAsciiWhitespace(line.text).empty(); }

  absl::Status Damaged(const Line& line, absl::string_view what) const {
    return absl::DataLossError(
        absl::StrCat(file_->path(), ": line ", line.number, " at byte ", line.offset, ": ", what));
  }

  absl::Status Parse(const Line& line) {
    const absl::Status status = parser_.Parse(line);
    return status.ok() ? status : Damaged(line, status.message());
  }

  const std::unique_ptr<File> file_;
  const std::unique_ptr<Unpacker> unpacker_;
  LineReader lines_;
  VectorLineParser parser_;
  int dim_ = 0;
  int64_t rows_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorReader>> OpenJsonlReader(const Location& location) {
  ABSL_RETURN_IF_ERROR(location.CheckParameters({}));
  ABSL_ASSIGN_OR_RETURN(File file, File::OpenToRead(location.path));
  if (!file.IsRegular()) {
    return absl::InvalidArgumentError(absl::StrCat(location.path, ": expected a file, got a pipe or a device"));
  }
  auto kept = std::make_unique<File>(std::move(file));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<Unpacker> unpacker, MakeUnpacker(kept.get()));
  auto reader = std::make_unique<JsonlReader>(std::move(kept), std::move(unpacker));
  ABSL_RETURN_IF_ERROR(reader->Open());
  return reader;
}

int64_t CountJsonlNumbers(const Line& line) {
  VectorLineParser parser;
  return parser.Parse(line).ok() ? static_cast<int64_t>(parser.vector().size()) : -1;
}

}  // namespace reembed
