// SPDX-License-Identifier: Apache-2.0
#include "io/file/jsonl_source.h"

#include <fcntl.h>
#include <simdjson.h>
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
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/ledger.h"
#include "engine/location.h"
#include "engine/number/json_value.h"
#include "engine/status_macros.h"
#include "io/file/line_reader.h"
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

bool IsBlank(const Line& line) { return !line.too_long && absl::StripLeadingAsciiWhitespace(line.text).empty(); }

// The names of more members are not kept for a message.
constexpr size_t kMaxNames = 64;

std::string NotAnObject(simdjson::error_code error) {
  return absl::StrCat("expected a JSON object, got: ", simdjson::error_message(error));
}

// The tokens of two members of an object in one line.
struct MemberTokens {
  std::optional<absl::string_view> key;
  std::optional<absl::string_view> text;
};

// A member that is looked for. Its name is that of a member, or a path of them with dots between.
struct WantedMember {
  absl::string_view rest;  // of the path, below the object that is walked over
  std::optional<absl::string_view>* token = nullptr;
  size_t* matched = nullptr;  // length of the last part of the name that found it
};

class LineParser {
 public:
  LineParser(std::string key_name, std::string text_name)
      : key_name_(std::move(key_name)), text_name_(std::move(text_name)) {}

  // The members as they stand in `line`; of a repeated member the last one, as in most JSON readers. `a.b` is the
  // member of that name or, if there is none, the member `b` of the member `a`. Errors: kDataLoss (what is wrong,
  // without the place).
  absl::StatusOr<MemberTokens> Parse(absl::string_view line) {
    MemberTokens members;
    const simdjson::error_code error = Tokens(line, line.size() + kLinePadding, &members);
    if (error == simdjson::SUCCESS) return members;
    if (error != simdjson::UTF8_ERROR) return absl::DataLossError(NotAnObject(error));
    // The structure is all ASCII: with every other byte hidden the tokens are found at the same places.
    ascii_.assign(line.data(), line.size());
    for (char& c : ascii_) {
      if (static_cast<unsigned char>(c) >= 0x80) c = '?';
    }
    ascii_.append(kLinePadding, ' ');
    if (const simdjson::error_code hidden =
            Tokens(absl::string_view(ascii_).substr(0, line.size()), ascii_.size(), &members);
        hidden != simdjson::SUCCESS) {
      return absl::DataLossError(NotAnObject(hidden));
    }
    for (std::optional<absl::string_view>* const token : {&members.key, &members.text}) {
      if (token->has_value())
        *token = line.substr(static_cast<size_t>((*token)->data() - ascii_.data()), (*token)->size());
    }
    return members;
  }

  // The names of the members of a line that Parse() could read, those below others as paths; some of them, if many.
  std::vector<std::string> Names(absl::string_view line) {
    std::vector<std::string> names;
    simdjson::ondemand::document document;
    simdjson::ondemand::object object;
    if (parser_.iterate(line.data(), line.size(), line.size() + kLinePadding).get(document) == simdjson::SUCCESS &&
        document.get_object().get(object) == simdjson::SUCCESS) {
      AddNames(object, "", &names);
    }
    return names;
  }

  const std::string& key_name() const { return key_name_; }
  const std::string& text_name() const { return text_name_; }

 private:
  simdjson::error_code Tokens(absl::string_view line, size_t capacity, MemberTokens* members) {
    *members = {};
    size_t key_matched = 0;
    size_t text_matched = 0;
    const WantedMember wanted[] = {{key_name_, &members->key, &key_matched},
                                   {text_name_, &members->text, &text_matched}};
    simdjson::ondemand::document document;
    simdjson::ondemand::object object;
    if (auto error = parser_.iterate(line.data(), line.size(), capacity).get(document)) return error;
    if (auto error = document.get_object().get(object)) return error;
    if (auto error = Walk(object, wanted)) return error;
    return AtEnd(document) ? simdjson::SUCCESS : simdjson::TRAILING_CONTENT;
  }

  // As deep as the names have dots.
  static simdjson::error_code Walk(simdjson::ondemand::object object, absl::Span<const WantedMember> wanted) {
    for (simdjson::simdjson_result<simdjson::ondemand::field> field : object) {
      std::string_view found;
      simdjson::ondemand::value value;
      if (auto error = field.unescaped_key().get(found)) return error;
      if (auto error = field.value().get(value)) return error;
      const absl::string_view name(found.data(), found.size());
      WantedMember below[2];
      size_t deeper = 0;
      for (const WantedMember& member : wanted) {
        if (name == member.rest && name.size() >= *member.matched) {
          *member.token = TokenOf(value);
          *member.matched = name.size();
        } else if (member.rest.size() > name.size() && member.rest[name.size()] == '.' &&
                   absl::StartsWith(member.rest, name)) {
          below[deeper] = member;
          below[deeper++].rest.remove_prefix(name.size() + 1);
        }
      }
      if (deeper == 0 || TokenOf(value).front() != '{') continue;
      simdjson::ondemand::object inner;
      if (auto error = value.get_object().get(inner)) return error;
      if (auto error = Walk(inner, absl::MakeConstSpan(below, deeper))) return error;
    }
    return simdjson::SUCCESS;
  }

