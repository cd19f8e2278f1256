// SPDX-License-Identifier: Apache-2.0
#include "tools/option_table.h"

#include <algorithm>
#include <charconv>
#include <type_traits>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "tools/registry.h"
#include "tools/resolve_embedder.h"

namespace reembed {
namespace {

template <typename T>
absl::Status Wrong(absl::string_view text) {
  const char* const expected = std::is_same_v<T, bool>       ? "true or false"
                               : std::is_floating_point_v<T> ? "a number, 0 or more"
                                                             : "a whole number, 0 or more";
  return absl::InvalidArgumentError(absl::StrCat("expected ", expected, ", got `", text, "`"));
}

}  // namespace

// NOLINTNEXTLINE(readability-function-size): a table.
const std::vector<OptionEntry>& OptionEntries() {
  static const auto* const entries = new std::vector<OptionEntry>{
      {"system", "memory system, by name; `reembed systems` lists them", "What", &CommandOptions::system},
      {"db", "its database; default: where the system itself keeps it", "What", &CommandOptions::db},
      {"db-token-env",
       "environment variable that holds the token of a libSQL server (TURSO_AUTH_TOKEN, LIBSQL_AUTH_TOKEN)", "What",
       &CommandOptions::db_token_env},
      {"db-password-env",
       "environment variable that holds the password of a PostgreSQL (PGPASSWORD) or FalkorDB server "
       "(FALKORDB_PASSWORD), or a URL with it",
       "What", &CommandOptions::db_password_env},
      {"source", absl::StrCat("where the rows are: ", absl::StrJoin(PlacesThatCanBe(&StoreKind::open_source), ", ")),
       "What", &CommandOptions::source},
      {"target",
       absl::StrCat("where vectors are written to, also several: ",
                    absl::StrJoin(PlacesThatCanBe(&StoreKind::make_sink), ", ")),
       "What", &CommandOptions::targets},
      {"output-type",
       absl::StrCat("number type in targets whose URI has no type=: float32, float16, bfloat16, int8, or binary; ",
                    absl::StrJoin(NamesOfKinds([](const StoreKind& kind) { return kind.takes_output_forms; }), ", ")),
       "What", &CommandOptions::output_type},
      {"output-dim",
       "store only the first N numbers of each vector, scaled to length 1, in targets whose URI has no dim= (for "
       "Matryoshka models); the job itself stores the full vectors",
       "What", &CommandOptions::output_dim},
      {"all", "embed every selected row, not only rows without a valid vector", "Selection", &CommandOptions::all},
      {"mix",
       "add vectors to a column even if it has vectors of another model, or of an unknown model; without it some of "
       "them "
       "are compared first",
       "Selection", &CommandOptions::mix, OptionScope::kCommand},
      {"no-changed",
       "do not embed rows again whose text has changed since their vector was made; texts are then not read to find "
       "them",
       "Selection", &CommandOptions::no_changed, OptionScope::kHow},
      {"max-passes",
       "how often the source is read again, after all rows were written, for rows that were changed or added meanwhile "
       "(3; 0: never); these are embedded too",
       "Selection", &CommandOptions::max_passes, OptionScope::kHow},
      {"strict", "end the run at a line of JSON that is invalid or has no key; without it only that line is rejected",
       "Selection", &CommandOptions::strict, OptionScope::kHow},
      {"where", "SQL condition on the rows of a table", "Selection", &CommandOptions::where},
      {"user", "only the rows of this user, by id or e-mail, if the system has users", "Selection",
       &CommandOptions::user},
      {"agent", "only the rows of this agent, if the system has agents", "Selection", &CommandOptions::agent},
      {"stream", "only this kind of rows of the system, also several; all: also the kinds that are left out by default",
       "Selection", &CommandOptions::streams},
      {"recipe", "which recipe of the system makes the text of a row, see `reembed systems NAME`", "Selection",
       &CommandOptions::recipe},
      {"updated-at",
       "keep (the default) or now-iso: whether a row's own time of change is kept or set to now",
       "Selection",
       &CommandOptions::updated_at,
       OptionScope::kJob,
       {"keep", "now-iso"}},
      {"force-recreate",
       "first drop the system's tables in the target, with all their rows, and create them again; asks, or needs --yes",
       "Job", &CommandOptions::force_recreate, OptionScope::kCommand},
      {"limit", "maximum number of new rows in this run", "Selection", &CommandOptions::limit, OptionScope::kCommand},
      {"resume-from", "only rows from this key on, including it", "Selection", &CommandOptions::resume_from},
      {"embedder",
       absl::StrCat("an API (openai: also every compatible server, with --api-base), or builtin: ",
                    absl::StrJoin(EmbedderNames(), ", ")),
       "Embedder", &CommandOptions::embedder},
      {"api-base", "base URL of the API, for example http://127.0.0.1:8080/v1, or the whole URL of its requests",
       "Embedder", &CommandOptions::api_base},
      {"model", "name of the model, as the API spells it", "Embedder", &CommandOptions::model},
      {"dimensions", "width of the vectors", "Embedder", &CommandOptions::dimensions},
      {"normalize",
       "as-received, or unit: scale to length 1 before anything is stored",
       "Embedder",
       &CommandOptions::normalize,
       OptionScope::kJob,
       {"as-received", "unit"}},
      {"api-key-env", "environment variable that holds the API key", "Embedder", &CommandOptions::api_key_env},
      {"api-key-file", "file that holds the API key; -: the first line of standard input", "Embedder",
       &CommandOptions::api_key_file},
      {"api-key-cmd",
       "shell command that prints the API key as its first line, for example `pass show openai`; never read from a job "
       "file",
       "Embedder", &CommandOptions::api_key_cmd, OptionScope::kOwn},
      {"input-type",
       "input type that is sent to the API: document (the default), query, or none: none is sent",
       "Embedder",
       &CommandOptions::input_type,
       OptionScope::kJob,
       {"document", "query", "none"}},
      {"truncate", "let the API truncate texts above its limit; without it they are rejected", "Embedder",
       &CommandOptions::truncate},
      {"header", "additional HTTP header, `name: value`; also several. For secrets use --header-env", "Embedder",
       &CommandOptions::headers},
      {"header-env", "additional HTTP header, `name: VARIABLE`: its value is in this environment variable", "Embedder",
       &CommandOptions::header_envs},
      {"body-field",
       "additional field in the body of each request, `name=value`; also several. The value is JSON, or else a string",
       "Embedder", &CommandOptions::body_fields},
      {"proxy",
       "HTTP proxy, http://HOST:PORT, used also for servers on this machine; default: https_proxy and no_proxy, and no "
       "proxy for servers on this machine",
       "Embedder", &CommandOptions::proxy, OptionScope::kHow},
      {"ca-file", "PEM file with the certificate authorities to trust instead of the system's", "Embedder",
       &CommandOptions::ca_file},
      {"endpoint",
       "one of several servers or keys, instead of --api-base: URL[,key-env=NAME|key-file=PATH][,rpm=N][,tpm=N]"
       "[,concurrency=N][,weight=W]; all serve the same model, and faster ones get more work",
       "Embedder", &CommandOptions::endpoints},
      {"canary-interval",
       "minutes (or 30s, 1h) between checks that the model still gives the same vectors as at the start (10); or off",
       "Embedder", &CommandOptions::canary_interval},
      {"long-text",
       "what to do with texts above the model's limit: reject, truncate, or split (store the mean of their parts)",
       "Embedder",
       &CommandOptions::long_text,
       OptionScope::kJob,
       {"reject", "truncate", "split"}},
      {"tokenizer", "file for counting tokens exactly: cl100k_base.json or cl100k_base.tiktoken, for OpenAI's models",
       "Embedder", &CommandOptions::tokenizer},
      {"batch-size", "texts per request", "Limits", &CommandOptions::batch_size},
      {"concurrency", "maximum number of concurrent requests; fewer are used if they are as fast", "Limits",
       &CommandOptions::concurrency},
      {"rpm", "requests per minute of your quota", "Limits", &CommandOptions::rpm},
      {"tpm", "model tokens per minute of your quota", "Limits", &CommandOptions::tpm},
      {"max-spend",
       "maximum US dollars for all runs of the job together; the run stops before it would exceed them; +5: 5 more "
       "than "
       "spent so far",
       "Limits", &CommandOptions::max_spend},
      {"max-tokens",
       "maximum tokens of this run; it stops before it would exceed them. Requests in flight count, as with "
       "--max-spend",
       "Limits", &CommandOptions::max_tokens, OptionScope::kHow},
      {"max-duration",
       "end this run after so many seconds (or 90m, 8h) with exit code 10; it can be resumed; see --cutoff", "Limits",
       &CommandOptions::max_duration, OptionScope::kHow},
      {"cutoff",
       "how --max-duration ends a run: soft (the default): no new request is sent, requests in flight have "
       "--stop-wait; "
       "hard: requests in flight are dropped, and may have been paid for; cautious: stops early enough to end in time",
       "Limits",
       &CommandOptions::cutoff,
       OptionScope::kHow,
       {"soft", "hard", "cautious"}},
      {"quota",
       "redis://[user@]HOST[:PORT]/KEY (rediss:// over TLS; the password is in REDIS_PASSWORD): all workers with the "
       "same KEY share --rpm, --tpm and --max-spend",
       "Limits", &CommandOptions::quota},
      {"cache",
       "redis://HOST/PREFIX as with --quota, the path of a file, or default (a file in your cache folder): a text that "
       "any job with this cache has bought is not bought again",
       "Limits", &CommandOptions::cache},
      {"max-text",
       "maximum length of a text in bytes; rows with longer texts are rejected (67108864, which is also the maximum)",
       "Limits", &CommandOptions::max_text},
      {"hedge", "send unusually slow requests a second time; up to 5 % of the requests, which are paid twice", "Limits",
       &CommandOptions::hedge},
      {"timeout", "seconds until a request without an answer is given up", "Limits", &CommandOptions::timeout_seconds},
      {"max-wait", "maximum wait in seconds before a request is sent again, even if the API asks for more", "Limits",
       &CommandOptions::max_wait_seconds},
      {"stop-wait", "seconds that requests in flight have after Ctrl-C, TERM or HUP (10); then they are dropped",
       "Limits", &CommandOptions::stop_wait_seconds},
      {"job", "job directory: ledger, vectors, rejects", "Job", &CommandOptions::job, OptionScope::kCommand},
      {"shard",
       "do one share of the job, I/N with I from 0 to N - 1, in its own folder in --job; /N takes I from "
       "JOB_COMPLETION_INDEX or SLURM_ARRAY_TASK_ID, auto also takes N",
       "Job", &CommandOptions::shard},
      {"shards", "only for plan: split the job into so many shares, for --shard", "Job", &CommandOptions::shards,
       OptionScope::kCommand},
      {"out",
       "only for plan: write the plan to this new file, for `run --plan FILE`; with --shards: the folder that every "
       "share "
       "names with --job",
       "Job", &CommandOptions::out, OptionScope::kCommand},
      {"plan",
       "do exactly what this plan (from `reembed plan --out FILE`) says; if that is no longer possible, say why and do "
       "nothing",
       "Job", &CommandOptions::plan, OptionScope::kCommand},
      {"keep-vectors",
       "always or never; never is for embedders that cost nothing: saves disk space, but texts are embedded again",
       "Job",
       &CommandOptions::keep_vectors,
       OptionScope::kJob,
       {"always", "never"}},
      {"no-undo", "write no undo log of overwritten vectors; then `reembed rollback` cannot restore them", "Job",
       &CommandOptions::no_undo},
      {"record", "store the job's receipt as a memory of the system, if the system asks for that (AutoMem)", "Job",
       &CommandOptions::record},
      {"env-file", "read variables from this file instead of .env", "Job", &CommandOptions::env_file,
       OptionScope::kHow},
      {"no-env-file", "read neither .env nor the variable files of the system", "Job", &CommandOptions::no_env_file,
       OptionScope::kHow},
      {"json", "JSON lines on standard output", "Output", &CommandOptions::json, OptionScope::kCommand},
      {"progress",
       "auto, on, off or json",
       "Output",
       &CommandOptions::progress,
       OptionScope::kHow,
       {"auto", "on", "off", "json"}},
      {"yes", "do not ask", "Output", &CommandOptions::yes, OptionScope::kCommand},
      {"no-input", "never ask, not even on a terminal: what needs consent is refused, unless --yes is given", "Output",
       &CommandOptions::no_input, OptionScope::kHow},
      {"error-on-nothing", "exit with 9 if there was nothing to embed and nothing to write", "Output",
       &CommandOptions::error_on_nothing, OptionScope::kHow},
      {"accept-rejects", "exit with 0 instead of 3 if everything is done except rejected rows; for schedulers",
       "Output", &CommandOptions::accept_rejects, OptionScope::kHow},
      {"dashboard",
       "serve a web page that shows and controls this run: at ADDRESS:PORT, PORT, or any free port of this machine",
       "Watch", &CommandOptions::dashboard, OptionScope::kOwn},
      {"metrics", "serve Prometheus's text form at /metrics: ADDRESS:PORT or PORT, usually 127.0.0.1:9464", "Watch",
       &CommandOptions::metrics, OptionScope::kOwn},
      {"metrics-file", "write the metrics to this file, every 15 s and at the end, for a textfile collector", "Watch",
       &CommandOptions::metrics_file, OptionScope::kOwn},
      {"report", "write a report of this run to this file: NAME.html with plots, or NAME.md; also several", "Watch",
       &CommandOptions::reports, OptionScope::kOwn},
      {"notify",
       "shell command that is run at the end, with the summary as JSON on its standard input; never read from a job "
       "file",
       "Watch", &CommandOptions::notify, OptionScope::kOwn},
      {"no-color", "accepted, without effect: the output never has colours", "Output", &CommandOptions::no_color,
       OptionScope::kHow},
      {"quiet", "print only errors", "Output", &CommandOptions::quiet, OptionScope::kHow},
  };
  return *entries;
}

const OptionEntry* FindOption(absl::string_view name) {
  const auto found = absl::c_find_if(OptionEntries(), [&](const OptionEntry& entry) { return name == entry.name; });
  return found == OptionEntries().end() ? nullptr : &*found;
}

std::string VariableOfOption(absl::string_view name) {
  return absl::StrCat("REEMBED_", absl::AsciiStrToUpper(absl::StrReplaceAll(name, {{"-", "_"}})));
}

bool IsUnset(const OptionEntry& entry, const CommandOptions& options) {
  static const auto* const unsaid = new CommandOptions;
  return std::visit([&](auto member) { return options.*member == unsaid->*member; }, entry.member);
}

void CopyOption(const OptionEntry& entry, const CommandOptions& from, CommandOptions* to) {
  std::visit([&](auto member) { to->*member = from.*member; }, entry.member);
}

std::vector<std::string> OptionValues(const OptionEntry& entry, const CommandOptions& options) {
  if (IsUnset(entry, options)) return {};
  return std::visit(
      [&](auto member) -> std::vector<std::string> {
        const auto& value = options.*member;
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, bool>) {
          return {"true"};
        } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          return value;
        } else if constexpr (std::is_floating_point_v<T>) {
          char digits[32];
          return {std::string(digits, std::to_chars(digits, digits + sizeof(digits), value).ptr)};
        } else {
          return {absl::StrCat(value)};
        }
      },
      entry.member);
}

