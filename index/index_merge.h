// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_INDEX_MERGE_H_
#define REEMBED_INDEX_INDEX_MERGE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "index/index_build.h"

namespace reembed {

// Makes one index of several, as several machines may have built them, and publishes it at `path` as BuildIndex() does.
// Where all hold exact vectors, their rows become a new index: of options.spec.factory, or, if that is empty, of what
// the first was asked to be. Where they hold codes, their lists are put together as they are, into an index whose lists
// stay on the disk; then all must be IVF indexes that were trained alike. Of `options` the model, source and built_from
// are those of the indexes. Errors: kFailedPrecondition (of several models, widths or metrics: names both),
// kInvalidArgument (they cannot be put together: why; a key that is in two of them), and those of
// IndexReader::OpenAny() and BuildIndex().
absl::StatusOr<BuiltIndex> MergeIndexes(absl::Span<const std::string> paths, const std::string& path,
                                        IndexBuildOptions options);

}  // namespace reembed

#endif  // REEMBED_INDEX_INDEX_MERGE_H_
