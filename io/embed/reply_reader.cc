// SPDX-License-Identifier: Apache-2.0
#include "io/embed/reply_reader.h"

#include <simdjson.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/counted.h"
#include "engine/number/base64.h"
#include "engine/number/number_array.h"
#include "engine/status_macros.h"
#include "io/embed/reply_skeleton.h"
#include "io/net/http_loop.h"

namespace reembed {
namespace {

namespace ondemand = simdjson::ondemand;

static_assert(std::endian::native == std::endian::little, "vectors travel as little-endian floats");
static_assert(kReplySlackBytes >= simdjson::SIMDJSON_PADDING);

// What is left of a path on the way down; nullopt: the way down is not the path's.
using Rest = std::optional<std::string_view>;

Rest Below(Rest path, std::string_view name) {
  if (!path.has_value() || path->size() < name.size() || path->empty()) return std::nullopt;
  if (path->substr(0, name.size()) != name) return std::nullopt;
  path->remove_prefix(name.size());
  if (path->empty()) return path;
  if (path->front() != '.') return std::nullopt;
  return path->substr(1);
}

constexpr int64_t kNoIndex = -1;

// One element of the list, not yet decoded; the views live as long as the body and the parser.
struct Item {
  int64_t index = kNoIndex;
  absl::string_view base64;  // the one that is not empty is the vector
  absl::string_view numbers;
  int64_t decoded = -1;     // it is in this row already
  bool has_vector = false;  // or something else in its place
};

// The RFC's alphabet for URLs and file names, and text without padding, as the standard form.
std::string StandardBase64(absl::string_view text) {
  std::string standard(text);
  std::replace(standard.begin(), standard.end(), '-', '+');
  std::replace(standard.begin(), standard.end(), '_', '/');
  standard.append((4 - standard.size() % 4) % 4, '=');
  return standard;
}

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

class Reader {
 public:
  Reader(const ReplyShape& shape, int dim, absl::Span<float> vectors, absl::Span<VectorFault> faults,
         absl::Span<const DecodedVector> decoded = {})
      : shape_(shape), dim_(dim), vectors_(vectors), faults_(faults), decoded_(decoded), seen_(faults.size(), 0) {}

