// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/counted.h"
#include "engine/number/json_text.h"
#include "engine/status_macros.h"
#include "index/index_files.h"
#include "index/index_reader.h"
#include "index/index_store.h"
#include "index/shard_set.h"
#include "tools/format.h"
#include "tools/index_commands.h"
#include "tools/index_place.h"
#include "tools/output.h"
#include "tools/signals.h"

namespace reembed {
namespace {

// One thing that is known of an index: for programs under `name` as JSON, for people as words; no words: not worth any.
struct Fact {
  const char* name;
  std::string json;
  const char* title;
  std::string words;
};

Fact Text(const char* name, const char* title, const std::string& text) {
  return {name, JsonQuoted(text), title, text};
}

Fact Number(const char* name, const char* title, int64_t number) {
  return {name, absl::StrCat(number), title, number == 0 ? "" : WithCommas(number)};
}

std::vector<Fact> FactsOf(const IndexDescription& d, int64_t bytes) {
  std::vector<Fact> facts = {
      Text("factory", "factory", d.factory),
      Text("metric", "metric",
           absl::StrCat(MetricName(d.metric), d.metric == Metric::kCosine ? ", rows are normalised" : "")),
      Text("model", "model", d.model.name),
      Number("dim", "width", d.model.dim),
      Number("rows", "rows", d.rows),
      Text("ids", "ids", d.id_kind == IdKind::kKey ? "key" : "ordinal"),
      Number("trained_rows", "trained on", d.trained_rows),
      Number("ef_construction", "efConstruction", d.ef_construction),
      {"seed", absl::StrCat(d.seed), "seed", d.seed == 0 ? "" : absl::StrCat(d.seed)},
      Text("built_from", "built from", d.built_from),
      Text("fingerprint", "fingerprint",
           d.fingerprint == 0 ? "" : absl::StrCat(absl::Hex(d.fingerprint, absl::kZeroPad16))),
      Text("source", "texts", d.source),
      Number("nprobe", "nprobe", d.nprobe),
      Number("ef_search", "efSearch", d.ef_search),
      {"recall_at_10", d.recall_queries == 0 ? "null" : absl::StrCat(d.recall_at_10), "recall@10",
       d.recall_queries == 0
           ? ""
           : absl::StrFormat("%.4f, measured on %s", d.recall_at_10, Counted(d.recall_queries, "query", "queries"))},
      Number("recall_queries", "", d.recall_queries),
      Text("faiss_version", "FAISS", d.faiss_version),
      Text("reembed_version", "reembed", d.reembed_version),
      Number("shards", "shards", d.shards),
      {"bytes", absl::StrCat(bytes), "size", BytesText(bytes)},
  };
  facts[1].json = JsonQuoted(std::string(MetricName(d.metric)));
  return facts;
}

// What the file itself says, where nobody has described it.
std::vector<Fact> FactsOf(const IndexReader& index, int64_t bytes) {
  const IndexDescription& d = index.description();
  return {Text("kind", "kind", index.kind()),
          Text("metric", "metric", std::string(MetricName(d.metric))),
          Number("dim", "width", d.model.dim),
          Number("rows", "rows", d.rows),
          {"bytes", absl::StrCat(bytes), "size", BytesText(bytes)}};
}

absl::Status CheckSize(const std::string& path, const FileMark& mark) {
  std::error_code failed;
  const auto bytes = static_cast<int64_t>(std::filesystem::file_size(path, failed));
  if (failed) return absl::NotFoundError(absl::StrCat(path, ": cannot be read: ", failed.message()));
  if (bytes == mark.bytes) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(path, ": expected ", mark.bytes, " bytes, got ", bytes,
                                          "; it is damaged or of another build, build the index again"));
}

absl::StatusOr<std::vector<Fact>> Look(const IndexInfoCommandOptions& options, const std::string& path) {
  const IndexPaths paths(path);
  std::error_code ignored;
  if (!std::filesystem::exists(paths.description, ignored)) {
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<IndexReader> index, IndexReader::OpenAny(path));
    return FactsOf(*index, static_cast<int64_t>(std::filesystem::file_size(path, ignored)));
  }
  ABSL_ASSIGN_OR_RETURN(const IndexDescription description, ReadDescription(paths.description));
  ABSL_RETURN_IF_ERROR(CheckSize(path, description.index_file));
  int64_t bytes = description.index_file.bytes;
  if (description.shards > 0) {
    ABSL_ASSIGN_OR_RETURN(const std::vector<IndexShard> shards,
                          ReadShards(path, description.index_file, description.rows));
    for (const IndexShard& shard : shards) {
      ABSL_RETURN_IF_ERROR(CheckSize(ShardPath(path, shard), shard.mark));
      bytes += shard.mark.bytes;
    }
  }
  std::vector<Fact> facts = FactsOf(description, bytes);
  if (!options.check) return facts;
  // Opening a mapped index reads its head alone.
  ABSL_RETURN_IF_ERROR(IndexStore(path).CheckFinished().status());
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<IndexReader> index, IndexReader::Open(path));
  facts.push_back(Text("kind", "kind", index->kind()));
  facts.push_back({"checked", "true", "checked", "all files are as they were written"});
  return facts;
}

}  // namespace

ExitCode IndexInfoCommand(const IndexInfoCommandOptions& options, const Environment& environment) {
  const StopSignals signals({.command = "index info", .left = "nothing was changed", .json = options.json});
  const absl::StatusOr<Store> place = IndexPlace(options.index, environment);
  if (!place.ok()) return Fail("index info", place.status(), options.json);
  const std::string& path = place->location.path;
  const absl::StatusOr<std::vector<Fact>> facts = Look(options, path);
  if (!facts.ok()) return Fail("index info", facts.status(), options.json);
  if (options.json) {
    JsonLine line("index");
    line.Add("index", path);
    for (const Fact& fact : *facts) line.AddRaw(fact.name, fact.json);
    std::cout << line.ToString() << std::endl;
    return kExitDone;
  }
  std::cout << path << "\n";
  for (const Fact& fact : *facts) {
    if (*fact.title != '\0' && !fact.words.empty())
      std::cout << absl::StrFormat("  %-15s %s\n", fact.title, fact.words);
  }
  std::cout << std::flush;
  return kExitDone;
}

}  // namespace reembed
