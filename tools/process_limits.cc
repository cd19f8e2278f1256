// SPDX-License-Identifier: Apache-2.0
#include "tools/process_limits.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <iterator>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/shown_text.h"
#include "tools/format.h"
#include "tools/registry.h"
#include "tools/said_texts.h"

namespace reembed {
namespace {

constexpr char kBlasThreads[] = "OPENBLAS_NUM_THREADS";
constexpr char kWaitPolicy[] = "OMP_WAIT_POLICY";
constexpr char kSpinCount[] = "GOMP_SPINCOUNT";
// Of a BLAS thread: buffer and stack; of all else that is mapped at the start.
constexpr uint64_t kBytesOfBlasThread = uint64_t{64} << 20;
constexpr uint64_t kBytesOfProgram = uint64_t{512} << 20;

// More than any command needs; some libraries walk over all that may be open.
constexpr rlim_t kMostFiles = 65536;

constexpr char kOutOfMemory[] =
    "out of memory; give it more (ulimit -v, or the container's limit), or use a smaller --concurrency or "
    "--batch-size: the same command resumes from the persisted vectors";

// As much of a limit of memory as of one of threads: a thread's stack wants address space.
constexpr char kNoThread[] =
    "no room for one more thread; give it more (ulimit -v, ulimit -u, or the container's limits), or use a smaller "
    "--concurrency or --batch-size: the same command resumes from the persisted vectors";

// Handlers of the language reach nothing but a global. Set once, before there are threads.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
bool say_json = false;

[[noreturn]] void EndWith(absl::string_view words) {
  // Not with std::cerr, which may be what another thread is in.
  const std::string line = say_json ? JsonLine("error").Add("message", words).Add("exit_code", 1).ToString()
                                    : absl::StrCat("reembed: ", ShownLine(words));
  (void)!write(STDERR_FILENO, line.data(), line.size());
  (void)!write(STDERR_FILENO, "\n", 1);
  _exit(1);
}

// Without memory: what is to be said is ready.
[[noreturn]] void EndOutOfMemory() {
  static constexpr char kText[] = "reembed: ";
  static constexpr char kJson[] = "{\"message_type\":\"error\",\"message\":\"";
  static constexpr char kJsonEnd[] = "\",\"exit_code\":1}";
  (void)!write(STDERR_FILENO, say_json ? kJson : kText, say_json ? sizeof(kJson) - 1 : sizeof(kText) - 1);
  (void)!write(STDERR_FILENO, kOutOfMemory, sizeof(kOutOfMemory) - 1);
  if (say_json) (void)!write(STDERR_FILENO, kJsonEnd, sizeof(kJsonEnd) - 1);
  (void)!write(STDERR_FILENO, "\n", 1);
  _exit(1);
}

// The standard library says it by a code, oneTBB by the words of it.
bool IsLackOfThreads(const std::exception& error) {
  const auto* const system = dynamic_cast<const std::system_error*>(&error);
  if (system != nullptr && system->code() == std::errc::resource_unavailable_try_again) return true;
  return absl::StrContains(error.what(), "pthread_create");
}

[[noreturn]] void EndOfException() {
  const std::exception_ptr current = std::current_exception();
  if (current == nullptr) std::abort();
  try {
    std::rethrow_exception(current);
  } catch (const std::bad_alloc&) {
    EndOutOfMemory();
  } catch (const std::exception& error) {
    if (IsLackOfThreads(error)) EndWith(kNoThread);
    EndWith(absl::StrCat("ended by an unexpected error: ", error.what(),
                         "; the same command resumes from the persisted vectors"));
  } catch (...) {
    EndWith("ended by an unexpected error; the same command resumes from the persisted vectors");
  }
}

bool HasLittleSpace() {
  struct rlimit space;
  if (getrlimit(RLIMIT_AS, &space) != 0 || space.rlim_cur == RLIM_INFINITY) return false;
  return space.rlim_cur < kBytesOfProgram + kBytesOfBlasThread * std::max(1u, std::thread::hardware_concurrency());
}

// `index ...`, or a command that writes, with a target that is trained, wherever that is said.
bool BuildsIndex(char** argv) {
  if (argv[0] == nullptr || argv[1] == nullptr) return false;
  const absl::string_view command = argv[1];
  if (command == "index") return true;
  constexpr absl::string_view kWriting[] = {"run", "retry-rejects", "verify", "publish", "merge", "bench"};
  if (std::find(std::begin(kWriting), std::end(kWriting), command) == std::end(kWriting)) return false;
  std::vector<std::string> words;
  for (char** word = argv + 2; *word != nullptr; ++word) words.emplace_back(*word);
  const char* const by_variable = std::getenv("REEMBED_TARGET");
  if (by_variable != nullptr) words.emplace_back(by_variable);
  const SaidTexts said(words);
  for (const StoreKind* const kind : StoreKinds()) {
    if (kind->scratch_bytes != nullptr && said.Has(absl::StrCat(kind->name, ":"))) return true;
  }
  return false;
}

}  // namespace

void RestartForLibraries(char** argv) {
  const bool one_thread = HasLittleSpace() && std::getenv(kBlasThreads) == nullptr;
  const bool passive = BuildsIndex(argv) && std::getenv(kWaitPolicy) == nullptr && std::getenv(kSpinCount) == nullptr;
  if (!one_thread && !passive) return;
  char program[4096];
  const ssize_t bytes = readlink("/proc/self/exe", program, sizeof(program) - 1);
  if (bytes <= 0 || (one_thread && setenv(kBlasThreads, "1", 1) != 0) ||
      (passive && setenv(kWaitPolicy, "passive", 1) != 0)) {
    return;
  }
  program[bytes] = '\0';
  execv(program, argv);  // returns only if it cannot; then all is as it was
}

void EndInWordsWhenOutOfMemory(bool json) {
  say_json = json;
  std::set_new_handler(EndOutOfMemory);
  std::set_terminate(EndOfException);
}

absl::Status AllowOpenFiles(int64_t needed) {
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return absl::OkStatus();
  const rlim_t most = std::min(files.rlim_max, std::max(kMostFiles, static_cast<rlim_t>(needed)));
  if (files.rlim_cur < most) {
    const rlim_t before = files.rlim_cur;
    files.rlim_cur = most;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0) files.rlim_cur = before;
  }
  if (files.rlim_cur >= static_cast<rlim_t>(needed)) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("this may have ", needed, " files and connections open at a time, and ", files.rlim_cur,
                   " are allowed: raise ulimit -n to ", needed,
                   ", or take fewer with --concurrency, then run the same command again"));
}

}  // namespace reembed
