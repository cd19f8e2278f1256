// SPDX-License-Identifier: Apache-2.0
// Loaded before all other libraries (LD_PRELOAD), it is a disk that fails, and one that loses power: SQLite's calls,
// HDF5's and our own come through here alike. Of the files below $STORAGE_FAULT_ROOT, each call of these kinds is
// counted, from 1: write sync rename remove truncate mmap open.
//
//   STORAGE_FAULT=KIND:N:WHAT  (KIND `any`: the n-th call of any of them but open and mmap)
//     EIO, EMFILE ... ENOMEM   the n-th call fails so
//     full                     it and all later writes, truncates that grow and opens that make files fail with ENOSPC
//     short                    the n-th write writes half of what it was given, and says so
//     skip                     the n-th call says that it succeeded and does nothing
//     kill                     SIGKILL in place of the n-th call
//     lose                     the power goes in place of the n-th call; N = 0: when the process ends
//   STORAGE_FAULT_SKIP=TEXT    every sync of a path with this in it says that it succeeded and does nothing
//   STORAGE_FAULT_LOG=PATH     a line each: the kind, what became of it (ok or the fault), the path
//   STORAGE_FAULT_AFTER=DIR    where `lose` writes what such a power cut leaves of the root: of each file what was
//                              synced, with sectors of what was not in an order that $STORAGE_FAULT_SEED says, the last
//                              write torn; names as of the last sync of their folder, with some of the later changes.
//   STORAGE_FAULT_NAMES=any    of those any may be there, as POSIX allows it; without: the first ones, as journals of
//   file
//                              systems have them
//
// A power cut as POSIX allows it: a name is safe when its folder was synced, a file's bytes when the file was.

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace fs = std::filesystem;

constexpr size_t kSectorBytes = 512;

template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

std::string FromEnvironment(const char* name) {
  const char* const value = getenv(name);
  return value == nullptr ? "" : value;
}

std::string ReadAll(const std::string& path) {
  std::string content;
  static auto* const next_open = Next<int(const char*, int, ...)>("open");
  const int fd = next_open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return content;
  char piece[65536];
  for (ssize_t got; (got = read(fd, piece, sizeof(piece))) > 0;) content.append(piece, static_cast<size_t>(got));
  close(fd);
  return content;
}

void WriteAll(const std::string& path, const std::string& content) {
  static auto* const next_open = Next<int(const char*, int, ...)>("open");
  static auto* const next_write = Next<ssize_t(int, const void*, size_t)>("write");
  const int fd = next_open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  for (size_t done = 0; done < content.size();) {
    const ssize_t wrote = next_write(fd, content.data() + done, content.size() - done);
    if (wrote <= 0) abort();
    done += static_cast<size_t>(wrote);
  }
  close(fd);
}

std::string PathOf(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof(path));
  return length <= 0 ? "" : std::string(path, static_cast<size_t>(length));
}

std::string Absolute(const char* path) { return fs::absolute(path).lexically_normal().string(); }

