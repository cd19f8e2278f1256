// SPDX-License-Identifier: Apache-2.0
// Requests as `serve` gets them, whole and cut anywhere.
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "io/net/http_server_parser.h"
#include "tests/fuzz/fuzz.h"

namespace reembed::fuzz {
namespace {

// All requests in `bytes`, and how it ended.
std::string ReadRequests(absl::string_view bytes, bool cut) {
  HttpServerParser parser({.max_head_bytes = 1024, .max_body_bytes = 2048});
  std::string out;
  Pieces pieces(bytes);
  absl::string_view piece = cut ? pieces.Next() : bytes;
  while (!piece.empty()) {
    const absl::Span<char> room = parser.Room();
    const size_t taken = std::min(room.size(), piece.size());
    std::memcpy(room.data(), piece.data(), taken);
    parser.Received(taken);
    piece.remove_prefix(taken);
    while (true) {
      const HttpServerParser::Result result = parser.Parse();
      if (result == HttpServerParser::Result::kIncomplete) break;
      if (result == HttpServerParser::Result::kRefused) {
        Require(parser.refused_status() >= 400 && !parser.refused_reason().empty(), "a refusal says why");
        Saw(parser.refused_reason());
        return absl::StrCat(out, "refused ", parser.refused_status());
      }
      const HttpServerRequest& request = parser.request();
      Require(request.body.size() <= 2048, "a body is not longer than it may be");
      Require(request.path.find('?') == absl::string_view::npos, "a path ends before the query");
      absl::StrAppend(&out, request.method, " ", request.target, " ", parser.keep_alive(), "\n");
      for (const HttpServerHeader& header : request.headers)
        absl::StrAppend(&out, header.name, ":", header.value, "\n");
      absl::StrAppend(&out, request.body, "\n");
      Saw(request.method);
      parser.Next();
    }
    if (piece.empty() && cut) piece = pieces.Next();
  }
  return absl::StrCat(out, "idle ", parser.idle());
}

}  // namespace
}  // namespace reembed::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed::fuzz;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  Require(ReadRequests(bytes, true) == ReadRequests(bytes, false), "where a request is cut makes no difference");
  return 0;
}
