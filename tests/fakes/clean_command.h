// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_CLEAN_COMMAND_H_
#define REEMBED_TESTS_FAKES_CLEAN_COMMAND_H_

#include <map>
#include <string>
#include <vector>

#include "tests/fakes/process.h"

namespace reembed {

// Runs the reembed `binary` in a clean room below `folder`: no keys and no settings of the one who runs the test.
inline ProcessResult RunClean(const std::string& binary, const std::string& folder, std::vector<std::string> args,
                              std::map<std::string, std::string> environment = {}) {
  args.insert(args.begin(), binary);
  environment.emplace("HOME", folder);
  environment.emplace("XDG_STATE_HOME", folder + "/state");
  environment.emplace("XDG_CONFIG_HOME", folder + "/config");
  for (const char* const name : {"OPENAI_API_KEY", "OPENAI_BASE_URL", "TURSO_URL", "DATABASE_URL", "TURSO_AUTH_TOKEN",
                                 "LIBSQL_AUTH_TOKEN", "DATABASE_AUTH_TOKEN"}) {
    environment.emplace(name, "");
  }
  return RunProcess(args, environment);
}

// `reembed run` of FOLDER/notes.jsonl into FOLDER/out.fbin by the built-in embedder; the job is FOLDER/job.
inline std::vector<std::string> BuiltinRun(const std::string& folder) {
  return {"run",
          "--source",
          "jsonl:" + folder + "/notes.jsonl",
          "--target",
          "fbin:" + folder + "/out.fbin",
          "--job",
          folder + "/job",
          "--embedder",
          "builtin",
          "--dimensions",
          "64",
          "--progress",
          "off"};
}

// The number that a JSON line on standard output has under `name`; of the last line that has it. -1: none.
inline int64_t LastNumber(const ProcessResult& result, const std::string& name) {
  const std::string field = "\"" + name + "\":";
  const size_t at = result.out.rfind(field);
  return at == std::string::npos ? -1 : std::strtoll(result.out.c_str() + at + field.size(), nullptr, 10);
}

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_CLEAN_COMMAND_H_
