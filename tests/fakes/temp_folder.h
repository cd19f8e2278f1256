// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_TEMP_FOLDER_H_
#define REEMBED_TESTS_FAKES_TEMP_FOLDER_H_

#include <stdlib.h>

#include <filesystem>
#include <string>

namespace reembed {

// A folder that goes with the object.
class TempFolder {
 public:
  TempFolder() {
    path_ = (std::filesystem::temp_directory_path() / "reembed_test_XXXXXX").string();
    if (mkdtemp(path_.data()) == nullptr) abort();
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_TEMP_FOLDER_H_
