// SPDX-License-Identifier: Apache-2.0
#include "index/faiss_kind.h"

#include "index/faiss_sink.h"
#include "index/index_reader.h"

namespace reembed {
namespace {

constexpr const char* kEndings[] = {".faiss", ".index"};
constexpr const char* kFilesBeside[] = {".json", ".keys.jsonl"};
constexpr WholeFile kIndexFiles = {.beside = kFilesBeside, .grows_beside = false, .goes_on = false};

// An index scales its rows, and may quantise them.
constexpr double kQuantisedCosine = 0.999;

}  // namespace

constinit const StoreKind kFaissKind = {
    .name = "faiss",
    .example = "faiss:PATH?factory=HNSW32",
    .title = "FAISS",
    .file_endings = kEndings,
    .is_file = true,
    .make_sink = [](const Location& target, const Model& model,
                    const Location& source) { return MakeFaissSink(target, model, {.source = source.ToString()}); },
    .open_reader = [](const Location& place, int) -> absl::StatusOr<std::unique_ptr<VectorReader>> {
      return IndexReader::Open(place.path);
    },
    .check_key = CheckFaissKey,
    .check_rows = CheckFaissRows,
    .whole_file = &kIndexFiles,
    .part_scheme = "vectors",  // an index is trained and built over all rows
    .least_cosine = kQuantisedCosine,
    .row_bytes = 300,  // an HNSW graph has two links of 4 bytes for each of its M
    .is_held_in_memory = true,
    .held_number_bytes = 5,  // while its graph is linked, a row has a code of a byte a number
    .held_row_bytes = 360,   // and each link a distance; see GraphBuildBytes()
    .scratch_bytes = FaissScratchBytes,
};

}  // namespace reembed
