// SPDX-License-Identifier: Apache-2.0
// What of this machine, its network and the stores of a job would keep a run from its end: one line each, and the fix.
#include <gnu/libc-version.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/counted.h"
#include "engine/number/simd_name.h"
#include "io/net/http_loop.h"
#include "io/net/proxy.h"
#include "io/net/trust_store.h"
#include "tools/commands.h"
#include "tools/format.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/preflight.h"
#include "tools/presets.h"
#include "tools/process_limits.h"
#include "tools/resolve.h"
#include "tools/setting_flags.h"
#include "tools/signals.h"
#include "tools/streams.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kFewBytesOfDisk = int64_t{1} << 30;
constexpr int64_t kFewBytesOfMemory = int64_t{512} << 20;
constexpr absl::Duration kMuchOff = absl::Minutes(2);  // signed requests and certificates mind more than that
constexpr int kEarliestYear = 2026;                    // no clock of a machine that runs this is before it

enum class State { kGood, kNote, kBad };

// Prints one line each, and remembers the worst.
class Findings {
 public:
  explicit Findings(bool json) : json_(json) {}

  void Good(absl::string_view what, absl::string_view words) { Print(State::kGood, what, words, ""); }
  // Something that a run lives with.
  void Warn(absl::string_view what, absl::string_view words, absl::string_view fix) {
    Print(State::kNote, what, words, fix);
  }
  void Bad(absl::string_view what, const absl::Status& status, absl::string_view fix) {
    Print(State::kBad, what, MessageWithFlag(status), fix);
    if (code_ == kExitDone) code_ = ExitCodeOf(status);
  }

  ExitCode Finish() const {
    if (json_) {
      JsonLine line("summary");
      std::cout
          << line.Add("problems", bad_).Add("warnings", notes_).Add("exit_code", static_cast<int>(code_)).ToString()
          << std::endl;
    } else if (bad_ + notes_ == 0) {
      std::cout << "nothing is wrong" << std::endl;
    } else {
      std::cout << Counted(bad_, "problem", "problems") << ", " << Counted(notes_, "warning", "warnings") << std::endl;
    }
    return code_;
  }

 private:
  void Print(State state, absl::string_view what, absl::string_view words, absl::string_view fix) {
    bad_ += state == State::kBad;
    notes_ += state == State::kNote;
    const char* const name = state == State::kGood ? "ok" : state == State::kNote ? "warning" : "problem";
    if (json_) {
      JsonLine line("check");
      line.Add("check", what).Add("state", name).Add("message", words).Add("fix", fix);
      std::cout << line.ToString() << std::endl;
      return;
    }
    const std::string label(what);
    std::cout << absl::StrCat(name, std::string(9 - std::string(name).size(), ' '), label,
                              std::string(label.size() < 14 ? 14 - label.size() : 1, ' '), words,
                              fix.empty() ? "" : absl::StrCat("; ", fix))
              << std::endl;
  }

  const bool json_;
  int64_t bad_ = 0, notes_ = 0;
  ExitCode code_ = kExitDone;
};

void LookAtProgram(Findings* findings, const Environment& environment) {
  findings->Good("program", absl::StrCat("reembed ", REEMBED_VERSION, ", glibc ", gnu_get_libc_version(), ", ",
                                         HttpLibraryText()));
  findings->Good("processor",
                 absl::StrCat(Counted(std::thread::hardware_concurrency(), "core", "cores"), ", ", SimdName()));
  const absl::StatusOr<std::vector<KnownModel>> models = LoadModels(environment);
  const absl::StatusOr<std::vector<SystemPreset>> systems = ListSystems(environment);
  if (!models.ok()) return findings->Bad("data", models.status(), "");
  if (!systems.ok()) return findings->Bad("data", systems.status(), "correct that file, or move it away");
  findings->Good("data",
                 absl::StrCat(Counted(static_cast<int64_t>(models->size()), "known model", "known models"), ", ",
                              Counted(static_cast<int64_t>(systems->size()), "memory system", "memory systems")));
}

void LookAtFiles(Findings* findings) {
  // Before a limit is raised for the command itself: what the system lets it have at most.
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  constexpr rlim_t kFilesOfARun = 1024;
  const std::string words = limit.rlim_max == RLIM_INFINITY
                                ? "any number"
                                : absl::StrCat(WithCommas(static_cast<int64_t>(limit.rlim_max)), " at most");
  if (limit.rlim_max >= kFilesOfARun) return findings->Good("open files", words);
  findings->Warn("open files", words,
                 "many concurrent requests need 1,024: ulimit -Hn, or LimitNOFILE= of the service");
}

