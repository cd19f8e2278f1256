// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/hrana.h"

#include <mutex>
#include <vector>

#include "engine/pace/rate_limiter.h"
#include "gtest/gtest.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

TEST(HranaConnectionTest, ABusyServerIsAskedAgainWhenItSays) {
  std::mutex mutex;
  std::vector<Moment> arrivals;
  ScriptedServer server([&](const ServerRequest& request) {
    const std::lock_guard lock(mutex);
    arrivals.push_back(MonotonicNow());
    if (request.number == 1) {
      return ServerReply{.status = 429, .headers = {{"Retry-After-Ms", "400"}}, .body = "slow down"};
    }
    return ServerReply{
        .body = R"({"results":[{"type":"ok","response":{"type":"describe","result":{"params":[{"name":null}]}}}]})"};
  });
  auto connection = HranaConnection::Make({.name = "libsql", .url = server.url()}, absl::Seconds(20));
  ASSERT_THAT(connection, IsOk());
  ASSERT_THAT((*connection)->CountParameters("SELECT ?"),
              IsOk());  // a server that has never answered gets no second try
  const auto parameters = (*connection)->CountParameters("SELECT ?");
  ASSERT_THAT(parameters, IsOk());
  EXPECT_EQ(*parameters, 1);
  ASSERT_EQ(arrivals.size(), 3u);
  EXPECT_GE(arrivals[2] - arrivals[1], absl::Milliseconds(400)) << "its own backoff would be 110 ms at most";
}

}  // namespace
}  // namespace reembed
