// SPDX-License-Identifier: Apache-2.0
#include "io/net/http_server_parser.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace reembed {
namespace {

constexpr size_t kReadBytes = size_t{16} << 10;
constexpr size_t kKeptBytes = size_t{512} << 10;  // from one request to the next
constexpr size_t kMaxHeaders = 128;
constexpr size_t kMaxLine = 1024;  // of the chunked framing

// RFC 9110, section 5.6.2.
bool IsToken(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(c) || absl::string_view("!#$%&'*+-.^_`|~").find(c) != absl::string_view::npos;
  });
}

bool IsFieldValue(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c == '\t' || !absl::ascii_iscntrl(c); });
}

bool IsTarget(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isgraph(c); });
}

bool ListHas(absl::string_view list, absl::string_view token) {
  for (const absl::string_view item : absl::StrSplit(list, ',')) {
    if (absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(item), token)) return true;
  }
  return false;
}

// Digits only, as the grammar has it: no sign, no space.
bool ParseDigits(absl::string_view text, uint64_t* value) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isdigit(c); }) &&
         absl::SimpleAtoi(text, value);
}

}  // namespace

absl::string_view HttpServerRequest::Header(absl::string_view name) const {
  for (const HttpServerHeader& header : headers) {
    if (header.name == name) return header.value;
  }
  return {};
}

absl::Span<char> HttpServerParser::Room() {
  const size_t wanted = kReadBytes + kHttpBodyPadding;
  if (phase_ == Phase::kChunkSize || phase_ == Phase::kChunkData || phase_ == Phase::kTrailer) {
    // Drops the framing, so that many small chunks need no more room than their data.
    std::memmove(buffer_.get() + body_end_, buffer_.get() + position_, used_ - position_);
    used_ -= position_ - body_end_;
    position_ = body_end_;
  }
  if (capacity_ - used_ < wanted && begin_ > 0) {  // the space of earlier requests comes first
    std::memmove(buffer_.get(), buffer_.get() + begin_, used_ - begin_);
    for (size_t* offset : {&scanned_, &position_, &body_end_}) *offset -= std::min(*offset, begin_);
    used_ -= begin_;
    begin_ = 0;
  }
  if (capacity_ - used_ < wanted) {
    capacity_ = std::max(2 * capacity_, used_ + wanted);
    std::unique_ptr<char[]> larger(new char[capacity_]);
    if (used_ > 0) std::memcpy(larger.get(), buffer_.get(), used_);
    buffer_ = std::move(larger);
  }
  return {buffer_.get() + used_, capacity_ - used_ - kHttpBodyPadding};
}

HttpServerParser::Result HttpServerParser::Parse() {
  for (;;) {
    const Phase before = phase_;
    switch (phase_) {
      case Phase::kHead:
        FindHead();
        break;
      case Phase::kSizedBody:
        ParseSizedBody();
        break;
      case Phase::kChunkSize:
        ParseChunkSize();
        break;
      case Phase::kChunkData:
        ParseChunkData();
        break;
      case Phase::kTrailer:
        ParseTrailer();
        break;
      case Phase::kReady:
        return Result::kReady;
      case Phase::kRefused:
        return Result::kRefused;
    }
    if (phase_ == before) return Result::kIncomplete;
  }
}

bool HttpServerParser::TakeContinue() {
  // Where the body has begun to come, the peer does not wait.
  const bool waits = continue_wanted_ && begin_ == used_ && phase_ != Phase::kReady;
  continue_wanted_ = false;
  return waits;
}

void HttpServerParser::Next() {
  begin_ = scanned_ = position_;
  if (begin_ == used_) begin_ = scanned_ = used_ = 0;
  if (used_ == 0 && capacity_ > kKeptBytes) {
    buffer_.reset();
    capacity_ = 0;
  }
  phase_ = Phase::kHead;
}

void HttpServerParser::Refuse(int status, absl::string_view reason) {
  phase_ = Phase::kRefused;
  refused_status_ = status;
  refused_reason_ = std::string(reason);
}

