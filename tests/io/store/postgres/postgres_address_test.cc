// SPDX-License-Identifier: Apache-2.0
// Ways to name a PostgreSQL server and to get in, those of every program that uses libpq.

#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/postgres/postgres_connection.h"
#include "io/store/postgres/postgres_table.h"
#include "tests/fakes/pgbouncer.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A port of this machine that takes connections and never says a word.
class SilentServer {
 public:
  SilentServer() : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(socket_, 16), 0);
    socklen_t size = sizeof(address);
    EXPECT_EQ(getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~SilentServer() { close(socket_); }
  int port() const { return port_; }

 private:
  const int socket_;
  int port_ = 0;
};

int FreePort() { return SilentServer().port(); }

// A variable of this process, until the object ends.
class WithVariable {
 public:
  WithVariable(const char* name, const std::string& value) : name_(name) { setenv(name, value.c_str(), 1); }
  ~WithVariable() { unsetenv(name_); }

 private:
  const char* const name_;
};

class PostgresAddressTest : public ::testing::Test {
 protected:
  void SetUp() override { unsetenv("PGPASSWORD"); }

  // "user database" as the server sees the connection.
  static std::string Login(const std::string& uri) {
    const absl::StatusOr<Location> location = ParseLocation(uri);
    if (!location.ok()) return std::string(location.status().message());
    const absl::StatusOr<PostgresLocation> asked = ParsePostgresLocation(*location);
    if (!asked.ok()) return std::string(asked.status().message());
    auto connection = PostgresConnection::Open(asked->address, {.patience = absl::ZeroDuration()});
    if (!connection.ok()) return std::string(connection.status().message());
    const absl::StatusOr<PostgresRows> rows = (*connection)->Query("SELECT current_user || ' ' || current_database()");
    return rows.ok() ? rows->Text(0, 0) : std::string(rows.status().message());
  }

  std::string Encoded() const { return absl::StrReplaceAll(server_.folder(), {{"/", "%2F"}}); }

  PostgresServer& server_ = TestPostgres();
  TempFolder folder_;
};

TEST_F(PostgresAddressTest, SocketsAndEncodedNames) {
  EXPECT_EQ(Login(absl::StrCat("postgres://tester@/test?host=", server_.folder(), "&table=t")), "tester test");
  EXPECT_EQ(Login(absl::StrCat("postgresql://tester@", Encoded(), "/test?table=t")), "tester test");
  EXPECT_EQ(Login(absl::StrCat("postgres:///test?host=", Encoded(), "&user=tester&table=t")), "tester test");
  for (const std::string sql : {"DROP DATABASE IF EXISTS \"a b%&?\"", "CREATE DATABASE \"a b%&?\"",
                                "DROP ROLE IF EXISTS \"ann@x:1\"", "CREATE ROLE \"ann@x:1\" LOGIN"}) {
    server_.Run(sql);
  }
  EXPECT_EQ(Login(absl::StrCat("postgres://ann%40x%3A1@/a%20b%25%26%3F?host=", server_.folder(), "&table=t")),
            "ann@x:1 a b%&?");
}

TEST_F(PostgresAddressTest, APasswordFileServes) {
  const std::string uri = absl::StrCat("postgres://locked@/test?host=", server_.folder(), "&table=t");
  EXPECT_THAT(Login(uri), HasSubstr("PGPASSWORD"));
  const std::string path = folder_ / "pass file";
  std::ofstream(path) << server_.folder() << ":5432:test:locked:pass word\n";
  std::filesystem::permissions(path, std::filesystem::perms(0600));
  {
    const WithVariable file("PGPASSFILE", path);
    EXPECT_EQ(Login(uri), "locked test");
  }
  EXPECT_EQ(Login(absl::StrCat(uri, "&passfile=", absl::StrReplaceAll(path, {{" ", "%20"}}))), "locked test");
}

TEST_F(PostgresAddressTest, AServiceServes) {
  const std::string path = folder_ / "services";
  std::ofstream(path) << "[mine]\nhost=" << server_.folder() << "\nuser=tester\ndbname=test\n";
  const WithVariable file("PGSERVICEFILE", path);
  EXPECT_EQ(Login("postgres:///?service=mine&table=t"), "tester test");
  EXPECT_EQ(Login("postgres://?service=mine&table=t"), "tester test");
  EXPECT_THAT(Login("postgres:///?service=other&table=t"), HasSubstr("\"other\""));
  const WithVariable service("PGSERVICE", "mine");
  EXPECT_EQ(Login("postgres:///?table=t"), "tester test");
  // What the address says counts.
  EXPECT_EQ(Login("postgres://tester@/postgres?table=t"), "tester postgres");
}

TEST_F(PostgresAddressTest, TheFirstOfSeveralHostsThatAnswersIsTaken) {
  EXPECT_EQ(Login(absl::StrCat("postgres://tester@/test?host=/nowhere,", server_.folder(), "&table=t")), "tester test");
  // A host that takes the connection and is silent: libpq's own polling would wait for it for ever.
  const SilentServer silent;
  EXPECT_EQ(Login(absl::StrCat("postgres://tester@/test?host=127.0.0.1,", server_.folder(), "&port=", silent.port(),
                               ",5432&connect_timeout=2&table=t")),
            "tester test");
  EXPECT_THAT(Login(absl::StrCat("postgres://tester@127.0.0.1:", silent.port(), "/test?connect_timeout=2&table=t")),
              HasSubstr("no answer within 2 s"));
  EXPECT_EQ(Login(absl::StrCat("postgres://tester@/test?host=", server_.folder(),
                               "&target_session_attrs=read-write&table=t")),
            "tester test");
  EXPECT_THAT(
      Login(absl::StrCat("postgres://tester@/test?host=", server_.folder(), "&target_session_attrs=standby&table=t")),
      HasSubstr("standby"));
}

TEST_F(PostgresAddressTest, WhatSslmodeDemandsIsKept) {
  const std::string key = folder_ / "key.pem", certificate = folder_ / "cert.pem";
  const ProcessResult made =
      RunProcess({"/usr/bin/openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out",
                  certificate, "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  std::filesystem::permissions(folder_.path(), std::filesystem::perms(0755));
  std::filesystem::permissions(key, std::filesystem::perms(0644));
  const int port = FreePort(), other = FreePort();
  const PgBouncer pool(server_,
                       absl::StrCat("listen_addr = 127.0.0.1\nclient_tls_sslmode = allow\nclient_tls_key_file = ", key,
                                    "\nclient_tls_cert_file = ", certificate),
                       port);
  const std::string uri =
      absl::StrCat("postgres://tester@localhost:", port, "/test?hostaddr=127.0.0.1&table=t&sslmode=");
  EXPECT_EQ(Login(uri + "require"), "tester test");
  EXPECT_EQ(Login(absl::StrCat(uri, "verify-full&sslrootcert=", certificate)), "tester test");
  EXPECT_THAT(Login(uri + "verify-full&sslrootcert=/nowhere"), HasSubstr("/nowhere"));
  EXPECT_EQ(Login(uri + "disable"), "tester test");
  const PgBouncer plain(server_, "listen_addr = 127.0.0.1", other);
  EXPECT_THAT(Login(absl::StrCat("postgres://tester@127.0.0.1:", other, "/test?table=t&sslmode=require")),
              HasSubstr("SSL"));
}

}  // namespace
}  // namespace reembed
