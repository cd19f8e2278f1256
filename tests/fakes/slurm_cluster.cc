// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/slurm_cluster.h"

#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <random>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

constexpr int kNodes = 2;
constexpr int kMostLooks = 6000;  // of a tenth of a second

void WriteKey(const std::string& path) {
  std::random_device random;
  std::string key(128, '\0');
  for (char& byte : key) byte = static_cast<char>(random());
  std::ofstream(path) << key;
  chmod(path.c_str(), 0400);
}

std::string Configuration(const std::string& folder) {
  std::string text =
      absl::StrCat("ClusterName=test\nSlurmctldHost=localhost(127.0.0.1)\nSlurmUser=root\nSlurmdUser=root\n",
                   "AuthType=auth/munge\nSlurmctldPort=", FreePort(), "\n");
  // A task that is queued again begins when the credential of its first start has expired.
  absl::StrAppend(&text, "AuthInfo=socket=", folder, "/munge.sock,cred_expire=5\n");
  absl::StrAppend(&text, "SlurmctldPidFile=", folder, "/slurmctld.pid\nSlurmdPidFile=", folder, "/slurmd-%n.pid\n");
  absl::StrAppend(&text, "SlurmdSpoolDir=", folder, "/spool-%n\nStateSaveLocation=", folder, "/state\n");
  absl::StrAppend(&text, R"(ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MailProg=/bin/true
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=10
MinJobAge=3600
)");
  for (int node = 0; node < kNodes; ++node) {
    absl::StrAppend(&text, "NodeName=n", node, " NodeHostname=localhost NodeAddr=127.0.0.1 Port=", FreePort(),
                    " CPUs=2 State=UNKNOWN\n");
  }
  return text + "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n";
}

}  // namespace

SlurmCluster::SlurmCluster() {
  WriteKey(folder_ / "munge.key");
  std::ofstream(folder_ / "slurm.conf") << Configuration(folder_.path());
  mkdir((folder_ / "state").c_str(), 0700);
  // munged refuses a socket in a folder that others cannot enter, or may write to.
  chmod(folder_.path().c_str(), 0711);
  Start("munged",
        {"/usr/sbin/munged", "--foreground", "--force", "--key-file=" + (folder_ / "munge.key"),
         "--socket=" + (folder_ / "munge.sock"), "--pid-file=" + (folder_ / "munge.pid"),
         "--log-file=" + (folder_ / "munge.log"), "--seed-file=" + (folder_ / "munge.seed")},
        "Created 2 work threads");
  Start("slurmctld", {"/usr/sbin/slurmctld", "-D", "-f", folder_ / "slurm.conf"}, "Running as primary controller");
  for (int node = 0; node < kNodes; ++node) {
    mkdir((folder_ / absl::StrCat("spool-n", node)).c_str(), 0755);
    Start(absl::StrCat("slurmd of n", node),
          {"/usr/sbin/slurmd", "-D", "-N", absl::StrCat("n", node), "-f", folder_ / "slurm.conf"}, "slurmd started on");
  }
  const std::string all_there = absl::StrCat(kNodes, " idle\n");
  for (int looks = 0; looks < kMostLooks; ++looks) {
    if (Ask({"sinfo", "--noheader", "--format=%D %t"}) == all_there) return;
    poll(nullptr, 0, 100);
  }
  std::cerr << "the nodes did not come: " << Ask({"sinfo", "--long"});
  abort();
}

SlurmCluster::~SlurmCluster() {
  for (Server& server : servers_) server.watch.reset();
  // The controller first, so that nothing is started any more; then nodes, whose steps end with their jobs.
  if (servers_.size() > 1) RunProcess({"/usr/bin/scancel", "--user=root", "--quiet"}, environment());
  for (auto server = servers_.rbegin(); server != servers_.rend(); ++server) {
    server->process->Signal(SIGTERM);
    server->process->Wait();
  }
}

void SlurmCluster::Start(const std::string& name, const std::vector<std::string>& command, const std::string& ready) {
  std::vector<std::string> words = {"/usr/bin/setpriv", "--pdeathsig", "SIGTERM"};
  words.insert(words.end(), command.begin(), command.end());
  Server server;
  server.process = std::make_unique<Process>(words, environment());
  if (!server.process->WaitFor(ready)) {
    std::cerr << name << ":\n"
              << server.process->out() << server.process->err()
              << "\nrun tools/check as root, which installs what is needed\n";
    abort();
  }
  server.watch = std::make_unique<ServerWatch>(name, server.process.get());
  servers_.push_back(std::move(server));
}

std::string SlurmCluster::Ask(const std::vector<std::string>& words) const {
  std::vector<std::string> command = words;
  command[0] = "/usr/bin/" + command[0];
  const ProcessResult result = RunProcess(command, environment());
  EXPECT_EQ(result.exit_code, 0) << words[0] << ": " << result.err;
  return result.out;
}

std::string SlurmCluster::StatesOf(const std::string& job) const {
  const std::string out = Ask({"squeue", "--noheader", "--array", "--states=all", "--job=" + job, "--format=%K %T"});
  std::vector<std::pair<int, std::string>> states;
  for (const absl::string_view line : absl::StrSplit(out, '\n', absl::SkipEmpty())) {
    const std::pair<absl::string_view, std::string> parts = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    int task = -1;
    EXPECT_TRUE(absl::SimpleAtoi(parts.first, &task)) << line;
    states.emplace_back(task, parts.second);
  }
  std::sort(states.begin(), states.end());
  std::string text;
  for (const auto& [task, state] : states) absl::StrAppend(&text, task, " ", state, "\n");
  return text;
}

void SlurmCluster::WaitForEndOf(const std::string& job) const {
  for (int looks = 0; looks < kMostLooks; ++looks) {
    if (Ask({"squeue", "--noheader", "--array", "--job=" + job, "--format=%K"}).empty()) return;
    poll(nullptr, 0, 100);
  }
  ADD_FAILURE() << "job " << job << " has not ended: " << StatesOf(job);
}

}  // namespace reembed