void HttpServerParser::FindHead() {
  while (used_ - begin_ >= 2 && buffer_[begin_] == '\r' && buffer_[begin_ + 1] == '\n') begin_ += 2;
  if (begin_ == used_) return;
  const absl::string_view bytes(buffer_.get() + begin_, used_ - begin_);
  // Refuses another protocol at its first byte instead of waiting for a line that never ends.
  if (bytes[0] != '\r' && !IsToken(bytes.substr(0, 1))) return Refuse(400, "this is not HTTP/1.1");
  const size_t from = scanned_ > begin_ ? scanned_ - begin_ : 0;
  const size_t end = bytes.find("\r\n\r\n", from);
  if (std::min(end, bytes.size()) > limits_.max_head_bytes) {
    return Refuse(431, absl::StrCat("the headers are longer than ", limits_.max_head_bytes, " bytes"));
  }
  if (end == absl::string_view::npos) {
    scanned_ = std::max(begin_, used_ - std::min<size_t>(used_, 3));
    return;
  }
  head_.assign(bytes.data(), end + 2);  // every line with its CRLF
  begin_ += end + 4;
  ParseHead();
}

void HttpServerParser::ParseHead() {
  headers_.clear();
  request_ = HttpServerRequest();
  size_t begin = head_.find("\r\n");
  ParseRequestLine(absl::string_view(head_).substr(0, begin));
  for (begin += 2; begin < head_.size() && phase_ != Phase::kRefused;) {
    const size_t end = head_.find("\r\n", begin);
    if (headers_.size() == kMaxHeaders) return Refuse(431, absl::StrCat("more than ", kMaxHeaders, " headers"));
    AddHeader(begin, end);
    begin = end + 2;
  }
  if (phase_ == Phase::kRefused) return;
  request_.headers = headers_;
  ChooseFraming();
}

void HttpServerParser::ParseRequestLine(absl::string_view line) {
  const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(' ', 3));
  if (parts.size() != 3 || !IsToken(parts[0]) || !IsTarget(parts[1])) return Refuse(400, "bad request line");
  absl::string_view version = parts[2];
  if (!absl::ConsumePrefix(&version, "HTTP/") || version.size() != 3 || version[1] != '.') {
    return Refuse(400, "bad request line");
  }
  if (version[0] != '1') return Refuse(505, "expected HTTP/1.1");
  http_1_0_ = version[2] == '0';
  request_.method = parts[0];
  request_.target = parts[1];
  absl::string_view path = request_.target;
  if (absl::ConsumePrefix(&path, "http://")) {  // absolute form, as sent to proxies
    const size_t slash = path.find('/');
    path = slash == absl::string_view::npos ? "/" : path.substr(slash);
  }
  request_.path = path.substr(0, path.find('?'));
}

void HttpServerParser::AddHeader(size_t line_begin, size_t line_end) {
  const absl::string_view line = absl::string_view(head_).substr(line_begin, line_end - line_begin);
  const size_t colon = line.find(':');
  if (colon == absl::string_view::npos || !IsToken(line.substr(0, colon)) || !IsFieldValue(line.substr(colon + 1))) {
    return Refuse(400, "bad header line");
  }
  for (size_t i = line_begin; i < line_begin + colon; ++i) head_[i] = absl::ascii_tolower(head_[i]);
  headers_.push_back({line.substr(0, colon), absl::StripAsciiWhitespace(line.substr(colon + 1))});
}

