// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_PROCESS_H_
#define REEMBED_TESTS_FAKES_PROCESS_H_

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

namespace reembed {

struct ProcessResult {
  int exit_code = -1;  // -1: ended by a signal
  int signal = 0;
  std::string out;
  std::string err;
};

// A child process that is ended, at the latest, with the object. Its output goes to files, so it never blocks.
class Process {
 public:
  // args[0] is the program. `environment` is added to this process's; an empty value removes the variable.
  // Standard input is /dev/null, or the text `input`.
  explicit Process(const std::vector<std::string>& args, const std::map<std::string, std::string>& environment = {},
                   const std::string& input = "");
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process();

  void Signal(int signal) const;
  bool IsRunning();
  ProcessResult Wait();

  // Waits until standard output or standard error holds `text`, or the process has ended; returns whether it does.
  bool WaitFor(const std::string& text);
  std::string out() const;
  std::string err() const;

 private:
  bool Reap(int options);

  pid_t pid_ = -1;
  bool reaped_ = false;
  int status_ = 0;
  std::string out_path_, err_path_;
};

// Runs to the end.
ProcessResult RunProcess(const std::vector<std::string>& args,
                         const std::map<std::string, std::string>& environment = {}, const std::string& input = "");

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_PROCESS_H_
