#include "io/file/jsonl_source.h"

#include <fcntl.h>
#include <simdjson.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/json_value.h"
#include "io/file/line_reader.h"

namespace reembed {
namespace {

absl::string_view TokenOf(simdjson::ondemand::value value) {
  const std::string_view token = value.raw_json_token();
  return {token.data(), token.size()};
}

bool AtEnd(simdjson::ondemand::document& document) {
  return document.current_location().error() == simdjson::OUT_OF_BOUNDS;
}

bool IsBlank(const Line& line) { return absl::StripLeadingAsciiWhitespace(line.text).empty(); }

// The tokens of two members of an object in one line.
struct MemberTokens {
  std::optional<absl::string_view> key;
  std::optional<absl::string_view> text;
};

class LineParser {
 public:
  LineParser(std::string key_name, std::string text_name)
      : key_name_(std::move(key_name)), text_name_(std::move(text_name)) {}

  // The members as they stand in `line`; of a repeated member the last one, as in most JSON readers.
  // Errors: kDataLoss (what is wrong, without the place).
  absl::StatusOr<MemberTokens> Parse(absl::string_view line) {
    MemberTokens members;
    const simdjson::error_code error = Tokens(line, line.size() + kLinePadding, &members);
    if (error == simdjson::SUCCESS) return members;
    if (error != simdjson::UTF8_ERROR) {
      return absl::DataLossError(absl::StrCat("expected a JSON object, got: ", simdjson::error_message(error)));
    }
    // The structure is all ASCII: with every other byte hidden the tokens are found at the same places.
    ascii_.assign(line.data(), line.size());
    for (char& c : ascii_) {
      if (static_cast<unsigned char>(c) >= 0x80) c = '?';
    }
    ascii_.append(kLinePadding, ' ');
    if (const simdjson::error_code hidden =
            Tokens(absl::string_view(ascii_).substr(0, line.size()), ascii_.size(), &members);
        hidden != simdjson::SUCCESS) {
      return absl::DataLossError(absl::StrCat("expected a JSON object, got: ", simdjson::error_message(hidden)));
    }
    for (std::optional<absl::string_view>* const token : {&members.key, &members.text}) {
      if (token->has_value())
        *token = line.substr(static_cast<size_t>((*token)->data() - ascii_.data()), (*token)->size());
    }
    return members;
  }

  const std::string& key_name() const { return key_name_; }

 private:
  simdjson::error_code Tokens(absl::string_view line, size_t capacity, MemberTokens* members) {
    *members = {};
    simdjson::ondemand::document document;
    simdjson::ondemand::object object;
    if (auto error = parser_.iterate(line.data(), line.size(), capacity).get(document)) return error;
    if (auto error = document.get_object().get(object)) return error;
    for (simdjson::simdjson_result<simdjson::ondemand::field> field : object) {
      std::string_view name;
      simdjson::ondemand::value value;
      if (auto error = field.unescaped_key().get(name)) return error;
      if (auto error = field.value().get(value)) return error;
      if (name == key_name_) members->key = TokenOf(value);
      if (name == text_name_) members->text = TokenOf(value);
    }
    return AtEnd(document) ? simdjson::SUCCESS : simdjson::TRAILING_CONTENT;
  }

  const std::string key_name_;
  const std::string text_name_;
  simdjson::ondemand::parser parser_;
  std::string ascii_;
};

enum class KeyKind { kMember, kLineNumber };

class JsonlSource final : public Source {
 public:
  JsonlSource(File file, std::string key_name, std::string text_name)
      : file_(std::move(file)),
        regular_(file_.IsRegular()),
        lines_(&file_),
        parser_(std::move(key_name), std::move(text_name)) {}

  enum class KeyName { kGiven, kDefault };

