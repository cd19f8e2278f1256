// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_VECTOR_COLUMN_NAME_H_
#define REEMBED_IO_STORE_VECTOR_COLUMN_NAME_H_

#include "absl/strings/string_view.h"
#include "engine/table_catalog.h"

namespace reembed {

// Whether a column of this name holds vectors, in any system that is known: embedding, content_vector, embedding_json;
// not embedding_model, vector_id.
bool IsCalledVector(absl::string_view column);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_VECTOR_COLUMN_NAME_H_
