// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_TLS_PROXY_H_
#define REEMBED_TESTS_FAKES_TLS_PROXY_H_

#include <memory>
#include <string>
#include <vector>

#include "tests/fakes/process.h"
#include "tests/fakes/server_watch.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {

// nghttpx, which speaks HTTP/2 over TLS as the big vendors do, in front of a plain server on 127.0.0.1. Its certificate
// is made for it, and signed by nobody. Ends the program if nghttpx or openssl is missing: see tools/install-packages.
class TlsProxy {
 public:
  // `backend`: http://127.0.0.1:PORT
  explicit TlsProxy(const std::string& backend);

  std::string url() const;  // https://localhost:PORT
  std::string ca_file() const { return folder_ / "cert.pem"; }

  // One finished request.
  struct Access {
    int client_port = 0;   // so each connection has one
    std::string protocol;  // as negotiated: "h2", "http/1.1"
    int status = 0;
  };
  // So far; of requests that have just ended some may be missing.
  std::vector<Access> accesses() const;

 private:
  bool Start(const std::string& backend_port);

  TempFolder folder_;
  int port_ = 0;
  std::unique_ptr<Process> process_;
  std::unique_ptr<ServerWatch> watch_;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_TLS_PROXY_H_
