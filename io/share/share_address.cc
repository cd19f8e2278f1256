// SPDX-License-Identifier: Apache-2.0
#include "io/share/share_address.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace reembed {
namespace {

constexpr char kExpected[] = "redis://[user@]host[:port]/key, or rediss:// over TLS";

// It is asked for grants and vectors while requests wait, so its silence is soon taken for absence.
constexpr absl::Duration kPatience = absl::Seconds(2);

// What is wrong with a name of what is shared; empty: nothing.
std::string WrongKey(absl::string_view key) {
  if (std::all_of(key.begin(), key.end(), absl::ascii_isdigit)) {
    return absl::StrCat("expected a name of your own behind the host, got the number ", key,
                        "; a database is /KEY?db=", key);
  }
  const auto is_odd = [](char c) { return !absl::ascii_isgraph(c) || c == '{' || c == '}'; };
  if (!std::any_of(key.begin(), key.end(), is_odd)) return "";
  return "a key should be of letters, digits and signs other than braces";
}

}  // namespace

bool IsShareAddress(absl::string_view uri) {
  return absl::StartsWith(uri, "redis://") || absl::StartsWith(uri, "rediss://");
}

absl::StatusOr<ShareAddress> ParseShareAddress(absl::string_view flag, absl::string_view uri, std::string password) {
  const auto error = [&](absl::string_view what) { return absl::InvalidArgumentError(absl::StrCat(flag, ": ", what)); };
  absl::string_view rest = uri;
  const bool tls = absl::ConsumePrefix(&rest, "rediss://");
  if (!tls && !absl::ConsumePrefix(&rest, "redis://")) return error(absl::StrCat("expected ", kExpected));
  const std::pair<absl::string_view, absl::string_view> query = absl::StrSplit(rest, absl::MaxSplits('?', 1));
  const std::pair<absl::string_view, absl::string_view> path = absl::StrSplit(query.first, absl::MaxSplits('/', 1));
  absl::string_view authority = path.first;
  ShareAddress address{.server = {.password = std::move(password),
                                  .password_variable = kSharePasswordVariables[0],
                                  .tls = tls,
                                  .connect_timeout = kPatience,
                                  .reply_timeout = kPatience},
                       .key = std::string(path.second)};
  if (const size_t at = authority.rfind('@'); at != absl::string_view::npos) {
    const absl::string_view login = authority.substr(0, at);
    if (absl::StrContains(login, ':')) {
      return error(absl::StrCat("a password must not be in a flag, where others can see it; put it into ",
                                kSharePasswordVariables[0]));
    }
    address.server.user = std::string(login);
    authority.remove_prefix(at + 1);
  }
  const absl::string_view host_and_port = authority;
  if (const size_t colon = authority.rfind(':'); colon != absl::string_view::npos && !absl::EndsWith(authority, "]")) {
    int port = 0;
    if (!absl::SimpleAtoi(authority.substr(colon + 1), &port) || port < 1 || port > 65535) {
      return error("expected a port from 1 to 65535");
    }
    address.server.port = port;
    authority = authority.substr(0, colon);
  }
  if (absl::ConsumePrefix(&authority, "[")) absl::ConsumeSuffix(&authority, "]");
  if (authority.empty()) return error(absl::StrCat("no host; expected ", kExpected));
  address.server.host = std::string(authority);
  address.server.name = absl::StrCat(tls ? "rediss://" : "redis://", address.server.user,
                                     address.server.user.empty() ? "" : "@", host_and_port);
  if (address.key.empty()) return error(absl::StrCat("no key behind the host; expected ", kExpected));
  if (const std::string wrong = WrongKey(address.key); !wrong.empty()) return error(wrong);
  if (!query.second.empty()) {
    for (const absl::string_view parameter : absl::StrSplit(query.second, '&')) {
      const std::pair<absl::string_view, absl::string_view> word = absl::StrSplit(parameter, absl::MaxSplits('=', 1));
      if (word.first == "db") {
        if (!absl::SimpleAtoi(word.second, &address.server.database) || address.server.database < 0) {
          return error("db: expected the number of a database, 0 or above");
        }
      } else if (word.first == "ca" && tls) {
        address.server.ca_file = std::string(word.second);
      } else {
        return error(absl::StrCat("unknown parameter `", word.first, "`; known are db, and ca with rediss://"));
      }
    }
  }
  address.name = absl::StrCat(address.server.name, "/", address.key);
  return address;
}

}  // namespace reembed
