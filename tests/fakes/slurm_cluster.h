// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_SLURM_CLUSTER_H_
#define REEMBED_TESTS_FAKES_SLURM_CLUSTER_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/fakes/process.h"
#include "tests/fakes/server_watch.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {

// A real Slurm on this machine: munged, slurmctld and two slurmd (`n0`, `n1`, two processors each), as processes of the
// test, on ports, a key and folders of their own. Tasks that are queued again wait for some seconds, not two minutes.
// Ends with the object. Ends the program if it cannot be had (as root; tools/install-packages test).
class SlurmCluster {
 public:
  SlurmCluster();
  ~SlurmCluster();
  SlurmCluster(const SlurmCluster&) = delete;
  SlurmCluster& operator=(const SlurmCluster&) = delete;

  // By which its commands find it.
  std::map<std::string, std::string> environment() const { return {{"SLURM_CONF", folder_ / "slurm.conf"}}; }

  // Runs a command of Slurm; fails the test if it fails. What it printed.
  std::string Ask(const std::vector<std::string>& words) const;

  // "0 COMPLETED", "3 FAILED", ...: each task of an array job with its state, a line for each, in their order.
  std::string StatesOf(const std::string& job) const;

  // Until Slurm has nothing more of this job to run. Fails the test after ten minutes.
  void WaitForEndOf(const std::string& job) const;

 private:
  void Start(const std::string& name, const std::vector<std::string>& command, const std::string& ready);

  TempFolder folder_;
  struct Server {
    std::unique_ptr<Process> process;
    std::unique_ptr<ServerWatch> watch;
  };
  std::vector<Server> servers_;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_SLURM_CLUSTER_H_
