// SPDX-License-Identifier: Apache-2.0
#include "tools/serve_flags.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>

#include "tools/output.h"
#include "tools/serve.h"
#include "tools/signals.h"
#include "tools/usage.h"

namespace reembed {

void AddServe(CLI::App* app, std::function<ExitCode(const Environment&)>* chosen) {
  CLI::App* const command =
      app->add_subcommand("serve", "an OpenAI-compatible embedding server with the built-in embedder");
  struct Words {
    ServeOptions serve;
    bool prepared = false;
    double latency_ms = 0;
    std::string api_key_env;
  };
  auto words = std::make_shared<Words>();
  EmbeddingServerOptions& server = words->serve.server;
  server.port = 8080;
  command->add_option("--port", server.port, "port; 0: a free one")->check(CLI::Range(0, 65535));
  command->add_option("--address", server.address, "address to listen on");
  command->add_option("--dim,--dimensions", server.dim, "width of the vectors, for requests that do not name one");
  command->add_option("--threads", server.threads, "threads")->check(CLI::Range(1, 256));
  command->add_flag("--prepared", words->prepared,
                    "answer with fixed vectors, independent of the texts; only to measure clients");
  command
      ->add_option("--latency-ms", words->latency_ms,
                   "delay each answer by so many milliseconds; only to measure clients")
      ->check(NotNegative());
  command->add_option("--rpm", server.limits.requests_per_minute, "refuse more requests per minute with 429");
  command->add_option("--tpm", server.limits.tokens_per_minute, "refuse more tokens per minute with 429");
  command->add_option("--api-key-env", words->api_key_env, "environment variable with the key that requests must have");
  command->footer(
      "Examples:\n  reembed serve --port 8080 --dim 512\n  reembed serve --port 0 --api-key-env MY_KEY\n  reembed "
      "serve "
      "--prepared --latency-ms 200 --rpm 3000");
  command->callback([=] {
    *chosen = [=](const Environment& environment) -> ExitCode {
      ServeOptions options = words->serve;
      if (words->prepared) options.server.mode = EmbeddingServerMode::kPrepared;
      options.server.speed.latency = absl::Milliseconds(words->latency_ms);
      if (!words->api_key_env.empty()) {
        options.server.api_key = environment.Get(words->api_key_env);
        if (options.server.api_key.empty()) {
          return Fail("serve", absl::InvalidArgumentError("--api-key-env: the variable is not set"), false);
        }
      }
      if (options.server.api_key.empty() && !EmbeddingServer::IsLoopback(options.server.address)) {
        std::cerr << "note: anyone who can reach " << options.server.address
                  << " can use this server; --api-key-env NAME makes it ask for a key" << std::endl;
      }
      StopSignals signals({.command = "serve", .left = "requests under way were cut off"});
      const StopSignals::Work work(&signals, {});
      const absl::Status served = Serve(options, signals.token(), std::cout);
      return served.ok() ? kExitDone : Fail("serve", served, false);
    };
  });
}

}  // namespace reembed