int64_t NumberAfter(const std::string& path, absl::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!absl::StartsWith(line, name)) continue;
    int64_t number = -1;
    const std::vector<std::string> words = absl::StrSplit(line.substr(name.size()), ' ', absl::SkipEmpty());
    if (!words.empty() && absl::SimpleAtoi(words.front(), &number)) return number;
  }
  return -1;
}

void LookAtMemory(Findings* findings) {
  int64_t free = NumberAfter("/proc/meminfo", "MemAvailable:");
  if (free > 0) free *= 1024;
  std::string of = "available";
  if (const int64_t most = NumberAfter("/sys/fs/cgroup/memory.max", ""); most > 0 && most < free) {
    free = most;
    of = "for this container at most";
  }
  rlimit limit{};
  getrlimit(RLIMIT_AS, &limit);
  if (limit.rlim_cur != RLIM_INFINITY && static_cast<int64_t>(limit.rlim_cur) < free) {
    free = static_cast<int64_t>(limit.rlim_cur);
    of = "of address space at most (ulimit -v)";
  }
  if (free < 0) return findings->Warn("memory", "the system does not say how much there is", "");
  const std::string words = absl::StrCat(BytesText(free), " ", of);
  if (free >= kFewBytesOfMemory) return findings->Good("memory", words);
  findings->Warn("memory", words,
                 "`reembed plan` says how much a job needs; less with a smaller --concurrency or --batch-size");
}

// `folder` or the nearest above it that is there.
fs::path NearestThatIsThere(fs::path folder) {
  std::error_code ignored;
  while (!fs::exists(folder, ignored) && folder.has_relative_path()) folder = folder.parent_path();
  return folder;
}

void LookAtDisk(Findings* findings, const std::string& folder, const Environment& environment) {
  if (folder.empty()) {
    return findings->Bad("disk", CheckJobsFolder(environment), "");
  }
  const fs::path there = NearestThatIsThere(AbsolutePath(folder));
  std::error_code ignored;
  if (!fs::is_directory(there, ignored)) {
    return findings->Bad("disk", absl::InvalidArgumentError(absl::StrCat(there.string(), ": is no folder")),
                         absl::StrCat("jobs go to ", folder, "; say --job DIR"));
  }
  if (access(there.c_str(), W_OK | X_OK) != 0) {
    return findings->Bad("disk", absl::PermissionDeniedError(absl::StrCat(there.string(), ": no right to write there")),
                         absl::StrCat("jobs go to ", folder, "; give the right, or say --job DIR"));
  }
  std::error_code error;
  const fs::space_info space = fs::space(there, error);
  if (error) {
    return findings->Bad("disk", absl::UnknownError(absl::StrCat(there.string(), ": ", error.message())), "");
  }
  const std::string words = absl::StrCat(BytesText(static_cast<int64_t>(space.available)), " free for ", folder);
  if (static_cast<int64_t>(space.available) >= kFewBytesOfDisk) return findings->Good("disk", words);
  findings->Warn("disk", words,
                 "`reembed plan` says how much a job needs; free some space, or say --job DIR on another disk");
}

void LookAtClock(Findings* findings) {
  const absl::Time now = absl::Now();
  const std::string words = absl::FormatTime("%Y-%m-%d %H:%M:%S %Z", now, absl::LocalTimeZone());
  if (absl::ToCivilYear(now, absl::UTCTimeZone()).year() >= kEarliestYear) return findings->Good("clock", words);
  findings->Bad("clock", absl::FailedPreconditionError(absl::StrCat(words, ", which is long past")),
                "set it (timedatectl set-ntp true): with a wrong clock certificates are refused");
}

void LookAtTrust(Findings* findings, const std::string& ca_file) {
  if (!ca_file.empty()) return findings->Good("certificates", absl::StrCat(ca_file, ", by --ca-file"));
  const absl::StatusOr<TrustStore> trust = FindTrustStore();
  if (!trust.ok()) return findings->Bad("certificates", trust.status(), "");
  findings->Good("certificates", absl::StrCat(trust->file, trust->file.empty() || trust->folder.empty() ? "" : ", ",
                                              trust->folder, ", by ", trust->origin));
}

