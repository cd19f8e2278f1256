// SPDX-License-Identifier: Apache-2.0
#include "io/embed/api_flow.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/number/base64.h"
#include "engine/number/json_text.h"
#include "engine/status_macros.h"
#include "io/embed/api_address.h"
#include "io/net/proxy.h"
#include "io/net/url.h"

namespace reembed {
namespace {

absl::Status CheckHeaders(const std::vector<std::string>& headers) {
  for (const std::string& header : headers) {
    const size_t colon = header.find(':');
    const bool line_break = header.find_first_of("\r\n") != std::string::npos;
    if (colon == 0 || colon == std::string::npos || line_break) {
      return absl::InvalidArgumentError("a header should be one line `name: value`");
    }
  }
  return absl::OkStatus();
}

WireForm OwnWire(const ApiOptions& options, const Dialect& dialect) {
  return dialect.wire({.model = options.model.name,
                       .dimensions = options.dimensions,
                       .format = dialect.base64 ? options.encoding : ReplyFormat::kFloat,
                       .use = options.use,
                       .truncate = options.truncate,
                       .tell_use = options.tell_use});
}

BodyWriter WriterFor(const WireForm& wire, const std::string& prefix) {
  return [wire, prefix](absl::Span<const BatchText* const> texts, std::string* body) {
    *body = wire.head;
    for (const BatchText* const text : texts) {
      if (text != texts.front()) body->push_back(',');
      body->append(wire.before_text);
      if (prefix.empty()) {
        AppendJsonString(text->text, body);
      } else {
        AppendJsonString(absl::StrCat(prefix, text->text), body);
      }
      body->append(wire.after_text);
    }
    body->append(wire.tail);
  };
}

std::string InBase64(absl::string_view text) {
  std::string base64;
  EncodeBase64({reinterpret_cast<const unsigned char*>(text.data()), text.size()}, &base64);
  return base64;
}

// A login in all the forms in which it may come back.
void AddLogin(const std::string& login, std::vector<std::string>* secrets) {
  if (login.empty()) return;
  secrets->push_back(login);
  secrets->push_back(login.substr(login.find(':') + 1));
  secrets->push_back(InBase64(login));
}

bool SaysWhoAsks(absl::string_view header) { return absl::StartsWithIgnoreCase(header, "authorization:"); }

}  // namespace

absl::Status CheckBodyFields(const ApiOptions& options) {
  WireForm wire = OwnWire(options, *FindDialect(options.dialect));
  return AddBodyFields(options.body_fields, &wire);
}

absl::Status CheckApiOptions(const ApiOptions& options) {
  const Dialect* const dialect = FindDialect(options.dialect);
  if (dialect == nullptr) return absl::InvalidArgumentError(absl::StrCat("no API is called `", options.dialect, "`"));
  const std::string& base = options.api_base;
  if (base.empty() && *dialect->api_base == '\0') {
    return absl::InvalidArgumentError(absl::StrCat(dialect->name, " has no address of its own: give the API base"));
  }
  if (!base.empty() && !absl::StartsWith(base, "https://") && !absl::StartsWith(base, "http://")) {
    return absl::InvalidArgumentError("the API base should begin with https:// or http://");
  }
  if (std::any_of(options.api_key.begin(), options.api_key.end(), [](char c) { return !absl::ascii_isgraph(c); })) {
    return absl::InvalidArgumentError(
        "the API key has a space, a line break or another character that keys do not have; check where it comes from");
  }
  ABSL_RETURN_IF_ERROR(CheckHeaders(options.headers));
  ABSL_RETURN_IF_ERROR(CheckBodyFields(options));
  if (options.model.name.empty()) return absl::InvalidArgumentError("the model has no name");
  if (options.model.dim < 1) return absl::InvalidArgumentError("the model's dimensions should be at least 1");
  if (options.dimensions.has_value() && *options.dimensions != options.model.dim) {
    return absl::InvalidArgumentError(absl::StrCat("the model's vectors should have ", options.model.dim,
                                                   " dimensions, but ", *options.dimensions, " are to be asked for"));
  }
  if (options.dimensions.has_value() && !dialect->resizes) {
    return absl::InvalidArgumentError(absl::StrCat(dialect->name, " cannot be asked for another width"));
  }
  if (options.concurrency < 1 || options.loop_threads < 1 || options.retry.max_attempts < 1) {
    return absl::InvalidArgumentError("concurrency, loop threads and attempts should be at least 1");
  }
  if (options.timeout <= absl::ZeroDuration() || options.connect_timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("timeouts should be above zero");
  }
  return absl::OkStatus();
}

WireForm WireOf(const ApiOptions& options) {
  WireForm wire = OwnWire(options, *FindDialect(options.dialect));
  AddBodyFields(options.body_fields, &wire).IgnoreError();
  return wire;
}

ReachHints HintsOf(const ApiOptions& options) {
  const Dialect& dialect = *FindDialect(options.dialect);
  ReachHints hints{.address = AddressHint(dialect, options.api_base.empty() ? dialect.api_base : options.api_base)};
  const bool has_secret = !options.api_key.empty() || !options.login.empty() || !options.header_secrets.empty();
  if (!has_secret && dialect.key_variables[0] != nullptr) {
    hints.key = absl::StrCat("no API key was sent: put it into ", dialect.key_variables[0],
                             ", or name another variable, or a file");
  }
  return hints;
}

absl::StatusOr<std::unique_ptr<RequestFlow>> MakeApiFlow(const ApiOptions& options, const WireForm& wire,
                                                         int base64_dim) {
  const Dialect& dialect = *FindDialect(options.dialect);
  const std::string base = options.api_base.empty() ? dialect.api_base : options.api_base;
  FlowOptions flow{.url = RequestUrl(dialect, base, options.model.name),
                   .headers = {"Content-Type: application/json"},
                   .secrets = options.header_secrets,
                   .ca_file = options.ca_file,
                   .proxy = options.proxy,
                   .accept_gzip = !dialect.base64 && !dialect.self_hosted,
                   .max_texts = dialect.limits.inputs,
                   .longest_first = dialect.self_hosted,
                   .caps = options.caps,
                   .limit = options.limit,
                   .concurrency = options.concurrency,
                   .fixed_concurrency = options.fixed_concurrency,
                   .hedge = options.hedge,
                   .loop_threads = options.loop_threads,
                   .base64_dim = base64_dim,
                   .connect_timeout = options.connect_timeout,
                   .timeout = options.timeout,
                   .retry = options.retry,
                   .errors = {dialect.error_rules},
                   .hints = HintsOf(options),
                   .note = options.note,
                   .lost = options.lost,
                   .shared_quota = options.shared_quota,
                   .spend = options.spend,
                   .control = options.control,
                   .counts_as = options.counts_as,
                   .seed = options.seed};
  if (!options.api_key.empty()) {
    flow.headers.push_back(absl::StrCat(dialect.key_header, options.api_key));
    flow.secrets.push_back(options.api_key);
  }
  flow.headers.insert(flow.headers.end(), options.headers.begin(), options.headers.end());
  if (!options.login.empty() && std::none_of(flow.headers.begin(), flow.headers.end(), SaysWhoAsks)) {
    flow.headers.push_back(absl::StrCat("Authorization: Basic ", InBase64(options.login)));
  }
  AddLogin(options.login, &flow.secrets);
  const absl::StatusOr<UrlAndLogin> proxy = TakeLogin(ProxyFor(flow.url, options.proxy));
  if (!proxy.ok()) return absl::Status(proxy.status().code(), absl::StrCat("proxy: ", proxy.status().message()));
  AddLogin(proxy->login, &flow.secrets);
  return RequestFlow::Make(std::move(flow), WriterFor(wire, options.text_prefix));
}

int64_t ChargedTokens(int64_t said, int64_t texts, int64_t estimated) { return said < texts ? estimated : said; }

absl::Status StatusOfFault(VectorFault fault, int dim) {
  switch (fault) {
    case VectorFault::kNone:
      return absl::OkStatus();
    case VectorFault::kNotFinite:
      return absl::DataLossError("expected a vector of finite numbers, not all zero, got one with NaN or infinity");
    case VectorFault::kAllZero:
      return absl::DataLossError("expected a vector of finite numbers, not all zero, got zeros only");
    case VectorFault::kUnreadable:
      return absl::DataLossError("expected a vector, got none that can be read");
    case VectorFault::kOtherWidth:
      return absl::DataLossError(
          absl::StrCat("expected a vector of ", dim, " numbers as the others, got another width"));
  }
  return absl::InternalError("no such fault: please report this");
}

}  // namespace reembed
