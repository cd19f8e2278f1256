// SPDX-License-Identifier: Apache-2.0
#include "io/embed/api_client.h"

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/counted.h"
#include "engine/setting.h"
#include "engine/status_macros.h"
#include "io/embed/api_flow.h"
#include "io/embed/reply_reader.h"
#include "io/embed/request_flow.h"
#include "io/embed/text_order.h"

namespace reembed {
namespace {

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
                                                          model_.name, " truncates longer texts silently, got about ",
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
            absl::DataLossError(absl::StrCat(flow_->where(), ": ", StatusOfFault(faults[i], model_.dim).message()));
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

}  // namespace

absl::StatusOr<std::unique_ptr<EmbeddingClient>> MakeApiClient(ApiOptions options) {
  ABSL_RETURN_IF_ERROR(CheckApiOptions(options));
  const WireForm wire = WireOf(options);
  const bool base64 = FindDialect(options.dialect)->base64 && options.encoding == ReplyFormat::kBase64;
  ABSL_ASSIGN_OR_RETURN(auto flow, MakeApiFlow(options, wire, base64 ? options.model.dim : 0));
  return std::make_unique<ApiClient>(std::move(options), wire.reply, std::move(flow));
}

}  // namespace reembed
