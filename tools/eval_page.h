// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_EVAL_PAGE_H_
#define REEMBED_TOOLS_EVAL_PAGE_H_

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "index/index_eval.h"

namespace reembed {

// What a page about an index says besides its points.
struct EvalHead {
  std::string index;    // path
  std::string factory;  // empty: not known
  std::string metric;
  std::string model;  // empty: not known
  int64_t rows = 0;
  int dim = 0;
  int compared_dim = 0;  // of the vectors whose neighbours are true: as `dim`, or wider
  int64_t bytes = 0;     // with its shards
  int64_t queries = 0;
  std::string queries_from;  // in words
};

// "nprobe 16", "efSearch 64"; "-" where there is nothing to choose.
std::string SearchText(const SearchOptions& search);

// One HTML file that needs no other: a table, and the curve of recall@10 against queries a second.
std::string EvalPage(const EvalHead& head, absl::Span<const EvalPoint> points);

}  // namespace reembed

#endif  // REEMBED_TOOLS_EVAL_PAGE_H_
