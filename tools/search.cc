// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/pipeline.h"
#include "engine/status_macros.h"
#include "engine/text/lexical_embedder.h"
#include "index/brute_force.h"
#include "index/index_reader.h"
#include "tools/commands.h"
#include "tools/embedder.h"
#include "tools/format.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/resolve.h"
#include "tools/search_parts.h"
#include "tools/signals.h"

namespace reembed {
namespace {

constexpr size_t kShownTextBytes = 160;

std::string OneLine(absl::string_view text) {
  std::string line;
  for (const char c : text) line.push_back(static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
  if (line.size() <= kShownTextBytes) return line;
  size_t end = kShownTextBytes;
  while (end > 0 && (static_cast<unsigned char>(line[end]) & 0xC0) == 0x80) --end;  // not inside a character
  return line.substr(0, end) + "...";
}

// The text of a row, where the store that has it is still there; empty otherwise.
std::string TextOf(Source* source, KeyView key) {
  if (source == nullptr) return "";
  const absl::StatusOr<std::optional<RowView>> row = source->Find(key);
  if (!row.ok() || !row->has_value() || !(*row)->text.has_value()) return "";
  return std::string(*(*row)->text);
}

struct Found {
  std::vector<Hit> hits;
  std::string source;  // URI
};

absl::StatusOr<Found> SearchIndex(const SearchCommandOptions& options, const Environment& environment) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<IndexReader> index, IndexReader::Open(options.index));
  const IndexDescription& description = index->description();
  ABSL_RETURN_IF_ERROR(CheckSameModel(options.index, description.model.name, options.model));
  ABSL_ASSIGN_OR_RETURN(const std::vector<float> query, EmbedQuery(options, description.model, environment));
  ABSL_ASSIGN_OR_RETURN(std::vector<Hit> hits,
                        index->Search(query, options.k, {.nprobe = options.nprobe, .ef_search = options.ef_search}));
  return Found{std::move(hits), description.source};
}

absl::StatusOr<Found> SearchTarget(const SearchCommandOptions& options, const Environment& environment) {
  ABSL_ASSIGN_OR_RETURN(const Location location,
                        ParsePlace(options.target, {options.db_token_env, options.db_password_env}, environment));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<VectorReader> reader, OpenReader(StoreOf(location), options.dimensions));
  Model model{.name = options.model, .dim = reader->dim()};
  if (model.name.empty() && options.embedder == "builtin") model.name = kLexicalModelName;
  if (model.name.empty()) return absl::InvalidArgumentError("--target: say which model made it with --model");
  ABSL_ASSIGN_OR_RETURN(const std::vector<float> query, EmbedQuery(options, model, environment));
  ABSL_ASSIGN_OR_RETURN(std::vector<Hit> hits, SearchExactly(reader.get(), query, options.k, Metric::kCosine));
  return Found{std::move(hits), location.Get("text").empty() ? "" : options.target};
}

}  // namespace

absl::StatusOr<std::vector<float>> EmbedQuery(const SearchCommandOptions& options, const Model& model,
                                              const Environment& environment) {
  const std::string embedder = !options.embedder.empty()         ? options.embedder
                               : model.name == kLexicalModelName ? "builtin"
                                                                 : "openai";
  if (embedder == "builtin") {
    std::vector<float> vector(model.dim);
    EmbedLexically(options.query, absl::MakeSpan(vector));
    return vector;
  }
  // The same defaults and checks as a run has; its places do not matter here.
  ABSL_ASSIGN_OR_RETURN(const ResolvedJob job,
                        Resolve({.source = "-",
                                 .targets = {"-"},
                                 .embedder = embedder,
                                 .api_base = options.api_base,
                                 .model = model.name,
                                 .dimensions = model.dim,
                                 .api_key_env = options.api_key_env,
                                 .api_key_file = options.api_key_file,
                                 .api_key_cmd = options.api_key_cmd,
                                 .input_type = options.input_type.empty() ? "query" : options.input_type,
                                 .input_type_is_default = options.input_type.empty(),
                                 .headers = options.headers,
                                 .header_envs = options.header_envs,
                                 .body_fields = options.body_fields,
                                 .proxy = options.proxy,
                                 .ca_file = options.ca_file},
                                environment));
  ABSL_ASSIGN_OR_RETURN(const RunningEmbedder running, StartEmbedder(job.client));
  return EmbedOne(running.client.get(), options.query);
}

absl::Status CheckSameModel(const std::string& place, const std::string& made_by, const std::string& asked) {
  if (made_by.empty() || asked.empty() || made_by == asked) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(place, ": its vectors are of model ", made_by,
                                                    ", and the query would be of ", asked,
                                                    "; they have nothing to do with each other"));
}

void PrintHits(const std::vector<Hit>& hits, const std::string& uri, const SearchCommandOptions& options,
               const Environment& environment) {
  std::unique_ptr<Source> source;
  if (!uri.empty()) {
    const absl::StatusOr<Location> location =
        ParsePlace(uri, {options.db_token_env, options.db_password_env}, environment);
    absl::StatusOr<std::unique_ptr<Source>> opened =
        location.ok() ? OpenSource(StoreOf(*location), {}) : absl::StatusOr<std::unique_ptr<Source>>(location.status());
    if (opened.ok()) {
      source = *std::move(opened);
    } else {
      Note(absl::StrCat("without texts: ", opened.status().message()), options.json);
    }
  }
  for (const Hit& hit : hits) {
    const std::string text = TextOf(source.get(), ViewOf(hit.key));
    if (options.json) {
      JsonLine line("hit");
      line.AddRaw("key", KeyJson(ViewOf(hit.key))).Add("score", double{hit.score}).Add("text", text);
      std::cout << line.ToString() << "\n";
    } else {
      std::cout << absl::StrFormat("%-8s %.4f  %s\n", KeyText(ViewOf(hit.key)), hit.score, OneLine(text));
    }
  }
  std::cout << std::flush;
}

ExitCode SearchCommand(const SearchCommandOptions& options, const Environment& environment) {
  const StopSignals signals({.command = "search", .left = "nothing was changed", .json = options.json});
  if (options.index.empty() == options.target.empty()) {
    return Fail("search", absl::InvalidArgumentError("say where: --index PATH or --target URI"), options.json);
  }
  if (options.query.empty()) return Fail("search", absl::InvalidArgumentError("the query is empty"), options.json);
  const absl::StatusOr<Found> found =
      options.index.empty() ? SearchTarget(options, environment) : SearchIndex(options, environment);
  if (!found.ok()) {
    return Fail("search", WithQuotingAdvice(found.status(), {options.target}), options.json);
  }

  PrintHits(found->hits, options.source.empty() ? found->source : options.source, options, environment);
  return kExitDone;
}

}  // namespace reembed
