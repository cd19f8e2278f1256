// SPDX-License-Identifier: Apache-2.0
#include "io/file/hdf5_read_driver.h"

#include <fcntl.h>
#include <hdf5.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <tuple>

namespace reembed {
namespace {

// The library casts to and from its own part, which comes first.
struct ReadFile {
  H5FD_t library;
  int fd = -1;
  haddr_t size = 0;   // bytes of the file
  haddr_t asked = 0;  // bytes that the library has claimed so far
  dev_t device = 0;
  ino_t inode = 0;
};

const ReadFile* From(const H5FD_t* file) { return reinterpret_cast<const ReadFile*>(file); }
ReadFile* From(H5FD_t* file) { return reinterpret_cast<ReadFile*>(file); }

// Hdf5Call::Error() reads the number from this sentence, as it is in those of the library's own driver.
void Fail(const char* function, int error) {
  H5Epush2(H5E_DEFAULT, __FILE__, function, __LINE__, H5E_ERR_CLS, H5E_IO, H5E_READERROR,
           "system call failed: errno = %d", error);
}

H5FD_t* Open(const char* name, unsigned flags, hid_t, haddr_t) {
  if ((flags & H5F_ACC_RDWR) != 0) return nullptr;
  const int fd = open(name, O_RDONLY | O_CLOEXEC);
  struct stat info;
  if (fd < 0 || fstat(fd, &info) != 0) {
    Fail("open", errno);
    if (fd >= 0) close(fd);
    return nullptr;
  }
  auto file = std::make_unique<ReadFile>();
  file->fd = fd;
  file->size = static_cast<haddr_t>(info.st_size);
  file->device = info.st_dev;
  file->inode = info.st_ino;
  return &file.release()->library;
}

herr_t Close(H5FD_t* file) {
  close(From(file)->fd);
  delete From(file);
  return 0;
}

int Compare(const H5FD_t* a, const H5FD_t* b) {
  const auto left = std::tie(From(a)->device, From(a)->inode);
  const auto right = std::tie(From(b)->device, From(b)->inode);
  return left < right ? -1 : right < left ? 1 : 0;
}

// Without any feature the library hands every read on as it is.
herr_t Query(const H5FD_t*, unsigned long* flags) {
  *flags = H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
  return 0;
}

haddr_t AskedEnd(const H5FD_t* file, H5FD_mem_t) { return From(file)->asked; }
herr_t SetAskedEnd(H5FD_t* file, H5FD_mem_t, haddr_t end) {
  From(file)->asked = end;
  return 0;
}
haddr_t FileEnd(const H5FD_t* file, H5FD_mem_t) { return From(file)->size; }

herr_t Read(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, size_t size, void* to) {
  const ReadFile& from = *From(file);
  if (address > from.size || size > from.size - address) {
    H5Epush2(H5E_DEFAULT, __FILE__, "read", __LINE__, H5E_ERR_CLS, H5E_IO, H5E_READERROR,
             "something of %zu bytes at byte %llu is not in a file of %llu bytes", size,
             static_cast<unsigned long long>(address), static_cast<unsigned long long>(from.size));
    return -1;
  }
  auto* bytes = static_cast<char*>(to);
  while (size > 0) {
    const ssize_t got = pread(from.fd, bytes, size, static_cast<off_t>(address));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {  // 0: it became shorter
      Fail("read", got < 0 ? errno : ENODATA);
      return -1;
    }
    bytes += got;
    address += static_cast<haddr_t>(got);
    size -= static_cast<size_t>(got);
  }
  return 0;
}

herr_t Write(H5FD_t*, H5FD_mem_t, hid_t, haddr_t, size_t, const void*) { return -1; }

// As the library's own driver: who reads keeps away who writes. Not every file system has locks.
herr_t Lock(H5FD_t* file, hbool_t) {
  if (flock(From(file)->fd, LOCK_SH | LOCK_NB) == 0 || errno == ENOSYS) return 0;
  Fail("lock", errno);
  return -1;
}
herr_t Unlock(H5FD_t* file) { return flock(From(file)->fd, LOCK_UN) == 0 || errno == ENOSYS ? 0 : -1; }

constexpr H5FD_class_t kDriver = {.name = "reembed_read",
                                  .maxaddr = static_cast<haddr_t>(INT64_MAX),
                                  .fc_degree = H5F_CLOSE_WEAK,
                                  .open = Open,
                                  .close = Close,
                                  .cmp = Compare,
                                  .query = Query,
                                  .get_eoa = AskedEnd,
                                  .set_eoa = SetAskedEnd,
                                  .get_eof = FileEnd,
                                  .read = Read,
                                  .write = Write,
                                  .lock = Lock,
                                  .unlock = Unlock,
                                  .fl_map = H5FD_FLMAP_DICHOTOMY};

}  // namespace

int64_t NewHdf5ReadAccess() {
  // Once for the process: the library keeps a table of drivers.
  static const hid_t driver = H5FDregister(&kDriver);
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  if (access < 0 || H5Pset_driver(access, driver, nullptr) >= 0) return access;
  H5Pclose(access);
  return -1;
}

}  // namespace reembed
