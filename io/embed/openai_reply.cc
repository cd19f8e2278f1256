#include "io/embed/openai_reply.h"

#include <simdjson.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base64.h"
#include "io/embed/number_array.h"
#include "io/net/http_loop.h"

namespace reembed {
namespace {

namespace ondemand = simdjson::ondemand;

static_assert(std::endian::native == std::endian::little, "vectors travel as little-endian floats");
static_assert(kReplySlackBytes >= simdjson::SIMDJSON_PADDING);

// One element of `data`, not yet decoded; the views live as long as the body and the parser.
struct Item {
  int64_t index = -1;
  absl::string_view base64;  // the one that is not empty is the vector
  absl::string_view numbers;
};

class ReplyReader {
 public:
  ReplyReader(int dim, absl::Span<float> vectors, absl::Span<VectorFault> faults)
      : dim_(dim), vectors_(vectors), faults_(faults), seen_(faults.size(), 0) {}

  absl::Status Read(ondemand::parser* parser, std::string* body) {
    const size_t size = body->size();
    body->resize(size + simdjson::SIMDJSON_PADDING);
    absl::Status status;
    try {
      status = ReadDocument(parser, simdjson::padded_string_view(body->data(), size, body->size()));
    } catch (const simdjson::simdjson_error& error) {
      status = absl::DataLossError(absl::StrCat("expected an embedding reply in JSON, got ", error.what()));
    }
    body->resize(size);
    return status;
  }

  int64_t usage_tokens() const { return total_tokens_ >= 0 ? total_tokens_ : prompt_tokens_; }
  int width() const { return width_; }

 private:
  // The accessors of simdjson throw in here; Read catches.
  absl::Status ReadDocument(ondemand::parser* parser, simdjson::padded_string_view json) {
    ondemand::document document = parser->iterate(json);
    bool has_data = false;
    for (ondemand::field field : document.get_object()) {
      const std::string_view name = field.unescaped_key();
      if (name == "data") {
        if (has_data) return absl::DataLossError("expected one `data`, got two");
        has_data = true;
        if (absl::Status status = ReadItems(field.value()); !status.ok()) return status;
      } else if (name == "usage") {
        ReadUsage(field.value());
      }
    }
    const bool at_end = document.current_location().error() == simdjson::OUT_OF_BOUNDS;
    if (!at_end) return absl::DataLossError("got something behind the end of the reply");
    if (!has_data) return absl::DataLossError("expected an embedding reply, got one without `data`");
    return CheckWhole();
  }

  absl::Status ReadItems(ondemand::value data) {
    for (ondemand::object object : data.get_array()) {
      Item item;
      if (absl::Status status = ReadItem(object, &item); !status.ok()) return status;
      if (absl::Status status = Place(item); !status.ok()) return status;
      ++items_;
    }
    return absl::OkStatus();
  }

  absl::Status ReadItem(ondemand::object object, Item* item) {
    for (ondemand::field field : object) {
      const std::string_view name = field.unescaped_key();
      if (name == "index") {
        if (item->index != -1) return absl::DataLossError("expected one `index` per vector, got two");
        item->index = field.value().get_int64();
      } else if (name == "embedding") {
        if (!item->base64.empty() || !item->numbers.empty()) {
          return absl::DataLossError("expected one `embedding` per index, got two");
        }
        ReadVector(field.value(), item);
      }
    }
    return absl::OkStatus();
  }

  void ReadVector(ondemand::value value, Item* item) {
    if (value.type() == ondemand::json_type::array) {
      const std::string_view json = value.get_array().value().raw_json();
      item->numbers = {json.data(), json.size()};
      return;
    }
    // base64 needs no unescaping, unless a server writes \/ for /; so it is decoded from where it lies.
    std::string_view token = value.raw_json_token();
    token = token.substr(0, token.find_last_not_of(" \t\r\n") + 1);
    const bool plain = token.size() >= 2 && token.front() == '"' && token.back() == '"' &&
                       std::memchr(token.data(), '\\', token.size()) == nullptr;
    const std::string_view text = plain ? token.substr(1, token.size() - 2) : value.get_string().value();
    item->base64 = {text.data(), text.size()};
  }

