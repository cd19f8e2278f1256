// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/tls_proxy.h"

#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace reembed {
namespace {

constexpr char kNghttpx[] = "/usr/sbin/nghttpx";
constexpr char kOpenSsl[] = "/usr/bin/openssl";
constexpr int kPortsToTry = 20;

void Require(bool ok, const std::string& what) {
  if (ok) return;
  std::fprintf(stderr, "TlsProxy: %s\n", what.c_str());
  std::abort();
}

}  // namespace

TlsProxy::TlsProxy(const std::string& backend) {
  const ProcessResult made =
      RunProcess({kOpenSsl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                  "-keyout", folder_ / "key.pem", "-out", ca_file(), "-days", "2", "-subj", "/CN=localhost", "-addext",
                  "subjectAltName=DNS:localhost"});
  Require(made.exit_code == 0, absl::StrCat("openssl: ", made.err));
  const std::string backend_port = backend.substr(backend.rfind(':') + 1);
  for (int tries = 0; tries < kPortsToTry; ++tries) {
    if (Start(backend_port)) return;
  }
  Require(false, absl::StrCat("nghttpx does not start: ", process_->err()));
}

bool TlsProxy::Start(const std::string& backend_port) {
  port_ = FreePort();
  process_ = std::make_unique<Process>(std::vector<std::string>{
      kNghttpx, "--conf=/dev/null", "--single-process", "--no-ocsp", "--workers=1", "-L", "NOTICE",
      absl::StrCat("--frontend=127.0.0.1,", port_), absl::StrCat("--backend=127.0.0.1,", backend_port),
      "--accesslog-file=/dev/stdout", "--accesslog-format=$remote_port $alpn $status", folder_ / "key.pem", ca_file()});
  if (!process_->WaitFor("Listening on")) return false;
  watch_ = std::make_unique<ServerWatch>("nghttpx", process_.get());
  return true;
}

std::string TlsProxy::url() const { return absl::StrCat("https://localhost:", port_); }

std::vector<TlsProxy::Access> TlsProxy::accesses() const {
  std::vector<Access> accesses;
  std::istringstream lines(process_->out());
  Access access;
  while (lines >> access.client_port >> access.protocol >> access.status) accesses.push_back(access);
  return accesses;
}

}  // namespace reembed
