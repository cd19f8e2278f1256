// SPDX-License-Identifier: Apache-2.0
#include "io/file/hdf5_trial.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "io/file/hdf5_call.h"

namespace reembed {
namespace {

// Files that somebody made to do harm are small; reading one of these twice takes some milliseconds.
constexpr int64_t kSmallBytes = int64_t{4} << 20;

// Crashes are expected here: nobody is to hear of them but by how this process ends.
void CrashQuietly() {
  for (const int crash : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) signal(crash, SIG_DFL);
  const rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
}

}  // namespace

absl::Status TryHdf5(const std::string& path, absl::FunctionRef<void(bool all)> read) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return absl::OkStatus();  // the library says more
  pid_t child;
  {
    // No other thread is inside the library then, so that its state is whole in the new process.
    const Hdf5Call call;
    child = fork();
  }
  if (child == 0) {
    CrashQuietly();
    read(info.st_size <= kSmallBytes);
    _exit(0);
  }
  int status = 0;
  // Where there can be no other process, the file is read as it is.
  while (child > 0 && waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return absl::OkStatus();
  }
  // A sanitizer ends with an exit code of its own.
  if (child < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(path, ": is damaged: the HDF5 library crashes over it (",
                   WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "stopped by a check of its memory",
                   "); restore a copy, or make it again"));
}

}  // namespace reembed
