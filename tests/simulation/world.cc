// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/world.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/kill_point.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/text_vector.h"
#include "tests/simulation/virtual_threads.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

thread_local World* the_world = nullptr;

std::string MakeFolder() {
  std::string path = fs::exists("/dev/shm") ? "/dev/shm/reembed-sim-XXXXXX" : "/tmp/reembed-sim-XXXXXX";
  return mkdtemp(path.data());
}

}  // namespace

World::World(const Scenario& scenario)
    : scenario_(scenario),
      random_(scenario.seed ^ 0x5eed),
      servers_(scenario.endpoints.size()),
      folder_(MakeFolder()),
      directory_(folder_ + "/life-0") {
  the_world = this;
  for (size_t i = 0; i < scenario_.sinks.size(); ++i) {
    Table table;
    for (int other = 0; other < 3; ++other) {
      table.rows[absl::StrCat("other ", other)] = TextVector("another job's", kSimulatedDim);
    }
    // What is refused keeps the vector that it had.
    for (const MemoryRow& row : scenario_.rows) {
      if (!IsTaken(row)) table.rows[KeyText(ViewOf(row.key))] = TextVector("the old vector", kSimulatedDim);
    }
    table.old = table.flushed = table.rows;
    tables.push_back(std::move(table));
  }
}

