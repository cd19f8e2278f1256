// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FUZZ_OTHER_PROCESS_H_
#define REEMBED_TESTS_FUZZ_OTHER_PROCESS_H_

#include <functional>

namespace reembed::fuzz {

// Another process that takes each input first, where a library crashes over some of them: that is its fault, and the
// fuzzer is to go on. One process takes many inputs, until one of them ends it, or for a thousand, since such a
// library does not give all of its memory back; the next is forked by one that has done nothing yet, which is cheap.
// A report of a sanitizer, or of Require(), is no crash of a library, but a finding. Used by one thread.
class OtherProcess {
 public:
  // `take` is called there for each input. Precondition: the fuzzer has not begun (LLVMFuzzerInitialize), so that
  // neither its limits nor its files are there.
  explicit OtherProcess(std::function<void()> take);
  OtherProcess(const OtherProcess&) = delete;
  OtherProcess& operator=(const OtherProcess&) = delete;
  ~OtherProcess();

  // Whether take() came to its end. Waits for it: the fuzzer's -timeout ends that. Does not return if something was
  // found.
  bool Survives();

 private:
  int there_ = -1;  // a socket: a byte for each input, and one back
};

// Adds an option of libFuzzer's to those of the command line, unless that has it.
void AddOption(const char* option, int* argc, char*** argv);

}  // namespace reembed::fuzz

#endif  // REEMBED_TESTS_FUZZ_OTHER_PROCESS_H_
