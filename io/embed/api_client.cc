// SPDX-License-Identifier: Apache-2.0
#include "io/embed/api_client.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <future>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/types/span.h"
#include "engine/counted.h"
#include "engine/number/base64.h"
#include "engine/number/json_text.h"
#include "engine/number/normalize.h"
#include "engine/setting.h"
#include "engine/status_macros.h"
#include "io/embed/api_address.h"
#include "io/embed/reply_reader.h"
#include "io/embed/request_flow.h"
#include "io/embed/text_order.h"
#include "io/net/proxy.h"
#include "io/net/url.h"

namespace reembed {
namespace {

constexpr char kProbeText[] = "How wide are you?";
constexpr int64_t kProbeTokens = 5;

// What a reply says that `texts` texts cost, or our estimate where it says nothing. Each of them has a token, so fewer
// are no count: some gateways say 0, or 1, whatever they are asked.
int64_t ChargedTokens(int64_t said, int64_t texts, int64_t estimated) { return said < texts ? estimated : said; }

// Replies without a usable vector for a text: after so many its requests get smaller, and after so many it is given up
// when it was alone.
constexpr int kFaultsToHalve = 2;
constexpr int kFaultsToReject = 3;

// What is wrong with the vector of one text in a good reply.
absl::Status StatusOf(VectorFault fault, int dim) {
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

absl::Status CheckOptions(const ApiOptions& options) {
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

WireForm OwnWire(const ApiOptions& options, const Dialect& dialect) {
  return dialect.wire({.model = options.model.name,
                       .dimensions = options.dimensions,
                       .format = dialect.base64 ? options.encoding : ReplyFormat::kFloat,
                       .use = options.use,
                       .truncate = options.truncate,
                       .tell_use = options.tell_use});
}

// Of options that are checked.
WireForm WireOf(const ApiOptions& options, const Dialect& dialect) {
  WireForm wire = OwnWire(options, dialect);
  AddBodyFields(options.body_fields, &wire).IgnoreError();
  return wire;
}

ReachHints HintsOf(const ApiOptions& options, const Dialect& dialect) {
  ReachHints hints{.address = AddressHint(dialect, options.api_base.empty() ? dialect.api_base : options.api_base)};
  const bool has_secret = !options.api_key.empty() || !options.login.empty() || !options.header_secrets.empty();
  if (!has_secret && dialect.key_variables[0] != nullptr) {
    hints.key = absl::StrCat("no API key was sent: put it into ", dialect.key_variables[0],
                             ", or name another variable, or a file");
  }
  return hints;
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

// `base64_dim`: see FlowOptions.
absl::StatusOr<std::unique_ptr<RequestFlow>> MakeFlow(const ApiOptions& options, const WireForm& wire, int base64_dim) {
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
                   .hints = HintsOf(options, dialect),
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

class ApiClient final : public EmbeddingClient {
 public:
  ApiClient(ApiOptions options, const ReplyShape& shape, std::unique_ptr<RequestFlow> flow)
      : model_(std::move(options.model)),
        refused_tokens_(options.refused_tokens),
        prefix_bytes_(static_cast<int64_t>(options.text_prefix.size())),
        estimator_(options.estimator),
        spend_(options.spend),
        shape_(shape),
        flow_(std::move(flow)) {}

  const Model& model() const override { return model_; }
  void Send(Batch* batch, Done done) override;
  absl::Status Decode(Batch* batch) const override;
  void Stop(InTheAir in_the_air, const absl::Status& why) override { flow_->Stop(in_the_air, why); }
  ClientStats stats() const override { return flow_->stats(); }

 private:
  void SendOwnText(Batch* then, Done done);
  absl::Status DecodeOne(Reply* reply, Batch* batch, absl::Span<VectorFault> faults) const;
  bool InDoubt(const ReplyTrouble& trouble) const;
  struct Failure {
    int text = 0;
    int texts = 0;        // of its request
    bool is_own = false;  // its vector's, in a good reply
    absl::Status status;
  };
  absl::Status Judge(absl::Span<BatchText> texts, absl::Span<const Failure> failures) const;

  const Model model_;
  const int64_t refused_tokens_;
  const int64_t prefix_bytes_;
  TokenEstimator* const estimator_;
  SpendCap* const spend_;
  const ReplyShape shape_;
  mutable std::atomic<int64_t> taken_{0};  // vectors
  const std::unique_ptr<RequestFlow> flow_;
};

// Nothing shows whether these replies are bad for the sake of the text.
bool ApiClient::InDoubt(const ReplyTrouble& trouble) const {
  return trouble.faults >= kFaultsToHalve && trouble.taken_before == taken_;
}

void ApiClient::Send(Batch* batch, Done done) {
  bool compare = false;
  for (BatchText& text : batch->texts()) {
    if (!text.reject.ok() || text.answered) continue;
    if (InDoubt(text.trouble) && !text.trouble.compared) compare = text.trouble.compared = true;
    if (refused_tokens_ == 0 || text.tokens <= refused_tokens_) continue;
    text.reject = absl::InvalidArgumentError(absl::StrCat("expected at most ", refused_tokens_, " tokens, as ",
                                                          model_.name, " cuts longer texts without a word, got about ",
                                                          text.tokens, "; ", kTruncateAdvice));
    text.too_long = {.refused = true, .estimated = true, .limit = refused_tokens_, .tokens = text.tokens};
  }
  if (compare) return SendOwnText(batch, std::move(done));
  flow_->Send(batch, std::move(done));
}

// First a text of our own, so that there is something to compare the replies with.
void ApiClient::SendOwnText(Batch* then, Done done) {
  auto own = std::make_unique<Batch>(BatchLimits{.max_texts = 1, .max_rows = 1, .max_text_bytes = 64}, model_.dim);
  own->AddRowWithText(0, KeyView(int64_t{0}), 0, kProbeText, kProbeTokens);
  Batch* const sent = own.get();
  flow_->Send(sent,
              Done([this, own = std::move(own), then, done = std::move(done)](const absl::Status& status) mutable {
                if (status.ok()) (void)Decode(own.get());
                flow_->Send(then, std::move(done));
              }));
}

absl::Status ApiClient::Decode(Batch* batch) const {
  const absl::Span<BatchText> texts = batch->texts();
  const auto is_open = [](const BatchText& text) { return text.reject.ok() && !text.answered; };
  const auto asked = std::count_if(texts.begin(), texts.end(), is_open);
  int64_t answered = 0;
  for (const Reply& reply : batch->replies()) answered += reply.texts;
  if (answered != asked && batch->status().ok()) {
    flow_->Recycle(&batch->replies());
    return absl::InternalError(absl::StrCat(answered, " of ", asked, " texts were answered: please report this"));
  }
  std::vector<VectorFault> faults(texts.size(), VectorFault::kNone);
  std::vector<Failure> failures;
  const int64_t taken_before = taken_;
  int64_t taken = 0;
  for (Reply& reply : batch->replies()) {
    absl::Status decoded = DecodeOne(&reply, batch, absl::MakeSpan(faults));
    if (absl::IsFailedPrecondition(decoded) && reply.texts > 1) {
      flow_->Recycle(&batch->replies());
      return decoded;
    }
    for (int i = reply.first_text; i < reply.first_text + reply.texts; ++i) {
      BatchText& text = texts[i];
      const bool is_own = decoded.ok() && faults[i] != VectorFault::kNone;
      text.answered = decoded.ok() && !is_own;
      taken += text.answered ? 1 : 0;
      if (text.answered) continue;
      if (text.trouble.faults++ == 0) text.trouble.taken_before = taken_before;
      failures.push_back({.text = i, .texts = reply.texts, .is_own = is_own, .status = decoded});
      if (is_own) {
        failures.back().status =
            absl::DataLossError(absl::StrCat(flow_->where(), ": ", StatusOf(faults[i], model_.dim).message()));
      }
    }
  }
  taken_ += taken;
  flow_->Recycle(&batch->replies());
  absl::Status judged = Judge(texts, failures);
  for (size_t i = 0; i < texts.size(); ++i) {
    // The buffer has gone round: nobody shall find another text's vector there.
    if (!texts[i].answered) std::fill_n(batch->vectors().begin() + i * model_.dim, model_.dim, 0.0f);
  }
  return judged;
}

// What becomes of texts for which a reply was of no use: they are asked for again, or rejected, or end the run where
// nothing else has a better reply.
absl::Status ApiClient::Judge(absl::Span<BatchText> texts, absl::Span<const Failure> failures) const {
  absl::Status again;
  for (const Failure& failure : failures) {
    BatchText& text = texts[failure.text];
    ReplyTrouble& trouble = text.trouble;
    const absl::string_view why = failure.status.message();
    const bool in_doubt = InDoubt(trouble);
    if (in_doubt && trouble.compared) {
      if (absl::IsFailedPrecondition(failure.status)) return failure.status;
      return absl::UnavailableError(absl::StrCat(why, " (asked ", Counted(trouble.faults, "time", "times"),
                                                 "); run the same command again later"));
    }
    if (failure.texts == 1 && trouble.faults >= kFaultsToReject && !in_doubt) {
      text.reject = absl::DataLossError(
          absl::StrCat(why, " (asked ", Counted(trouble.faults, "time", "times"), ", while others were answered)"));
      continue;
    }
    if (failure.is_own) trouble.most = 1;
    // Not before others are known to be answered: it would be for nothing.
    if (!failure.is_own && trouble.faults >= kFaultsToHalve && !in_doubt) trouble.most = std::max(1, failure.texts / 2);
    if (again.ok()) again = absl::DataLossError(why);
  }
  return again;
}

absl::Status ApiClient::DecodeOne(Reply* reply, Batch* batch, absl::Span<VectorFault> faults) const {
  const absl::Span<float> vectors = batch->vectors().subspan(static_cast<size_t>(reply->first_text) * model_.dim,
                                                             static_cast<size_t>(reply->texts) * model_.dim);
  faults = faults.subspan(reply->first_text, reply->texts);
  const absl::StatusOr<int64_t> charged =
      DecodeReply(shape_, &reply->body, model_.dim, vectors, faults, reply->decoded);
  int64_t estimated = 0, bytes = 0;
  for (const BatchText& text : batch->texts().subspan(reply->first_text, reply->texts)) {
    estimated += text.tokens;
    bytes += prefix_bytes_ + static_cast<int64_t>(text.text.size());
  }
  const int64_t tokens = ChargedTokens(charged.ok() ? *charged : -1, reply->texts, estimated);
  flow_->CountTokens(tokens, estimated);
  if (spend_ != nullptr) spend_->Charge(batch, reply->first_text, tokens);
  if (charged.ok() && estimator_ != nullptr) estimator_->Learn(reply->texts, bytes, *charged);
  if (charged.ok()) {
    RestoreOrder(reply->order, model_.dim, vectors, faults);
    return absl::OkStatus();
  }
  return absl::Status(charged.status().code(), absl::StrCat(flow_->where(), ": ", charged.status().message()));
}

// The vector of the probe's text, in a reply.
struct ProbeReply {
  std::vector<float> vector;
  int64_t tokens = -1;
  bool base64 = false;
};

// `width`: that is wanted; 0: any. Errors: kDataLoss.
absl::StatusOr<ProbeReply> ReadProbe(const ReplyShape& shape, std::string* body, int width) {
  ABSL_ASSIGN_OR_RETURN(const int got, ReplyWidth(shape, body));
  ProbeReply reply{.vector = std::vector<float>(got)};
  VectorFault fault = VectorFault::kNone;
  ABSL_ASSIGN_OR_RETURN(const int64_t tokens,
                        DecodeReply(shape, body, got, absl::MakeSpan(reply.vector), absl::MakeSpan(&fault, 1)));
  if (fault != VectorFault::kNone) return StatusOf(fault, got);
  if (width > 0 && width != got) {
    return absl::DataLossError(absl::StrCat("expected a vector of ", width, " numbers, got ", got));
  }
  reply.tokens = tokens;
  std::string base64;
  EncodeBase64({reinterpret_cast<const unsigned char*>(reply.vector.data()), reply.vector.size() * sizeof(float)},
               &base64);
  while (absl::EndsWith(base64, "=")) base64.pop_back();
  reply.base64 = absl::StrContains(absl::StrReplaceAll(*body, {{"\\/", "/"}, {"-", "+"}, {"_", "/"}}), base64);
  return reply;
}

// `width`: that is wanted; 0: any. *refusal: set if the API would not take the request, which may be for a field that
// it does not know.
absl::StatusOr<ApiProbe> ProbeOnce(const ApiOptions& options, int width, absl::Status* refusal) {
  const WireForm wire = WireOf(options, *FindDialect(options.dialect));
  ABSL_ASSIGN_OR_RETURN(const auto flow, MakeFlow(options, wire, /*base64_dim=*/0));
  absl::StatusOr<ProbeReply> reply;
  // As for any text in a run: what is of no use is asked for again. Only the last word on the width is the caller's.
  for (int asked = 1; asked <= kFaultsToReject && !reply.ok(); ++asked) {
    Batch batch({.max_texts = 1, .max_rows = 1, .max_text_bytes = 64}, 1);
    batch.AddRowWithText(0, KeyView(int64_t{0}), 0, kProbeText, kProbeTokens);
    std::promise<absl::Status> promise;
    flow->Send(&batch, Done([&promise](absl::Status status) { promise.set_value(std::move(status)); }));
    if (absl::Status status = promise.get_future().get(); !status.ok()) {
      if (absl::StrContains(status.message(), "encoding_format")) *refusal = status;
      return status;
    }
    if (*refusal = batch.texts()[0].reject; !refusal->ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat(refusal->message(), "; check the model's name, its dimensions and the address of the API"));
    }
    reply = ReadProbe(wire.reply, &batch.replies()[0].body, asked < kFaultsToReject ? width : 0);
    const int64_t charged = ChargedTokens(reply.ok() ? reply->tokens : -1, 1, kProbeTokens);
    if (options.spend != nullptr) options.spend->Charge(&batch, 0, charged);
    flow->CountTokens(charged);
  }
  if (!reply.ok()) {
    const std::string hint = HintsOf(options, *FindDialect(options.dialect)).address;
    return absl::UnavailableError(absl::StrCat(flow->where(), ": ", reply.status().message(), " (asked ",
                                               kFaultsToReject, " times); ", hint, hint.empty() ? "" : "; ",
                                               "run the same command again later"));
  }
  double squares = 0;
  for (const float value : reply->vector) squares += double{value} * value;
  return ApiProbe{.width = static_cast<int>(reply->vector.size()),
                  .norm = std::sqrt(squares),
                  .base64 = reply->base64,
                  .stats = flow->stats()};
}

}  // namespace

absl::Status CheckBodyFields(const ApiOptions& options) {
  WireForm wire = OwnWire(options, *FindDialect(options.dialect));
  return AddBodyFields(options.body_fields, &wire);
}

absl::StatusOr<std::unique_ptr<EmbeddingClient>> MakeApiClient(ApiOptions options) {
  ABSL_RETURN_IF_ERROR(CheckOptions(options));
  const WireForm wire = WireOf(options, *FindDialect(options.dialect));
  const bool base64 = FindDialect(options.dialect)->base64 && options.encoding == ReplyFormat::kBase64;
  ABSL_ASSIGN_OR_RETURN(auto flow, MakeFlow(options, wire, base64 ? options.model.dim : 0));
  return std::make_unique<ApiClient>(std::move(options), wire.reply, std::move(flow));
}

absl::StatusOr<ApiProbe> ProbeApi(const ApiOptions& options) {
  ApiOptions asked = options;
  asked.model.dim = options.dimensions.value_or(1);
  ABSL_RETURN_IF_ERROR(CheckOptions(asked));
  const Moment start = MonotonicNow();
  absl::Status refusal;
  absl::StatusOr<ApiProbe> probe = ProbeOnce(asked, options.model.dim, &refusal);
  if (!refusal.ok() && asked.encoding == ReplyFormat::kBase64 && FindDialect(asked.dialect)->base64) {
    asked.encoding = ReplyFormat::kFloat;
    absl::StatusOr<ApiProbe> second = ProbeOnce(asked, options.model.dim, &refusal);
    if (second.ok()) probe = std::move(second);
  }
  ABSL_RETURN_IF_ERROR(probe.status());
  probe->encoding = asked.encoding;
  probe->elapsed = MonotonicNow() - start;
  return probe;
}

}  // namespace reembed
