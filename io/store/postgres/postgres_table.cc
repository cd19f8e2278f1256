// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_table.h"

#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "engine/setting.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr std::array<absl::string_view, 20> kParameters = {
    "table", "schema", "key",    "text",     "template",    "vector",     "model_column",
    "type",  "where",  "needed", "encoding", "mode",        "new_column", "triggers",
    "index", "metric", "origin", "fields",   "schema_file", "dim"};
constexpr absl::string_view kSet = "set.";  // and the name of a column
constexpr size_t kMaxNamesShown = 20;

std::string Suggestion(absl::string_view word, const std::vector<std::string>& names) {
  if (const std::string near = NearestName(word, names); !near.empty()) {
    return absl::StrCat("; did you mean `", near, "`?");
  }
  if (names.empty()) return "; there is none";
  const absl::Span<const std::string> shown = absl::MakeConstSpan(names).subspan(0, kMaxNamesShown);
  return absl::StrCat("; there are: ", absl::StrJoin(shown, ", "), shown.size() < names.size() ? ", ..." : "");
}

std::string PercentEncode(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    if (absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.' || c == '/') {
      out.push_back(c);
    } else {
      absl::StrAppendFormat(&out, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  return out;
}

// The location's path and libpq's own parameters, taken apart by libpq.
absl::StatusOr<PostgresAddress> ParseAddress(const Location& location) {
  PostgresAddress address{.name = absl::StrCat(location.scheme, ":", location.path), .answered = location.answered};
  std::string uri = absl::StrCat("postgresql:", location.path);
  char separator = '?';
  for (const auto& [name, value] : location.parameters) {
    if (std::find(kParameters.begin(), kParameters.end(), name) != kParameters.end()) continue;
    if (absl::StartsWith(name, kSet)) continue;
    absl::StrAppend(&uri, std::string(1, separator), PercentEncode(name), "=", PercentEncode(value));
    separator = '&';
  }
  char* words = nullptr;
  PQconninfoOption* const options = PQconninfoParse(uri.c_str(), &words);
  if (options == nullptr) {
    const std::string message = words == nullptr ? "" : std::string(absl::StripAsciiWhitespace(words));
    PQfreemem(words);
    return absl::InvalidArgumentError(
        absl::StrCat(address.name, ": ", message, "; expected postgres://user@host:port/database?table=NAME"));
  }
  bool secret = false;
  for (const PQconninfoOption* option = options; option->keyword != nullptr; ++option) {
    if (option->val == nullptr) continue;
    secret = secret || absl::StrContains(option->keyword, "password");
    address.keywords.emplace_back(option->keyword, option->val);
  }
  PQconninfoFree(options);
  if (!location.secret.empty()) address.keywords.emplace_back("password", location.secret);
  if (secret) {
    return WithSetting(absl::InvalidArgumentError(absl::StrCat(
                           location.scheme,
                           ": the address holds a password, and addresses are written down; leave it out and set "
                           "PGPASSWORD, name another variable, or write a line into ~/.pgpass")),
                       Setting::kDatabasePassword);
  }
  return address;
}

absl::Status CheckKnownParameters(const Location& location) {
  std::vector<std::string> known(kParameters.begin(), kParameters.end());
  PQconninfoOption* const options = PQconndefaults();
  for (const PQconninfoOption* option = options; option != nullptr && option->keyword != nullptr; ++option) {
    known.emplace_back(option->keyword);
  }
  PQconninfoFree(options);
  for (const auto& [name, value] : location.parameters) {
    if (absl::StartsWith(name, kSet)) known.push_back(name);
  }
  return location.CheckParameters(std::vector<absl::string_view>(known.begin(), known.end()));
}

absl::Status CheckWord(const Location& location, absl::string_view parameter, std::vector<std::string> words) {
  const std::string word = location.Get(parameter);
  if (word.empty() || std::find(words.begin(), words.end(), word) != words.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(location.scheme, ":", location.path, ": ", parameter, "=", word,
                                                 ": expected ", absl::StrJoin(words, ", ")));
}

absl::Status FindTable(PostgresConnection* connection, const PostgresLocation& asked, PostgresTable* table,
                       std::string* oid) {
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows found,
      connection->Query(
          // A unique index says nothing of the tables that inherit from its own.
          "SELECT c.oid, n.nspname, c.relname, c.relkind = 'p' OR c.relkind = 'r' AND NOT EXISTS (SELECT 1 FROM "
          "pg_catalog.pg_inherits i WHERE i.inhparent = c.oid), c.relkind IN ('r', 'p', 'f'), "
          "CASE WHEN $2 = '' THEN pg_catalog.pg_table_is_visible(c.oid) ELSE n.nspname = $2 END AS here "
          "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
          "WHERE c.relname = $1 AND c.relkind IN ('r', 'p', 'f', 'v', 'm') ORDER BY here DESC",
          {PostgresValue::Text(asked.table), PostgresValue::Text(asked.schema)}));
  if (found.size() > 0 && found.Bool(0, 5)) {
    *oid = found.Text(0, 0);
    table->schema = found.Text(0, 1);
    table->name = found.Text(0, 2);
    table->is_table = found.Bool(0, 4);
    table->key_may_repeat = !found.Bool(0, 3);
    return absl::OkStatus();
  }
  const std::string what = absl::StrCat(table->database, ": no table `",
                                        asked.schema.empty() ? "" : absl::StrCat(asked.schema, "."), asked.table, "`");
  if (found.size() > 0) {
    return absl::NotFoundError(
        absl::StrCat(what, "; there is one in the schema ", found.Text(0, 1), ": add &schema=", found.Text(0, 1)));
  }
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows others,
      connection->Query(
          "SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
          "WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' "
          "ORDER BY 1 LIMIT 1000"));
  std::vector<std::string> names;
  names.reserve(others.size());
  for (int row = 0; row < others.size(); ++row) names.push_back(others.Text(row, 0));
  return absl::NotFoundError(absl::StrCat(what, Suggestion(asked.table, names)));
}

