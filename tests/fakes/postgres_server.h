// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_POSTGRES_SERVER_H_
#define REEMBED_TESTS_FAKES_POSTGRES_SERVER_H_

#include <memory>
#include <string>

#include "engine/location.h"
#include "tests/fakes/process.h"
#include "tests/fakes/server_watch.h"
#include "tests/fakes/temp_folder.h"

struct pg_conn;

namespace reembed {

// A real PostgreSQL 15 server with pgvector, in a folder of its own, reached by a socket in that folder; it ends with
// the object, and with the thread that started it, however that ends. fsync is off: a crash of the machine is not what
// these tests are about. The user `tester` owns everything and needs no password; the user `locked` needs the password
// `pass word`.
class PostgresServer {
 public:
  // Fails the test when the server cannot be had (tools/install-packages test, tools/build-pgvector).
  PostgresServer();
  ~PostgresServer();
  PostgresServer(const PostgresServer&) = delete;
  PostgresServer& operator=(const PostgresServer&) = delete;

  // Ends it like a power cut does, without a last word to clients; Start() recovers.
  void Stop();
  void Start();

  // Any number of statements, by straight libpq. Failures fail the test.
  void Run(const std::string& sql);

  // All result rows: values joined by "|" (NULL for NULL), rows by "\n".
  std::string Ask(const std::string& sql);

  // Where its socket is.
  const std::string& folder() const { return folder_.path(); }

  // postgres://user@/test?host=FOLDER&parameters
  std::string Uri(const std::string& parameters, const std::string& user = "tester") const;
  Location At(const std::string& parameters, const std::string& user = "tester") const;

 private:
  pg_conn* Connection();

  TempFolder folder_;
  std::unique_ptr<Process> process_;
  std::unique_ptr<ServerWatch> watch_;
  pg_conn* connection_ = nullptr;
};

// The one of this test program, made when it is first asked for, with the extension `vector` in the database `test`.
PostgresServer& TestPostgres();

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_POSTGRES_SERVER_H_
