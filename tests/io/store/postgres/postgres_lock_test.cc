// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_lock.h"

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/job/lock_owner.h"
#include "io/store/postgres/postgres_connection.h"
#include "io/store/postgres/postgres_table.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class PostgresLockTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server_.Run("DROP TABLE IF EXISTS notes CASCADE; CREATE TABLE notes (id int PRIMARY KEY, body text, v vector(3))");
  }
  absl::StatusOr<std::unique_ptr<TargetLock>> Lock(const std::string& job, const std::string& more = "&vector=v") {
    return LockPostgresColumn(*ParseLocation(server_.Uri("table=notes&key=id&text=body" + more)),
                              {job, [](const std::string&) {}});
  }
  // Of the connection that has a lock.
  std::string Holder(const std::string& column) {
    return server_.Ask(
        absl::StrCat("SELECT ", column,
                     " FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.mode "
                     "= 'ExclusiveLock'"));
  }

  PostgresServer& server_ = TestPostgres();
};

TEST_F(PostgresLockTest, TheSecondIsToldWhoHasIt) {
  auto first = Lock("/jobs/it's /* one */");
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(Lock("/jobs/two"),
              HasError(absl::StatusCode::kAborted, AllOf(HasSubstr("public.notes.v: is being written by process"),
                                                         HasSubstr("job /jobs/it's /* one */"))));
  // Another column, and the same in other words.
  EXPECT_THAT(Lock("/jobs/two", "&vector=w&mode=upsert"), IsOk());
  EXPECT_THAT(Lock("/jobs/two", "&vector=v&schema=public"), HasError(absl::StatusCode::kAborted, HasSubstr("one")));
  first->reset();
  EXPECT_THAT(Lock("/jobs/two"), IsOk());
}

TEST_F(PostgresLockTest, ItHoldsUpNeitherVacuumNorAnIndex) {
  auto lock = Lock("/jobs/one");
  ASSERT_THAT(lock, IsOk());
  EXPECT_EQ(Holder("coalesce(a.backend_xmin::text, 'none') || ' ' || a.state"), "none idle in transaction");
  EXPECT_EQ(server_.Ask("SELECT count(*) FROM pg_locks WHERE pid = (SELECT DISTINCT pid FROM pg_locks WHERE locktype "
                        "= 'advisory') AND locktype = 'relation'"),
            "0");
  EXPECT_THAT((*lock)->EnsureHeld(), IsOk());
  EXPECT_TRUE((*lock)->unbroken());
}

TEST_F(PostgresLockTest, OneThatWasLostIsTakenAgainAndSaysSo) {
  auto lock = Lock("/jobs/one");
  ASSERT_THAT(lock, IsOk());
  server_.Ask(absl::StrCat("SELECT pg_terminate_backend(", Holder("pid"), ", 10000)"));
  EXPECT_THAT((*lock)->EnsureHeld(), IsOk());
  EXPECT_FALSE((*lock)->unbroken());
  EXPECT_THAT(Lock("/jobs/two"), HasError(absl::StatusCode::kAborted, HasSubstr("/jobs/one")));
}

TEST_F(PostgresLockTest, OneThatAnotherHasByThenIsRefused) {
  auto lock = Lock("/jobs/one");
  ASSERT_THAT(lock, IsOk());
  server_.Ask(absl::StrCat("SELECT pg_terminate_backend(", Holder("pid"), ", 10000)"));
  auto other = Lock("/jobs/two");
  ASSERT_THAT(other, IsOk());
  EXPECT_THAT((*lock)->EnsureHeld(), HasError(absl::StatusCode::kAborted, HasSubstr("/jobs/two")));
}

// A busy server keeps the lock of a process that was killed until it looks at the connection.
TEST_F(PostgresLockTest, OneOfAProcessThatIsGoneIsWaitedFor) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  ASSERT_GT(child, 0);
  LockOwner killed = ThisProcess("/jobs/killed");
  killed.pid = absl::StrCat(child);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  ASSERT_TRUE(IsGone(killed));
  EXPECT_FALSE(IsGone(ThisProcess("/jobs/two")));
  const auto asked = ParsePostgresLocation(*ParseLocation(server_.Uri("table=notes&key=id&text=body")));
  ASSERT_THAT(asked, IsOk());
  auto left = PostgresConnection::Open(asked->address, {});
  ASSERT_THAT(left, IsOk());
  ASSERT_THAT((*left)->Run("BEGIN"), IsOk());
  ASSERT_THAT((*left)->Run("SELECT pg_advisory_xact_lock(hashtextextended('reembed public.notes.v', 0))"), IsOk());
  ASSERT_THAT((*left)->Run(absl::StrCat("/*", LockOwnerText(killed), "*/ SELECT 1")), IsOk());
  auto taken = std::async(std::launch::async, [&] { return Lock("/jobs/two"); });
  // It was refused once.
  while (server_.Ask("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%/jobs/two%ROLLBACK'") == "0" &&
         taken.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
  }
  left->reset();
  EXPECT_THAT(taken.get(), IsOk());
}

// The server may show of a sibling that has just taken the lock what it did before.
TEST_F(PostgresLockTest, ASiblingThatDoesNotSayYetWhoItIsIsWaitedFor) {
  const auto lock_shared = [this](const std::string& job) {
    return LockPostgresColumn(*ParseLocation(server_.Uri("table=notes&key=id&text=body&vector=v")),
                              {.job = job, .note = [](const std::string&) {}, .shared = true});
  };
  const auto asked = ParsePostgresLocation(*ParseLocation(server_.Uri("table=notes&key=id&text=body")));
  ASSERT_THAT(asked, IsOk());
  auto sibling = PostgresConnection::Open(asked->address, {});
  ASSERT_THAT(sibling, IsOk());
  ASSERT_THAT((*sibling)->Run("BEGIN"), IsOk());
  ASSERT_THAT((*sibling)->Run("SELECT pg_advisory_xact_lock_shared(hashtextextended('reembed ', 0)), "
                              "pg_advisory_xact_lock_shared(hashtextextended('reembed public.notes.v', 0))"),
              IsOk());
  auto taken = std::async(std::launch::async, [&] { return lock_shared("/jobs/one"); });
  // It has looked at least once.
  while (server_.Ask("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%/jobs/one%pg_stat_clear_snapshot()'") ==
             "0" &&
         taken.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
  }
  ASSERT_THAT((*sibling)->Run(absl::StrCat("/*", LockOwnerText(ThisProcess("/jobs/one")), "*/ SELECT 1")), IsOk());
  EXPECT_THAT(taken.get(), IsOk());
  // Who never says it is a stranger.
  ASSERT_THAT((*sibling)->Run("SELECT 1"), IsOk());
  EXPECT_THAT(lock_shared("/jobs/one"), HasError(absl::StatusCode::kAborted, HasSubstr("public.notes.v")));
}

}  // namespace
}  // namespace reembed