absl::Status ReadColumns(PostgresConnection* connection, const std::string& oid, PostgresTable* table) {
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows list,
      connection->Query(
          // A domain has the numbers of its own definition, and the column none.
          "WITH RECURSIVE types(attnum, oid, modifier) AS (SELECT attnum, atttypid, atttypmod FROM "
          "pg_catalog.pg_attribute "
          "WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped UNION ALL SELECT b.attnum, t.typbasetype, "
          "t.typtypmod FROM types b JOIN pg_catalog.pg_type t ON t.oid = b.oid WHERE t.typtype = 'd') "
          "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), t.typname, b.modifier, a.attnotnull, "
          "a.attgenerated <> '' OR a.attidentity = 'a', pg_catalog.col_description(a.attrelid, a.attnum) "
          "FROM pg_catalog.pg_attribute a JOIN types b ON b.attnum = a.attnum JOIN pg_catalog.pg_type t ON t.oid = "
          "b.oid "
          "WHERE a.attrelid = $1::oid AND t.typtype <> 'd' ORDER BY a.attnum",
          {PostgresValue::Text(oid)}));
  for (int row = 0; row < list.size(); ++row) {
    table->columns.push_back({.name = list.Text(row, 0),
                              .type = list.Text(row, 1),
                              .base_type = list.Text(row, 2),
                              .modifier = static_cast<int>(list.Int(row, 3)),
                              .not_null = list.Bool(row, 4),
                              .generated = list.Bool(row, 5),
                              .comment = list.Text(row, 6)});
  }
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows extension,
      connection->Query(
          "SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace "
          "WHERE e.extname = 'vector'"));
  if (extension.size() > 0) table->extension_schema = extension.Text(0, 0);
  return absl::OkStatus();
}

// What to do where no single column names a row.
std::string NoSingleKey(const PostgresRows& primary, const PostgresTable& table) {
  std::vector<std::string> columns;
  columns.reserve(primary.size());
  for (int row = 0; row < primary.size(); ++row) columns.push_back(primary.Text(row, 0));
  return absl::StrCat(
      columns.empty()
          ? "has no primary key"
          : absl::StrCat("has a primary key of ", columns.size(), " columns (", absl::StrJoin(columns, ", "), ")"),
      ", and one column must name a row: name another unique column with key=, or give it one: ALTER TABLE ",
      table.Sql(), " ADD COLUMN row_id bigint GENERATED ALWAYS AS IDENTITY UNIQUE, and say key=row_id. Of a ",
      "partitioned table, whose unique indexes have its partition key, name each partition with table= instead");
}

