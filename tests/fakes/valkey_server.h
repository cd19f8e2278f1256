// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_VALKEY_SERVER_H_
#define REEMBED_TESTS_FAKES_VALKEY_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "io/share/share_address.h"
#include "tests/fakes/process.h"
#include "tests/fakes/server_watch.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {

// A real Valkey server (tools/install-valkey) at a port of its own, which keeps nothing on a disk; it ends with the
// object. Ends the program if it cannot be had.
class ValkeyServer {
 public:
  struct Options {
    std::string password;
    bool tls = false;               // it speaks TLS alone, with a certificate for localhost that is made for it
    std::vector<std::string> more;  // words of its command line
  };
  ValkeyServer() : ValkeyServer(Options()) {}
  explicit ValkeyServer(Options options);
  ~ValkeyServer();
  ValkeyServer(const ValkeyServer&) = delete;
  ValkeyServer& operator=(const ValkeyServer&) = delete;

  void Stop();    // as a power cut does; all is forgotten
  void Start();   // at the same port
  void Freeze();  // it takes connections and answers nothing
  void Thaw();

  // redis://127.0.0.1:PORT/key, or rediss://localhost:PORT/key?ca=...
  std::string Uri(const std::string& key) const;
  // Fails the test where the address cannot be read.
  ShareAddress At(const std::string& key) const;
  // The answer's text, or its number; fails the test on an error.
  std::string Ask(const std::vector<std::string>& words) const;
  std::string ca_file() const { return folder_ / "cert.pem"; }
  int port() const { return port_; }

 private:
  bool TryToStart();

  const Options options_;
  TempFolder folder_;
  int port_ = 0;
  std::unique_ptr<Process> process_;
  std::unique_ptr<ServerWatch> watch_;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_VALKEY_SERVER_H_
