// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_OPENAI_REPLIES_H_
#define REEMBED_TESTS_FAKES_OPENAI_REPLIES_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/fakes/scripted_server.h"

namespace reembed {

enum class VectorFormat { kBase64, kFloat };

// What is odd about a reply. Row numbers are those of the texts; -1: no such row.
struct ReplyScript {
  enum class Order { kByIndex, kShuffled };
  enum class Fields { kAsOpenAi, kIndexLast, kUsageFirst };
  enum class Slashes { kPlain, kEscaped };

  int dim = 8;
  Order order = Order::kByIndex;
  Fields fields = Fields::kAsOpenAi;
  Slashes slashes = Slashes::kPlain;
  int missing = 0;              // rows left off at the end
  int extra = 0;                // rows too many, with indexes that go on
  int same_index_row = -1;      // has the index of the row before it
  int no_index_row = -1;        // has no index
  int nan_row = -1;             // has a NaN (base64) or a null (float)
  int zero_row = -1;            // all zeros
  int odd_width_row = -1;       // one number more than the others
  int odd_bytes_row = -1;       // base64 of one byte more
  std::string usage = "usage";  // its name; empty: none
  int bytes_per_token = 0;      // in the usage; 0: each text has three tokens
};

// The reply of a model whose vectors are TextVector().
std::string OpenAiReply(const std::vector<std::string>& texts, VectorFormat format, const ReplyScript& script = {});

// The texts of a request body; their number is at least 1.
std::vector<std::string> TextsOf(absl::string_view request_body);

// What a good server answers to a request: the format that the request asks for.
ServerReply OpenAiAnswer(const ServerRequest& request, const ReplyScript& script = {});

// {"error":{...}} with this status.
ServerReply OpenAiError(int status, absl::string_view code, absl::string_view type, absl::string_view message);

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_OPENAI_REPLIES_H_
