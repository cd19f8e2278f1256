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
      {"system", "a memory system that is known, see `reembed systems`", "What", &CommandOptions::system},
      {"db", "its database, if not where the system itself keeps it", "What", &CommandOptions::db},
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
       absl::StrCat("where vectors go, also several: ", absl::StrJoin(PlacesThatCanBe(&StoreKind::make_sink), ", ")),
       "What", &CommandOptions::targets},
      {"output-type",
       absl::StrCat(
           "how numbers lie in targets whose address has no type=: float32, float16, bfloat16, int8, or binary; ",
           absl::StrJoin(NamesOfKinds([](const StoreKind& kind) { return kind.takes_output_forms; }), ", ")),
       "What", &CommandOptions::output_type},
      {"output-dim",
       "only so many numbers of each vector, scaled to length 1, for targets whose address has no dim=: what "
       "Matryoshka "
       "models are made for; the job keeps them whole",
       "What", &CommandOptions::output_dim},
      {"all", "every selected row, not only those without a valid vector", "Selection", &CommandOptions::all},
      {"mix",
       "add vectors beside those of another model, or of a model that nobody has recorded, without comparing some of "
       "them first",
       "Selection", &CommandOptions::mix, OptionScope::kCommand},
      {"no-changed",
       "leave rows alone whose text is another by now than the one that their vector was made from; texts are not read "
       "for that",
       "Selection", &CommandOptions::no_changed, OptionScope::kHow},
      {"max-passes",
       "how often the source is looked at again, after all rows were written, for rows that have changed or come "
       "meanwhile (3; 0: never); what is found is embedded too",
       "Selection", &CommandOptions::max_passes, OptionScope::kHow},
      {"strict", "end the run at a line of JSON that is broken or has no key; without it that line alone is rejected",
       "Selection", &CommandOptions::strict, OptionScope::kHow},
      {"where", "SQL condition on the rows of a table", "Selection", &CommandOptions::where},
      {"user", "only the rows of this user, by id or e-mail, where the system has users", "Selection",
       &CommandOptions::user},
      {"agent", "only the rows of this agent, where the system has agents", "Selection", &CommandOptions::agent},
      {"stream", "only this kind of rows of the system, also several; all: also those it leaves out", "Selection",
       &CommandOptions::streams},
      {"recipe", "which of the system's ways to make a text, see `reembed systems NAME`", "Selection",
       &CommandOptions::recipe},
      {"updated-at",
       "keep (the default) or now-iso: what becomes of a row's own time of change",
       "Selection",
       &CommandOptions::updated_at,
       OptionScope::kJob,
       {"keep", "now-iso"}},
      {"force-recreate",
       "drop the system's tables in the target first, with all that is in them, and make them anew; asks, or needs "
       "--yes",
       "Job", &CommandOptions::force_recreate, OptionScope::kCommand},
      {"limit", "at most so many new rows in this run", "Selection", &CommandOptions::limit, OptionScope::kCommand},
      {"resume-from", "only rows from this key on, itself included", "Selection", &CommandOptions::resume_from},
      {"embedder",
       absl::StrCat("an API (openai: also everything that speaks it, with --api-base), or builtin: ",
                    absl::StrJoin(EmbedderNames(), ", ")),
       "Embedder", &CommandOptions::embedder},
      {"api-base", "base URL of the API, for example http://127.0.0.1:8080/v1, or the whole URL of its requests",
       "Embedder", &CommandOptions::api_base},
      {"model", "model name as the API spells it", "Embedder", &CommandOptions::model},
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
       "command for the shell that prints the API key as its first line, such as `pass show openai`; never read from a "
       "job file",
       "Embedder", &CommandOptions::api_key_cmd, OptionScope::kOwn},
      {"input-type",
       "what the API is told that texts are: document (the default), query, or none: nothing is told",
       "Embedder",
       &CommandOptions::input_type,
       OptionScope::kJob,
       {"document", "query", "none"}},
      {"truncate", "let the API cut texts above its limit; without it they are rejected", "Embedder",
       &CommandOptions::truncate},
      {"header", "one more HTTP header, `name: value`; also several. For secrets take --header-env", "Embedder",
       &CommandOptions::headers},
      {"header-env", "likewise, `name: VARIABLE`: the value is in this environment variable", "Embedder",
       &CommandOptions::header_envs},
      {"body-field",
       "one more field of each request's body, `name=value`; also several. The value is JSON, or else a string",
       "Embedder", &CommandOptions::body_fields},
      {"proxy",
       "HTTP proxy, http://HOST:PORT, also for this machine; default: as https_proxy and no_proxy say, and none for "
       "this machine",
       "Embedder", &CommandOptions::proxy, OptionScope::kHow},
      {"ca-file", "PEM file with the certificate authorities to trust in place of the system's", "Embedder",
       &CommandOptions::ca_file},
      {"endpoint",
       "instead of --api-base, and also several: URL[,key-env=NAME|key-file=PATH][,rpm=N][,tpm=N][,concurrency=N]"
       "[,weight=W]; all serve the same model, and share the work by their speed",
       "Embedder", &CommandOptions::endpoints},
      {"canary-interval",
       "minutes (or 30s, 1h) between checks that the model still gives the vectors it gave at the start: 10; off",
       "Embedder", &CommandOptions::canary_interval},
      {"long-text",
       "texts above the model's limit: reject, truncate, or split (the mean of their parts)",
       "Embedder",
       &CommandOptions::long_text,
       OptionScope::kJob,
       {"reject", "truncate", "split"}},
      {"tokenizer", "counts tokens exactly: cl100k_base.json or cl100k_base.tiktoken, for OpenAI's models", "Embedder",
       &CommandOptions::tokenizer},
      {"batch-size", "texts per request", "Limits", &CommandOptions::batch_size},
      {"concurrency", "requests under way at a time at most; fewer where fewer are as fast", "Limits",
       &CommandOptions::concurrency},
      {"rpm", "requests per minute of your quota", "Limits", &CommandOptions::rpm},
      {"tpm", "model tokens per minute of your quota", "Limits", &CommandOptions::tpm},
      {"max-spend",
       "stop before all runs of the job together have spent more US dollars than this; +5: 5 more than so far",
       "Limits", &CommandOptions::max_spend},
      {"max-tokens",
       "stop before this run has used more tokens than this; what is in the air counts, as with --max-spend", "Limits",
       &CommandOptions::max_tokens, OptionScope::kHow},
      {"max-duration", "seconds, or 90m, 8h: end this run then, resumable, with exit code 10; see --cutoff", "Limits",
       &CommandOptions::max_duration, OptionScope::kHow},
      {"cutoff",
       "what --max-duration does at its end: soft (the default): nothing new is sent, what is in the air has "
       "--stop-wait; hard: that is dropped, and may have been paid for; cautious: stops so early that it is over by "
       "then",
       "Limits",
       &CommandOptions::cutoff,
       OptionScope::kHow,
       {"soft", "hard", "cautious"}},
      {"quota",
       "redis://[user@]HOST[:PORT]/KEY (rediss:// over TLS; its password is in REDIS_PASSWORD): all workers that name "
       "it "
       "share --rpm, --tpm and --max-spend",
       "Limits", &CommandOptions::quota},
      {"cache",
       "redis://HOST/PREFIX as with --quota, the path of a file, or default, a file in your own folder of caches: a "
       "text that any job with it has bought is not bought again",
       "Limits", &CommandOptions::cache},
      {"max-text", "bytes of the longest text that is looked at; longer ones are rejected alone. 67108864, and no more",
       "Limits", &CommandOptions::max_text},
      {"hedge", "send requests that take unusually long a second time; up to 5 % of requests, paid twice", "Limits",
       &CommandOptions::hedge},
      {"timeout", "seconds until a request is given up", "Limits", &CommandOptions::timeout_seconds},
      {"max-wait", "seconds of the longest wait before a request is sent again, whatever the API asks for", "Limits",
       &CommandOptions::max_wait_seconds},
      {"stop-wait", "seconds that requests in the air have after Ctrl-C, TERM or HUP; 10. Then they are dropped",
       "Limits", &CommandOptions::stop_wait_seconds},
      {"job", "job directory: ledger, vectors, rejects", "Job", &CommandOptions::job, OptionScope::kCommand},
      {"shard",
       "do one share of the job, I/N with I from 0 to N - 1, in a folder of its own in --job; /N takes I from "
       "JOB_COMPLETION_INDEX or SLURM_ARRAY_TASK_ID, auto also N",
       "Job", &CommandOptions::shard},
      {"shards", "of plan: plan the job in so many shares, for --shard", "Job", &CommandOptions::shards,
       OptionScope::kCommand},
      {"out",
       "of plan: write it to this new file, for `run --plan FILE`; with --shards the folder that --job of every share "
       "names",
       "Job", &CommandOptions::out, OptionScope::kCommand},
      {"plan",
       "do exactly what this plan says, which `reembed plan --out FILE` wrote, or say what no longer fits and do "
       "nothing",
       "Job", &CommandOptions::plan, OptionScope::kCommand},
      {"keep-vectors",
       "always, or never: for embedders that cost nothing, saves disk but not work",
       "Job",
       &CommandOptions::keep_vectors,
       OptionScope::kJob,
       {"always", "never"}},
      {"no-undo", "do not keep what is overwritten in the job directory; then `reembed rollback` cannot bring it back",
       "Job", &CommandOptions::no_undo},
      {"record", "store the job's receipt as a memory of the system, where the system asks for that: AutoMem", "Job",
       &CommandOptions::record},
      {"env-file", "read variables from this file instead of .env", "Job", &CommandOptions::env_file,
       OptionScope::kHow},
      {"no-env-file", "read no .env, nor the other files of variables of a system", "Job", &CommandOptions::no_env_file,
       OptionScope::kHow},
      {"json", "JSON lines on standard output", "Output", &CommandOptions::json, OptionScope::kCommand},
      {"progress",
       "auto, on, off or json",
       "Output",
       &CommandOptions::progress,
       OptionScope::kHow,
       {"auto", "on", "off", "json"}},
      {"yes", "do not ask", "Output", &CommandOptions::yes, OptionScope::kCommand},
      {"no-input", "never ask, also at a terminal: what would be asked is refused, unless --yes says it", "Output",
       &CommandOptions::no_input, OptionScope::kHow},
      {"error-on-nothing", "exit with 9 when there was nothing to embed and nothing to write", "Output",
       &CommandOptions::error_on_nothing, OptionScope::kHow},
      {"accept-rejects", "exit with 0, not 3, where all was done but for rows that are rejected: for schedulers",
       "Output", &CommandOptions::accept_rejects, OptionScope::kHow},
      {"dashboard", "a page that shows this run and steers it: at ADDRESS:PORT, PORT, or any free port of this machine",
       "Watch", &CommandOptions::dashboard, OptionScope::kOwn},
      {"metrics", "serve Prometheus's text form at /metrics: ADDRESS:PORT or PORT, usually 127.0.0.1:9464", "Watch",
       &CommandOptions::metrics, OptionScope::kOwn},
      {"metrics-file", "write it to this file instead, every 15 s and at the end, for a textfile collector", "Watch",
       &CommandOptions::metrics_file, OptionScope::kOwn},
      {"report", "write what became of this run to this file: NAME.html with plots, or NAME.md; also several", "Watch",
       &CommandOptions::reports, OptionScope::kOwn},
      {"notify",
       "command for the shell that is run at the end, with the summary as JSON on its standard input; never read from "
       "a job file",
       "Watch", &CommandOptions::notify, OptionScope::kOwn},
      {"no-color", "accepted, as other commands have it, and without effect: nothing is ever coloured", "Output",
       &CommandOptions::no_color, OptionScope::kHow},
      {"quiet", "say nothing but errors", "Output", &CommandOptions::quiet, OptionScope::kHow},
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
