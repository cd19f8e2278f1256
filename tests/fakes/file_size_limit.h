// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_FILE_SIZE_LIMIT_H_
#define REEMBED_TESTS_FAKES_FILE_SIZE_LIMIT_H_

#include <sys/resource.h>

#include <csignal>

namespace reembed {

// While it lives no file of this process grows beyond so many bytes: it stands for a full disk, in the middle of a
// write. Programs that are started meanwhile have the limit too.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*const handler_)(int);
  rlimit before_;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_FILE_SIZE_LIMIT_H_
