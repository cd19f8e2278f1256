// SPDX-License-Identifier: Apache-2.0
#include "io/file/jsonl_source.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "engine/location.h"
#include "engine/number/json_value.h"
#include "engine/status_macros.h"
#include "io/file/line_members.h"
#include "io/file/line_place.h"
#include "io/file/line_reader.h"
#include "io/file/other_format.h"
#include "io/file/unpacker.h"

namespace reembed {
namespace {

bool IsBlank(const Line& line) { return !line.too_long && absl::StripLeadingAsciiWhitespace(line.text).empty(); }

class JsonlSource final : public Source {
 public:
  // `unpacker` (may be null) is for `file`.
  JsonlSource(std::unique_ptr<File> file, std::unique_ptr<Unpacker> unpacker, LineParser parser, bool key_is_named,
              const JsonlOptions& options)
      : file_(std::move(file)),
        unpacker_(std::move(unpacker)),
        regular_(file_->IsRegular()),
        key_is_named_(key_is_named),
        options_(options),
        lines_(file_.get(), unpacker_.get(), LongLines::kPassOver),
        parser_(std::move(parser)) {
    if (key_is_named_) key_kind_ = KeyKind::kMember;
  }

  // Looks at lines until both members were seen; of a pipe at the first one.
  absl::Status Open() {
    std::optional<Line> first;
    while (true) {
      ABSL_ASSIGN_OR_RETURN(std::optional<Line> line, NextLine());
      if (!line.has_value()) break;
      if (!first.has_value()) {
        if (const std::string other = OtherFormat(line->text); !other.empty()) {
          return absl::InvalidArgumentError(absl::StrCat(file_->path(), ": ", other));
        }
      }
      const absl::Status looked_at = LookAt(*line);
      if (!looked_at.ok() && (options_.strict || !first.has_value())) first_error_ = AtLine(*line, looked_at);
      if (!looked_at.ok() && options_.strict) return first_error_;
      first = *line;
      if (!regular_) {
        again_ = *line;
        return absl::OkStatus();
      }
      if (has_text_ && (has_key_ || key_kind_ == KeyKind::kLineNumber)) break;
    }
    absl::Status status = first.has_value() ? CheckMembers() : absl::OkStatus();
    Rewind();
    return status;
  }

  // From now on the lines of the share alone. After Open(), which looks at the file: all shares take the same member
  // for the key.
  absl::Status SetRange(const KeyRange& range) {
    if (range.empty()) return absl::OkStatus();
    for (const auto& [end, place] : {std::pair(&range.from, &from_), std::pair(&range.before, &before_)}) {
      if (!end->has_value()) continue;
      *place = LinePlace::Of(**end);
      if (!place->has_value()) {
        return absl::InvalidArgumentError(absl::StrCat(file_->path(), ": `", KeyText(ViewOf(**end)),
                                                       "` is no place of a line, so no share ends there"));
      }
      if (!regular_ || unpacker_ != nullptr) return CannotSeek();
      ABSL_RETURN_IF_ERROR(CheckPlace(*file_, **place));
    }
    Rewind();
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<Key>> Cut(int shares) {
    if (!regular_ || unpacker_ != nullptr) return CannotSeek();
    ABSL_ASSIGN_OR_RETURN(const int64_t size, file_->Size());
    std::vector<Key> cuts;
    LinePlace place;
    if (key_kind_ == KeyKind::kLineNumber) place.number = 1;
    for (int share = 1; share < shares; ++share) {
      const auto wanted = static_cast<int64_t>(static_cast<double>(size) * share / shares);
      ABSL_ASSIGN_OR_RETURN(place, LineAtOrBehind(*file_, place, wanted));
      ABSL_ASSIGN_OR_RETURN(place.print, PrintOfLine(*file_, place.offset));
      cuts.push_back(place.AsKey());
    }
    return cuts;
  }

  absl::StatusOr<std::optional<RowView>> Next() override {
    ABSL_ASSIGN_OR_RETURN(const std::optional<Line> line, NextLine());
    if (!line.has_value()) {
      if (!regular_ && last_.has_value()) {
        ABSL_RETURN_IF_ERROR(CheckMembers());
      }
      return std::nullopt;
    }
    ABSL_ASSIGN_OR_RETURN(RowView row, Parse(*line));
    if (!regular_) last_ = Own(row.key);
    return row;
  }

  absl::Status SeekAfter(KeyView key) override {
    if (!regular_) {
      if (last_.has_value() && ViewOf(*last_) == key) return absl::OkStatus();
      return absl::FailedPreconditionError(absl::StrCat(
          file_->path(), " is read as it comes and cannot go back to row ", KeyText(key), "; save it to a file first"));
    }
    ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> row, Find(key));
    if (row.has_value()) return absl::OkStatus();
    if (const std::optional<int64_t> line = NumberOfLineName(key)) return SeekToLine(*line);
    return absl::NotFoundError(absl::StrCat(file_->path(), ": expected a row ", KeyText(key), ", got none"));
  }

