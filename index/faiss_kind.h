// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_FAISS_KIND_H_
#define REEMBED_INDEX_FAISS_KIND_H_

#include "engine/store_kind.h"

namespace reembed {

extern const StoreKind kFaissKind;

}  // namespace reembed

#endif  // REEMBED_INDEX_FAISS_KIND_H_