  static void AddNames(simdjson::ondemand::object object, const std::string& prefix, std::vector<std::string>* names) {
    for (simdjson::simdjson_result<simdjson::ondemand::field> field : object) {
      std::string_view found;
      simdjson::ondemand::value value;
      simdjson::ondemand::object inner;
      if (field.unescaped_key().get(found) != simdjson::SUCCESS || names->size() >= kMaxNames) return;
      const std::string name = absl::StrCat(prefix, absl::string_view(found.data(), found.size()));
      if (field.value().get(value) != simdjson::SUCCESS) return;
      names->push_back(name);
      if (TokenOf(value).front() == '{' && value.get_object().get(inner) == simdjson::SUCCESS) {
        AddNames(inner, absl::StrCat(name, "."), names);
      }
    }
  }

  const std::string key_name_;
  const std::string text_name_;
  simdjson::ondemand::parser parser_;
  std::string ascii_;
};

// What a file is that has such a first line, and is not lines of JSON in UTF-8; empty: it may be.
std::string OtherFormat(absl::string_view line) {
  struct Magic {
    absl::string_view bytes;
    absl::string_view what;
  };
  constexpr absl::string_view kUtf16 = "text in UTF-16; make it UTF-8, as with iconv -f UTF-16 -t UTF-8";
  constexpr absl::string_view kUtf32 = "text in UTF-32; make it UTF-8, as with iconv -f UTF-32 -t UTF-8";
  static constexpr Magic kMagic[] = {
      {{"\xff\xfe\0\0", 4}, kUtf32},
      {{"\0\0\xfe\xff", 4}, kUtf32},
      {"\xff\xfe", kUtf16},
      {"\xfe\xff", kUtf16},
      {{"{\0", 2}, kUtf16},
      {{"\0{", 2}, kUtf16},
      {"\x1f\x8b", "packed by gzip, and read as it comes; unpack it before, as with gunzip -c"},
      {"\x28\xb5\x2f\xfd", "packed by zstd, and read as it comes; unpack it before, as with zstd -dc"},
      {"BZh", "packed by bzip2; unpack it before, as with bunzip2"},
      {{"\xfd\x37zXZ", 5}, "packed by xz; unpack it before, as with unxz"},
      {{"\x04\x22\x4d\x18", 4}, "packed by lz4; unpack it before, as with lz4 -d"},
      {"PK\x03\x04", "a ZIP archive; unpack it before"},
      {"PAR1", "a Parquet file; write it as one JSON object a line"},
      {"SQLite format 3", "an SQLite database; write sqlite:PATH?table=T"},
      {"\x89HDF", "an HDF5 file; write hdf5:PATH"},
      {"\x93NUMPY", "a NumPy file, which has no texts"},
  };
  for (const Magic& magic : kMagic) {
    if (absl::StartsWith(line, magic.bytes)) return absl::StrCat("is ", magic.what);
  }
  if (absl::StartsWith(absl::StripLeadingAsciiWhitespace(line), "[")) {
    return "is a JSON array; write one object a line, as with jq -c '.[]'";
  }
  return "";
}

// Where a line begins, as an end of a KeyRange: "BYTE:NUMBER:PRINT".
struct LinePlace {
  int64_t offset = 0;
  int64_t number = 0;  // of the line; 0: nobody has counted
  uint64_t print = 0;  // of the line, so that another file is not taken for this one

  Key AsKey() const { return absl::StrCat(offset, ":", number, ":", absl::Hex(print)); }

  static std::optional<LinePlace> Of(const Key& key) {
    const auto* const text = std::get_if<std::string>(&key);
    if (text == nullptr) return std::nullopt;
    const std::vector<absl::string_view> parts = absl::StrSplit(*text, ':');
    LinePlace place;
    if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &place.offset) || !absl::SimpleAtoi(parts[1], &place.number) ||
        !absl::SimpleHexAtoi(parts[2], &place.print) || place.offset < 0) {
      return std::nullopt;
    }
    return place;
  }
};

// Of the line at `offset`, or of nothing where it has no end yet, and may grow.
absl::StatusOr<uint64_t> PrintOfLine(const File& file, int64_t offset) {
  char bytes[256];
  ABSL_ASSIGN_OR_RETURN(const size_t read, file.ReadAt(offset, absl::MakeSpan(bytes)));
  absl::string_view line(bytes, read);
  const size_t end = line.find('\n');
  if (end == absl::string_view::npos && read < sizeof(bytes)) return uint64_t{0};
  return HashText(line.substr(0, end)).lo;
}