// Also compares the clocks: the server says in its answer what time it is.
void LookAtServer(Findings* findings, const ApiOptions& api) {
  const std::string proxy = ProxyFor(api.api_base, api.proxy);
  findings->Good("proxy", proxy.empty() ? absl::StrCat("none for ", api.api_base)
                                        : absl::StrCat(api.api_base, ProxyForMessages(proxy)));
  const absl::StatusOr<std::unique_ptr<HttpLoop>> loop = HttpLoop::Make({.ca_file = api.ca_file, .proxy = api.proxy});
  if (!loop.ok()) return findings->Bad("network", loop.status(), "");
  const absl::Time before = absl::Now();
  const absl::StatusOr<HttpReply> reply =
      (*loop)->Call({.method = "HEAD", .url = api.api_base, .total_timeout = absl::Seconds(15)});
  if (!reply.ok()) {
    return findings->Bad("network", reply.status(),
                         "check the address, https_proxy and no_proxy, and the firewall of this machine");
  }
  const absl::Time after = absl::Now();
  findings->Good("network", absl::StrCat(api.api_base, " answers in ", DurationText(after - before)));
  absl::Time theirs;
  std::string ignored;
  if (!absl::ParseTime("%a, %d %b %Y %H:%M:%S GMT", reply->Header("date"), &theirs, &ignored)) return;
  const absl::Duration off = theirs < before - absl::Seconds(1) ? before - theirs
                             : theirs > after                   ? theirs - after
                                                                : absl::ZeroDuration();
  if (off < kMuchOff) return;
  findings->Warn("clock",
                 absl::StrCat(DurationText(off), theirs > after ? " behind " : " before ", "that of the server"),
                 "timedatectl set-ntp true");
}

void LookAtApi(Findings* findings, ResolvedJob* job) {
  if (job->embedder == Embedder::kBuiltin) return findings->Good("API", "the built-in embedder; nothing is sent");
  LookAtServer(findings, job->client);
  const absl::StatusOr<LiveProbe> probe = ProbeEmbedder(job);
  if (!probe.ok()) return findings->Bad("API", probe.status(), "");
  findings->Good("API", absl::StrCat(probe->note, "; one text was sent"));
}

void LookAtStores(Findings* findings, const std::vector<ResolvedJob>& jobs) {
  for (const ResolvedJob& job : jobs) {
    const absl::StatusOr<Preflight> preflight = Check(job);
    if (!preflight.ok()) {
      findings->Bad("stores", preflight.status(), "");
      continue;
    }
    std::string words = PlaceText(job.source.location);
    if (preflight->rows_selected >= 0) {
      absl::StrAppend(&words, ": ", Counted(preflight->rows_selected, "row", "rows"), " to embed");
    }
    findings->Good("source", words);
    for (const Store& target : job.targets) findings->Good("target", PlaceText(target.location));
  }
}

bool NamesJob(const CommandOptions& options) { return !options.source.empty() || !options.system.empty(); }

bool NamesApi(const CommandOptions& options) {
  return !options.embedder.empty() || !options.api_base.empty() || !options.model.empty() || !options.endpoints.empty();
}

}  // namespace

ExitCode DoctorCommand(CommandOptions options, const Environment& environment) {
  const StopSignals signals({.command = "doctor", .left = "nothing was changed", .json = options.json});
  Findings findings(options.json);
  LookAtProgram(&findings, environment);
  LookAtFiles(&findings);
  LookAtMemory(&findings);
  LookAtDisk(&findings, options.job.empty() ? JobsFolder(environment) : options.job, environment);
  LookAtClock(&findings);
  LookAtTrust(&findings, options.ca_file);
  if (!NamesJob(options) && !NamesApi(options)) {
    const int code = findings.Finish();
    if (!options.json) {
      std::cout << "with the flags of `run` it also checks the API and the stores: reembed doctor --embedder openai"
                << std::endl;
    }
    return static_cast<ExitCode>(code);
  }
  const bool has_stores = NamesJob(options);
  if (!has_stores) {
    options.source = "-";
    options.targets = {"-"};
  }
  absl::StatusOr<std::vector<ResolvedJob>> jobs = ResolveStreams(options, environment);
  if (!jobs.ok()) {
    findings.Bad(has_stores ? "job" : "API", jobs.status(), "");
    return findings.Finish();
  }
  if (has_stores) {
    absl::Status there = DropAbsentStreams(&*jobs);
    if (there.ok()) there = CheckUser(*jobs);
    if (there.ok()) {
      LookAtStores(&findings, *jobs);
    } else {
      findings.Bad("stores", there, "");
    }
  }
  LookAtApi(&findings, &jobs->front());
  return findings.Finish();
}

}  // namespace reembed
