// SPDX-License-Identifier: Apache-2.0
#include "io/file/file_kinds.h"

#include <unistd.h>

#include "engine/status_macros.h"
#include "io/file/fbin_sink.h"
#include "io/file/fvecs_reader.h"
#include "io/file/hdf5_reader.h"
#include "io/file/hdf5_sink.h"
#include "io/file/hdf5_source.h"
#include "io/file/jsonl_reader.h"
#include "io/file/jsonl_sink.h"
#include "io/file/jsonl_source.h"
#include "io/file/matrix_reader.h"
#include "io/file/npy_sink.h"
#include "io/file/npy_stream_sink.h"

namespace reembed {
namespace {

constexpr const char* kJsonlEndings[] = {".jsonl", ".ndjson", ".json"};
constexpr const char* kHdf5Endings[] = {".hdf5", ".h5"};
constexpr const char* kNpyEndings[] = {".npy"};
constexpr const char* kFbinEndings[] = {".fbin", ".i8bin", ".f16bin"};
constexpr const char* kPartNames[] = {"vectors"};  // what kinds call parts that are plain vectors
constexpr const char* kFvecsEndings[] = {".fvecs"};
constexpr const char* kKeysBeside[] = {".keys.jsonl"};
constexpr const char* kWorthTrying[] = {"type=float16", "type=int8"};
constexpr WholeFile kAlone = {};
constexpr WholeFile kWithKeys = {.beside = kKeysBeside};
// What has grown is no file of HDF5 until its header is complete.
constexpr WholeFile kMadeAnew = {.goes_on = false};

absl::StatusOr<std::unique_ptr<Source>> OpenLines(const Location& source, const Selection& selection) {
  return OpenJsonlSource(source, {.strict = selection.strict, .range = selection.range});
}

absl::StatusOr<std::unique_ptr<VectorSink>> MakeStreamSink(const Location& target, const Model&, const Location&) {
  ABSL_RETURN_IF_ERROR(target.CheckParameters({}));
  return MakeJsonlStreamSink(STDOUT_FILENO);
}

}  // namespace

constinit const StoreKind kJsonlKind = {
    .name = "jsonl",
    .example = "jsonl:PATH?key=id&text=text",
    .title = "JSON lines",
    .file_endings = kJsonlEndings,
    .is_file = true,
    .open_source = OpenLines,
    .make_sink = [](const Location& target, const Model& model,
                    const Location&) { return MakeJsonlSink(target, model); },
    .open_reader = [](const Location& place, int) { return OpenJsonlReader(place); },
    .has_strict = true,
    .cut = [](const Location& source, const Selection&, int shares) { return CutJsonl(source, shares); },
    .whole_file = &kAlone,
    .number_bytes = 13,  // at most: a sign, nine digits, a point and what is between numbers
};

constinit const StoreKind kHdf5Kind = {
    .name = "hdf5",
    .example = "hdf5:PATH",
    .title = "HDF5",
    .file_endings = kHdf5Endings,
    .is_file = true,
    .open_source = [](const Location& source,
                      const Selection& selection) { return OpenHdf5Source(source, selection.range); },
    .make_sink = [](const Location& target, const Model& model,
                    const Location&) { return MakeHdf5Sink(target, model); },
    .open_reader = [](const Location& place, int) { return OpenHdf5Reader(place); },
    .cut = [](const Location& source, const Selection&, int shares) { return CutHdf5(source, shares); },
    .whole_file = &kMadeAnew,
    .worth_trying = kWorthTrying,
    .takes_output_forms = true,
};

constinit const StoreKind kNpyKind = {
    .name = "npy",
    .example = "npy:PATH",
    .title = "NumPy",
    .file_endings = kNpyEndings,
    .is_file = true,
    .make_sink = [](const Location& target, const Model& model, const Location&) { return MakeNpySink(target, model); },
    .open_reader = [](const Location& place, int) { return OpenNpyReader(place); },
    .whole_file = &kWithKeys,
    .worth_trying = kWorthTrying,
    .takes_output_forms = true,
};

constinit const StoreKind kFbinKind = {
    .name = "fbin",
    .other_names = kPartNames,
    .example = "fbin:PATH",
    .title = "fbin",
    .file_endings = kFbinEndings,
    .is_file = true,
    .make_sink = [](const Location& target, const Model& model,
                    const Location&) { return MakeFbinSink(target, model); },
    .open_reader = [](const Location& place, int) { return OpenFbinReader(place); },
    .whole_file = &kWithKeys,
    .worth_trying = kWorthTrying,
    .takes_output_forms = true,
};

constinit const StoreKind kFvecsKind = {
    .name = "fvecs",
    .example = "fvecs:PATH",
    .title = "fvecs",
    .file_endings = kFvecsEndings,
    .is_file = true,
    .open_reader = [](const Location& place, int) { return OpenFvecsReader(place); },
};

constinit const StoreKind kStreamKind = {
    .name = "-",
    .example = "- (JSON lines on standard input or output)",
    .title = "JSON lines",
    .is_stream = true,
    .open_source = OpenLines,
    .make_sink = MakeStreamSink,
    .has_strict = true,
};

constinit const StoreKind kNpyStreamKind = {
    .name = "npy:-",
    .example = "npy:- (NumPy's format on standard output)",
    .title = "NumPy",
    .is_stream = true,
    .make_sink = [](const Location& target, const Model& model,
                    const Location&) { return MakeNpyStreamSink(target, model, STDOUT_FILENO); },
};

}  // namespace reembed
