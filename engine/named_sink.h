// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_NAMED_SINK_H_
#define REEMBED_ENGINE_NAMED_SINK_H_

#include <string>

#include "engine/undo_log.h"
#include "engine/vector_sink.h"

namespace reembed {

// A sink and the name under which the ledger knows its position.
struct NamedSink {
  std::string name;
  VectorSink* sink = nullptr;
  UndoLog* undo = nullptr;  // told to the sink, see SinkContext
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_NAMED_SINK_H_