absl::Status CheckOptionWord(const OptionEntry& entry, absl::string_view value) {
  if (entry.words.empty() || absl::c_linear_search(entry.words, value)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("expected one of ", absl::StrJoin(entry.words, ", "), "; got `", value, "`"));
}

absl::Status SetOption(const OptionEntry& entry, absl::string_view text, CommandOptions* options) {
  if (absl::Status word = CheckOptionWord(entry, text); !word.ok()) return word;
  return std::visit(
      [&](auto member) {
        auto& value = options->*member;
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, bool>) {
          const std::string lower = absl::AsciiStrToLower(text);
          if (!absl::c_linear_search(std::vector<std::string>{"true", "false", "1", "0", "on", "off", "yes", "no"},
                                     lower)) {
            return Wrong<T>(text);
          }
          value = lower == "true" || lower == "1" || lower == "on" || lower == "yes";
        } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          value = {std::string(text)};
        } else if constexpr (std::is_same_v<T, std::string>) {
          value = std::string(text);
        } else {
          T number = 0;
          bool read = false;
          if constexpr (std::is_floating_point_v<T>) {
            read = absl::SimpleAtod(text, &number);
          } else {
            read = absl::SimpleAtoi(text, &number);
          }
          if (!read || !(number >= 0)) return Wrong<T>(text);
          value = number;
        }
        return absl::OkStatus();
      },
      entry.member);
}

}  // namespace reembed
