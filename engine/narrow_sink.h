// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_NARROW_SINK_H_
#define REEMBED_ENGINE_NARROW_SINK_H_

#include <memory>
#include <string>

#include "engine/vector_sink.h"

namespace reembed {

// A sink for vectors of `from` numbers over one that was made for their first `to`: it is handed those, scaled to
// length 1, see NarrowVector(). A row whose first numbers are all zero is refused. `place`: for messages. All else is
// the sink's own.
std::unique_ptr<VectorSink> MakeNarrowSink(std::unique_ptr<VectorSink> sink, std::string place, int from, int to);

}  // namespace reembed

#endif  // REEMBED_ENGINE_NARROW_SINK_H_
