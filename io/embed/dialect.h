// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_DIALECT_H_
#define REEMBED_IO_EMBED_DIALECT_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/pace/reply_class.h"
#include "io/embed/reply_reader.h"

namespace reembed {

// How vectors are asked for. A server that answers number arrays all the same is understood.
enum class ReplyFormat { kBase64, kFloat };

// What a text is for. APIs that know the difference make better vectors of it.
enum class InputUse { kNone, kDocument, kQuery };

// What an API does with a text above the limit of its model.
enum class LongInput {
  kRefused,      // says so
  kSwitched,     // cuts, unless the request says not to
  kCutSilently,  // cuts, or may, and cannot be told not to: such texts must be found before they are sent
};

// What to ask for, in our words.
struct Ask {
  std::string model;
  std::optional<int> dimensions;  // unset: the model's own width, and no word of it in the request
  ReplyFormat format = ReplyFormat::kBase64;
  InputUse use = InputUse::kDocument;
  bool truncate = false;  // a text above the model's limit may be cut by the API
  bool tell_use = false;  // `use` is told to a server of which nobody knows whether it wants to hear it
};

// The same in the words of one API. A body is `head`, the texts, `tail`; texts are JSON strings, each between
// `before_text` and `after_text`, with commas between them.
struct WireForm {
  std::string head;
  std::string before_text;
  std::string after_text;
  std::string tail;
  ReplyShape reply;
  bool fields_per_text = false;  // fields of the request stand in the object of each text
};

// What an API takes. 0: it names no limit.
struct DialectLimits {
  int inputs = 0;                                      // texts in one request
  int64_t request_tokens = 0;                          // model tokens in one request
  size_t body_bytes = 0;                               // of one request
  int default_inputs = 256;                            // texts in one request, if nobody says how many
  int default_concurrency = 16;                        // requests at a time, likewise
  absl::Duration default_timeout = absl::Seconds(60);  // of one request, likewise
  bool counts_texts = false;                           // its quota of requests counts each text of a request as one
};

// Everything in which one embedding API differs from the others: a row of a table, not code. One file each has its
// own facts and their sources; dialect.cc has the table.
struct Dialect {
  const char* name = "";      // the word for --embedder
  const char* title = "";     // for people, one line
  const char* api_base = "";  // where it is by default; empty: the user has to say

  // The address of requests, from a base without a slash at its end and without a query, and the model. The parameters
  // that it adds are defaults. People call RequestUrl().
  std::string (*url)(const std::string& api_base, const std::string& model) = nullptr;
  // What people paste behind the base: the route of requests first, then others that are taken off, too.
  std::array<const char*, 8> routes = {};
  WireForm (*wire)(const Ask& ask) = nullptr;

  const char* key_header = "Authorization: Bearer ";  // what stands before the key
  std::array<const char*, 2> key_variables = {};      // the vendor's own, the first that is set wins; null: none
  std::array<const char*, 2> base_variables = {};     // likewise for the base URL
  bool self_hosted = false;  // people run it themselves: works without a key; texts leave longest first

  DialectLimits limits;
  LongInput long_input = LongInput::kRefused;
  absl::Span<const ErrorRule> error_rules;  // see ErrorTraits
  bool base64 = true;                       // knows vectors as base64
  bool resizes = true;                      // can be asked for a smaller width, where the model can
  bool knows_use = false;                   // has words for InputUse
};

// All, in the order in which people read them. Lives as long as the program.
absl::Span<const Dialect> Dialects();

// By its name; null if there is none.
const Dialect* FindDialect(absl::string_view name);

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_DIALECT_H_
