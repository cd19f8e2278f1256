// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_FALKORDB_SERVER_H_
#define REEMBED_TESTS_FAKES_FALKORDB_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "engine/location.h"
#include "io/net/resp_client.h"
#include "tests/fakes/process.h"
#include "tests/fakes/server_watch.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {

// A real FalkorDB: its module in a real Valkey server, at a port of its own; it ends with the object. It keeps an
// append-only file, so Stop() and Start() lose nothing, unless it is told to forget.
class FalkorServer {
 public:
  struct Options {
    bool module = true;  // false: a plain Valkey
    // How what it has survives Stop(). kSnapshots: it comes back with what it had at the last Save().
    enum class Keeping { kFile, kSnapshots } keeping = Keeping::kFile;
    std::string password;
    bool may_crash = false;  // it may end by itself: HasCrashed() then says so, and no test fails for that
  };
  // Fails the test when the server cannot be had (tools/install-valkey, the CTest npm_install).
  FalkorServer() : FalkorServer(Options()) {}
  explicit FalkorServer(Options options);
  ~FalkorServer();
  FalkorServer(const FalkorServer&) = delete;
  FalkorServer& operator=(const FalkorServer&) = delete;

  void Stop();  // as a power cut does
  void Save() { Command({"SAVE"}); }
  void Start();
  void Crash();  // as a fault of its own does
  // Its exit and the end of its log; after HasCrashed().
  std::string LastWords();
  bool HasCrashed() { return process_ != nullptr && !process_->IsRunning(); }

  // One query. Failures fail the test, but for those of a server that has crashed and may.
  void Run(const std::string& cypher, const std::string& graph = "g");
  // All rows: values joined by "|", rows by "\n"; without --compact, so as people see them.
  std::string Ask(const std::string& cypher, const std::string& graph = "g");
  void Command(const std::vector<std::string>& words);
  void DropGraph(const std::string& graph = "g");

  // falkordb://localhost:PORT/g?parameters
  std::string Uri(const std::string& parameters, const std::string& graph = "g") const;
  Location At(const std::string& parameters, const std::string& graph = "g") const;

 private:
  RespClient* Client();
  bool TryToStart();

  const Options options_;
  TempFolder folder_;
  int port_ = 0;
  std::unique_ptr<Process> process_;
  std::unique_ptr<ServerWatch> watch_;
  std::unique_ptr<RespClient> client_;
};

// The one of this test program, made when it is first asked for.
FalkorServer& TestFalkor();

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_FALKORDB_SERVER_H_
