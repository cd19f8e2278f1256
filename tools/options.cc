// SPDX-License-Identifier: Apache-2.0
#include "tools/options.h"

#include <toml++/toml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <sstream>
#include <utility>
#include <variant>

#include "absl/algorithm/container.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "engine/location.h"
#include "tools/registry.h"
#include "tools/resolve_embedder.h"
#include "tools/usage.h"

namespace reembed {
namespace {

constexpr int64_t kJobFileFormat = 1;
constexpr absl::Duration kDefaultStopWait = absl::Seconds(10);

// One table for flags, environment names and job file names, so that they cannot drift apart.
struct OptionEntry {
  const char* name;
  std::string help;
  const char* group;
  std::variant<std::string CommandOptions::*, std::vector<std::string> CommandOptions::*, int CommandOptions::*,
               int64_t CommandOptions::*, double CommandOptions::*, bool CommandOptions::*>
      member;
  bool in_job_file = true;
};

const std::vector<OptionEntry>& Entries() {
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
       "Selection", &CommandOptions::mix, false},
      {"no-changed",
       "leave rows alone whose text is another by now than the one that their vector was made from; texts are not read "
       "for that",
       "Selection", &CommandOptions::no_changed, false},
      {"max-passes",
       "how often the source is looked at again, after all rows were written, for rows that have changed or come "
       "meanwhile (3; 0: never); what is found is embedded too",
       "Selection", &CommandOptions::max_passes, false},
      {"strict", "end the run at a line of JSON that is broken or has no key; without it that line alone is rejected",
       "Selection", &CommandOptions::strict, false},
      {"where", "SQL condition on the rows of a table", "Selection", &CommandOptions::where},
      {"user", "only the rows of this user, by id or e-mail, where the system has users", "Selection",
       &CommandOptions::user},
      {"agent", "only the rows of this agent, where the system has agents", "Selection", &CommandOptions::agent},
      {"stream", "only this kind of rows of the system, also several; all: also those it leaves out", "Selection",
       &CommandOptions::streams},
      {"recipe", "which of the system's ways to make a text, see `reembed systems NAME`", "Selection",
       &CommandOptions::recipe},
      {"updated-at", "keep (the default) or now-iso: what becomes of a row's own time of change", "Selection",
       &CommandOptions::updated_at},
      {"force-recreate",
       "drop the system's tables in the target first, with all that is in them, and make them anew; asks, or needs "
       "--yes",
       "Job", &CommandOptions::force_recreate, false},
      {"limit", "at most so many new rows in this run", "Selection", &CommandOptions::limit, false},
      {"resume-from", "only rows from this key on, itself included", "Selection", &CommandOptions::resume_from},
      {"embedder",
       absl::StrCat("an API (openai: also everything that speaks it, with --api-base), or builtin: ",
                    absl::StrJoin(EmbedderNames(), ", ")),
       "Embedder", &CommandOptions::embedder},
      {"api-base", "base URL of the API, for example http://127.0.0.1:8080/v1, or the whole URL of its requests",
       "Embedder", &CommandOptions::api_base},
      {"model", "model name as the API spells it", "Embedder", &CommandOptions::model},
      {"dimensions", "width of the vectors", "Embedder", &CommandOptions::dimensions},
      {"normalize", "as-received, or unit: scale to length 1 before anything is stored", "Embedder",
       &CommandOptions::normalize},
      {"api-key-env", "environment variable that holds the API key", "Embedder", &CommandOptions::api_key_env},
      {"api-key-file", "file that holds the API key", "Embedder", &CommandOptions::api_key_file},
      {"api-key-cmd",
       "command for the shell that prints the API key as its first line, such as `pass show openai`; never read from a "
       "job file",
       "Embedder", &CommandOptions::api_key_cmd, false},
      {"input-type", "what the API is told that texts are: document (the default), query, or none: nothing is told",
       "Embedder", &CommandOptions::input_type},
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
       "Embedder", &CommandOptions::proxy, false},
      {"ca-file", "PEM file with the certificate authorities to trust in place of the system's", "Embedder",
       &CommandOptions::ca_file},
      {"endpoint",
       "instead of --api-base, and also several: URL[,key-env=NAME|key-file=PATH][,rpm=N][,tpm=N][,concurrency=N]"
       "[,weight=W]; all serve the same model, and share the work by their speed",
       "Embedder", &CommandOptions::endpoints},
      {"canary-interval",
       "minutes (or 30s, 1h) between checks that the model still gives the vectors it gave at the start: 10; off",
       "Embedder", &CommandOptions::canary_interval},
      {"long-text", "texts above the model's limit: reject, truncate, or split (the mean of their parts)", "Embedder",
       &CommandOptions::long_text},
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
       &CommandOptions::max_tokens, false},
      {"max-duration", "seconds, or 90m, 8h: end this run then, resumable, with exit code 10; see --cutoff", "Limits",
       &CommandOptions::max_duration, false},
      {"cutoff",
       "what --max-duration does at its end: soft (the default): nothing new is sent, what is in the air has "
       "--stop-wait; hard: that is dropped, and may have been paid for; cautious: stops so early that it is over by "
       "then",
       "Limits", &CommandOptions::cutoff, false},
      {"quota",
       "redis://[user@]HOST[:PORT]/KEY (rediss:// over TLS; its password is in REDIS_PASSWORD): all workers that name "
       "it "
       "share --rpm, --tpm and --max-spend",
       "Limits", &CommandOptions::quota},
      {"cache",
       "redis://HOST/PREFIX as with --quota, or the path of a file: a text that any job with it has bought is not "
       "bought "
       "again",
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
      {"job", "job directory: ledger, vectors, rejects", "Job", &CommandOptions::job, false},
      {"shard",
       "do one share of the job, I/N with I from 0 to N - 1, in a folder of its own in --job; /N takes I from "
       "JOB_COMPLETION_INDEX or SLURM_ARRAY_TASK_ID, auto also N",
       "Job", &CommandOptions::shard},
      {"shards", "of plan: plan the job in so many shares, for --shard", "Job", &CommandOptions::shards, false},
      {"out", "of plan, with --shards: the folder that --job of every share names; the plan is written there", "Job",
       &CommandOptions::out, false},
      {"keep-vectors", "always, or never: for embedders that cost nothing, saves disk but not work", "Job",
       &CommandOptions::keep_vectors},
      {"no-undo", "do not keep what is overwritten in the job directory; then `reembed rollback` cannot bring it back",
       "Job", &CommandOptions::no_undo},
      {"record", "store the job's receipt as a memory of the system, where the system asks for that: AutoMem", "Job",
       &CommandOptions::record},
      {"env-file", "read variables from this file instead of .env", "Job", &CommandOptions::env_file, false},
      {"no-env-file", "read no .env, nor the other files of variables of a system", "Job", &CommandOptions::no_env_file,
       false},
      {"json", "JSON lines on standard output", "Output", &CommandOptions::json, false},
      {"progress", "auto, on, off or json", "Output", &CommandOptions::progress, false},
      {"yes", "do not ask", "Output", &CommandOptions::yes, false},
      {"no-input", "never ask, also at a terminal: what would be asked is refused, unless --yes says it", "Output",
       &CommandOptions::no_input, false},
      {"error-on-nothing", "exit with 9 when there was nothing to embed and nothing to write", "Output",
       &CommandOptions::error_on_nothing, false},
      {"accept-rejects", "exit with 0, not 3, where all was done but for rows that are rejected: for schedulers",
       "Output", &CommandOptions::accept_rejects, false},
      {"dashboard", "a page that shows this run and steers it: at ADDRESS:PORT, PORT, or any free port of this machine",
       "Watch", &CommandOptions::dashboard, false},
      {"metrics", "serve Prometheus's text form at /metrics: ADDRESS:PORT or PORT, usually 127.0.0.1:9464", "Watch",
       &CommandOptions::metrics, false},
      {"metrics-file", "write it to this file instead, every 15 s and at the end, for a textfile collector", "Watch",
       &CommandOptions::metrics_file, false},
      {"report", "write what became of this run to this file: NAME.html with plots, or NAME.md; also several", "Watch",
       &CommandOptions::reports, false},
      {"notify",
       "command for the shell that is run at the end, with the summary as JSON on its standard input; never read from "
       "a job file",
       "Watch", &CommandOptions::notify, false},
      {"quiet", "say nothing but errors", "Output", &CommandOptions::quiet, false},
  };
  return *entries;
}

