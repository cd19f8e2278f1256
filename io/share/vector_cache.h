// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_SHARE_VECTOR_CACHE_H_
#define REEMBED_IO_SHARE_VECTOR_CACHE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "io/share/cache_key.h"
#include "io/share/share_address.h"

namespace reembed {

// For so long a worker that buys a text keeps others from buying it, too. Whoever dies meanwhile costs the others that.
inline constexpr absl::Duration kCacheClaim = absl::Seconds(20);

struct CacheLook {
  std::string value;        // empty: it is not there
  bool others_buy = false;  // then: another worker has claimed it. Else it is ours to buy, and to Put()
};

// Values under keys, for all workers. It may forget, and it may hand out what nobody put in: whoever reads it checks.
// Blocks; used by one thread at a time. Errors: kUnavailable (away: later again), and others.
class VectorCache {
 public:
  virtual ~VectorCache() = default;

  virtual const std::string& name() const = 0;  // for messages

  // Of each key its value; claims those that are not there and that nobody else has claimed.
  virtual absl::Status Look(absl::Span<const CacheKey> keys, std::vector<CacheLook>* looks) = 0;

  // Gives claims back, and keeps the values; an empty one: there is none.
  virtual absl::Status Put(absl::Span<const CacheKey> keys, absl::Span<const std::string> values) = 0;

  // What is there under the key; puts `value` there first if nothing is, and it is not empty.
  virtual absl::StatusOr<std::string> PutOnce(const CacheKey& key, absl::string_view value) = 0;
};

// On a Valkey or Redis server: one key for each vector, which it may forget when its memory is full, and forgets by
// itself when it is 90 days old. Connects. Errors: as RespClient.
absl::StatusOr<std::unique_ptr<VectorCache>> OpenServerCache(ShareAddress address);

// In an SQLite file of its own, made for this user alone (0600) if it is not there: for jobs of one machine. At most
// `max_bytes` of values: then the oldest go. Errors: as SqliteDb and own_file.h; kInvalidArgument (a link, or a file of
// something else, which stays as it is).
inline constexpr int64_t kMaxCacheFileBytes = int64_t{16} << 30;
absl::StatusOr<std::unique_ptr<VectorCache>> OpenFileCache(const std::string& path,
                                                           int64_t max_bytes = kMaxCacheFileBytes);

}  // namespace reembed

#endif  // REEMBED_IO_SHARE_VECTOR_CACHE_H_
