// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_FINITE_READER_H_
#define REEMBED_ENGINE_FINITE_READER_H_

#include <memory>
#include <string>

#include "engine/vector_reader.h"

namespace reembed {

// `reader`, but a row whose vector has a NaN or an infinity is a kDataLoss that names it and `place` (for messages),
// instead of a vector. Next() goes on behind such a row.
std::unique_ptr<VectorReader> MakeFiniteReader(std::unique_ptr<VectorReader> reader, std::string place);

}  // namespace reembed

#endif  // REEMBED_ENGINE_FINITE_READER_H_
