// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_connection.h"

#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/postgres/postgres_table.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

absl::StatusOr<std::unique_ptr<PostgresConnection>> Open(const std::string& uri) {
  const absl::StatusOr<Location> location = ParseLocation(uri);
  if (!location.ok()) return location.status();
  const absl::StatusOr<PostgresLocation> asked = ParsePostgresLocation(*location);
  if (!asked.ok()) return asked.status();
  return PostgresConnection::Open(asked->address, {.patience = absl::ZeroDuration()});
}

// A server whose messages are German, which no other test must see.
class GermanServer {
 public:
  GermanServer() {
    const ProcessResult made =
        RunProcess({"/usr/bin/localedef", "-i", "de_DE", "-f", "UTF-8", folder_ / "de_DE.UTF-8"});
    EXPECT_EQ(made.exit_code, 0) << made.err << "\nrun tools/check, which installs what is needed";
    std::filesystem::permissions(folder_.path(), std::filesystem::perms(0755));
    setenv("LOCPATH", folder_.path().c_str(), 1);
    server_ = std::make_unique<PostgresServer>();
    unsetenv("LOCPATH");
    server_->Run("ALTER SYSTEM SET lc_messages = 'de_DE.UTF-8'");
    // Not by a signal, which would take its time.
    setenv("LOCPATH", folder_.path().c_str(), 1);
    server_->Stop();
    server_->Start();
    unsetenv("LOCPATH");
  }
  PostgresServer& operator*() { return *server_; }
  PostgresServer* operator->() { return server_.get(); }

 private:
  TempFolder folder_;
  std::unique_ptr<PostgresServer> server_;
};

// Of a server that nobody has reached yet the address may be wrong, so it is not waited for.
TEST(PostgresConnectionTest, OpeningWaitsForAServerThatHasAnswered) {
  PostgresServer server;
  const absl::StatusOr<Location> location = ParseLocation(server.Uri("table=x"));
  const absl::StatusOr<Location> other = ParseLocation(server.Uri("table=x"));
  ASSERT_THAT(location, IsOk());
  ASSERT_THAT(other, IsOk());
  const auto open = [](const Location& place) {
    const absl::StatusOr<PostgresLocation> asked = ParsePostgresLocation(place);
    return asked.ok() ? PostgresConnection::Open(asked->address, {}).status() : asked.status();
  };
  ASSERT_THAT(open(*location), IsOk());
  server.Stop();
  EXPECT_THAT(open(*other), HasError(absl::StatusCode::kUnavailable, HasSubstr("check that the server runs")));
  absl::Status waited;
  std::thread waiting([&] { waited = open(*location); });
  server.Start();
  waiting.join();
  EXPECT_THAT(waited, IsOk());
}

TEST(PostgresConnectionTest, TheCodeDecidesWhateverLanguageTheServerSpeaks) {
  GermanServer server;
  const auto connection = Open(server->Uri("table=x"));
  ASSERT_THAT(connection, IsOk());
  ASSERT_THAT((*connection)->Query("SELECT * FROM nowhere"),
              HasError(absl::StatusCode::kNotFound, HasSubstr("existiert nicht")))
      << "the server does not speak German, so this test says nothing";

  setenv("PGPASSWORD", "wrong", 1);
  EXPECT_THAT(Open(server->Uri("table=x", "locked")),
              HasError(absl::StatusCode::kUnauthenticated, AllOf(HasSubstr("locked"), HasSubstr("PGPASSWORD"),
                                                                 Not(HasSubstr("28P01")), Not(HasSubstr("LOCATION")))));
  unsetenv("PGPASSWORD");
  EXPECT_THAT(Open(server->Uri("table=x", "locked")), HasError(absl::StatusCode::kUnauthenticated, HasSubstr("")));
  EXPECT_THAT(Open(server->Uri("table=x", "nobody")),
              HasError(absl::StatusCode::kUnauthenticated, HasSubstr("nobody")));
  std::string other = server->Uri("table=x");
  other.replace(other.find("/test?"), 6, "/none?");
  EXPECT_THAT(Open(other), HasError(absl::StatusCode::kNotFound, HasSubstr("check the name of the database")));
  server->Run("REVOKE CONNECT ON DATABASE test FROM PUBLIC; CREATE ROLE guest LOGIN");
  EXPECT_THAT(Open(server->Uri("table=x", "guest")),
              HasError(absl::StatusCode::kPermissionDenied, HasSubstr("GRANT CONNECT")));
  server->Stop();
  EXPECT_THAT(Open(server->Uri("table=x")), HasError(absl::StatusCode::kUnavailable, HasSubstr("check that")));
}

}  // namespace
}  // namespace reembed