absl::Status ChooseKey(PostgresConnection* connection, const PostgresLocation& asked, const std::string& oid,
                       PostgresTable* table) {
  std::string name = asked.key;
  if (name.empty()) {
    ABSL_ASSIGN_OR_RETURN(
        const PostgresRows primary,
        connection->Query(
            "SELECT a.attname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND "
            "a.attnum = ANY (i.indkey) WHERE i.indrelid = $1::oid AND i.indisprimary",
            {PostgresValue::Text(oid)}));
    if (primary.size() != 1) return absl::InvalidArgumentError(table->Message(NoSingleKey(primary, *table)));
    name = primary.Text(0, 0);
  }
  ABSL_ASSIGN_OR_RETURN(const std::string column_name, ResolvePostgresColumn(*table, "key", name));
  const PostgresTable::Column& column = *table->Find(column_name);
  table->key = column.name;
  table->key_may_be_null = !column.not_null;
  if (column.base_type == "int8" || column.base_type == "int4" || column.base_type == "int2") {
    table->key_bytes = column.base_type[3] - '0';
  } else if (column.base_type == "uuid") {
    table->key_kind = PostgresTable::KeyKind::kUuid;
  } else if (column.base_type == "text" || column.base_type == "varchar" || column.base_type == "bpchar" ||
             column.base_type == "citext") {
    table->key_kind = PostgresTable::KeyKind::kText;
  } else {
    return absl::InvalidArgumentError(table->Message(absl::StrCat("key `", column.name, "` is of type ", column.type,
                                                                  "; expected an integer, text or uuid column")));
  }
  if (table->key_may_repeat) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(const PostgresRows unique,
                        connection->Query("SELECT 1 FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON "
                                          "a.attrelid = i.indrelid AND a.attnum = "
                                          "i.indkey[0] WHERE i.indrelid = $1::oid AND i.indisunique AND i.indisvalid "
                                          "AND i.indimmediate AND i.indnkeyatts "
                                          "= 1 AND i.indpred IS NULL AND i.indexprs IS NULL AND a.attname = $2",
                                          {PostgresValue::Text(oid), PostgresValue::Text(table->key)}));
  if (unique.size() > 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      table->Message(absl::StrCat("key `", table->key,
                                  "` has no unique index, so it may name several rows; name a column that has one, or "
                                  "CREATE UNIQUE INDEX ON ",
                                  table->Sql(), " (", table->KeySql(),
                                  "), on each partition where the table is partitioned, and name those with table=")));
}

bool IsUuid(absl::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
    if (hyphen ? text[i] != '-' : !absl::ascii_isxdigit(text[i])) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<PostgresLocation> ParsePostgresLocation(const Location& location) {
  if (location.scheme != "postgres" && location.scheme != "postgresql") {
    return absl::InvalidArgumentError("expected postgres://user@host:port/database?table=NAME");
  }
  absl::StatusOr<PostgresAddress> address = ParseAddress(location);
  ABSL_RETURN_IF_ERROR(CheckKnownParameters(location));
  ABSL_RETURN_IF_ERROR(address.status());
  for (const auto& [parameter, words] :
       {std::pair<absl::string_view, std::vector<std::string>>{"mode", {"update", "upsert", "insert"}},
        {"triggers", {"fire", "skip", "auto"}},
        {"encoding", {"f32", "json"}},
        {"index", {"none", "hnsw", "ivfflat", "rebuild"}},
        {"metric", {"cosine", "l2", "ip"}},
        {"type", {"vector", "halfvec", "bit", "json", "bytea", "float32", "float16", "binary"}}}) {
    ABSL_RETURN_IF_ERROR(CheckWord(location, parameter, words));
  }
  PostgresLocation asked{.address = *std::move(address),
                         .table = location.Get("table"),
                         .schema = location.Get("schema"),
                         .key = location.Get("key"),
                         .text = location.Get("text"),
                         .text_template = location.Get("template"),
                         .vector = location.Get("vector"),
                         .model_column = location.Get("model_column"),
                         .type = location.Get("type"),
                         .encoding = location.Get("encoding"),
                         .where = location.Get("where"),
                         .needed = location.Get("needed"),
                         .new_column = location.Get("new_column"),
                         .index = location.Get("index", "none"),
                         .metric = location.Get("metric", "cosine")};
  // The words of all kinds for what is pgvector's own.
  if (asked.type == "float32") asked.type = "vector";
  if (asked.type == "float16") asked.type = "halfvec";
  if (asked.type == "binary") asked.type = "bit";
  asked.origin = location.Get("origin");
  asked.schema_file = location.Get("schema_file");
  asked.fields = absl::StrSplit(location.Get("fields"), ',', absl::SkipEmpty());
  for (const auto& [name, value] : location.parameters) {
    if (absl::StartsWith(name, kSet)) asked.sets[name.substr(kSet.size())] = value;
  }
  const std::string mode = location.Get("mode");
  asked.mode = mode == "upsert"   ? PostgresLocation::Mode::kUpsert
               : mode == "insert" ? PostgresLocation::Mode::kInsert
                                  : PostgresLocation::Mode::kUpdate;
  const std::string triggers = location.Get("triggers");
  asked.triggers = triggers == "skip"   ? PostgresLocation::Triggers::kSkip
                   : triggers == "auto" ? PostgresLocation::Triggers::kAuto
                                        : PostgresLocation::Triggers::kFire;
  if (asked.table.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(asked.address.name, ": no table; add ?table=NAME"));
  }
  return asked;
}