World::~World() {
  the_world = nullptr;
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

World* World::Current() { return the_world; }

const BadTime* World::BadTimeOf(const EndpointScript& endpoint) {
  if (calm_) return nullptr;
  for (const BadTime& bad : endpoint.bad_times) {
    const double drawn = static_cast<double>(random_() % 1000) / 1000;
    if (bad.from <= VirtualNow() && VirtualNow() < bad.to && drawn < bad.share) return &bad;
  }
  return nullptr;
}

std::string World::Reply(SeenRequest* seen, bool base64, bool odd) {
  ReplyScript script{.dim = kSimulatedDim};
  const int texts = static_cast<int>(seen->texts.size());
  if (random_() % 2 == 0) script.order = ReplyScript::Order::kShuffled;
  seen->of_no_use = odd;
  const int any = static_cast<int>(random_() % texts);
  switch (odd ? random_() % 6 : 6) {
    case 0:
      return "<html>it works</html>";
    case 1:
      script.missing = 1;
      break;
    case 2:
      script.extra = 1;
      break;
    case 3:
      script.nan_row = any;
      break;
    case 4:
      script.zero_row = any;
      break;
    case 5:
      if (any == 0) return "";
      script.same_index_row = any;
      break;
    default:
      break;
  }
  return OpenAiReply(seen->texts, base64 ? VectorFormat::kBase64 : VectorFormat::kFloat, script);
}

World::Answer World::Send(absl::string_view url, absl::string_view body, absl::Duration timeout) {
  // http://server-0.test/v1/embeddings
  int e = 0;
  (void)absl::SimpleAtoi(url.substr(url.find("server-") + 7, 1), &e);
  const EndpointScript& endpoint = scenario_.endpoints[e];
  Server& server = servers_[e];
  const Moment now = VirtualNow();
  SeenRequest seen{.at = now, .life = life(), .endpoint = e, .texts = TextsOf(body), .in_air = ++server.in_air};
  const auto failed = std::find(server.failed.begin(), server.failed.end(), seen.texts.front());
  seen.again = failed != server.failed.end();
  if (seen.again) server.failed.erase(failed);
  Answer answer{.at = now + endpoint.latency, .reply = HttpReply{.status = 200}, .index = requests.size()};
  if (endpoint.jitter > absl::ZeroDuration()) answer.at += endpoint.jitter * (random_() % 1000) / 1000;
  const BadTime* const bad = BadTimeOf(endpoint);
  const auto is = [bad](BadTime::Kind kind) { return bad != nullptr && bad->kind == kind; };
  const auto refused = [this](const std::string& text) { return scenario_.refused_texts.contains(text); };
  bool full = is(BadTime::Kind::kRefused);
  if (endpoint.real_rate > 0 && !calm_) {
    server.level = std::min(2.0, server.level + endpoint.real_rate * absl::ToDoubleMinutes(now - server.at));
    server.at = now;
    full = full || server.level < 1;
    if (!full) server.level -= 1;
  }
  const auto take = [&](ServerReply reply) {
    answer.reply->status = reply.status;
    answer.reply->body = std::move(reply.body);
  };
  if (is(BadTime::Kind::kSilent)) {
    answer.reply = absl::DeadlineExceededError("no answer in time");
  } else if (is(BadTime::Kind::kUnavailable) || is(BadTime::Kind::kBroken)) {
    take(OpenAiError(is(BadTime::Kind::kBroken) ? 500 : 503, "", "server_error", "it is not well"));
  } else if (full) {
    take(OpenAiError(429, "rate_limit_exceeded", "requests", "Rate limit reached for requests"));
    if (endpoint.retry_after > 0) {
      answer.reply->headers.emplace_back("retry-after", absl::StrCat(endpoint.retry_after));
    }
  } else if (std::any_of(seen.texts.begin(), seen.texts.end(), refused)) {
    take(OpenAiError(400, "", "invalid_request_error", "this is not to our taste"));
  } else {
    answer.reply->body = Reply(&seen, absl::StrContains(body, "base64"), is(BadTime::Kind::kOddAnswer));
    seen.sold = !absl::StartsWith(answer.reply->body, "<");  // a page is a proxy's, and the API was not asked
    if (is(BadTime::Kind::kAnswerLost)) answer.reply = absl::UnavailableError("the connection broke");
  }
  if (answer.at >= now + timeout) answer.reply = absl::DeadlineExceededError("no answer in time");
  if (absl::IsDeadlineExceeded(answer.reply.status())) answer.at = now + timeout;
  seen.status = answer.reply.ok() ? answer.reply->status : 0;
  if (seen.status == 0 || seen.status >= 500) server.failed.push_back(seen.texts.front());
  requests.push_back(std::move(seen));
  return answer;
}

void World::Ended(size_t index) {
  requests[index].ended = VirtualNow();
  --servers_[requests[index].endpoint].in_air;
}

bool World::IsInJob(int fd, std::string* name) const {
  char path[256];
  const ssize_t length = readlink(absl::StrCat("/proc/self/fd/", fd).c_str(), path, sizeof(path));
  absl::string_view at(path, std::max<ssize_t>(0, length));
  if (!absl::ConsumePrefix(&at, directory_ + "/")) return false;
  *name = std::string(at);
  return true;
}

void World::Written(int fd, size_t count, int64_t offset) {
  std::string name;
  if (ghost_ || !IsInJob(fd, &name)) return;
  struct stat file;
  fstat(fd, &file);
  Overwritten old{.inode = file.st_ino, .offset = offset, .size = file.st_size, .bytes = std::string(count, 0)};
  // SQLite opens its files for writing and reading, and so do we.
  old.bytes.resize(std::max<ssize_t>(0, pread(fd, old.bytes.data(), count, offset)));
  not_durable_.push_back(std::move(old));
}

void World::Synced(int fd) {
  std::string name;
  if (ghost_ || !IsInJob(fd, &name)) return;
  const bool slow = scenario_.sync_time > absl::ZeroDuration() && !calm_;
  const size_t written = not_durable_.size();  // what comes meanwhile is not meant
  struct stat file;
  fstat(fd, &file);
  if (slow) std::this_thread::sleep_for(absl::ToChronoNanoseconds(scenario_.sync_time));
  if (ghost_) return;
  size_t seen = 0;
  std::erase_if(not_durable_, [&](const Overwritten& old) { return seen++ < written && old.inode == file.st_ino; });
}

bool World::DiskFails(int fd) const {
  const Moment now = VirtualNow();
  std::string name;
  const bool full = scenario_.disk_full_from <= now && now < scenario_.disk_full_to;
  return full && !ghost_ && !calm_ && IsInJob(fd, &name);
}

void World::Kill(bool power_loss) {
  if (ghost_ || calm_) return;
  ghost_ = true;
  const std::string next = absl::StrCat(folder_, "/life-", lives.size());
  fs::create_directory(next);
  fs::permissions(next, fs::perms::owner_all);
  for (const auto& file : fs::directory_iterator(directory_)) {
    const std::string name = file.path().filename();
    if (power_loss && absl::EndsWith(name, "-shm")) continue;
    const std::string copy = absl::StrCat(next, "/", name);
    fs::copy_file(file.path(), copy);
    struct stat info;
    stat(file.path().c_str(), &info);
    for (auto old = not_durable_.rbegin(); old != not_durable_.rend() && power_loss; ++old) {
      if (old->inode != info.st_ino) continue;
      const int fd = open(copy.c_str(), O_WRONLY | O_CLOEXEC);
      (void)!pwrite(fd, old->bytes.data(), old->bytes.size(), old->offset);
      (void)!ftruncate(fd, old->size);
      close(fd);
    }
  }
  directory_ = next;
  not_durable_.clear();
  for (size_t i = 0; i < tables.size() && power_loss; ++i) {
    Table& table = tables[i];
    const bool ascending = scenario_.sinks[i].order == RowOrder::kAscending;
    const size_t kept = random_() % (table.unflushed.size() + 1);
    for (size_t row = 0; row < table.unflushed.size(); ++row) {
      const std::string& key = table.unflushed[row].second;
      if (ascending ? row < kept : random_() % 2 == 0) table.flushed[key] = table.rows[key];
    }
    table.rows = table.flushed;
    table.unflushed.clear();
  }
  lives.back().killed = true;
  lives.back().ended = VirtualNow();
  if (on_kill) on_kill();
}

void World::Restart() {
  if (std::exchange(ghost_, false)) SetClock(lives.back().ended);
  for (Server& server : servers_) server.in_air = 0;
  for (Server& server : servers_) server.failed.clear();
}

void World::PassKillPoint() {
  ++kill_points;
  if (kill_at_point == 0 || kill_points < kill_at_point) return;
  kill_at_point = 0;
  Kill(random_() % 2 == 0);
}

bool World::IsTaken(const MemoryRow& row) const {
  return row.text.has_value() && !scenario_.refused_texts.contains(*row.text);
}

std::optional<std::string> World::Missing(const std::vector<RejectedRow>& rejects) const {
  std::set<std::string> rejected;
  for (const RejectedRow& row : rejects) rejected.insert(KeyText(ViewOf(row.key)));
  for (const MemoryRow& row : scenario_.rows) {
    const std::string key = KeyText(ViewOf(row.key));
    if (rejected.contains(key)) continue;
    for (size_t i = 0; i < tables.size(); ++i) {
      const auto found = tables[i].rows.find(key);
      const bool there = row.text.has_value() && found != tables[i].rows.end();
      if (there && found->second == TextVector(*row.text, kSimulatedDim)) continue;
      return absl::StrCat("row ", key, ", `", row.text.value_or(""), "`, is not in target ", i, ", and not rejected");
    }
  }
  return std::nullopt;
}

}  // namespace reembed