template <typename Member>
bool IsUnset(const CommandOptions& options, Member member) {
  static const auto* const unsaid = new CommandOptions;
  return options.*member == unsaid->*member;
}

}  // namespace

namespace {

void AddEntries(CLI::App* app, CommandOptions* options, absl::FunctionRef<bool(const OptionEntry&)> wanted) {
  for (const OptionEntry& entry : Entries()) {
    if (!wanted(entry)) continue;
    const std::string flag = absl::StrCat("--", entry.name);
    const std::string variable =
        absl::StrCat("REEMBED_", absl::AsciiStrToUpper(absl::StrReplaceAll(entry.name, {{"-", "_"}})));
    std::visit(
        [&](auto member) {
          auto& value = options->*member;
          if constexpr (std::is_same_v<std::decay_t<decltype(value)>, bool>) {
            app->add_flag(flag, value, entry.help)->group(entry.group)->envname(variable);
          } else {
            CLI::Option* const option = app->add_option(flag, value, entry.help)->group(entry.group)->envname(variable);
            using T = std::decay_t<decltype(value)>;
            if constexpr (std::is_integral_v<T>) option->check(WholeNotNegative());
            if constexpr (std::is_floating_point_v<T>) option->check(NotNegative());
            // One value a flag: otherwise a job file that follows --target would be taken for a target.
            if constexpr (std::is_same_v<T, std::vector<std::string>>) {
              option->allow_extra_args(false);
            }
          }
        },
        entry.member);
  }
  const auto one_of = [app](const char* flag, std::vector<std::string> words) {
    CLI::Option* const option = app->get_option_no_throw(flag);
    if (option != nullptr) option->check(CLI::IsMember(std::move(words)));
  };
  // A bare --dashboard is any free port; its text would show the default as if it held without the flag.
  if (CLI::Option* const page = app->get_option_no_throw("--dashboard"); page != nullptr) {
    page->expected(0, 1)->default_str("on")->option_text("TEXT (Env:REEMBED_DASHBOARD)");
  }
  one_of("--progress", {"auto", "on", "off", "json"});
  one_of("--long-text", {"reject", "truncate", "split"});
  one_of("--updated-at", {"keep", "now-iso"});
  one_of("--normalize", {"as-received", "unit"});
  one_of("--keep-vectors", {"always", "never"});
  one_of("--input-type", {"document", "query", "none"});
  one_of("--cutoff", {"soft", "hard", "cautious"});
}

}  // namespace

