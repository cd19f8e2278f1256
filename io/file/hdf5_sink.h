#ifndef REEMBED_IO_FILE_HDF5_SINK_H_
#define REEMBED_IO_FILE_HDF5_SINK_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/embedding_client.h"
#include "engine/location.h"
#include "engine/vector_sink.h"

namespace reembed {

// PATH in the layout of ann-benchmarks: dataset `train`, float32 [rows, dim], in chunks of whole rows; the attributes
// `distance` ("angular"), `point_type` ("float"), `dimension`, and the `model`. Beside it `keys`, row by row: int64, or
// strings of variable length (fixed ones would be faster, but their width is not known before the last row).
// Ascending rows. The library's bookkeeping cannot be trusted after a crash, so Open() then asks for every row again;
// a complete file of an earlier run is gone on with, in a copy.
// Keys must be all integers or all texts (kFailedPrecondition); a text with a NUL byte refuses its row.
// Errors: kInvalidArgument, kNotFound, kPermissionDenied (the place cannot be written).
absl::StatusOr<std::unique_ptr<VectorSink>> MakeHdf5Sink(const Location& location, const Model& model);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_HDF5_SINK_H_
