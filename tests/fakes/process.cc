// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fakes/read_file.h"

namespace reembed {
namespace {

std::string MakeTempFile(const std::string& content) {
  const char* const folder = getenv("TMPDIR");
  std::string path = std::string(folder == nullptr ? "/tmp" : folder) + "/reembed_process_XXXXXX";
  const int fd = mkstemp(path.data());
  if (fd < 0 || write(fd, content.data(), content.size()) != static_cast<ssize_t>(content.size())) abort();
  close(fd);
  return path;
}

}  // namespace

Process::Process(const std::vector<std::string>& args, const std::map<std::string, std::string>& environment,
                 const std::string& input)
    : out_path_(MakeTempFile("")), err_path_(MakeTempFile("")) {
  const std::string in_path = input.empty() ? "" : MakeTempFile(input);
  std::vector<char*> argv;
  for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  pid_ = fork();
  if (pid_ != 0) return;
  for (const auto& [name, value] : environment) {
    value.empty() ? unsetenv(name.c_str()) : setenv(name.c_str(), value.c_str(), 1);
  }
  dup2(open(in_path.empty() ? "/dev/null" : in_path.c_str(), O_RDONLY), STDIN_FILENO);
  if (!in_path.empty()) unlink(in_path.c_str());
  dup2(open(out_path_.c_str(), O_WRONLY | O_APPEND), STDOUT_FILENO);
  dup2(open(err_path_.c_str(), O_WRONLY | O_APPEND), STDERR_FILENO);
  execv(argv[0], argv.data());
  _exit(127);
}

Process::~Process() {
  if (!reaped_) {
    Signal(SIGKILL);
    Reap(0);
  }
  unlink(out_path_.c_str());
  unlink(err_path_.c_str());
}

void Process::Signal(int signal) const {
  if (!reaped_) kill(pid_, signal);
}

bool Process::Reap(int options) {
  if (!reaped_ && waitpid(pid_, &status_, options) == pid_) reaped_ = true;
  return reaped_;
}

bool Process::IsRunning() { return !Reap(WNOHANG); }

ProcessResult Process::Wait() {
  Reap(0);
  ProcessResult result{.out = out(), .err = err()};
  if (WIFEXITED(status_)) result.exit_code = WEXITSTATUS(status_);
  if (WIFSIGNALED(status_)) result.signal = WTERMSIG(status_);
  return result;
}

bool Process::WaitFor(const std::string& text) {
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  bool ended = false;
  while (true) {
    if (out().find(text) != std::string::npos || err().find(text) != std::string::npos) break;
    if (ended) break;
    pollfd end{.fd = pidfd, .events = POLLIN, .revents = 0};
    ended = poll(&end, 1, 2) == 1;  // looks again every 2 ms, and once more after the end
  }
  if (pidfd >= 0) close(pidfd);
  return out().find(text) != std::string::npos || err().find(text) != std::string::npos;
}

std::string Process::out() const { return ReadFile(out_path_); }
std::string Process::err() const { return ReadFile(err_path_); }

ProcessResult RunProcess(const std::vector<std::string>& args, const std::map<std::string, std::string>& environment,
                         const std::string& input) {
  Process process(args, environment, input);
  return process.Wait();
}

}  // namespace reembed