std::string FolderOf(const std::string& path) { return path.substr(0, path.rfind('/')); }
std::string NameOf(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// What is safe from a power cut, and what was done since.
class Disk {
 public:
  explicit Disk(std::string root) : root_(std::move(root)) { Learn(root_); }

  void Created(const std::string& path) { pending_.push_back({FolderOf(path), NameOf(path), "", NewFile(path)}); }
  void MadeFolder(const std::string& path) {
    safe_names_[path];
    pending_.push_back({FolderOf(path), NameOf(path), "", kFolder});
  }
  void Removed(const std::string& path) { pending_.push_back({FolderOf(path), "", NameOf(path), 0}); }
  void Renamed(const std::string& from, const std::string& to) {
    const int64_t file = FileAt(to);  // by now
    if (FolderOf(from) == FolderOf(to)) {
      pending_.push_back({FolderOf(to), NameOf(to), NameOf(from), file});
    } else {
      pending_.push_back({FolderOf(to), NameOf(to), "", file});
      Removed(from);
    }
  }
  void Linked(const std::string& path) { pending_.push_back({FolderOf(path), NameOf(path), "", FileAt(path)}); }
  void Synced(int fd, const std::string& path) {
    struct stat info;
    if (fstat(fd, &info) != 0) return;
    if (S_ISREG(info.st_mode)) {
      safe_content_[FileAt(path)] = ReadAll(path);
      safe_time_[FileAt(path)] = info.st_mtim;
    }
    if (!S_ISDIR(info.st_mode)) return;
    std::vector<Change> later;
    for (Change& change : pending_) {
      if (change.folder == path) {
        Apply(change, &safe_names_[path]);
      } else {
        later.push_back(std::move(change));
      }
    }
    pending_ = std::move(later);
  }

  // Writes the tree that a power cut leaves now.
  void Lose(const std::string& to, uint64_t seed) {
    std::mt19937_64 random(seed);
    std::map<int64_t, std::string> now;  // content
    for (const auto& entry : fs::recursive_directory_iterator(root_)) {
      if (entry.is_regular_file()) now[FileAt(entry.path().string())] = ReadAll(entry.path().string());
    }
    LoseFolder(root_, to, now, &random);
  }

 private:
  static constexpr int64_t kFolder = -1;
  using Names = std::map<std::string, int64_t>;

  // Of one folder, in one step.
  struct Change {
    std::string folder, added, removed;
    int64_t file;
  };

  static void Apply(const Change& change, Names* names) {
    if (!change.removed.empty()) names->erase(change.removed);
    if (!change.added.empty()) (*names)[change.added] = change.file;
  }

  void Learn(const std::string& folder) {
    Names& names = safe_names_[folder];
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string path = entry.path().string();
      if (entry.is_directory()) {
        names[NameOf(path)] = kFolder;
        Learn(path);
      } else {
        const int64_t file = NewFile(path);
        struct stat info;
        if (stat(path.c_str(), &info) == 0) safe_time_[file] = info.st_mtim;
        safe_content_[file] = ReadAll(path);
        names[NameOf(path)] = file;
      }
    }
  }

  // The system gives numbers of removed files to new ones.
  int64_t NewFile(const std::string& path) { return file_of_inode_[InodeOf(path)] = ++files_; }
  int64_t FileAt(const std::string& path) {
    const auto found = file_of_inode_.find(InodeOf(path));
    return found == file_of_inode_.end() ? NewFile(path) : found->second;
  }
  static uint64_t InodeOf(const std::string& path) {
    struct stat info;
    return lstat(path.c_str(), &info) == 0 ? info.st_ino : 0;
  }

  void LoseFolder(const std::string& folder, const std::string& to, const std::map<int64_t, std::string>& now,
                  std::mt19937_64* random) {
    fs::create_directories(to);
    Names names = safe_names_[folder];
    std::vector<const Change*> changes;
    for (const Change& change : pending_) {
      if (change.folder == folder) changes.push_back(&change);
    }
    // Half of the time none of them was written, else the first ones.
    changes.resize((*random)() % 2 == 0 ? 0 : (*random)() % (changes.size() + 1));
    for (const Change* const change : changes) {
      if (!any_names_ || (*random)() % 2 == 0) Apply(*change, &names);
    }
    for (const auto& [name, file] : names) {
      if (file == kFolder) {
        LoseFolder(folder + "/" + name, to + "/" + name, now, random);
      } else if (name.size() < 4 || name.compare(name.size() - 4, 4, "-shm") != 0) {  // that is memory
        const auto current = now.find(file);
        const std::string& safe = safe_content_[file];
        WriteAll(to + "/" + name, current == now.end() ? safe : Torn(safe, current->second, random));
        const timespec times[] = {{0, UTIME_OMIT}, safe_time_[file]};
        utimensat(AT_FDCWD, (to + "/" + name).c_str(), times, 0);
      }
    }
  }

  // Some sectors of what was not synced.
  static std::string Torn(const std::string& safe, const std::string& now, std::mt19937_64* random) {
    if (safe == now || (*random)() % 3 == 0) return safe;
    const uint64_t lasting = (*random)() % 101;  // of a hundred sectors
    std::string torn = now;
    if ((*random)() % 3 == 0) torn.resize(safe.size());
    if (torn.size() > safe.size() && (*random)() % 2 == 0) {
      torn.resize(safe.size() + (*random)() % (torn.size() - safe.size() + 1));
    }
    for (size_t at = 0; at < torn.size(); at += kSectorBytes) {
      if ((*random)() % 100 < lasting) continue;
      for (size_t i = at; i < std::min(torn.size(), at + kSectorBytes); ++i) torn[i] = i < safe.size() ? safe[i] : '\0';
    }
    return torn;
  }

  const std::string root_;
  const bool any_names_ = FromEnvironment("STORAGE_FAULT_NAMES") == "any";
  int64_t files_ = 0;
  std::map<uint64_t, int64_t> file_of_inode_;
  std::map<int64_t, std::string> safe_content_;
  std::map<int64_t, timespec> safe_time_;    // of change
  std::map<std::string, Names> safe_names_;  // by folder
  std::vector<Change> pending_;              // of names, in their order
};