const PostgresTable::Column* PostgresTable::Find(absl::string_view column) const {
  const auto found = std::find_if(columns.begin(), columns.end(), [&](const Column& c) { return c.name == column; });
  return found == columns.end() ? nullptr : &*found;
}

std::string PostgresTable::Sql() const {
  if (!rows_sql.empty()) return rows_sql;
  return absl::StrCat(QuotePostgresName(schema), ".", QuotePostgresName(name));
}

std::string PostgresTable::KeySql() const { return QuotePostgresName(key); }

std::string PostgresTable::KeyResultSql() const {
  return absl::StrCat(KeySql(), key_kind == KeyKind::kInteger ? "::int8" : "::text");
}

std::string PostgresTable::KeysSql() const {
  return absl::StrCat("$1::pg_catalog.", key_kind == KeyKind::kInteger ? "int8" : "text", "[]");
}

std::string PostgresTable::KeyOfSql(absl::string_view element) const {
  const Column& column = *Find(key);
  const bool as_is = key_kind == KeyKind::kInteger || column.base_type == "text" || column.base_type == "varchar";
  return absl::StrCat(element, as_is ? "" : absl::StrCat("::", column.type));
}

std::string PostgresTable::Message(absl::string_view what) const {
  return absl::StrCat(database, ": table `", name, "`: ", what);
}

absl::StatusOr<PostgresTable> ResolvePostgresTable(PostgresConnection* connection, const PostgresLocation& asked) {
  PostgresTable table{.database = connection->name()};
  std::string oid;
  ABSL_RETURN_IF_ERROR(FindTable(connection, asked, &table, &oid));
  ABSL_RETURN_IF_ERROR(ReadColumns(connection, oid, &table));
  ABSL_RETURN_IF_ERROR(ChooseKey(connection, asked, oid, &table));
  return table;
}

absl::StatusOr<std::string> ResolvePostgresColumn(const PostgresTable& table, absl::string_view parameter,
                                                  absl::string_view column) {
  if (const PostgresTable::Column* found = table.Find(column)) return found->name;
  std::vector<std::string> names;
  for (const PostgresTable::Column& c : table.columns) names.push_back(c.name);
  return absl::NotFoundError(
      table.Message(absl::StrCat("no column `", column, "` for ", parameter, "=", Suggestion(column, names))));
}

absl::Status CheckPostgresRight(PostgresConnection* connection, const PostgresTable& table, absl::string_view right,
                                absl::string_view column) {
  ABSL_ASSIGN_OR_RETURN(const PostgresRows may,
                        connection->Query("SELECT pg_catalog.has_column_privilege($1, $2, $3), current_user",
                                          {PostgresValue::Text(table.Sql()), PostgresValue::Text(std::string(column)),
                                           PostgresValue::Text(std::string(right))}));
  if (may.Bool(0, 0)) return absl::OkStatus();
  return absl::PermissionDeniedError(
      table.Message(absl::StrCat("the user ", may.Text(0, 1), " may not ", right, " column `", column, "`; GRANT ",
                                 right, " ON ", table.Sql(), " TO ", QuotePostgresName(may.Text(0, 1)))));
}

