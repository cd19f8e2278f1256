// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/postgres_server.h"

#include <libpq-fe.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

constexpr char kBin[] = "/usr/lib/postgresql/15/bin/";

// PostgreSQL refuses to run as root. The signal of setpriv comes when the thread that starts it ends.
std::vector<std::string> AsPostgres(std::vector<std::string> command) {
  std::vector<std::string> args = {"/usr/bin/setpriv", "--pdeathsig", "SIGQUIT"};
  if (geteuid() == 0) {
    args.insert(args.end(), {"--reuid", "postgres", "--regid", "postgres", "--clear-groups"});
  }
  args.insert(args.end(), command.begin(), command.end());
  return args;
}

void RunOrDie(const std::vector<std::string>& command) {
  const ProcessResult result = RunProcess(command);
  if (result.exit_code == 0) return;
  std::cerr << command.back() << ": " << result.out << result.err
            << "\nrun tools/check, which installs what is needed\n";
  abort();
}

}  // namespace

PostgresServer::PostgresServer() {
  const std::string data = folder_ / "data";
  std::filesystem::create_directory(data);
  if (geteuid() == 0) {
    std::filesystem::permissions(folder_.path(), std::filesystem::perms(0755));
    RunOrDie({"/bin/chown", "-R", "postgres", folder_.path()});
  }
  RunOrDie(AsPostgres({absl::StrCat(kBin, "initdb"), "-D", data, "-U", "tester", "--auth=trust", "--no-sync", "-E",
                       "UTF8", "--locale=C.UTF-8"}));
  std::ofstream(data + "/pg_hba.conf") << "local all locked scram-sha-256\nlocal all all trust\n";
  Start();
  // The first connections go to a database that is always there.
  connection_ = PQconnectdb(absl::StrCat("host=", folder_.path(), " user=tester dbname=postgres").c_str());
  Run("CREATE DATABASE test");
  Run("CREATE ROLE locked LOGIN PASSWORD 'pass word'");
  PQfinish(connection_);
  connection_ = nullptr;
  Run("CREATE EXTENSION vector");
}

PostgresServer::~PostgresServer() { Stop(); }

void PostgresServer::Stop() {
  PQfinish(connection_);
  connection_ = nullptr;
  if (process_ == nullptr) return;
  watch_.reset();
  process_->Signal(SIGQUIT);
  process_->Wait();
  process_.reset();
}

void PostgresServer::Start() {
  process_ = std::make_unique<Process>(
      AsPostgres({absl::StrCat(kBin, "postgres"), "-D", folder_ / "data", "-k", folder_.path(), "-c",
                  "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "shared_buffers=64MB",
                  "-c", "max_wal_size=2GB", "-c", "restart_after_crash=off"}));
  const std::string address = absl::StrCat("host=", folder_.path(), " user=tester dbname=postgres");
  while (PQping(address.c_str()) != PQPING_OK) {
    if (!process_->IsRunning()) {
      std::cerr << process_->err() << "\n";
      abort();
    }
    usleep(5000);
  }
  watch_ = std::make_unique<ServerWatch>("PostgreSQL", process_.get());
}

pg_conn* PostgresServer::Connection() {
  if (connection_ != nullptr && PQstatus(connection_) == CONNECTION_OK) return connection_;
  PQfinish(connection_);
  connection_ = PQconnectdb(absl::StrCat("host=", folder_.path(), " user=tester dbname=test").c_str());
  EXPECT_EQ(PQstatus(connection_), CONNECTION_OK) << PQerrorMessage(connection_);
  PQsetNoticeReceiver(
      connection_, [](void*, const PGresult*) {}, nullptr);
  return connection_;
}

void PostgresServer::Run(const std::string& sql) { Ask(sql); }

std::string PostgresServer::Ask(const std::string& sql) {
  PGresult* const result = PQexec(Connection(), sql.c_str());
  const ExecStatusType status = PQresultStatus(result);
  EXPECT_TRUE(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) << sql << ": " << PQerrorMessage(connection_);
  std::string text;
  for (int row = 0; row < PQntuples(result); ++row) {
    if (row > 0) text += '\n';
    for (int column = 0; column < PQnfields(result); ++column) {
      if (column > 0) text += '|';
      text += PQgetisnull(result, row, column) != 0 ? "NULL" : PQgetvalue(result, row, column);
    }
  }
  PQclear(result);
  return text;
}

std::string PostgresServer::Uri(const std::string& parameters, const std::string& user) const {
  return absl::StrCat("postgres://", user, "@/test?host=", folder_.path(), "&", parameters);
}

Location PostgresServer::At(const std::string& parameters, const std::string& user) const {
  const absl::StatusOr<Location> location = ParseLocation(Uri(parameters, user));
  EXPECT_TRUE(location.ok()) << location.status();
  return location.ok() ? *location : Location{};
}

PostgresServer& TestPostgres() {
  static PostgresServer server;
  return server;
}

}  // namespace reembed