// What is to become of a call.
enum class Verdict { kGoOn, kFail, kShort, kSkip };

class Faults {
 public:
  Faults() : root_(FromEnvironment("STORAGE_FAULT_ROOT")), skip_(FromEnvironment("STORAGE_FAULT_SKIP")) {
    if (root_.empty()) return;
    after_ = FromEnvironment("STORAGE_FAULT_AFTER");
    seed_ = strtoull(FromEnvironment("STORAGE_FAULT_SEED").c_str(), nullptr, 10);
    if (!after_.empty()) disk_ = new Disk(root_);
    const std::string log = FromEnvironment("STORAGE_FAULT_LOG");
    static auto* const next_open = Next<int(const char*, int, ...)>("open");
    if (!log.empty()) log_ = next_open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    const std::string fault = FromEnvironment("STORAGE_FAULT");
    const size_t colon = fault.find(':'), second = fault.rfind(':');
    if (second == colon) return;
    kind_ = fault.substr(0, colon);
    at_ = strtol(fault.c_str() + colon + 1, nullptr, 10);
    what_ = fault.substr(second + 1);
  }

  bool Covers(const std::string& path) const {
    return !root_.empty() && path.size() > root_.size() && path.compare(0, root_.size(), root_) == 0 &&
           path[root_.size()] == '/' && path.find(" (deleted)") == std::string::npos;
  }

  // The state of the disk; locked with mutex(). Null: the power stays.
  Disk* disk() { return disk_; }
  std::recursive_mutex& mutex() { return mutex_; }

  // Counts a call; sets errno with kFail. With mutex() held.
  Verdict Judge(const char* kind, const std::string& path, bool grows = false) {
    const bool is_quiet = strcmp(kind, "open") == 0 || strcmp(kind, "mmap") == 0;
    const bool counts = kind_ == kind || (kind_ == "any" && !is_quiet);
    if (counts) ++passed_;
    const bool strikes = counts && at_ > 0 && passed_ == at_;
    if (strikes && what_ == "lose") Lose();
    if (strikes && (what_ == "lose" || what_ == "kill")) kill(getpid(), SIGKILL);
    Verdict verdict = Verdict::kGoOn;
    if (strikes) verdict = what_ == "short" ? Verdict::kShort : what_ == "skip" ? Verdict::kSkip : Verdict::kFail;
    full_ = full_ || (strikes && what_ == "full");
    if (full_ && grows) verdict = Verdict::kFail;
    if (strcmp(kind, "sync") == 0 && !skip_.empty() && path.find(skip_) != std::string::npos) verdict = Verdict::kSkip;
    const char* const words[] = {"ok", "fail", "short", "skip"};
    if (log_ >= 0) {
      static auto* const next_write = Next<ssize_t(int, const void*, size_t)>("write");
      const std::string line = std::string(kind) + " " + words[static_cast<int>(verdict)] + " " + path + "\n";
      if (next_write(log_, line.data(), line.size()) < 0) abort();
    }
    errno = full_ ? ENOSPC : ErrorNumber();
    return verdict;
  }

  void End() {
    const std::lock_guard lock(mutex_);
    if (what_ == "lose" && at_ == 0) Lose();
  }