  absl::StatusOr<std::optional<RowView>> Find(KeyView key) override {
    if (!regular_) return OnceOnly("searched");
    const int64_t start = lines_.offset();
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
    ABSL_ASSIGN_OR_RETURN(std::unique_ptr<Unpacker> unpacker, MakeUnpacker(file_.get()));
    LineReader lines(file_.get(), unpacker.get(), LongLines::kPassOver);
    if (from_.has_value()) lines.SeekTo(from_->offset, 1);
    for (int64_t rows = 0;;) {
      ABSL_ASSIGN_OR_RETURN(std::optional<Line> line, lines.Next());
      if (!line.has_value() || IsBehind(*line)) return rows;
      DropMark(&*line);
      if (!IsBlank(*line)) ++rows;
    }
  }

 private:
  enum class KeyKind { kMember, kLineNumber };

  absl::Status OnceOnly(absl::string_view what) const {
    return absl::FailedPreconditionError(
        absl::StrCat(file_->path(), " is read as it comes and cannot be ", what, "; save it to a file first"));
  }

  absl::Status AtLine(const Line& line, const absl::Status& what) {
    ABSL_ASSIGN_OR_RETURN(const int64_t number, NumberOf(line));
    return absl::Status(what.code(),
                        absl::StrCat(file_->path(), ": line ", number, " at byte ", line.offset, ": ", what.message()));
  }

  absl::Status CannotSeek() const {
    return absl::FailedPreconditionError(
        absl::StrCat(file_->path(), ": no share of its lines can be given, as it is ",
                     regular_ ? "packed and has" : "a pipe and has",
                     " no places to begin at; unpack it to a file first, or run the job whole"));
  }

  // Some editors put a byte order mark in front.
  static void DropMark(Line* line) {
    if (line->offset == 0) line->text = absl::StripPrefix(line->text, "\xEF\xBB\xBF");
  }

  bool IsBehind(const Line& line) const { return before_.has_value() && line.offset >= before_->offset; }

  // In the file. The lines in front of a share are counted when somebody wants to know.
  absl::StatusOr<int64_t> NumberOf(const Line& line) {
    if (!from_.has_value() || from_->number > 0) return line.number;
    if (!lines_before_.has_value()) {
      ABSL_ASSIGN_OR_RETURN(lines_before_, CountLinesBefore(*file_, 0, from_->offset));
    }
    return line.number + *lines_before_;
  }

  void Rewind() {
    again_.reset();
    const LinePlace start = from_.value_or(LinePlace());
    lines_.SeekTo(start.offset, std::max<int64_t>(start.number, 1));
  }