// Whether what was cut there is there still.
absl::Status CheckPlace(const File& file, const LinePlace& place) {
  char before = '\n';
  if (place.offset > 0) {
    ABSL_ASSIGN_OR_RETURN(const size_t read, file.ReadAt(place.offset - 1, absl::MakeSpan(&before, 1)));
    if (read == 0) before = 0;
  }
  ABSL_ASSIGN_OR_RETURN(const uint64_t print, PrintOfLine(file, place.offset));
  if (before == '\n' && (place.print == 0 || print == place.print)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(file.path(), ": at byte ", place.offset,
                   ", where one share ends and the next begins, the line is another than when the shares were planned; "
                   "lines may be appended, and no others changed: plan the shards anew, in another folder"));
}

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
    const absl::Status status = first.has_value() ? CheckMembers() : absl::OkStatus();
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
      ABSL_ASSIGN_OR_RETURN(place, LineAtOrBehind(place, wanted));
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
      ABSL_ASSIGN_OR_RETURN(const std::optional<Line> line, lines.Next());
      if (!line.has_value() || IsBehind(*line)) return rows;
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

  bool IsBehind(const Line& line) const { return before_.has_value() && line.offset >= before_->offset; }

  // In the file. The lines in front of a share are counted when somebody wants to know.
  absl::StatusOr<int64_t> NumberOf(const Line& line) {
    if (!from_.has_value() || from_->number > 0) return line.number;
    if (!lines_before_.has_value()) {
      ABSL_ASSIGN_OR_RETURN(lines_before_, CountLinesBefore(0, from_->offset));
    }
    return line.number + *lines_before_;
  }

  // Newlines in [offset, end).
  absl::StatusOr<int64_t> CountLinesBefore(int64_t offset, int64_t end) const {
    std::vector<char> block(size_t{1} << 20);
    int64_t lines = 0;
    while (offset < end) {
      const auto most = static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(block.size()), end - offset));
      ABSL_ASSIGN_OR_RETURN(const size_t read, file_->ReadAt(offset, absl::MakeSpan(block.data(), most)));
      if (read == 0) break;
      lines += std::count(block.data(), block.data() + read, '\n');
      offset += static_cast<int64_t>(read);
    }
    return lines;
  }

  // The first line that begins at `wanted` or behind it, and not before `after`; the end of the file: there is none.
  absl::StatusOr<LinePlace> LineAtOrBehind(const LinePlace& after, int64_t wanted) const {
    if (wanted <= after.offset) return after;
    ABSL_ASSIGN_OR_RETURN(LinePlace place, OffsetBehindNewline(wanted - 1));
    if (after.number > 0) {
      ABSL_ASSIGN_OR_RETURN(const int64_t lines, CountLinesBefore(after.offset, place.offset));
      place.number = after.number + lines;
    }
    return place;
  }

  absl::StatusOr<LinePlace> OffsetBehindNewline(int64_t offset) const {
    std::vector<char> block(size_t{64} << 10);
    int64_t begin = offset;
    while (true) {
      ABSL_ASSIGN_OR_RETURN(const size_t read, file_->ReadAt(offset, absl::MakeSpan(block.data(), block.size())));
      const absl::string_view bytes(block.data(), read);
      if (const size_t newline = bytes.find('\n'); newline != absl::string_view::npos) {
        return LinePlace{.offset = offset + static_cast<int64_t>(newline) + 1};
      }
      offset += static_cast<int64_t>(read);
      // A last line that may still grow is not cut off from what will be behind it.
      if (read == 0) return BeginOfLineAt(begin);
    }
  }

  absl::StatusOr<LinePlace> BeginOfLineAt(int64_t offset) const {
    std::vector<char> block(size_t{64} << 10);
    while (offset > 0) {
      const auto bytes = std::min<int64_t>(offset, static_cast<int64_t>(block.size()));
      ABSL_ASSIGN_OR_RETURN(const size_t read,
                            file_->ReadAt(offset - bytes, absl::MakeSpan(block.data(), static_cast<size_t>(bytes))));
      const size_t newline = absl::string_view(block.data(), read).rfind('\n');
      if (newline != absl::string_view::npos) {
        return LinePlace{.offset = offset - bytes + static_cast<int64_t>(newline) + 1};
      }
      offset -= bytes;
    }
    return LinePlace{};
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
      if ((*line)->offset == 0) {
        // Some editors put a byte order mark in front.
        (*line)->text = absl::StripPrefix((*line)->text, "\xEF\xBB\xBF");
      }
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
