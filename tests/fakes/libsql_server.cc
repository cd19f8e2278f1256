#include "tests/fakes/libsql_server.h"

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/fakes/raw_http.h"

namespace reembed {
namespace {

// A port that nobody has at the moment. Another program may take it before the server does; then the server ends and
// another port is tried.
int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof(address);
  bind(fd, reinterpret_cast<sockaddr*>(&address), size);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  close(fd);
  return ntohs(address.sin_port);
}

}  // namespace

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
      if (client.connected() && client.Get("/health").status == 200) return;
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