 private:
  int ErrorNumber() const {
    const std::pair<const char*, int> names[] = {{"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"ENOMEM", ENOMEM},
                                                 {"EMFILE", EMFILE}, {"EROFS", EROFS},   {"full", ENOSPC}};
    for (const auto& [name, number] : names) {
      if (what_ == name) return number;
    }
    return EIO;
  }
  void Lose() {
    if (disk_ != nullptr) disk_->Lose(after_, seed_);
  }

  const std::string root_, skip_;
  std::string after_, kind_, what_;
  uint64_t seed_ = 0;
  long at_ = 0, passed_ = 0;
  bool full_ = false;
  int log_ = -1;
  Disk* disk_ = nullptr;
  std::recursive_mutex mutex_;
};

Faults& TheFaults() {
  static Faults* const faults = new Faults;
  return *faults;
}

__attribute__((destructor)) void AtEnd() { TheFaults().End(); }

// A write of `count` bytes to `fd`, which `write` does with as many of them as it is told.
template <typename Write>
ssize_t FaultyWrite(int fd, size_t count, Write write) {
  Faults& faults = TheFaults();
  const std::string path = PathOf(fd);
  if (!faults.Covers(path)) return write(count);
  const std::lock_guard lock(faults.mutex());
  switch (faults.Judge("write", path, true)) {
    case Verdict::kFail:
      return -1;
    case Verdict::kSkip:
      return static_cast<ssize_t>(count);
    case Verdict::kShort:
      return write(std::max<size_t>(1, count / 2));
    case Verdict::kGoOn:
      break;
  }
  return write(count);
}

int FaultySync(int fd) {
  Faults& faults = TheFaults();
  const std::string path = PathOf(fd);
  const bool is_root = !path.empty() && faults.Covers(path + "/x");
  if (!faults.Covers(path) && !is_root) return Next<int(int)>("fsync")(fd);
  const std::lock_guard lock(faults.mutex());
  switch (faults.Judge("sync", path)) {
    case Verdict::kFail:
      return -1;
    case Verdict::kSkip:
      return 0;
    default:
      break;
  }
  if (faults.disk() != nullptr) faults.disk()->Synced(fd, path);
  return 0;  // the machine under the test keeps its power
}

template <typename Open>
auto FaultyOpen(const char* path, bool makes, Open open) -> decltype(open()) {
  Faults& faults = TheFaults();
  const std::string absolute = path[0] == '\0' ? "" : Absolute(path);
  if (!faults.Covers(absolute)) return open();
  const std::lock_guard lock(faults.mutex());
  const bool is_new = makes && access(absolute.c_str(), F_OK) != 0;
  if (faults.Judge("open", absolute, is_new) == Verdict::kFail) {
    if constexpr (std::is_pointer_v<decltype(open())>) {
      return nullptr;
    } else {
      return -1;
    }
  }
  auto opened = open();
  const int error = errno;
  if (is_new && faults.disk() != nullptr && access(absolute.c_str(), F_OK) == 0) faults.disk()->Created(absolute);
  errno = error;
  return opened;
}

// A change of names; `note` tells the disk.
template <typename Change, typename Note>
int FaultyChange(const char* kind, const std::string& path, Change change, Note note) {
  Faults& faults = TheFaults();
  if (!faults.Covers(path)) return change();
  const std::lock_guard lock(faults.mutex());
  switch (faults.Judge(kind, path)) {
    case Verdict::kFail:
      return -1;
    case Verdict::kSkip:
      return 0;
    default:
      break;
  }
  const int result = change();
  const int error = errno;
  if (result == 0 && faults.disk() != nullptr) note(faults.disk());
  errno = error;
  return result;
}

bool TakesMode(int flags) { return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE; }

int Rename(const char* from, const char* to) {
  static auto* const next = Next<int(const char*, const char*)>("rename");
  const std::string old_path = Absolute(from), new_path = Absolute(to);
  return FaultyChange(
      "rename", new_path, [&] { return next(from, to); }, [&](Disk* disk) { disk->Renamed(old_path, new_path); });
}

int Remove(const char* path, int (*next)(const char*)) {
  const std::string absolute = Absolute(path);
  return FaultyChange(
      "remove", absolute, [&] { return next(path); }, [&](Disk* disk) { disk->Removed(absolute); });
}

}  // namespace

extern "C" {

ssize_t write(int fd, const void* bytes, size_t count) {
  static auto* const next = Next<ssize_t(int, const void*, size_t)>("write");
  return FaultyWrite(fd, count, [&](size_t n) { return next(fd, bytes, n); });
}

ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset) {
  static auto* const next = Next<ssize_t(int, const void*, size_t, off_t)>("pwrite");
  return FaultyWrite(fd, count, [&](size_t n) { return next(fd, bytes, n, offset); });
}

ssize_t pwrite64(int fd, const void* bytes, size_t count, off64_t offset) { return pwrite(fd, bytes, count, offset); }

ssize_t pwritev(int fd, const iovec* vectors, int count, off_t offset) {
  static auto* const next = Next<ssize_t(int, const iovec*, int, off_t)>("pwritev");
  static auto* const next_one = Next<ssize_t(int, const void*, size_t, off_t)>("pwrite");
  size_t bytes = 0;
  for (int i = 0; i < count; ++i) bytes += vectors[i].iov_len;
  return FaultyWrite(fd, bytes, [&](size_t n) {
    if (n == bytes) return next(fd, vectors, count, offset);
    return next_one(fd, vectors[0].iov_base, std::max<size_t>(1, vectors[0].iov_len / 2), offset);
  });
}

ssize_t pwritev64(int fd, const iovec* vectors, int count, off64_t offset) {
  return pwritev(fd, vectors, count, offset);
}

