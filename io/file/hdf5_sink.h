// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_HDF5_SINK_H_
#define REEMBED_IO_FILE_HDF5_SINK_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/embedding_client.h"
#include "engine/location.h"
#include "engine/vector_sink.h"

namespace reembed {

// Writes vectors to an HDF5 file, `hdf5:PATH`, in the layout of the ann-benchmarks files:
//   /train   float32 [rows, dim], in chunks of whole rows; `type=` makes them float16, bfloat16, int8 or bits, eight to
//            an unsigned byte (distance = "hamming", point_type = "bit"), see engine/output_form.h
//   /keys    [rows], the keys in the order of /train: int64, or UTF-8 strings of variable length
//   file attributes: distance = "angular", point_type = "float", dimension = dim, model = the model's name
// Rows without a vector have no place in it. The kind of the first key decides for all: a dataset has one type, and 7
// written as "7" would be another key to who reads it. A key with a NUL byte is refused, for HDF5's strings end there.
//
// The file grows as PATH.partial and gets its name in Complete(). HDF5 keeps its own books in memory, and after a crash
// nothing in a partial file can be trusted: Open() then drops it and asks for all rows again, which are in the job.
// A finished file is gone on with, in a copy, so that it stays until a longer one takes its place.
// Errors of making: kInvalidArgument (a parameter, a folder at PATH), kNotFound (no folder for it). Of Open:
// kInvalidArgument (a file that is not ours). Of Write: kInvalidArgument (integer and text keys together);
// kResourceExhausted (disk full). After an error every further call gives the same error.
// Layout: https://github.com/erikbern/ann-benchmarks, `ann_benchmarks/datasets.py`.
absl::StatusOr<std::unique_ptr<VectorSink>> MakeHdf5Sink(const Location& location, const Model& model);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_HDF5_SINK_H_