  // Looks at the first line; a key whose name was given must be there.
  absl::Status Open(KeyName key_name) {
    absl::StatusOr<std::optional<Line>> line = NextLine();
    if (!line.ok()) return line.status();
    if (!line->has_value()) return absl::OkStatus();
    const absl::StatusOr<MemberTokens> members = parser_.Parse((*line)->text);
    if (!members.ok()) return Damaged(**line, members.status().message());
    if (!members->key.has_value()) {
      if (key_name == KeyName::kGiven) {
        return absl::InvalidArgumentError(absl::StrCat(file_.path(), ": line ", (*line)->number,
                                                       ": expected a member `", parser_.key_name(),
                                                       "` for the key, got none"));
      }
      key_kind_ = KeyKind::kLineNumber;
    }
    again_ = **line;
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<RowView>> Next() override {
    const absl::StatusOr<std::optional<Line>> line = NextLine();
    if (!line.ok()) return line.status();
    if (!line->has_value()) return std::nullopt;
    absl::StatusOr<RowView> row = Parse(**line);
    if (!row.ok()) return row.status();
    if (!regular_) last_ = Own(row->key);
    return *row;
  }

  absl::Status SeekAfter(KeyView key) override {
    if (!regular_) {
      if (last_.has_value() && ViewOf(*last_) == key) return absl::OkStatus();
      return absl::FailedPreconditionError(absl::StrCat(file_.path(), " is read as it comes and cannot go back to row ",
                                                        KeyText(key), "; save it to a file first"));
    }
    const absl::StatusOr<std::optional<RowView>> row = Find(key);
    if (!row.ok()) return row.status();
    if (row->has_value()) return absl::OkStatus();
    return absl::NotFoundError(absl::StrCat(file_.path(), ": expected a row ", KeyText(key), ", got none"));
  }

  absl::StatusOr<std::optional<RowView>> Find(KeyView key) override {
    if (!regular_) return OnceOnly("searched");
    const int64_t start = again_.has_value() ? again_->offset : lines_.offset();
    int64_t stop = -1;  // none: to the end
    for (int round = 0; round < 2; ++round) {
      while (stop < 0 || lines_.offset() < stop) {
        absl::StatusOr<std::optional<RowView>> row = Next();
        if (!row.ok() || (row->has_value() && (*row)->key == key)) return row;
        if (!row->has_value()) break;
      }
      Rewind();
      stop = start;
    }
    return std::nullopt;
  }

  absl::StatusOr<int64_t> CountRows() override {
    if (!regular_) return OnceOnly("counted before it is read");
    LineReader lines(&file_);
    for (int64_t rows = 0;;) {
      const absl::StatusOr<std::optional<Line>> line = lines.Next();
      if (!line.ok()) return line.status();
      if (!line->has_value()) return rows;
      if (!IsBlank(**line)) ++rows;
    }
  }

 private:
  absl::Status OnceOnly(absl::string_view what) const {
    return absl::FailedPreconditionError(
        absl::StrCat(file_.path(), " is read as it comes and cannot be ", what, "; save it to a file first"));
  }

  absl::Status Damaged(const Line& line, absl::string_view what) const {
    return absl::DataLossError(
        absl::StrCat(file_.path(), ": line ", line.number, " at byte ", line.offset, ": ", what));
  }

  void Rewind() {
    again_.reset();
    lines_.SeekTo(0, 1);
  }

  absl::StatusOr<std::optional<Line>> NextLine() {
    if (again_.has_value()) return std::exchange(again_, std::nullopt);
    while (true) {
      absl::StatusOr<std::optional<Line>> line = lines_.Next();
      if (!line.ok() || !line->has_value()) return line;
      if ((*line)->offset == 0) {
        // Some editors put a byte order mark in front.
        (*line)->text = absl::StripPrefix((*line)->text, "\xEF\xBB\xBF");
      }
      if (!IsBlank(**line)) return line;
    }
  }

  absl::StatusOr<RowView> Parse(const Line& line) {
    const absl::StatusOr<MemberTokens> members = parser_.Parse(line.text);
    if (!members.ok()) return Damaged(line, members.status().message());
    RowView row = {.key = line.number};
    if (key_kind_ == KeyKind::kMember) {
      const std::optional<KeyView> key = members->key.has_value() ? JsonKey(*members->key, &key_space_) : std::nullopt;
      if (!key.has_value()) {
        return Damaged(line,
                       absl::StrCat("expected `", parser_.key_name(), "` to be a 64-bit integer or a string, got ",
                                    members->key.has_value() ? "something else" : "none"));
      }
      row.key = *key;
    }
    if (!members->text.has_value() || members->text->front() != '"') return row;
    row.text = JsonString(*members->text, &text_space_);
    if (!row.text.has_value()) return Damaged(line, "expected a JSON string as text, got an escape that is none");
    return row;
  }

  const File file_;
  const bool regular_;
  LineReader lines_;
  LineParser parser_;
  KeyKind key_kind_ = KeyKind::kMember;
  std::optional<Line> again_;  // seen by Open(), not yet given
  std::optional<Key> last_;    // of a pipe
  std::string key_space_;
  std::string text_space_;
};

absl::StatusOr<File> OpenInput(const Location& location) {
  if (location.scheme != "-") return File::OpenToRead(location.path);
  // A copy, so that closing ours leaves standard input open.
  const int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return FileError("standard input", "open", errno);
  return File(fd, "standard input");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Source>> OpenJsonlSource(const Location& location) {
  if (absl::Status status = location.CheckParameters({"key", "text"}); !status.ok()) return status;
  absl::StatusOr<File> file = OpenInput(location);
  if (!file.ok()) return file.status();
  auto source =
      std::make_unique<JsonlSource>(std::move(*file), location.Get("key", "id"), location.Get("text", "text"));
  const auto key_name =
      location.parameters.count("key") > 0 ? JsonlSource::KeyName::kGiven : JsonlSource::KeyName::kDefault;
  if (absl::Status status = source->Open(key_name); !status.ok()) return status;
  return source;
}

}  // namespace reembed
