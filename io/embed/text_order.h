// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_TEXT_ORDER_H_
#define REEMBED_IO_EMBED_TEXT_ORDER_H_

#include <vector>

#include "absl/types/span.h"
#include "engine/batch.h"
#include "engine/number/normalize.h"

// In which order the texts of a request leave, and the way back of what is answered. Nobody but those who write
// requests and read replies sees another order than the batch's.
namespace reembed {

// The places of the texts in the order in which they leave: by tokens, the longest first; texts of as many tokens as
// they are. Servers that work on a request in slices, and pad each slice to its longest text, then pad less. Empty: as
// they are.
std::vector<int> LongestFirst(absl::Span<const BatchText> texts);

// Moves row k of `vectors`, row-major [faults.size(), dim], and faults[k] to place order[k]. An empty order moves
// nothing. Precondition: an order that is not empty has each place below faults.size() once.
void RestoreOrder(absl::Span<const int> order, int dim, absl::Span<float> vectors, absl::Span<VectorFault> faults);

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_TEXT_ORDER_H_
