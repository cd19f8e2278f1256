// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_PGBOUNCER_H_
#define REEMBED_TESTS_FAKES_PGBOUNCER_H_

#include <memory>
#include <string>

#include "tests/fakes/postgres_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {

// A real PgBouncer before a server: in transaction mode, with a few server connections that all its clients share. It
// is reached by a socket in a folder of its own, and ends with the object.
class PgBouncer {
 public:
  // Borrows `server`. `settings`: more lines of its section [pgbouncer]. Fails the test when it cannot be had
  // (tools/install-packages test).
  // `port`: what they make of listen_port.
  explicit PgBouncer(const PostgresServer& server, const std::string& settings = "", int port = 6432);
  PgBouncer(const PgBouncer&) = delete;
  PgBouncer& operator=(const PgBouncer&) = delete;
  ~PgBouncer();

  // postgres://tester@/test?host=FOLDER&port=6432&parameters
  std::string Uri(const std::string& parameters) const;

  // Everything that clients may have left in the sessions of all its server connections: settings, prepared
  // statements, cursors, session locks, temporary tables, channels; with the numbers of their processes.
  std::string SessionState() const;

  // What somebody else's statement answers through it: `ok`, or the server's words.
  std::string Try(const std::string& sql) const;

 private:
  std::string Address() const;

  const int port_;
  TempFolder folder_;
  std::unique_ptr<Process> process_;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_PGBOUNCER_H_
