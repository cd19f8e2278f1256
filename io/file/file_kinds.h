// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_FILE_KINDS_H_
#define REEMBED_IO_FILE_FILE_KINDS_H_

#include "engine/store_kind.h"

namespace reembed {

extern const StoreKind kJsonlKind;
extern const StoreKind kHdf5Kind;
extern const StoreKind kNpyKind;
extern const StoreKind kFbinKind;
extern const StoreKind kFvecsKind;
extern const StoreKind kStreamKind;     // JSON lines on standard input and output
extern const StoreKind kNpyStreamKind;  // NumPy's format on standard output

}  // namespace reembed

#endif  // REEMBED_IO_FILE_FILE_KINDS_H_