void HttpServerParser::ChooseFraming() {
  bool has_length = false, has_host = false, chunked = false;
  keep_alive_ = !http_1_0_;
  continue_wanted_ = false;
  content_length_ = 0;
  for (const HttpServerHeader& header : headers_) {
    if (header.name == "content-length") {
      uint64_t length = 0;
      if (!ParseDigits(header.value, &length) || (has_length && length != content_length_)) {
        return Refuse(400, "bad content-length");
      }
      content_length_ = length;
      has_length = true;
    } else if (header.name == "transfer-encoding") {
      if (chunked || !absl::EqualsIgnoreCase(header.value, "chunked")) {
        return Refuse(501, "no transfer-encoding but chunked");
      }
      chunked = true;
    } else if (header.name == "connection") {
      if (ListHas(header.value, "close")) keep_alive_ = false;
      if (http_1_0_ && ListHas(header.value, "keep-alive")) keep_alive_ = true;
    } else if (header.name == "expect") {
      if (!absl::EqualsIgnoreCase(header.value, "100-continue")) return Refuse(417, "no expectation but 100-continue");
      continue_wanted_ = !http_1_0_;
    } else if (header.name == "host") {
      has_host = true;
    }
  }
  if (!has_host && !http_1_0_) return Refuse(400, "no host header");
  if (chunked && (has_length || http_1_0_)) return Refuse(400, "content-length and transfer-encoding in one request");
  if (content_length_ > limits_.max_body_bytes) {
    return Refuse(413, absl::StrCat("the body is longer than ", limits_.max_body_bytes, " bytes"));
  }
  position_ = body_end_ = begin_;
  trailer_bytes_ = 0;
  phase_ = chunked ? Phase::kChunkSize : Phase::kSizedBody;
}

void HttpServerParser::ParseSizedBody() {
  if (used_ - begin_ < content_length_) return;
  position_ = begin_ + content_length_;
  Ready(position_);
}

absl::string_view HttpServerParser::Line(bool* found) const {
  const absl::string_view rest(buffer_.get() + position_, used_ - position_);
  const size_t end = rest.find("\r\n");
  *found = end != absl::string_view::npos;
  return rest.substr(0, end);
}

void HttpServerParser::ParseChunkSize() {
  bool found = false;
  const absl::string_view line = Line(&found);
  if (line.size() > kMaxLine) return Refuse(400, "bad chunk");
  if (!found) return;
  uint64_t size = 0;
  size_t digits = 0;
  for (; digits < line.size() && absl::ascii_isxdigit(line[digits]); ++digits) {
    if (digits == 15) return Refuse(400, "bad chunk");
    const char c = absl::ascii_tolower(line[digits]);
    size = size * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
  }
  // Extensions are allowed, and mean nothing to us.
  const absl::string_view extension = absl::StripLeadingAsciiWhitespace(line.substr(digits));
  if (digits == 0 || !(extension.empty() || extension[0] == ';') || !IsFieldValue(extension)) {
    return Refuse(400, "bad chunk");
  }
  if (size > limits_.max_body_bytes - (body_end_ - begin_)) {
    return Refuse(413, absl::StrCat("the body is longer than ", limits_.max_body_bytes, " bytes"));
  }
  position_ += line.size() + 2;
  chunk_left_ = size;
  phase_ = size == 0 ? Phase::kTrailer : Phase::kChunkData;
}

void HttpServerParser::ParseChunkData() {
  const size_t bytes = std::min(chunk_left_, used_ - position_);
  std::memmove(buffer_.get() + body_end_, buffer_.get() + position_, bytes);
  body_end_ += bytes;
  position_ += bytes;
  chunk_left_ -= bytes;
  if (chunk_left_ > 0 || used_ - position_ < 2) return;
  if (buffer_[position_] != '\r' || buffer_[position_ + 1] != '\n') return Refuse(400, "bad chunk");
  position_ += 2;
  phase_ = Phase::kChunkSize;
}

void HttpServerParser::ParseTrailer() {
  for (;;) {
    bool found = false;
    const absl::string_view line = Line(&found);
    if (line.size() > kMaxLine || trailer_bytes_ + line.size() > limits_.max_head_bytes)
      return Refuse(431, "the trailers are too long");
    if (!found) return;
    trailer_bytes_ += line.size() + 2;
    position_ += line.size() + 2;
    if (line.empty()) return Ready(body_end_);
  }
}

void HttpServerParser::Ready(size_t body_end) {
  request_.body = absl::string_view(buffer_.get() + begin_, body_end - begin_);
  phase_ = Phase::kReady;
}

}  // namespace reembed
