// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_STALLING_MODEL_H_
#define REEMBED_TESTS_FAKES_STALLING_MODEL_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/scripted_server.h"
#include "tests/places.h"

namespace reembed {

// A model behind an API, with vectors of its own.
class StallingModel {
 public:
  static constexpr int kDim = 64;

  static std::map<std::string, std::string> Key() { return {{"OPENAI_API_KEY", "sk-stalling"}}; }

  // `stalls_from`: the first reply that is held back until Release(); -1: none is.
  explicit StallingModel(std::string name, int stalls_from = -1)
      : name_(std::move(name)), stalls_from_(stalls_from), server_([this](const ServerRequest& request) {
          std::vector<std::string> texts = TextsOf(request.body);
          for (std::string& text : texts) text = absl::StrCat(name_, " ", text);
          const bool base64 = absl::StrContains(request.body, "base64");
          ServerReply reply{
              .body = OpenAiReply(texts, base64 ? VectorFormat::kBase64 : VectorFormat::kFloat, {.dim = kDim})};
          if (stalls_from_ >= 0 && request.number >= stalls_from_) reply.fault = ServerFault::kStall;
          return reply;
        }) {}

  // `reembed run` of `place` in requests of 32 texts, two at a time.
  std::vector<std::string> Command(const std::vector<std::string>& place, const std::string& job) const {
    std::vector<std::string> args = {REEMBED_BINARY, "run", "--yes", "--api-base", api_base(), "--model", name_};
    for (const char* const more : {"--dimensions", "64", "--batch-size", "32", "--concurrency", "2", "--job"}) {
      args.push_back(more);
    }
    args.push_back(job);
    args.insert(args.end(), place.begin(), place.end());
    return args;
  }
  std::string api_base() const { return absl::StrCat(server_.url(), "/v1"); }
  void WaitForStalled() { server_.WaitForStalled(1); }
  void Release() { server_.ReleaseStalled(); }
  int requests() const { return server_.request_count(); }

 private:
  const std::string name_;
  const int stalls_from_;
  ScriptedServer server_;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_STALLING_MODEL_H_
