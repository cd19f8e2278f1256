// SPDX-License-Identifier: Apache-2.0
// What no message says.

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/places.h"

namespace reembed {
namespace {

// Another job knows nothing of what was paid for, and buys it all again.
TEST(MessagesTest, NoneAdvisesAnotherJob) {
  int files = 0;
  for (const std::string folder : {"engine", "io", "index", "tools"}) {
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(absl::StrCat(REEMBED_SOURCE_DIR, "/", folder))) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".cc" && extension != ".h") continue;
      ++files;
      std::ifstream file(entry.path());
      int number = 0;
      for (std::string line; std::getline(file, line);) {
        ++number;
        if (!absl::StrContains(line, '"')) continue;
        for (const std::string words :
             {"another --job", "other --job", "new --job", "different --job", "use another job", "with another job",
              "in another job", "a new job", "a different job"}) {
          EXPECT_FALSE(absl::StrContains(line, words)) << entry.path() << ":" << number << ": " << line;
        }
      }
    }
  }
  EXPECT_GT(files, 100);
}

}  // namespace
}  // namespace reembed
