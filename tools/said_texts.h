// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SAID_TEXTS_H_
#define REEMBED_TOOLS_SAID_TEXTS_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace reembed {

// What a user has said to a command, before anything of it is understood: its words, and the text of the files that
// these name (a job file, a plan, the job.toml of a job's folder), and of the files of settings. For questions that may
// be answered wrongly, such as whether a name stands in it. Files above 1 MiB are none of these.
class SaidTexts {
 public:
  // `words`: behind the program's name. Reads the files.
  explicit SaidTexts(absl::Span<const std::string> words);

  bool Has(absl::string_view text) const;

 private:
  void AddFile(const std::string& path);

  std::vector<std::string> texts_;
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_SAID_TEXTS_H_
