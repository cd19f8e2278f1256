// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_OVERWRITING_H_
#define REEMBED_ENGINE_OVERWRITING_H_

#include <cstdint>

namespace reembed {

// What a run will do to the vectors that a target has.
struct Overwriting {
  enum class Kind {
    kRows,    // replaces them row by row
    kSwitch,  // leaves them where they are, and puts new ones in their place at the end
    kNothing  // there are none
  };
  Kind kind = Kind::kRows;
  int64_t rows = -1;      // of kRows: that have one, at most; -1: nobody has counted
  bool keeps_old = true;  // of kSwitch; false: they are removed at the end
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_OVERWRITING_H_