  // A row that is in no ledger by its own key was a broken line, and may be mended now.
  absl::Status SeekToLine(int64_t number) {
    Rewind();
    ABSL_ASSIGN_OR_RETURN(const int64_t first, NumberOf({.number = lines_.number()}));
    number -= first - lines_.number();
    while (lines_.number() < number) {
      ABSL_ASSIGN_OR_RETURN(const std::optional<Line> line, lines_.Next());
      if (!line.has_value()) break;
    }
    return absl::OkStatus();
  }

  static std::optional<int64_t> NumberOfLineName(KeyView key) {
    const auto* const text = std::get_if<absl::string_view>(&key);
    int64_t number = 0;
    if (text == nullptr || !absl::StartsWith(*text, kLineName) ||
        !absl::SimpleAtoi(text->substr(kLineName.size()), &number)) {
      return std::nullopt;
    }
    return number;
  }

  absl::StatusOr<std::optional<Line>> NextLine() {
    if (again_.has_value()) return std::exchange(again_, std::nullopt);
    while (true) {
      // What is behind the share is not read.
      if (before_.has_value() && lines_.offset() >= before_->offset) return std::nullopt;
      absl::StatusOr<std::optional<Line>> line = lines_.Next();
      if (!line.ok() || !line->has_value()) return line;
      DropMark(&**line);
      if (!IsBlank(**line)) return line;
    }
  }

  // Notes which members there are. Errors: kDataLoss (a broken line).
  absl::StatusOr<MemberTokens> ParseMembers(const Line& line) {
    if (line.too_long) return absl::DataLossError(absl::StrCat("the line is longer than ", kMaxLineBytes, " bytes"));
    absl::StatusOr<MemberTokens> members = parser_.Parse(line.text);
    ABSL_RETURN_IF_ERROR(members.status());
    has_object_ = true;
    if (!key_kind_.has_value()) key_kind_ = members->key.has_value() ? KeyKind::kMember : KeyKind::kLineNumber;
    has_key_ = has_key_ || members->key.has_value();
    has_text_ = has_text_ || members->text.has_value();
    return members;
  }

  absl::Status LookAt(const Line& line) {
    const absl::StatusOr<MemberTokens> members = ParseMembers(line);
    if (members.ok() && names_.empty()) names_ = parser_.Names(line.text);
    return members.status();
  }

  // Whether some line is an object, and some have the members. Of all lines that were read.
  absl::Status CheckMembers() const {
    const auto refuse = [&](absl::string_view what) {
      return absl::InvalidArgumentError(absl::StrCat(file_->path(), ": ", what));
    };
    if (!has_object_) {
      return absl::InvalidArgumentError(
          absl::StrCat(first_error_.message(),
                       "; no line is an object by itself. One document over several lines "
                       "becomes lines with jq -c ."));
    }
    const auto lacks = [&](absl::string_view parameter, const std::string& name) {
      const std::string near = NearestName(name, names_);
      return refuse(absl::StrCat(
          "no line has a member `", name, "` for ", parameter, "=",
          near.empty() ? "" : absl::StrCat("; did you mean `", near, "`?"),
          near.empty() && !names_.empty() ? absl::StrCat("; there are: ", absl::StrJoin(names_, ", ")) : ""));
    };
    if (!has_text_) return lacks("text", parser_.text_name());
    if (key_is_named_ && !has_key_) return lacks("key", parser_.key_name());
    return absl::OkStatus();
  }

  // Why the token is no key.
  std::string KeyProblem(const std::optional<absl::string_view>& token) const {
    std::string got = "none";
    if (token.has_value()) got = std::string(JsonKindName(*token));
    if (got == "a number") got = "a number that is none";
    if (got == "a string") got = "a string that is not UTF-8";
    return absl::StrCat("expected `", parser_.key_name(), "` to be a 64-bit integer or a string, got ", got);
  }