absl::Duration StopWait(const CommandOptions& options) {
  return options.stop_wait_seconds < 0 ? kDefaultStopWait : absl::Seconds(options.stop_wait_seconds);
}

absl::StatusOr<absl::Duration> MaxDuration(const CommandOptions& options) {
  if (options.max_duration.empty()) return absl::InfiniteDuration();
  double seconds = 0;
  absl::Duration limit;
  if (absl::SimpleAtod(options.max_duration, &seconds)) {
    limit = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(options.max_duration, &limit)) {
    limit = absl::ZeroDuration();
  }
  if (std::isnan(seconds) || limit <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("--max-duration ", options.max_duration,
                                                   ": expected seconds above 0, or a duration as 90m or 8h"));
  }
  return limit;
}

void AddJobOptions(CLI::App* app, CommandOptions* options) { AddOptionsOfRun(app, options, {}); }

void AddOptionsOfRun(CLI::App* app, CommandOptions* options, absl::Span<const absl::string_view> but) {
  app->add_option("job-file", options->job_file, "a job file: the flags below as TOML")->group("What");
  AddEntries(app, options, [but](const OptionEntry& entry) { return !absl::c_linear_search(but, entry.name); });
}

std::vector<std::string> WordsOf(const CommandOptions& options) {
  std::vector<std::string> words;
  for (const OptionEntry& entry : Entries()) {
    const auto add = [&](const std::string& value) { words.push_back(absl::StrCat("--", entry.name, "=", value)); };
    std::visit(
        [&](auto member) {
          const auto& value = options.*member;
          using T = std::decay_t<decltype(value)>;
          if (IsUnset(options, member)) return;
          if constexpr (std::is_same_v<T, bool>) {
            words.push_back(absl::StrCat("--", entry.name));
          } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
            for (const std::string& item : value) add(item);
          } else if constexpr (std::is_floating_point_v<T>) {
            // The shortest that is the same number again.
            char digits[32];
            add(std::string(digits, std::to_chars(digits, digits + sizeof(digits), value).ptr));
          } else {
            add(absl::StrCat(value));
          }
        },
        entry.member);
  }
  if (!options.job_file.empty()) words.insert(words.end(), {"--", options.job_file});
  return words;
}