  // `skeleton`: whose json() `body` is; null: `body` is the whole reply.
  absl::Status Read(ondemand::parser* parser, std::string* body, ReplySkeleton* skeleton) {
    skeleton_ = skeleton;
    body_ = body;
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

  // Something that is no vector of the right width stands in place of one, and nobody has looked at all of it.
  bool is_odd() const { return is_odd_; }
  int64_t tokens() const { return tokens_[0] >= 0 ? tokens_[0] : tokens_[1]; }
  // Of the vectors; of the last of another width, if there are such.
  int width() const { return other_width_ != 0 ? other_width_ : dim_; }

 private:
  struct Paths {
    Rest list;
    Rest tokens[2];
    bool lead_nowhere() const { return !list.has_value() && !tokens[0].has_value() && !tokens[1].has_value(); }
  };

  // The accessors of simdjson throw in here; Read catches.
  absl::Status ReadDocument(ondemand::parser* parser, simdjson::padded_string_view json) {
    ondemand::document document = parser->iterate(json);
    Paths paths{.list = shape_.list};
    for (int i = 0; i < 2; ++i) {
      if (shape_.tokens[i] != nullptr) paths.tokens[i] = shape_.tokens[i];
    }
    ABSL_RETURN_IF_ERROR(paths.list->empty() ? ReadItems(document.get_array())
                                             : ReadFields(document.get_object(), paths));
    const bool at_end = document.current_location().error() == simdjson::OUT_OF_BOUNDS;
    if (!at_end) return absl::DataLossError("got something behind the end of the reply");
    if (!has_list_) return absl::DataLossError(absl::StrCat("expected an embedding reply, got one without ", List()));
    return CheckWhole();
  }

  std::string List() const { return *shape_.list == '\0' ? "an array" : absl::StrCat("`", shape_.list, "`"); }

  absl::Status ReadFields(ondemand::object object, const Paths& paths) {
    for (ondemand::field field : object) {
      const std::string_view name = field.unescaped_key();
      Paths below{.list = Below(paths.list, name)};
      for (int i = 0; i < 2; ++i) below.tokens[i] = Below(paths.tokens[i], name);
      if (below.lead_nowhere()) continue;
      ondemand::value value = field.value();
      if (below.list == "") {
        ABSL_RETURN_IF_ERROR(ReadItems(value.get_array()));
      } else if (value.type() == ondemand::json_type::object) {
        ABSL_RETURN_IF_ERROR(ReadFields(value.get_object(), below));
      } else {
        for (int i = 0; i < 2; ++i) {
          if (below.tokens[i] == "") ReadTokens(value, &tokens_[i]);
        }
      }
    }
    return absl::OkStatus();
  }

  static void ReadTokens(ondemand::value value, int64_t* tokens) {
    int64_t number = 0;
    if (value.type() != ondemand::json_type::number) return;
    if (value.get_int64().get(number) == simdjson::SUCCESS && number >= 0) *tokens = number;
  }

  absl::Status ReadItems(ondemand::array list) {
    if (has_list_) return absl::DataLossError(absl::StrCat("expected one ", List(), ", got two"));
    has_list_ = true;
    for (ondemand::value element : list) {
      Item item;
      ABSL_RETURN_IF_ERROR(*shape_.vector == '\0' && shape_.index == nullptr
                               ? ReadVector(element, &item)
                               : ReadItem(element.get_object(), shape_.vector, shape_.index, &item));
      if (shape_.index == nullptr) item.index = static_cast<int64_t>(items_);
      ABSL_RETURN_IF_ERROR(CheckOrder(&item));
      ++items_;
      ABSL_RETURN_IF_ERROR(Place(item));
    }
    return absl::OkStatus();
  }

  // The first item may lack its index where all others have that of their place: servers that leave out what is 0
  // (Gemini's compatible API; protobuf's JSON). In another order it would be a guess which vector it is.
  absl::Status CheckOrder(Item* item) {
    if (items_ == 0 && item->index == kNoIndex) {
      first_lacks_index_ = true;
      item->index = 0;
    }
    if (!first_lacks_index_ || item->index == kNoIndex || item->index == static_cast<int64_t>(items_)) {
      return absl::OkStatus();
    }
    return absl::DataLossError(
        absl::StrCat("expected index ", items_, ", as the first vector has none, got ", item->index));
  }

  absl::Status ReadItem(ondemand::object object, Rest vector, const char* index, Item* item) {
    for (ondemand::field field : object) {
      const std::string_view name = field.unescaped_key();
      if (index != nullptr && name == index) {
        if (item->index != kNoIndex)
          return absl::DataLossError(absl::StrCat("expected one `", index, "` per vector, got two"));
        ABSL_RETURN_IF_ERROR(ReadIndex(field.value(), &item->index));
      } else if (const Rest below = Below(vector, name); below.has_value()) {
        ondemand::value value = field.value();
        ABSL_RETURN_IF_ERROR(below->empty() ? ReadVector(value, item)
                                            : ReadItem(value.get_object(), below, nullptr, item));
      }
    }
    return absl::OkStatus();
  }

  // Also 2.0 is one; null is as good as none.
  static absl::Status ReadIndex(ondemand::value value, int64_t* index) {
    if (value.is_null()) return absl::OkStatus();
    const double number = value.get_double();
    if (!(number >= 0 && number <= 1e9 && number == std::floor(number))) {
      return absl::DataLossError(absl::StrCat("expected a whole number as index, got ", number));
    }
    *index = static_cast<int64_t>(number);
    return absl::OkStatus();
  }

  absl::Status ReadVector(ondemand::value value, Item* item) {
    if (item->has_vector) {
      return absl::DataLossError(absl::StrCat("expected one `", shape_.vector, "` per index, got two"));
    }
    item->has_vector = true;
    if (value.type() == ondemand::json_type::array) {
      return shape_.nested || IsNested(value.raw_json_token().data()) ? ReadOnlyRow(value, item)
                                                                      : ReadNumbers(value, item);
    }
    if (value.type() != ondemand::json_type::string) return absl::OkStatus();  // null, and whatever is no vector
    std::string_view token = value.raw_json_token();
    if (item->decoded = FindDecoded(token.data()); item->decoded >= 0) return absl::OkStatus();
    if (ReplySkeleton::LeftOut* const left_out = FindLeftOut(token)) {
      left_out->used = true;
      item->base64 = left_out->text;
      return absl::OkStatus();
    }
    // base64 needs no unescaping, unless a server writes \/ for /; so it is decoded from where it lies.
    token = token.substr(0, token.find_last_not_of(" \t\r\n") + 1);
    const bool plain = token.size() >= 2 && token.front() == '"' && token.back() == '"' &&
                       std::memchr(token.data(), '\\', token.size()) == nullptr;
    const std::string_view text = plain ? token.substr(1, token.size() - 2) : value.get_string().value();
    item->base64 = {text.data(), text.size()};
    return absl::OkStatus();
  }

  absl::Status ReadNumbers(ondemand::value value, Item* item) {
    if (ReplySkeleton::LeftOut* const left_out = FindLeftOut(value.raw_json_token())) {
      left_out->used = true;
      item->numbers = left_out->text;
      return absl::OkStatus();
    }
    const std::string_view json = value.get_array().value().raw_json();
    item->numbers = {json.data(), json.size()};
    return absl::OkStatus();
  }

  // `array` is where it begins; behind it are the rest of the body and the parser's padding.
  static bool IsNested(const char* array) {
    do {
      ++array;
    } while (IsSpace(*array));
    return *array == '[';
  }

  // More rows would be those of the tokens of one text, which a server without pooling sends.
  absl::Status ReadOnlyRow(ondemand::value value, Item* item) {
    int rows = 0;
    for (ondemand::value row : value.get_array()) {
      if (++rows > 1) return absl::DataLossError("expected one row per vector, got two; check the pooling");
      ABSL_RETURN_IF_ERROR(ReadNumbers(row, item));
    }
    return absl::OkStatus();
  }

  // The row in which the vector is whose place-holder is at `token`; -1: it is not decoded yet. Asked in ascending
  // order.
  int64_t FindDecoded(const char* token) {
    const auto at = static_cast<size_t>(token - body_->data());
    while (next_decoded_ < decoded_.size() && decoded_[next_decoded_].at < at) ++next_decoded_;
    const bool found = next_decoded_ < decoded_.size() && decoded_[next_decoded_].at == at;
    return found ? static_cast<int64_t>(next_decoded_) : -1;
  }

  ReplySkeleton::LeftOut* FindLeftOut(std::string_view token) const {
    return skeleton_ == nullptr ? nullptr : skeleton_->Find(token.data());
  }

  absl::Status Place(const Item& item) {
    if (item.index < 0 || static_cast<size_t>(item.index) >= seen_.size()) {
      return absl::DataLossError(absl::StrCat("expected an index from 0 to ", static_cast<int64_t>(seen_.size()) - 1,
                                              ", got ", item.index == kNoIndex ? "none" : absl::StrCat(item.index)));
    }
    if (seen_[item.index] != 0) return absl::DataLossError(absl::StrCat("got index ", item.index, " twice"));
    seen_[item.index] = 1;
    const absl::Span<float> row = vectors_.subspan(item.index * dim_, dim_);
    const bool in_place = item.decoded == item.index;
    // Nothing was moved before the first that is not, and one that is decoded may lie where this one belongs.
    if (!in_place && !decoded_.empty() && as_arrived_.empty()) as_arrived_.assign(vectors_.begin(), vectors_.end());
    std::optional<int> width = dim_;
    if (item.decoded < 0) {
      width = item.base64.empty() ? ParseNumberArray(item.numbers, row) : Base64(item.base64, row);
    } else if (!in_place) {
      std::copy_n(as_arrived_.begin() + item.decoded * dim_, dim_, row.begin());
    }
    VectorFault& fault = faults_[item.index];
    if (width.value_or(0) == 0) {
      fault = VectorFault::kUnreadable;
      is_odd_ = true;
    } else if (*width != dim_) {
      fault = VectorFault::kOtherWidth;
      is_odd_ = true;
      if (other_width_ != 0 && other_width_ != *width) widths_differ_ = true;
      other_width_ = *width;
    } else {
      fault = item.decoded < 0 ? CheckVector(row) : decoded_[item.decoded].fault;
      ++of_right_width_;
    }
    return absl::OkStatus();
  }

  // Returns the width that the text has, and fills `row` if that is its width.
  static std::optional<int> Base64(absl::string_view text, absl::Span<float> row) {
    if (const std::optional<int> width = StrictBase64(text, row); width.has_value()) return width;
    return StrictBase64(StandardBase64(text), row);
  }

  static std::optional<int> StrictBase64(absl::string_view text, absl::Span<float> row) {
    const size_t bytes = DecodedBase64Size(text);
    if (text.size() % 4 != 0 || bytes % sizeof(float) != 0) return std::nullopt;
    const size_t width = bytes / sizeof(float);
    if (width == row.size() &&
        !DecodeBase64(text, {reinterpret_cast<unsigned char*>(row.data()), row.size() * sizeof(float)})) {
      return std::nullopt;
    }
    return static_cast<int>(width);
  }

  // What is wrong with some vectors is theirs; what is wrong with all is the reply's.
  absl::Status CheckWhole() const {
    if (items_ != seen_.size()) {
      return absl::DataLossError(absl::StrCat(
          "expected ", Counted(static_cast<int64_t>(seen_.size()), "vector", "vectors"), ", got ", items_));
    }
    if (of_right_width_ > 0) return absl::OkStatus();
    if (other_width_ == 0) return absl::DataLossError("no vector in it can be read");
    if (widths_differ_) {
      return absl::DataLossError(absl::StrCat("expected vectors of ", dim_, " numbers, got such of several widths, ",
                                              other_width_, " among them"));
    }
    return absl::FailedPreconditionError(absl::StrCat("expected vectors of ", dim_, " numbers, got ", other_width_,
                                                      "; check the model and its dimensions"));
  }

  const ReplyShape& shape_;
  ReplySkeleton* skeleton_ = nullptr;
  const int dim_;
  const absl::Span<float> vectors_;
  const absl::Span<VectorFault> faults_;
  const absl::Span<const DecodedVector> decoded_;
  const std::string* body_ = nullptr;
  size_t next_decoded_ = 0;
  std::vector<float> as_arrived_;  // a copy of vectors_, once decoded ones have to change places
  std::vector<char> seen_;
  bool has_list_ = false;
  size_t items_ = 0;
  bool first_lacks_index_ = false;
  size_t of_right_width_ = 0;
  int other_width_ = 0;  // the last; 0: none
  bool widths_differ_ = false;
  bool is_odd_ = false;
  int64_t tokens_[2] = {-1, -1};
};

// Their buffers grow to the size of the replies and stay; one per decoding thread.
struct Tools {
  ondemand::parser parser;
  ReplySkeleton skeleton;
};

Tools* ThreadTools() {
  thread_local Tools tools;
  return &tools;
}

}  // namespace

absl::StatusOr<int64_t> DecodeReply(const ReplyShape& shape, std::string* body, int dim, absl::Span<float> vectors,
                                    absl::Span<VectorFault> faults, absl::Span<const DecodedVector> decoded) {
  auto& [parser, skeleton] = *ThreadTools();
  if (decoded.empty()) {
    skeleton.Build(*body, (dim * sizeof(float) + 2) / 3 * 4);
    Reader reader(shape, dim, vectors, faults);
    const bool is_read = reader.Read(&parser, skeleton.json(), &skeleton).ok();
    if (is_read && !reader.is_odd() && skeleton.UnusedAreSound()) return reader.tokens();
  }
  // The parser has the last word, and the words for what is wrong, on the whole reply.
  Reader strict(shape, dim, vectors, faults, decoded);
  ABSL_RETURN_IF_ERROR(strict.Read(&parser, body, nullptr));
  return strict.tokens();
}

absl::StatusOr<int> ReplyWidth(const ReplyShape& shape, std::string* body) {
  float none = 0;
  VectorFault fault = VectorFault::kNone;
  Reader reader(shape, 1, absl::MakeSpan(&none, 1), absl::MakeSpan(&fault, 1));
  const absl::Status status = reader.Read(&ThreadTools()->parser, body, nullptr);
  if (!status.ok() && status.code() != absl::StatusCode::kFailedPrecondition) return status;
  return reader.width();
}

}  // namespace reembed
