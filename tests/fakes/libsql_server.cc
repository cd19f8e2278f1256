// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/libsql_server.h"

#include <poll.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/fakes/raw_http.h"

namespace reembed {
LibsqlServer::LibsqlServer(std::string program, LibsqlServerOptions options)
    : program_(std::move(program)), options_(std::move(options)) {
  if (!options_.public_key.empty()) std::ofstream(folder_ / "key") << options_.public_key;
  if (!options_.database.empty()) {
    std::filesystem::create_directories(std::filesystem::path(database()).parent_path());
    std::filesystem::copy_file(options_.database, database());
  }
  Start();
}

void LibsqlServer::Stop() {
  if (process_ == nullptr) return;
  watch_.reset();
  process_->Signal(SIGKILL);
  process_->Wait();
  process_.reset();
}

void LibsqlServer::Start() {
  for (int attempt = 0; attempt < 5; ++attempt) {
    if (port_ == 0) port_ = FreePort();
    std::vector<std::string> args = {program_, "--http-listen-addr", absl::StrCat("127.0.0.1:", port_), "--db-path",
                                     folder_ / "data"};
    if (!options_.public_key.empty()) args.insert(args.end(), {"--auth-jwt-key-file", folder_ / "key"});
    process_ = std::make_unique<Process>(args);
    while (process_->IsRunning()) {
      RawHttpClient client(port_);
      if (client.connected() && client.Get("/health").status == 200) {
        watch_ = std::make_unique<ServerWatch>("sqld", process_.get());
        return;
      }
      poll(nullptr, 0, 10);
    }
    port_ = 0;
  }
  ADD_FAILURE() << program_ << " does not start: " << process_->err() << process_->out();
}

std::string LibsqlServer::url() const { return absl::StrCat("http://127.0.0.1:", port_); }

std::string LibsqlServer::Uri(const std::string& parameters) const {
  return absl::StrCat("libsql:", url(), "?", parameters);
}

Location LibsqlServer::At(const std::string& parameters) const {
  const absl::StatusOr<Location> location = ParseLocation(Uri(parameters));
  EXPECT_TRUE(location.ok()) << location.status();
  return location.ok() ? *location : Location{};
}

}  // namespace reembed
