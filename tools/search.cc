// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/pipeline.h"
#include "engine/status_macros.h"
#include "engine/text/lexical_embedder.h"
#include "index/brute_force.h"
#include "index/index_reader.h"
#include "tools/api_key.h"
#include "tools/commands.h"
#include "tools/embedder.h"
#include "tools/format.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/resolve.h"
#include "tools/resolve_embedder.h"
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
  ABSL_RETURN_IF_ERROR(CheckSameModel(options.index, description.model.name, options.said.model));
  ABSL_ASSIGN_OR_RETURN(const std::vector<float> query, EmbedQuery(options, description.model, environment));
  ABSL_ASSIGN_OR_RETURN(std::vector<Hit> hits,
                        index->Search(query, options.k, {.nprobe = options.nprobe, .ef_search = options.ef_search}));
  return Found{std::move(hits), description.source};
}

absl::StatusOr<Found> SearchTarget(const SearchCommandOptions& options, const Environment& environment) {
  ABSL_ASSIGN_OR_RETURN(
      const Location location,
      ParsePlace(options.target, {options.who.db_token_env, options.who.db_password_env}, environment));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<VectorReader> reader,
                        OpenReader(StoreOf(location), options.who.dimensions));
  Model model{.name = options.who.model, .dim = reader->dim()};
  if (model.name.empty() && options.who.embedder == "builtin") model.name = kLexicalModelName;
  if (model.name.empty()) return absl::InvalidArgumentError("--target: say which model made it with --model");
  ABSL_ASSIGN_OR_RETURN(const std::vector<float> query, EmbedQuery(options, model, environment));
  ABSL_ASSIGN_OR_RETURN(std::vector<Hit> hits, SearchExactly(reader.get(), query, options.k, Metric::kCosine));
  return Found{std::move(hits), location.Get("text").empty() ? "" : options.target};
}

// Who embeds a query for vectors of this model. Files of settings that name another model speak of its API, and the
// built-in embedder's vectors are its own whatever they say.
CommandOptions WhoEmbeds(const SearchCommandOptions& options, const std::string& model) {
  const bool is_lexical = model == kLexicalModelName;
  const bool files_mean_another =
      options.said.model.empty() && !options.who.model.empty() && options.who.model != model;
  CommandOptions who = options.who;
  if (files_mean_another || (is_lexical && options.said.embedder.empty())) {
    who = options.said;
    who.proxy = options.who.proxy;
    who.ca_file = options.who.ca_file;
  }
  if (who.embedder.empty() && is_lexical) who.embedder = kBuiltinEmbedder;
  return who;
}

}  // namespace

absl::StatusOr<std::vector<float>> EmbedQuery(const SearchCommandOptions& options, const Model& model,
                                              const Environment& environment) {
  CommandOptions asked = WhoEmbeds(options, model.name);
  if (asked.embedder == kBuiltinEmbedder) {
    std::vector<float> vector(model.dim);
    EmbedLexically(options.query, absl::MakeSpan(vector));
    return vector;
  }
  Environment with_key = environment;
  ABSL_RETURN_IF_ERROR(AskForApiKey(asked, &with_key));
  // The same defaults and checks as a run has; its places do not matter here.
  asked.source = "-";
  asked.targets = {"-"};
  asked.model = model.name;
  asked.dimensions = model.dim;
  asked.input_type_is_default = asked.input_type.empty();
  if (asked.input_type_is_default) asked.input_type = "query";
  ABSL_ASSIGN_OR_RETURN(const ResolvedJob job, Resolve(asked, with_key));
  ABSL_ASSIGN_OR_RETURN(const RunningEmbedder running, StartEmbedder(job.client));
  return EmbedOne(running.client.get(), options.query);
}

bool FilesSayToSearch(const OptionEntry& entry) {
  for (const char* const name :
       {"embedder", "api-base", "model", "api-key-env", "api-key-file", "api-key-cmd", "header", "header-env",
        "body-field", "proxy", "ca-file", "db-token-env", "db-password-env"}) {
    if (absl::string_view(entry.name) == name) return true;
  }
  return false;
}

absl::Status CheckSameModel(const std::string& place, const std::string& made_by, const std::string& asked) {
  if (made_by.empty() || asked.empty() || made_by == asked) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(place, ": its vectors are of model ", made_by,
                                                    ", and the query would be of ", asked,
                                                    "; vectors of two models cannot be compared"));
}

void PrintHits(const std::vector<Hit>& hits, const std::string& uri, const SearchCommandOptions& options,
               const Environment& environment) {
  std::unique_ptr<Source> source;
  if (!uri.empty()) {
    const absl::StatusOr<Location> location =
        ParsePlace(uri, {options.who.db_token_env, options.who.db_password_env}, environment);
    absl::StatusOr<std::unique_ptr<Source>> opened =
        location.ok() ? OpenSource(StoreOf(*location), {}) : absl::StatusOr<std::unique_ptr<Source>>(location.status());
    if (opened.ok()) {
      source = *std::move(opened);
    } else {
      Note(absl::StrCat("without texts: ", opened.status().message()), options.who.json);
    }
  }
  for (const Hit& hit : hits) {
    const std::string text = TextOf(source.get(), ViewOf(hit.key));
    if (options.who.json) {
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
  const StopSignals signals({.command = "search", .left = "nothing was changed", .json = options.who.json});
  if (options.index.empty() == options.target.empty()) {
    return Fail("search", absl::InvalidArgumentError("say where: --index PATH or --target URI"), options.who.json);
  }
  if (options.query.empty()) return Fail("search", absl::InvalidArgumentError("the query is empty"), options.who.json);
  const absl::StatusOr<Found> found =
      options.index.empty() ? SearchTarget(options, environment) : SearchIndex(options, environment);
  if (!found.ok()) {
    return Fail("search", WithQuotingAdvice(found.status(), {options.target}), options.who.json);
  }

  PrintHits(found->hits, options.source.empty() ? found->source : options.source, options, environment);
  return kExitDone;
}

}  // namespace reembed
