// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_SIMULATION_WORLD_H_
#define REEMBED_TESTS_SIMULATION_WORLD_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/embedding_client.h"
#include "io/job/job_records.h"
#include "io/net/http_loop.h"
#include "tests/simulation/scenario.h"

// What is outside of a simulated process, stays when it is killed, and remembers for the invariants what it has seen:
// servers, the disk of the job, targets.
namespace reembed {

// A request, as its server saw it.
struct SeenRequest {
  Moment at;
  int life = 0;
  int endpoint = 0;
  std::vector<std::string> texts;
  int status = 0;          // that the server gave; 0: it was silent
  bool sold = false;       // it is charged for
  bool of_no_use = false;  // its answer says nothing to some or all texts
  bool again = false;      // the same texts had got no answer from this server, or that of a broken one
  int in_air = 0;          // at this server, itself included
  std::optional<Moment> ended;
};

// A row, as a target got it.
struct SeenRow {
  Moment at;
  int life = 0;
  int sink = 0;
  int64_t ordinal = 0;
  std::string key;
  std::string text;
  bool right = false;  // its vector is that of its text, bit by bit
};

// A run of the command.
struct Life {
  Moment began;
  Moment ended;
  absl::Status status;  // as it ended; of a killed one nothing that follows is known
  bool killed = false;
  std::optional<Moment> told_to_stop;
  bool reached_cap = false;
  double cap_usd = 0;  // 0: none
  int most_batches = 0;
  std::optional<std::string> missing;  // a row at its end
  ClientStats client;
  JobStats job;
  std::vector<RejectedRow> rejects;
};

// The rows of a target: those of the job, and those of others.
struct Table {
  std::map<std::string, std::vector<float>> rows;
  std::map<std::string, std::vector<float>> flushed;
  std::vector<std::pair<int64_t, std::string>> unflushed;  // since then, in their order
  std::map<std::string, std::vector<float>> old;           // as it was before the job
};

class World {
 public:
  explicit World(const Scenario& scenario);
  ~World();
  // The one that the process under simulation is in; null: none.
  static World* Current();

  // The servers: what becomes of a request that leaves now. `index`: of the request in requests.
  struct Answer {
    Moment at;
    absl::StatusOr<HttpReply> reply;
    size_t index = 0;
  };
  Answer Send(absl::string_view url, absl::string_view body, absl::Duration timeout);
  void Ended(size_t index);

  // The disk.
  const std::string& job_directory() const { return directory_; }
  void Written(int fd, size_t count, int64_t offset);  // about to be
  void Synced(int fd);
  bool DiskFails(int fd) const;

  // The process is killed here and now. What it does from now on is of no effect: it is a ghost, and winds up.
  void Kill(bool power_loss);
  void Restart();  // as long as nothing is left of the ghost
  bool ghost() const { return ghost_; }
  void PassKillPoint();

  // From now on nothing goes wrong any more.
  void CalmDown() { calm_ = true; }
  bool calm() const { return calm_; }

  const Scenario& scenario() const { return scenario_; }
  int life() const { return static_cast<int>(lives.size()) - 1; }
  bool IsTaken(const MemoryRow& row) const;
  // A row that a target lacks, and that is not rejected; nullopt: there is none.
  std::optional<std::string> Missing(const std::vector<RejectedRow>& rejects) const;

  std::vector<SeenRequest> requests;
  std::vector<SeenRow> rows;
  std::vector<Life> lives;
  std::vector<Table> tables;  // of the sinks
  std::function<void()> on_kill;
  int kill_points = 0;    // passed
  int kill_at_point = 0;  // 0: at none
  int sendings = 1;       // of a request that fails: more is a mistake

 private:
  const BadTime* BadTimeOf(const EndpointScript& endpoint);
  std::string Reply(SeenRequest* seen, bool base64, bool odd);
  bool IsInJob(int fd, std::string* name) const;

  const Scenario scenario_;
  std::mt19937_64 random_;
  struct Server {
    double level = 2;  // of its quota, in requests
    Moment at;
    std::vector<std::string> failed;  // first texts of requests without an answer
    int in_air = 0;
  };
  std::vector<Server> servers_;
  const std::string folder_;
  std::string directory_;
  // What a write to a file of the job took the place of, until it is synced.
  struct Overwritten {
    uint64_t inode = 0;
    int64_t offset = 0;
    int64_t size = 0;  // of the file
    std::string bytes;
  };
  std::vector<Overwritten> not_durable_;
  bool ghost_ = false;
  bool calm_ = false;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_SIMULATION_WORLD_H_