void AddEmbedderOptions(CLI::App* app, CommandOptions* options) {
  AddEntries(app, options, [](const OptionEntry& entry) {
    for (const absl::string_view other : {"normalize", "endpoint", "canary-interval", "max-spend", "max-tokens",
                                          "max-duration", "cutoff", "quota", "cache"}) {
      if (entry.name == other) return false;
    }
    for (const absl::string_view also : {"json", "env-file", "no-env-file"}) {
      if (entry.name == also) return true;
    }
    const absl::string_view group = entry.group;
    return group == "Embedder" || group == "Limits";
  });
}

absl::Status ReadJobFile(CommandOptions* options) {
  if (options->job_file.empty()) return absl::OkStatus();
  const std::string& file = options->job_file;
  toml::table table;
  try {
    table = toml::parse_file(file);
  } catch (const toml::parse_error& error) {
    const int line = static_cast<int>(error.source().begin.line);
    if (line == 0) return absl::NotFoundError(absl::StrCat(file, ": cannot be read"));
    return absl::InvalidArgumentError(absl::StrCat(file, ": line ", line, ": ", std::string(error.description())));
  }
  std::vector<std::string> names = {"format"};
  for (const OptionEntry& entry : Entries()) {
    if (entry.in_job_file) names.push_back(entry.name);
  }
  if (const int64_t format = table["format"].value<int64_t>().value_or(kJobFileFormat); format > kJobFileFormat) {
    return absl::FailedPreconditionError(absl::StrCat(file, ": has format ", format, ", and this program knows ",
                                                      kJobFileFormat, "; a newer version of reembed reads it"));
  }
  const bool has_streams = table["stream"].is_array_of_tables() || table["source"].is_table();
  if (has_streams) {
    if (options->source.empty() && options->system.empty()) options->system = file;
    if (options->system != file) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ": has streams of its own, so it goes with neither --system nor --source"));
    }
  }
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    if (name == "format") continue;
    if (has_streams && (node.is_table() || node.is_array_of_tables())) continue;
    const auto line = [&, &node = node] { return absl::StrCat(file, ": line ", node.source().begin.line, ": "); };
    const auto is_name = [&](const OptionEntry& entry) { return entry.in_job_file && name == entry.name; };
    const auto entry = std::find_if(Entries().begin(), Entries().end(), is_name);
    if (entry == Entries().end()) {
      const std::string near = NearestName(name, names);
      return absl::InvalidArgumentError(absl::StrCat(line(), "unknown name `", name, "`",
                                                     near.empty()
                                                         ? absl::StrCat("; known are: ", absl::StrJoin(names, ", "))
                                                         : absl::StrCat("; did you mean `", near, "`?")));
    }
    const bool fits = std::visit(
        [&, &node = node](auto member) {
          auto& value = options->*member;
          using T = std::decay_t<decltype(value)>;
          if constexpr (std::is_same_v<T, std::vector<std::string>>) {
            const toml::array* const list = node.as_array();
            if (list == nullptr) return false;
            if (!value.empty()) return true;
            for (const auto& item : *list) {
              if (!item.is_string()) return false;
              value.push_back(*item.value<std::string>());
            }
            return true;
          } else {
            std::optional<T> read = node.value<T>();
            if constexpr (std::is_same_v<T, std::string>) {
              // Money may be written as a number or, to add some, as a text.
              if (const auto number = node.value<double>(); !read.has_value() && number.has_value()) {
                read = absl::StrCat(*number);
              }
            }
            if (read.has_value() && IsUnset(*options, member)) value = *read;
            return read.has_value();
          }
        },
        entry->member);
    if (!fits) return absl::InvalidArgumentError(absl::StrCat(line(), "`", name, "` has a value of another kind"));
  }
  return absl::OkStatus();
}

std::string WriteJobFile(const CommandOptions& options) {
  toml::table table;
  table.insert("format", kJobFileFormat);
  for (const OptionEntry& entry : Entries()) {
    if (!entry.in_job_file) continue;
    std::visit(
        [&](auto member) {
          const auto& value = options.*member;
          using T = std::decay_t<decltype(value)>;
          if (IsUnset(options, member)) return;
          if constexpr (std::is_same_v<T, std::vector<std::string>>) {
            toml::array list;
            for (const std::string& item : value) list.push_back(item);
            table.insert(entry.name, std::move(list));
          } else if constexpr (std::is_same_v<T, int>) {
            table.insert(entry.name, int64_t{value});
          } else {
            table.insert(entry.name, value);
          }
        },
        entry.member);
  }
  std::ostringstream out;
  out << "# What this job was asked to do; run it again with: reembed run THIS_FILE --job THIS_FOLDER\n"
      << table << "\n";
  return out.str();
}

}  // namespace reembed
