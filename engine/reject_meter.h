// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_REJECT_METER_H_
#define REEMBED_ENGINE_REJECT_METER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/key.h"
#include "engine/mutex.h"

namespace reembed {

// Rows that were rejected for one reason.
struct RejectedFor {
  absl::Status reason;  // of the first of them; the others' differ in their figures at most
  Key example;          // the first of them
  int64_t rows = 0;
};

// Why rows of a run get no vector, by reason. Of the first kMostReasons reasons each is named; what comes beyond is
// counted together. Thread-safe.
class RejectMeter {
 public:
  static constexpr size_t kMostReasons = 24;

  // Precondition: `reason` is not OK.
  void Note(KeyView key, const absl::Status& reason);

  // The most frequent first; last, if there are any, those without a name: their reason is kUnknown.
  std::vector<RejectedFor> List() const;

 private:
  struct Entry {
    std::string shape;
    RejectedFor rejected;
  };

  mutable Mutex mutex_;
  std::vector<Entry> entries_ ABSL_GUARDED_BY(mutex_);
  RejectedFor others_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_REJECT_METER_H_