ssize_t writev(int fd, const iovec* vectors, int count) {
  static auto* const next = Next<ssize_t(int, const iovec*, int)>("writev");
  size_t bytes = 0;
  for (int i = 0; i < count; ++i) bytes += vectors[i].iov_len;
  return FaultyWrite(fd, bytes, [&](size_t) { return next(fd, vectors, count); });
}

ssize_t copy_file_range(int from, off64_t* in, int to, off64_t* out, size_t count, unsigned flags) {
  static auto* const next = Next<ssize_t(int, off64_t*, int, off64_t*, size_t, unsigned)>("copy_file_range");
  return FaultyWrite(to, count, [&](size_t n) { return next(from, in, to, out, n, flags); });
}

// The C library's own writes behind a FILE do not come through here, so this is where they fail.
size_t fwrite(const void* bytes, size_t size, size_t count, FILE* file) {
  static auto* const next = Next<size_t(const void*, size_t, size_t, FILE*)>("fwrite");
  // The library carries on with short writes by itself.
  const ssize_t wrote =
      FaultyWrite(fileno(file), count, [&](size_t) { return static_cast<ssize_t>(next(bytes, size, count, file)); });
  return wrote < 0 ? 0 : static_cast<size_t>(wrote);
}

int fsync(int fd) { return FaultySync(fd); }
int fdatasync(int fd) { return FaultySync(fd); }

int rename(const char* from, const char* to) { return Rename(from, to); }

int unlink(const char* path) {
  static auto* const next = Next<int(const char*)>("unlink");
  return Remove(path, next);
}

int remove(const char* path) {
  static auto* const next = Next<int(const char*)>("remove");
  return Remove(path, next);
}

int link(const char* from, const char* to) {
  static auto* const next = Next<int(const char*, const char*)>("link");
  const std::string path = Absolute(to);
  return FaultyChange(
      "rename", path, [&] { return next(from, to); }, [&](Disk* disk) { disk->Linked(path); });
}

int mkdir(const char* path, mode_t mode) {
  static auto* const next = Next<int(const char*, mode_t)>("mkdir");
  const std::string absolute = Absolute(path);
  return FaultyChange(
      "open", absolute, [&] { return next(path, mode); }, [&](Disk* disk) { disk->MadeFolder(absolute); });
}

int ftruncate(int fd, off_t size) {
  static auto* const next = Next<int(int, off_t)>("ftruncate");
  return FaultyChange(
      "truncate", PathOf(fd), [&] { return next(fd, size); }, [](Disk*) {});
}

int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

int truncate(const char* path, off_t size) {
  static auto* const next = Next<int(const char*, off_t)>("truncate");
  return FaultyChange(
      "truncate", Absolute(path), [&] { return next(path, size); }, [](Disk*) {});
}

void* mmap(void* address, size_t bytes, int protection, int flags, int fd, off_t offset) {
  static auto* const next = Next<void*(void*, size_t, int, int, int, off_t)>("mmap");
  if (fd < 0) return next(address, bytes, protection, flags, fd, offset);
  Faults& faults = TheFaults();
  const std::string path = PathOf(fd);
  if (!faults.Covers(path)) return next(address, bytes, protection, flags, fd, offset);
  const std::lock_guard lock(faults.mutex());
  if (faults.Judge("mmap", path) == Verdict::kFail) return MAP_FAILED;
  return next(address, bytes, protection, flags, fd, offset);
}

void* mmap64(void* address, size_t bytes, int protection, int flags, int fd, off64_t offset) {
  return mmap(address, bytes, protection, flags, fd, offset);
}

int open(const char* path, int flags, ...) {
  static auto* const next = Next<int(const char*, int, ...)>("open");
  va_list more;
  va_start(more, flags);
  const mode_t mode = TakesMode(flags) ? va_arg(more, mode_t) : 0;
  va_end(more);
  return FaultyOpen(path, (flags & O_CREAT) != 0, [&] { return next(path, flags, mode); });
}

int open64(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = TakesMode(flags) ? va_arg(more, mode_t) : 0;
  va_end(more);
  return open(path, flags, mode);
}

FILE* fopen(const char* path, const char* mode) {
  static auto* const next = Next<FILE*(const char*, const char*)>("fopen");
  return FaultyOpen(path, strchr(mode, 'r') == nullptr, [&] { return next(path, mode); });
}

FILE* fopen64(const char* path, const char* mode) { return fopen(path, mode); }

}  // extern "C"