  // A row that is rejected for what is wrong with its line. Its key says where it is.
  absl::StatusOr<RowView> Broken(const Line& line, absl::string_view what) {
    if (options_.strict) return AtLine(line, absl::DataLossError(what));
    ABSL_ASSIGN_OR_RETURN(const int64_t number, NumberOf(line));
    problem_ = absl::StrCat("line ", number, " at byte ", line.offset, ": ", what);
    if (key_kind_ == KeyKind::kLineNumber) return RowView{.key = number, .problem = problem_};
    line_name_ = absl::StrCat(kLineName, number);
    return RowView{.key = absl::string_view(line_name_), .problem = problem_};
  }

  absl::StatusOr<RowView> Parse(const Line& line) {
    const absl::StatusOr<MemberTokens> members = ParseMembers(line);
    if (!members.ok()) return Broken(line, members.status().message());
    RowView row = {.key = line.number};
    if (key_kind_ == KeyKind::kMember) {
      const std::optional<KeyView> key = members->key.has_value() ? JsonKey(*members->key, &key_space_) : std::nullopt;
      if (!key.has_value()) return Broken(line, KeyProblem(members->key));
      row.key = *key;
    }
    if (members->text.has_value() && members->text->front() == '"') {
      row.text = JsonString(*members->text, &text_space_);
      if (!row.text.has_value()) return Broken(line, "expected a JSON string as text, got an escape that is none");
    } else if (!members->text.has_value()) {
      problem_ = absl::StrCat("the row has no member `", parser_.text_name(), "`");
      row.problem = problem_;
    } else if (members->text->front() != 'n') {
      problem_ =
          absl::StrCat("expected `", parser_.text_name(), "` to be a string, got ", JsonKindName(*members->text));
      row.problem = problem_;
    }
    return row;
  }

  static constexpr absl::string_view kLineName = "line ";

  const std::unique_ptr<File> file_;
  const std::unique_ptr<Unpacker> unpacker_;
  const bool regular_;
  const bool key_is_named_;
  const JsonlOptions options_;
  LineReader lines_;
  LineParser parser_;
  std::optional<LinePlace> from_, before_;  // of the share; nullopt: the file has no line outside
  std::optional<int64_t> lines_before_;     // in the file; nullopt: nobody has counted
  std::optional<KeyKind> key_kind_;         // nullopt: not named, and no line was an object yet
  bool has_object_ = false;                 // some line is one
  bool has_key_ = false;                    // some line has it; likewise
  bool has_text_ = false;
  std::vector<std::string> names_;  // of the members of the first line that is an object
  absl::Status first_error_;        // of the first line
  std::optional<Line> again_;       // seen by Open(), not yet given
  std::optional<Key> last_;         // of a pipe
  std::string key_space_;
  std::string text_space_;
  std::string line_name_;
  std::string problem_;
};

absl::StatusOr<File> OpenInput(const Location& location) {
  if (location.scheme != "-") return File::OpenToRead(location.path);
  // A copy, so that closing ours leaves standard input open.
  const int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return FileError("standard input", "open", errno);
  return File(fd, "standard input");
}

absl::StatusOr<std::unique_ptr<JsonlSource>> Open(const Location& location, const JsonlOptions& options) {
  ABSL_RETURN_IF_ERROR(location.CheckParameters({"key", "text"}));
  ABSL_ASSIGN_OR_RETURN(File opened, OpenInput(location));
  auto file = std::make_unique<File>(std::move(opened));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<Unpacker> unpacker, MakeUnpacker(file.get()));
  auto source = std::make_unique<JsonlSource>(std::move(file), std::move(unpacker),
                                              LineParser(location.Get("key", "id"), location.Get("text", "text")),
                                              location.parameters.count("key") > 0, options);
  ABSL_RETURN_IF_ERROR(source->Open());
  ABSL_RETURN_IF_ERROR(source->SetRange(options.range));
  return source;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Source>> OpenJsonlSource(const Location& location, const JsonlOptions& options) {
  return Open(location, options);
}

absl::StatusOr<std::vector<Key>> CutJsonl(const Location& location, int shares) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<JsonlSource> source, Open(location, {}));
  return source->Cut(shares);
}

}  // namespace reembed
