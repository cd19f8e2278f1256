#include "io/embed/openai_client.h"

#include <algorithm>
#include <future>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "engine/json_text.h"
#include "engine/normalize.h"
#include "io/embed/openai_reply.h"
#include "io/embed/request_flow.h"

namespace reembed {
namespace {

absl::Status CheckOptions(const OpenAiOptions& options) {
  if (!absl::StartsWith(options.api_base, "https://") && !absl::StartsWith(options.api_base, "http://")) {
    return absl::InvalidArgumentError("the API base should begin with https:// or http://");
  }
  if (std::any_of(options.api_key.begin(), options.api_key.end(), [](char c) { return !absl::ascii_isgraph(c); })) {
    return absl::InvalidArgumentError(
        "the API key has a space, a line break or another character that keys do not have; check where it comes from");
  }
  if (options.model.name.empty()) return absl::InvalidArgumentError("the model has no name");
  if (options.model.dim < 1) return absl::InvalidArgumentError("the model's dimensions should be at least 1");
  if (options.dimensions.has_value() && *options.dimensions != options.model.dim) {
    return absl::InvalidArgumentError(absl::StrCat("the model's vectors should have ", options.model.dim,
                                                   " dimensions, but ", *options.dimensions, " are to be asked for"));
  }
  if (options.concurrency < 1 || options.loop_threads < 1 || options.retry.max_attempts < 1) {
    return absl::InvalidArgumentError("concurrency, loop threads and attempts should be at least 1");
  }
  if (options.timeout <= absl::ZeroDuration() || options.connect_timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("timeouts should be above zero");
  }
  return absl::OkStatus();
}

// {"model":M,"input":[texts],"encoding_format":E,"dimensions":D}
BodyWriter WriterFor(const OpenAiOptions& options) {
  std::string head = "{\"model\":";
  AppendJsonString(options.model.name, &head);
  absl::StrAppend(&head, ",\"input\":[");
  std::string tail =
      absl::StrCat("],\"encoding_format\":\"", options.encoding == ReplyFormat::kBase64 ? "base64" : "float", "\"");
  if (options.dimensions.has_value()) absl::StrAppend(&tail, ",\"dimensions\":", *options.dimensions);
  tail.push_back('}');
  return [head = std::move(head), tail = std::move(tail)](absl::Span<const BatchText> texts, std::string* body) {
    *body = head;
    for (const BatchText& text : texts) {
      if (&text != &texts.front()) body->push_back(',');
      AppendJsonString(text.text, body);
    }
    body->append(tail);
  };
}

absl::StatusOr<std::unique_ptr<RequestFlow>> MakeFlow(const OpenAiOptions& options) {
  FlowOptions flow{.url = absl::StrCat(absl::StripSuffix(options.api_base, "/"), "/embeddings"),
                   .headers = {"Content-Type: application/json"},
                   .secret = options.api_key,
                   .ca_file = options.ca_file,
                   .limit = options.limit,
                   .concurrency = options.concurrency,
                   .hedge = options.hedge,
                   .loop_threads = options.loop_threads,
                   .connect_timeout = options.connect_timeout,
                   .timeout = options.timeout,
                   .retry = options.retry,
                   .seed = options.seed};
  if (!options.api_key.empty()) flow.headers.push_back(absl::StrCat("Authorization: Bearer ", options.api_key));
  return RequestFlow::Make(std::move(flow), WriterFor(options));
}

class OpenAiClient final : public EmbeddingClient {
 public:
  OpenAiClient(Model model, std::unique_ptr<RequestFlow> flow) : model_(std::move(model)), flow_(std::move(flow)) {}

  const Model& model() const override { return model_; }
  void Send(Batch* batch, Done done) override { flow_->Send(batch, std::move(done)); }
  absl::Status Decode(Batch* batch) const override;
  void Cancel() override { flow_->Cancel(); }
  ClientStats stats() const override { return flow_->stats(); }

