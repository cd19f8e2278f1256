// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_CUT_TEXTS_H_
#define REEMBED_ENGINE_CUT_TEXTS_H_

#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "engine/batch.h"
#include "engine/mutex.h"

namespace reembed {

// Which texts of a run are not embedded whole, for the rows of other batches that share them. Any thread.
class CutTexts {
 public:
  void Remember(const Batch& batch);

  // What the vector of the row is of. `batch`: the row's own.
  Embedded EmbeddedAs(const Batch& batch, const BatchRow& row) const;

 private:
  mutable Mutex mutex_;
  absl::flat_hash_map<int64_t, Embedded> cuts_ ABSL_GUARDED_BY(mutex_);  // by slot
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_CUT_TEXTS_H_
