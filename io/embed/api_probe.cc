// SPDX-License-Identifier: Apache-2.0
// ProbeApi(): what one text shows of an API.
#include <cmath>
#include <future>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/types/span.h"
#include "engine/number/base64.h"
#include "engine/status_macros.h"
#include "io/embed/api_client.h"
#include "io/embed/api_flow.h"

namespace reembed {
namespace {

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
  if (fault != VectorFault::kNone) return StatusOfFault(fault, got);
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
  const WireForm wire = WireOf(options);
  ABSL_ASSIGN_OR_RETURN(const auto flow, MakeApiFlow(options, wire, /*base64_dim=*/0));
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
    const std::string hint = HintsOf(options).address;
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

absl::StatusOr<ApiProbe> ProbeApi(const ApiOptions& options) {
  ApiOptions asked = options;
  asked.model.dim = options.dimensions.value_or(1);
  ABSL_RETURN_IF_ERROR(CheckApiOptions(asked));
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
