// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_FALKORDB_NUMBER_H_
#define REEMBED_TESTS_FAKES_FALKORDB_NUMBER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "io/net/resp_client.h"
#include "tests/fakes/falkordb_server.h"

namespace reembed {

inline int PortOf(const FalkorServer& server) {
  const std::string uri = server.Uri("");
  return std::stoi(uri.substr(uri.rfind(':') + 1));
}

// The number that the server answers to a command; fails the test on an error.
inline int64_t NumberOf(const FalkorServer& server, const std::vector<std::string>& words) {
  auto client =
      RespClient::Connect({.name = "test", .host = "127.0.0.1", .port = PortOf(server)}, absl::ZeroDuration());
  EXPECT_TRUE(client.ok()) << client.status();
  if (!client.ok()) return -1;
  const auto reply = (*client)->Call(std::vector<absl::string_view>(words.begin(), words.end()));
  EXPECT_TRUE(reply.ok()) << reply.status();
  return reply.ok() ? reply->value().Integer() : -1;
}

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_FALKORDB_NUMBER_H_
