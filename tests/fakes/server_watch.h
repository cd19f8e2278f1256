// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_SERVER_WATCH_H_
#define REEMBED_TESTS_FAKES_SERVER_WATCH_H_

#include <string>

#include "tests/fakes/process.h"

namespace reembed {

// Says that `process` is a server which must live as long as this object. A test in which it ends by itself fails, with
// its exit and the end of what it had said; a test that fails for another reason shows what its servers said last.
// For the thread of the test. `process` is borrowed.
class ServerWatch {
 public:
  ServerWatch(std::string name, Process* process);
  ServerWatch(const ServerWatch&) = delete;
  ServerWatch& operator=(const ServerWatch&) = delete;
  // Looks a last time: destroy it before the server is told to end.
  ~ServerWatch();

  const std::string& name() const { return name_; }
  Process* process() const { return process_; }

 private:
  const std::string name_;
  Process* const process_;
};

// Whether a watched server that is known to crash (FalkorDB) has ended by a signal that only a fault of its own sends.
// A test that failed then is to be done again, see falkordb_main.cc.
bool HasCrashedByItself();

// The exit code of a test program in which such a server has crashed.
constexpr int kExitServerCrashed = 86;

// A port for servers that take no port 0, or must come back at theirs: of this process until it ends, as far as the
// tests are concerned. Another program may take it all the same.
int FreePort();

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_SERVER_WATCH_H_