 private:
  absl::Status DecodeReply(Reply* reply, Batch* batch, absl::Span<VectorFault> faults) const;

  const Model model_;
  const std::unique_ptr<RequestFlow> flow_;
};

absl::Status OpenAiClient::Decode(Batch* batch) const {
  const absl::Span<BatchText> texts = batch->texts();
  std::vector<VectorFault> faults(texts.size(), VectorFault::kNone);
  int64_t answered = 0;
  for (Reply& reply : batch->replies()) {
    if (absl::Status status = DecodeReply(&reply, batch, absl::MakeSpan(faults)); !status.ok()) return status;
    answered += reply.texts;
  }
  const auto asked = std::count_if(texts.begin(), texts.end(), [](const BatchText& t) { return t.reject.ok(); });
  if (answered != asked) {
    return absl::InternalError(absl::StrCat(answered, " of ", asked, " texts were answered: please report this"));
  }
  for (size_t i = 0; i < texts.size(); ++i) {
    if (faults[i] != VectorFault::kNone) {
      texts[i].reject = absl::DataLossError(
          absl::StrCat(flow_->where(), ": expected a vector of finite numbers, not all zero, got ",
                       faults[i] == VectorFault::kNotFinite ? "one with NaN or infinity" : "zeros only"));
    }
    // The buffer has gone round: nobody shall find another text's vector there.
    if (!texts[i].reject.ok()) std::fill_n(batch->vectors().begin() + i * model_.dim, model_.dim, 0.0f);
  }
  flow_->Recycle(&batch->replies());
  return absl::OkStatus();
}

absl::Status OpenAiClient::DecodeReply(Reply* reply, Batch* batch, absl::Span<VectorFault> faults) const {
  const absl::StatusOr<int64_t> charged =
      DecodeOpenAiReply(&reply->body, model_.dim,
                        batch->vectors().subspan(static_cast<size_t>(reply->first_text) * model_.dim,
                                                 static_cast<size_t>(reply->texts) * model_.dim),
                        faults.subspan(reply->first_text, reply->texts));
  int64_t estimated = 0;
  for (const BatchText& text : batch->texts().subspan(reply->first_text, reply->texts)) estimated += text.tokens;
  flow_->CountTokens(charged.ok() && *charged >= 0 ? *charged : estimated, estimated);
  if (charged.ok()) return absl::OkStatus();
  return absl::Status(charged.status().code(), absl::StrCat(flow_->where(), ": ", charged.status().message()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<EmbeddingClient>> MakeOpenAiClient(OpenAiOptions options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  auto flow = MakeFlow(options);
  if (!flow.ok()) return flow.status();
  return std::make_unique<OpenAiClient>(std::move(options.model), *std::move(flow));
}

absl::StatusOr<int> ProbeWidth(const OpenAiOptions& options) {
  OpenAiOptions checked = options;
  checked.model.dim = options.dimensions.value_or(1);
  if (absl::Status status = CheckOptions(checked); !status.ok()) return status;
  const auto flow = MakeFlow(checked);
  if (!flow.ok()) return flow.status();
  Batch batch({.max_texts = 1, .max_rows = 1, .max_text_bytes = 64}, 1);
  batch.AddRowWithText(0, KeyView(int64_t{0}), 0, "How wide are you?", 5);
  std::promise<absl::Status> promise;
  (*flow)->Send(&batch, Done([&promise](absl::Status status) { promise.set_value(std::move(status)); }));
  if (absl::Status status = promise.get_future().get(); !status.ok()) return status;
  if (const absl::Status& reject = batch.texts()[0].reject; !reject.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat(reject.message(), "; check the model's name, its dimensions and the address of the API"));
  }
  absl::StatusOr<int> width = OpenAiReplyWidth(&batch.replies()[0].body);
  if (width.ok()) return width;
  return absl::Status(width.status().code(), absl::StrCat((*flow)->where(), ": ", width.status().message()));
}

}  // namespace reembed
