// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_LINE_MEMBERS_H_
#define REEMBED_IO_FILE_LINE_MEMBERS_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace reembed {

// The tokens of two members of an object in one line.
struct MemberTokens {
  std::optional<absl::string_view> key;
  std::optional<absl::string_view> text;
};

// Finds the members of a row in a line of JSON.
class LineParser {
 public:
  LineParser(std::string key_name, std::string text_name);
  LineParser(LineParser&&) noexcept;
  ~LineParser();

  // The members as they stand in `line`; of a repeated member the last one, as in most JSON readers. `a.b` is the
  // member of that name or, if there is none, the member `b` of the member `a`. A text that is not UTF-8 is found all
  // the same. Precondition: kLinePadding bytes behind `line` can be read. Errors: kDataLoss (what is wrong, without the
  // place).
  absl::StatusOr<MemberTokens> Parse(absl::string_view line);

  // The names of the members of a line that Parse() could read, those below others as paths; some of them, if many.
  // Precondition: as Parse().
  std::vector<std::string> Names(absl::string_view line);

  const std::string& key_name() const { return key_name_; }
  const std::string& text_name() const { return text_name_; }

 private:
  struct Json;  // the library's parser

  std::string key_name_;
  std::string text_name_;
  std::unique_ptr<Json> json_;
  std::string ascii_;
};

}  // namespace reembed

#endif  // REEMBED_IO_FILE_LINE_MEMBERS_H_
