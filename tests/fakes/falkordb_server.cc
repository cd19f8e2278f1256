// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/falkordb_server.h"

#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

constexpr int kPortsToTry = 20;

std::string Shown(const RespValue& value) {
  if (value.IsNull()) return "NULL";
  if (value.IsInteger()) return absl::StrCat(value.Integer());
  return std::string(value.Text());
}

}  // namespace

FalkorServer::FalkorServer(Options options) : options_(std::move(options)) {
  for (int tries = 1; tries < kPortsToTry; ++tries) {
    port_ = FreePort();
    if (TryToStart()) return;
  }
  port_ = FreePort();
  Start();
}

FalkorServer::~FalkorServer() { Stop(); }

void FalkorServer::Stop() {
  client_.reset();
  if (process_ == nullptr) return;
  watch_.reset();
  process_->Signal(SIGKILL);
  process_->Wait();
  process_.reset();
}

void FalkorServer::Crash() {
  process_->Signal(SIGSEGV);
  process_->Wait();
}

std::string FalkorServer::LastWords() {
  constexpr size_t kShownBytes = 12000;  // a crash report with its stack
  const ProcessResult ended = process_->Wait();
  const std::string log = absl::StrCat(process_->out(), process_->err());
  return absl::StrCat("exit ", ended.exit_code, ", signal ", ended.signal, "\n",
                      log.substr(log.size() - std::min(log.size(), kShownBytes)));
}

void FalkorServer::Start() {
  if (TryToStart()) return;
  std::cerr << process_->out() << process_->err() << "\nrun tools/check, which installs what is needed\n";
  abort();
}

bool FalkorServer::TryToStart() {
  std::vector<std::string> command = {
      "/usr/bin/setpriv", "--pdeathsig", "SIGKILL", REEMBED_VALKEY_SERVER, "--port", absl::StrCat(port_), "--dir",
      folder_.path(),     "--save",      "",        "--appendfsync",       "always", "--appendonly"};
  command.push_back(options_.keeping == Options::Keeping::kFile ? "yes" : "no");
  if (options_.module) command.insert(command.end(), {"--loadmodule", REEMBED_FALKORDB_MODULE});
  if (!options_.password.empty()) command.insert(command.end(), {"--requirepass", options_.password});
  process_ = std::make_unique<Process>(command);
  if (!process_->WaitFor("Ready to accept connections")) return false;
  if (!options_.may_crash) {
    watch_ = std::make_unique<ServerWatch>(options_.module ? "FalkorDB" : "Valkey", process_.get());
  }
  return true;
}

RespClient* FalkorServer::Client() {
  if (client_ == nullptr) {
    auto client = RespClient::Connect(
        {.name = "test", .host = "127.0.0.1", .port = port_, .password = options_.password}, absl::ZeroDuration());
    if (!client.ok()) {
      std::cerr << client.status() << "\n" << process_->out();
      // A watch says so at its end, too, which does not come here.
      if (HasCrashed() && watch_ != nullptr) watch_.reset();
      if (HasCrashedByItself()) std::_Exit(kExitServerCrashed);
      abort();
    }
    client_ = *std::move(client);
  }
  return client_.get();
}

void FalkorServer::Command(const std::vector<std::string>& words) {
  const auto reply = Client()->Call(std::vector<absl::string_view>(words.begin(), words.end()));
  EXPECT_TRUE(reply.ok()) << reply.status();
}

void FalkorServer::DropGraph(const std::string& graph) { Command({"DEL", graph}); }

void FalkorServer::Run(const std::string& cypher, const std::string& graph) { Ask(cypher, graph); }

std::string FalkorServer::Ask(const std::string& cypher, const std::string& graph) {
  const auto reply = Client()->Call({"GRAPH.QUERY", graph, cypher});
  // It closes its connections first.
  for (int looks = 0; options_.may_crash && !reply.ok() && looks < 100; ++looks) {
    if (HasCrashed()) return "";
    absl::SleepFor(absl::Milliseconds(50));
  }
  EXPECT_TRUE(reply.ok()) << reply.status();
  std::string text;
  if (!reply.ok() || reply->value().size() != 3) return text;
  const RespValue rows = reply->value()[1];
  for (size_t row = 0; row < rows.size(); ++row) {
    if (row > 0) text += '\n';
    for (size_t column = 0; column < rows[row].size(); ++column) {
      absl::StrAppend(&text, column > 0 ? "|" : "", Shown(rows[row][column]));
    }
  }
  return text;
}

std::string FalkorServer::Uri(const std::string& parameters, const std::string& graph) const {
  return absl::StrCat("falkordb://127.0.0.1:", port_, "/", graph, "?", parameters);
}

Location FalkorServer::At(const std::string& parameters, const std::string& graph) const {
  const absl::StatusOr<Location> location = ParseLocation(Uri(parameters, graph));
  EXPECT_TRUE(location.ok()) << location.status();
  return location.ok() ? *location : Location{};
}

FalkorServer& TestFalkor() {
  static FalkorServer server;
  return server;
}

}  // namespace reembed