// The disk, as the code under test finds it. What stands before the C library's functions passes on to the kernel.
extern "C" {

ssize_t pwrite64(int fd, const void* bytes, size_t count, off64_t offset) {
  if (reembed::the_world != nullptr) {
    if (reembed::the_world->DiskFails(fd)) return errno = ENOSPC, -1;
    reembed::the_world->Written(fd, count, offset);
  }
  return syscall(SYS_pwrite64, fd, bytes, count, offset);
}

ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset) { return pwrite64(fd, bytes, count, offset); }

ssize_t write(int fd, const void* bytes, size_t count) {
  if (reembed::the_world != nullptr) {
    if (reembed::the_world->DiskFails(fd)) return errno = ENOSPC, -1;
    reembed::the_world->Written(fd, count, lseek(fd, 0, SEEK_CUR));
  }
  return syscall(SYS_write, fd, bytes, count);
}

int fdatasync(int fd) {
  const int result = static_cast<int>(syscall(SYS_fdatasync, fd));
  if (reembed::the_world != nullptr) reembed::the_world->Synced(fd);
  return result;
}

int fsync(int fd) {
  const int result = static_cast<int>(syscall(SYS_fsync, fd));
  if (reembed::the_world != nullptr) reembed::the_world->Synced(fd);
  return result;
}

}  // extern "C"

namespace reembed {

void KillPoint(const char*) {
  if (the_world != nullptr && !the_world->ghost()) the_world->PassKillPoint();
}

}  // namespace reembed
