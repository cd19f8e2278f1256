// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "index/index_reader.h"
#include "tools/index_commands.h"
#include "tools/index_place.h"
#include "tools/output.h"
#include "tools/search_parts.h"
#include "tools/signals.h"

namespace reembed {
namespace {

// Row `number`, from 0, of a place of vectors.
absl::StatusOr<std::vector<float>> ReadQuery(const IndexSearchCommandOptions& options, int dim,
                                             const Environment& environment, std::string* model) {
  const SecretVariables variables = {options.search.who.db_token_env, options.search.who.db_password_env};
  ABSL_ASSIGN_OR_RETURN(const OpenedVectors opened, OpenVectors(options.vector, dim, variables, environment));
  if (opened.reader->dim() != dim) {
    return absl::FailedPreconditionError(absl::StrCat(opened.name, ": expected a query of ", dim,
                                                      " numbers, as the index has, got ", opened.reader->dim()));
  }
  *model = opened.model;
  for (int64_t number = 0;; ++number) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<StoredVector> row, opened.reader->Next());
    if (!row.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat(opened.name, ": expected a row ", options.row, ", counted from 0, got ", number, " rows"));
    }
    if (number == options.row) return std::vector<float>(row->vector.begin(), row->vector.end());
  }
}

absl::Status Search(const IndexSearchCommandOptions& options, const Environment& environment) {
  ABSL_ASSIGN_OR_RETURN(const Store place, IndexPlace(options.search.index, environment));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<IndexReader> index, IndexReader::OpenAny(place.location.path));
  Model model = index->description().model;
  const std::string& path = place.location.path;
  ABSL_RETURN_IF_ERROR(CheckSameModel(path, model.name, options.search.said.model));
  std::vector<float> query;
  if (!options.vector.empty()) {
    std::string made_by;
    ABSL_ASSIGN_OR_RETURN(query, ReadQuery(options, index->dim(), environment, &made_by));
    ABSL_RETURN_IF_ERROR(CheckSameModel(path, model.name, made_by));
  } else {
    if (model.name.empty()) model.name = options.search.who.model;
    if (model.name.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": the model of its vectors is not recorded; name it with --model, or search with ",
                       "a vector: --vector FILE"));
    }
    ABSL_ASSIGN_OR_RETURN(query, EmbedQuery(options.search, model, environment));
  }
  ABSL_ASSIGN_OR_RETURN(
      const std::vector<Hit> hits,
      index->Search(query, options.search.k, {.nprobe = options.search.nprobe, .ef_search = options.search.ef_search}));
  const auto wanted = std::min<int64_t>(options.search.k, index->rows());
  if (static_cast<int64_t>(hits.size()) < wanted) {
    Note(absl::StrCat(path, ": ", hits.size(), " of ", wanted, " rows found, as the searched part has no more",
                      index->breadth().lists > 0  ? "; search more lists with --nprobe"
                      : index->breadth().is_graph ? "; search more broadly with --ef-search"
                                                  : ""),
         options.search.who.json);
  }
  PrintHits(hits, options.search.source.empty() ? index->description().source : options.search.source, options.search,
            environment);
  return absl::OkStatus();
}

}  // namespace

ExitCode IndexSearchCommand(const IndexSearchCommandOptions& options, const Environment& environment) {
  const bool json = options.search.who.json;
  const StopSignals signals({.command = "index search", .left = "nothing was changed", .json = json});
  absl::Status status;
  if (options.search.query.empty() == options.vector.empty()) {
    status = absl::InvalidArgumentError("say what to look for: a text, or --vector FILE");
  } else {
    status = Search(options, environment);
  }
  return status.ok() ? kExitDone : Fail("index search", status, json);
}

}  // namespace reembed
