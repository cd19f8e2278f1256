// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/pgbouncer.h"

#include <libpq-fe.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

constexpr int kServerConnections = 3;

// One line of everything, so that two states can be compared as text.
constexpr char kStateSql[] =
    "SELECT pg_backend_pid() || ': ' || (SELECT string_agg(concat(name, '=', setting, ' (', source, ')'), ', ' ORDER "
    "BY name) FROM pg_settings WHERE source <> 'default' AND name <> 'application_name') || '; prepared ' || (SELECT "
    "count(*) FROM "
    "pg_prepared_statements) || '; cursors ' || (SELECT count(*) FROM pg_cursors) || '; locks ' || (SELECT count(*) "
    "FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory') || '; temporary ' || (SELECT count(*) FROM "
    "pg_class WHERE relnamespace = pg_my_temp_schema()) || '; channels ' || (SELECT count(*) FROM "
    "pg_listening_channels())";

struct Client {
  explicit Client(const std::string& address) : connection(PQconnectdb(address.c_str())) {
    PQsetNoticeReceiver(
        connection, [](void*, const PGresult*) {}, nullptr);
  }
  Client(Client&& other) noexcept : connection(std::exchange(other.connection, nullptr)) {}
  ~Client() { PQfinish(connection); }

  // The value of the first cell; "ok" where there is none.
  std::string Ask(const std::string& sql) const {
    PGresult* const result = PQexec(connection, sql.c_str());
    const ExecStatusType status = PQresultStatus(result);
    std::string answer = "ok";
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) answer = PQresultErrorMessage(result);
    if (status == PGRES_TUPLES_OK && PQntuples(result) > 0) answer = PQgetvalue(result, 0, 0);
    PQclear(result);
    return answer;
  }

  PGconn* connection;
};

}  // namespace

PgBouncer::PgBouncer(const PostgresServer& server, const std::string& settings, int port) : port_(port) {
  const std::string config = folder_ / "pgbouncer.ini";
  std::ofstream(config) << "[databases]\ntest = host=" << server.folder() << " dbname=test user=tester\n"
                        << "[pgbouncer]\nlisten_addr =\nlisten_port = " << port
                        << "\nunix_socket_dir = " << folder_.path()
                        << "\nauth_type = any\npool_mode = transaction\ndefault_pool_size = " << kServerConnections
                        << "\n"
                        << settings << "\n";
  // PgBouncer refuses to run as root. The signal of setpriv comes when the thread that starts it ends.
  std::vector<std::string> args = {"/usr/bin/setpriv", "--pdeathsig", "SIGQUIT"};
  if (geteuid() == 0) {
    std::filesystem::permissions(folder_.path(), std::filesystem::perms(0755));
    RunProcess({"/bin/chown", "-R", "postgres", folder_.path()});
    args.insert(args.end(), {"--reuid", "postgres", "--regid", "postgres", "--clear-groups"});
  }
  args.insert(args.end(), {"/usr/sbin/pgbouncer", config});
  process_ = std::make_unique<Process>(args);
  while (PQping(Address().c_str()) != PQPING_OK) {
    if (!process_->IsRunning()) {
      std::cerr << process_->err() << "\nrun tools/check, which installs what is needed\n";
      abort();
    }
    usleep(5000);
  }
}

PgBouncer::~PgBouncer() {
  process_->Signal(SIGQUIT);
  process_->Wait();
}

std::string PgBouncer::Address() const {
  return absl::StrCat("host=", folder_.path(), " port=", port_, " user=tester dbname=test");
}

std::string PgBouncer::Uri(const std::string& parameters) const {
  return absl::StrCat("postgres://tester@/test?host=", folder_.path(), "&port=", port_, "&", parameters);
}

std::string PgBouncer::SessionState() const {
  // Clients that are in a transaction all at once have all the connections.
  std::vector<Client> clients;
  for (int i = 0; i < kServerConnections; ++i) {
    clients.emplace_back(Address());
    EXPECT_EQ(clients.back().Ask("BEGIN"), "ok");
  }
  std::vector<std::string> states;
  for (const Client& client : clients) states.push_back(client.Ask(kStateSql));
  for (const Client& client : clients) EXPECT_EQ(client.Ask("COMMIT"), "ok");
  std::sort(states.begin(), states.end());
  return absl::StrJoin(states, "\n");
}

std::string PgBouncer::Try(const std::string& sql) const { return Client(Address()).Ask(sql); }

}  // namespace reembed
