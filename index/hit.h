// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_HIT_H_
#define REEMBED_INDEX_HIT_H_

#include "engine/key.h"

namespace reembed {

// One result of a search. Results come nearest first.
struct Hit {
  Key key;
  float score = 0;  // what it means depends on the Metric
};

}  // namespace reembed

#endif  // REEMBED_INDEX_HIT_H_
