// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "tests/fakes/status_matchers.h"
#include "tests/places.h"

extern char** environ;

namespace reembed {
namespace {

struct Finished {
  int exit_code = -1;
  std::string output;  // both streams
};

// Runs `node script argument` to its end.
Finished RunNode(std::string script, std::string argument) {
  Finished finished;
  int pipe_ends[2];
  EXPECT_EQ(pipe2(pipe_ends, O_CLOEXEC), 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDERR_FILENO);
  std::string node = "node";
  char* const argv[] = {node.data(), script.data(), argument.data(), nullptr};
  pid_t child = -1;
  const int spawned = posix_spawnp(&child, "node", &actions, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  close(pipe_ends[1]);
  char bytes[4096];
  for (ssize_t n; (n = read(pipe_ends[0], bytes, sizeof(bytes))) > 0;) finished.output.append(bytes, n);
  close(pipe_ends[0]);
  if (spawned != 0) return finished;
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  if (WIFEXITED(status)) finished.exit_code = WEXITSTATUS(status);
  return finished;
}

// Needs the packages that the CTest fixture `npm` puts into the build tree.
TEST(OpenAiClientTest, WorksWithTheEmbeddingServer) {
  EmbeddingServerOptions options;
  options.threads = 2;
  const absl::StatusOr<std::unique_ptr<EmbeddingServer>> server = EmbeddingServer::Start(options);
  ASSERT_THAT(server, IsOk());
  const Finished node = RunNode(absl::StrCat(REEMBED_NPM_DIR, "/openai_client.mjs"), (*server)->base_url());
  EXPECT_EQ(node.exit_code, 0);
  EXPECT_EQ(node.output, "ok\n");
}

}  // namespace
}  // namespace reembed
