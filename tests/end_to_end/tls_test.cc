// SPDX-License-Identifier: Apache-2.0
// HTTP/2 over TLS, as the big vendors speak it, with a certificate that only --ca-file makes trustworthy.

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/process.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/tls_proxy.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class TlsTest : public ::testing::Test {
 protected:
  TlsTest()
      : server_([](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = 8}); }), proxy_(server_.url()) {
    db_.Run("CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT, embedding BLOB)");
    for (int i = 0; i < 150; ++i) db_.Run(absl::StrCat("INSERT INTO notes(body) VALUES ('note ", i, "')"));
    db_.Close();
  }

  ProcessResult Run(const std::vector<std::string>& more) {
    std::vector<std::string> args = {
        REEMBED_BINARY,  "run",
        "--source",      absl::StrCat("sqlite:", db_.path(), "?table=notes&key=id&text=body&vector=embedding"),
        "--api-base",    absl::StrCat(proxy_.url(), "/v1"),
        "--model",       "fake-model",
        "--dimensions",  "8",
        "--batch-size",  "5",
        "--concurrency", "8"};
    args.insert(args.end(), more.begin(), more.end());
    return RunProcess(args, {{"HOME", state_.path()}, {"XDG_STATE_HOME", state_ / "state"}, {"OPENAI_API_KEY", ""}});
  }

  std::string Stored() {
    const std::string count = db_.Ask("SELECT count(*) FROM notes WHERE length(embedding) = 32");
    db_.Close();
    return count;
  }

  ScriptedServer server_;
  TlsProxy proxy_;
  SqliteFile db_;
  TempFolder state_;
};

// Trap 13: streams of one connection take the place of connections, so requests at a time and connections differ.
TEST_F(TlsTest, TrapThirteenRequestsShareConnectionsOverHttp2) {
  const ProcessResult run = Run({"--ca-file", proxy_.ca_file()});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(Stored(), "150");
  EXPECT_GE(server_.request_count(), 2 + 30) << "the probe, the canary, and five rows a request";
  std::set<int> connections;
  for (const TlsProxy::Access& access : proxy_.accesses()) {
    EXPECT_EQ(access.protocol, "h2");
    EXPECT_EQ(access.status, 200);
    connections.insert(access.client_port);
  }
  EXPECT_FALSE(connections.empty());
  EXPECT_LE(connections.size(), 1u + 8u);  // the probe's, and one for each request at a time at most
}

TEST_F(TlsTest, AnUnknownCertificateEndsTheRunBeforeAnythingIsSent) {
  const ProcessResult run = Run({});
  EXPECT_EQ(run.exit_code, 6) << run.err;
  EXPECT_THAT(run.err, AllOf(HasSubstr("certificate"), HasSubstr("https://localhost:")));
  EXPECT_THAT(server_.requests(), IsEmpty());
  EXPECT_EQ(Stored(), "0");
}

TEST_F(TlsTest, ACaFileThatIsNotThereIsNamed) {
  const ProcessResult run = Run({"--ca-file", state_ / "none.pem"});
  EXPECT_EQ(run.exit_code, 6) << run.err;
  EXPECT_THAT(run.err, HasSubstr("CA"));
  EXPECT_THAT(server_.requests(), IsEmpty());
}

}  // namespace
}  // namespace reembed