  absl::Status Place(const Item& item) {
    if (item.index < 0 || static_cast<size_t>(item.index) >= seen_.size()) {
      return absl::DataLossError(absl::StrCat("expected an index from 0 to ", static_cast<int64_t>(seen_.size()) - 1,
                                              ", got ", item.index == -1 ? "none" : absl::StrCat(item.index)));
    }
    if (seen_[item.index] != 0) return absl::DataLossError(absl::StrCat("got index ", item.index, " twice"));
    seen_[item.index] = 1;
    const absl::Span<float> row = vectors_.subspan(item.index * dim_, dim_);
    const std::optional<int> width = item.base64.empty() ? Numbers(item.numbers, row) : Base64(item.base64, row);
    if (!width.has_value() || *width == 0) {
      return absl::DataLossError(absl::StrCat("the vector at index ", item.index, " cannot be read"));
    }
    if (width_ != 0 && width_ != *width) {
      return absl::DataLossError(absl::StrCat("got vectors of ", width_, " and of ", *width, " numbers in one reply"));
    }
    width_ = *width;
    if (width_ == dim_) faults_[item.index] = CheckVector(row);
    return absl::OkStatus();
  }

  // Both return the width that the text has, and fill `row` if that is its width.
  std::optional<int> Base64(absl::string_view text, absl::Span<float> row) {
    const size_t bytes = DecodedBase64Size(text);
    if (bytes % sizeof(float) != 0) return std::nullopt;
    const size_t width = bytes / sizeof(float);
    if (width == row.size() &&
        !DecodeBase64(text, {reinterpret_cast<unsigned char*>(row.data()), row.size() * sizeof(float)})) {
      return std::nullopt;
    }
    return static_cast<int>(width);
  }

  std::optional<int> Numbers(absl::string_view text, absl::Span<float> row) { return ParseNumberArray(text, row); }

  void ReadUsage(ondemand::value usage) {
    if (usage.type() != ondemand::json_type::object) return;
    for (ondemand::field field : usage.get_object()) {
      const std::string_view name = field.unescaped_key();
      ondemand::value value = field.value();
      if (value.type() != ondemand::json_type::number) continue;
      int64_t number = 0;
      if (value.get_int64().get(number) != simdjson::SUCCESS || number < 0) continue;
      if (name == "total_tokens") total_tokens_ = number;
      if (name == "prompt_tokens") prompt_tokens_ = number;
    }
  }

  absl::Status CheckWhole() const {
    if (items_ != seen_.size()) {
      return absl::DataLossError(absl::StrCat("expected ", seen_.size(), " vectors, got ", items_));
    }
    if (width_ != dim_) {
      return absl::FailedPreconditionError(
          absl::StrCat("expected vectors of ", dim_, " numbers, got ", width_, "; check the model and its dimensions"));
    }
    return absl::OkStatus();
  }

  const int dim_;
  const absl::Span<float> vectors_;
  const absl::Span<VectorFault> faults_;
  std::vector<char> seen_;
  size_t items_ = 0;
  int width_ = 0;
  int64_t total_tokens_ = -1;
  int64_t prompt_tokens_ = -1;
};

// Its buffers grow to the size of the replies and stay; one per decoding thread.
ondemand::parser* ThreadParser() {
  thread_local ondemand::parser parser;
  return &parser;
}

}  // namespace

absl::StatusOr<int64_t> DecodeOpenAiReply(std::string* body, int dim, absl::Span<float> vectors,
                                          absl::Span<VectorFault> faults) {
  ReplyReader reader(dim, vectors, faults);
  if (absl::Status status = reader.Read(ThreadParser(), body); !status.ok()) return status;
  return reader.usage_tokens();
}

absl::StatusOr<int> OpenAiReplyWidth(std::string* body) {
  float none = 0;
  VectorFault fault = VectorFault::kNone;
  ReplyReader reader(1, absl::MakeSpan(&none, 1), absl::MakeSpan(&fault, 1));
  const absl::Status status = reader.Read(ThreadParser(), body);
  if (!status.ok() && status.code() != absl::StatusCode::kFailedPrecondition) return status;
  return reader.width();
}

}  // namespace reembed