absl::StatusOr<PostgresRowSecurity> FindPostgresRowSecurity(PostgresConnection* connection,
                                                            const PostgresTable& table) {
  PostgresRowSecurity security;
  if (!table.is_table || !table.rows_sql.empty()) return security;
  ABSL_ASSIGN_OR_RETURN(const PostgresRows found,
                        connection->Query("SELECT pg_catalog.row_security_active($1::regclass::oid), (SELECT "
                                          "sum(greatest(c.reltuples, pg_catalog.pg_stat_get_live_tuples(c.oid), "
                                          "0))::int8 FROM pg_catalog.pg_class c WHERE "
                                          "c.relkind <> 'p' AND (c.oid = $1::regclass OR c.oid IN (SELECT relid FROM "
                                          "pg_catalog.pg_partition_tree($1::regclass))))",
                                          {PostgresValue::Text(table.Sql())}));
  security.is_active = found.Bool(0, 0);
  if (found.Int(0, 1) > 0) security.rows_known = found.Int(0, 1);
  return security;
}

absl::Status CheckPostgresWhere(PostgresConnection* connection, const PostgresTable& table, absl::string_view where) {
  if (where.empty()) return absl::OkStatus();
  const absl::StatusOr<PostgresRows> tried =
      connection->Query(absl::StrCat("SELECT 1 FROM ", table.Sql(), " WHERE ", PostgresWhereSql(where), " LIMIT 0"));
  if (tried.ok() || absl::IsUnavailable(tried.status())) return tried.status();
  return absl::InvalidArgumentError(absl::StrCat(tried.status().message(), " in where=", where));
}

// A comment at the end of `where` must not swallow the parenthesis.
std::string PostgresWhereSql(absl::string_view where) {
  return where.empty() ? "true" : absl::StrCat("(", where, "\n)");
}

absl::Status CheckPostgresKeys(PostgresConnection* connection, const PostgresTable& table, absl::string_view where) {
  if (table.key_may_be_null) {
    ABSL_ASSIGN_OR_RETURN(const PostgresRows found,
                          connection->Query(absl::StrCat("SELECT 1 FROM ", table.Sql(), " WHERE ", table.KeySql(),
                                                         " IS NULL AND ", PostgresWhereSql(where), " LIMIT 1")));
    if (found.size() > 0) {
      return absl::FailedPreconditionError(table.Message(absl::StrCat(
          "some rows have no key (`", table.key, "` is NULL); leave them out with where=, or use another column")));
    }
  }
  if (table.key_may_repeat) {
    ABSL_ASSIGN_OR_RETURN(
        const PostgresRows found,
        connection->Query(absl::StrCat("SELECT 1 FROM ", table.Sql(), " WHERE ", PostgresWhereSql(where), " GROUP BY ",
                                       table.KeySql(), " HAVING count(*) > 1 LIMIT 1")));
    if (found.size() > 0) {
      return absl::FailedPreconditionError(
          table.Message(absl::StrCat("several rows have the same key `", table.key, "`; name a unique column")));
    }
  }
  return absl::OkStatus();
}

std::optional<std::string> PostgresKeyText(const PostgresTable& table, KeyView key) {
  const std::string text = KeyText(key);
  if (absl::StrContains(text, '\0')) return std::nullopt;
  switch (table.key_kind) {
    case PostgresTable::KeyKind::kText:
      return text;
    case PostgresTable::KeyKind::kUuid:
      return IsUuid(text) ? std::optional(absl::AsciiStrToLower(text)) : std::nullopt;
    case PostgresTable::KeyKind::kInteger:
      break;
  }
  int64_t number;
  if (!absl::SimpleAtoi(text, &number) || absl::StrCat(number) != text) return std::nullopt;
  const int64_t max = table.key_bytes == 8   ? std::numeric_limits<int64_t>::max()
                      : table.key_bytes == 4 ? std::numeric_limits<int32_t>::max()
                                             : std::numeric_limits<int16_t>::max();
  return number > max || number < -max - 1 ? std::nullopt : std::optional(text);
}

KeyView PostgresKeyOf(const PostgresTable& table, const PostgresRows& row) {
  const absl::string_view bytes = row.Bytes(0, 0);
  if (table.key_kind != PostgresTable::KeyKind::kInteger) return bytes;
  uint64_t number = 0;
  for (const char c : bytes) number = (number << 8) | static_cast<unsigned char>(c);
  return static_cast<int64_t>(number);
}

}  // namespace reembed
