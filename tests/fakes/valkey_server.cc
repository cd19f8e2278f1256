// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/valkey_server.h"

#include <signal.h>

#include <cstdlib>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

constexpr int kPortsToTry = 20;

}  // namespace

ValkeyServer::ValkeyServer(Options options) : options_(std::move(options)) {
  if (options_.tls) {
    const ProcessResult made =
        RunProcess({"/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-keyout", folder_ / "key.pem", "-out", ca_file(), "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost"});
    EXPECT_EQ(made.exit_code, 0) << made.err;
  }
  for (int tries = 1; tries < kPortsToTry; ++tries) {
    port_ = FreePort();
    if (TryToStart()) return;
  }
  port_ = FreePort();
  Start();
}

ValkeyServer::~ValkeyServer() { Stop(); }

void ValkeyServer::Stop() {
  if (process_ == nullptr) return;
  watch_.reset();
  process_->Signal(SIGKILL);
  process_->Wait();
  process_.reset();
}

void ValkeyServer::Start() {
  if (TryToStart()) return;
  std::cerr << process_->out() << process_->err() << "\nrun tools/check, which installs what is needed\n";
  abort();
}

void ValkeyServer::Freeze() { process_->Signal(SIGSTOP); }
void ValkeyServer::Thaw() { process_->Signal(SIGCONT); }

bool ValkeyServer::TryToStart() {
  std::vector<std::string> command = {"/usr/bin/setpriv", "--pdeathsig", "SIGKILL", REEMBED_VALKEY_SERVER, "--dir",
                                      folder_.path(),     "--save",      "",        "--appendonly",        "no"};
  if (options_.tls) {
    command.insert(command.end(), {"--port", "0", "--tls-port", absl::StrCat(port_), "--tls-cert-file", ca_file(),
                                   "--tls-key-file", folder_ / "key.pem", "--tls-auth-clients", "no"});
  } else {
    command.insert(command.end(), {"--port", absl::StrCat(port_)});
  }
  if (!options_.password.empty()) command.insert(command.end(), {"--requirepass", options_.password});
  command.insert(command.end(), options_.more.begin(), options_.more.end());
  process_ = std::make_unique<Process>(command);
  if (!process_->WaitFor("Ready to accept connections")) return false;
  watch_ = std::make_unique<ServerWatch>("Valkey", process_.get());
  return true;
}

std::string ValkeyServer::Uri(const std::string& key) const {
  if (options_.tls) return absl::StrCat("rediss://localhost:", port_, "/", key, "?ca=", ca_file());
  return absl::StrCat("redis://127.0.0.1:", port_, "/", key);
}

ShareAddress ValkeyServer::At(const std::string& key) const {
  const absl::StatusOr<ShareAddress> address = ParseShareAddress("--quota", Uri(key), options_.password);
  EXPECT_TRUE(address.ok()) << address.status();
  return address.ok() ? *address : ShareAddress{};
}

std::string ValkeyServer::Ask(const std::vector<std::string>& words) const {
  absl::StatusOr<std::unique_ptr<RespClient>> client = RespClient::Connect(At("x").server, absl::ZeroDuration());
  EXPECT_TRUE(client.ok()) << client.status();
  if (!client.ok()) return "";
  const auto reply = (*client)->Call(std::vector<absl::string_view>(words.begin(), words.end()));
  EXPECT_TRUE(reply.ok()) << reply.status();
  if (!reply.ok()) return "";
  return reply->value().IsInteger() ? absl::StrCat(reply->value().Integer()) : std::string(reply->value().Text());
}

}  // namespace reembed
