// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_vector.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/number/normalize.h"
#include "engine/number/number_array.h"
#include "engine/number/small_float.h"
#include "engine/status_macros.h"
#include "engine/vector_sink.h"

namespace reembed {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are swapped for the wire");

constexpr int kMaxNumberBytes = 16;  // of the shortest text that reads back as the same float
// pgvector's own limits: https://github.com/pgvector/pgvector, README, "Reference".
constexpr int kMaxVectorDim = 16000;

void AppendInt16(int number, std::string* out) {
  out->push_back(static_cast<char>(number >> 8));
  out->push_back(static_cast<char>(number));
}

uint32_t ReadBigEndian(const char* bytes, int size) {
  uint32_t number = 0;
  for (int i = 0; i < size; ++i) number = (number << 8) | static_cast<unsigned char>(bytes[i]);
  return number;
}

void AppendJson(absl::Span<const float> vector, std::string* out) {
  out->push_back('[');
  char text[kMaxNumberBytes];
  for (size_t i = 0; i < vector.size(); ++i) {
    if (i > 0) out->push_back(',');
    out->append(text, std::to_chars(text, text + kMaxNumberBytes, vector[i]).ptr);
  }
  out->push_back(']');
}

std::string ExtensionType(const PostgresTable& table, absl::string_view name) {
  return absl::StrCat(QuotePostgresName(table.extension_schema), ".", QuotePostgresName(name));
}

// What a column of this type holds when nobody says; false: no vectors.
bool FormOf(const std::string& base_type, PostgresForm* form) {
  if (base_type == "vector") {
    *form = PostgresForm::kVector;
  } else if (base_type == "halfvec") {
    *form = PostgresForm::kHalfvec;
  } else if (base_type == "bit") {
    *form = PostgresForm::kBit;
  } else if (base_type == "text" || base_type == "varchar" || base_type == "json" || base_type == "jsonb") {
    *form = PostgresForm::kJson;
  } else if (base_type == "bytea") {
    *form = PostgresForm::kBytes;
  } else {
    return false;
  }
  return true;
}

PostgresForm FormNamed(absl::string_view type) {
  if (type == "halfvec") return PostgresForm::kHalfvec;
  if (type == "bit") return PostgresForm::kBit;
  if (type == "json") return PostgresForm::kJson;
  return type == "bytea" ? PostgresForm::kBytes : PostgresForm::kVector;
}

// What a new column for this form is.
void PlanColumn(const PostgresTable& table, int dim, PostgresVectorColumn* column) {
  switch (column->form) {
    case PostgresForm::kVector:
    case PostgresForm::kHalfvec:
      column->base_type = column->form == PostgresForm::kVector ? "vector" : "halfvec";
      column->type = absl::StrCat(ExtensionType(table, column->base_type), "(", dim, ")");
      column->dim = dim;
      return;
    case PostgresForm::kBit:
      column->base_type = "bit";
      column->type = absl::StrCat("bit(", dim, ")");
      column->dim = dim;
      return;
    case PostgresForm::kJson:
      column->base_type = column->type = "jsonb";
      return;
    case PostgresForm::kBytes:
      column->base_type = column->type = "bytea";
      return;
  }
}

absl::Status CheckExtension(const PostgresTable& table, const PostgresVectorColumn& column, int dim) {
  if (column.form != PostgresForm::kVector && column.form != PostgresForm::kHalfvec) return absl::OkStatus();
  if (table.extension_schema.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(table.database,
                     ": the extension pgvector is not installed in this database; run CREATE EXTENSION "
                     "vector, or store vectors otherwise with type=json or type=bytea"));
  }
  if (dim <= kMaxVectorDim) return absl::OkStatus();
  return absl::FailedPreconditionError(
      table.Message(absl::StrCat("a column of type ", column.base_type, " holds at most ", kMaxVectorDim,
                                 " numbers, and this model makes ", dim)));
}

absl::Status CheckColumnWidth(const PostgresTable& table, const PostgresLocation& asked,
                              const PostgresVectorColumn& column, int dim) {
  if (column.dim == 0 || column.dim == dim) return absl::OkStatus();
  const std::string type = column.form == PostgresForm::kBit
                               ? absl::StrCat("bit(", dim, ")")
                               : absl::StrCat(ExtensionType(table, column.base_type), "(", dim, ")");
  return OtherWidthError(
      table.Message(absl::StrCat("column `", column.name, "` of type ", column.type)), column.dim, dim,
      absl::StrCat("add &new_column=", asked.vector, "_", dim,
                   " to fill a new column and swap the names at the end, or give the old vectors up: ALTER TABLE ",
                   table.Sql(), " ALTER COLUMN ", QuotePostgresName(column.name), " TYPE ", type, " USING NULL"));
}

}  // namespace

absl::StatusOr<PostgresVectorColumn> ResolvePostgresVector(const PostgresTable& table, const PostgresLocation& asked,
                                                           const std::string& name, int dim) {
  PostgresVectorColumn column{.name = name, .form = FormNamed(asked.type)};
  if (const PostgresTable::Column* there = table.Find(name)) {
    column.exists = true;
    column.base_type = there->base_type;
    column.type = there->type;
    const std::string where = absl::StrCat("column `", name, "`");
    if (name == table.key) {
      return absl::InvalidArgumentError(table.Message(absl::StrCat(where, " is the key; name another column to fill")));
    }
    PostgresForm suggested;
    if (!FormOf(there->base_type, &suggested)) {
      return absl::FailedPreconditionError(table.Message(absl::StrCat(
          where, " is of type ", there->type, "; expected vector, halfvec, bit, text, json, jsonb or bytea")));
    }
    if (asked.type.empty()) column.form = suggested;
    if (asked.encoding == "json" && column.form == PostgresForm::kBytes) column.form = PostgresForm::kJson;
    const bool fits = column.form == suggested || (column.form == PostgresForm::kJson && there->base_type == "bytea");
    if (!fits) {
      return absl::InvalidArgumentError(table.Message(
          absl::StrCat(where, " is of type ", there->type, ", which does not go with type=", asked.type)));
    }
    // A modifier of -1 says that any width may come; bit without one is bit(1).
    if (column.form <= PostgresForm::kBit) column.dim = std::max(0, there->modifier);
  } else {
    PlanColumn(table, dim, &column);
  }
  if (dim > 0) {
    ABSL_RETURN_IF_ERROR(CheckExtension(table, column, dim));
    ABSL_RETURN_IF_ERROR(CheckColumnWidth(table, asked, column, dim));
  }
  switch (column.form) {
    case PostgresForm::kVector:
    case PostgresForm::kHalfvec:
      column.wire_type = ExtensionType(table, column.base_type);
      break;
    case PostgresForm::kBit:
      // An array of bit without a width would cut every element to one bit.
      column.wire_type = "pg_catalog.varbit";
      column.cast = absl::StrCat("::bit(", dim, ")");
      break;
    case PostgresForm::kJson:
      column.wire_type = column.base_type == "bytea" ? "pg_catalog.bytea" : "pg_catalog.text";
      if (column.base_type == "json" || column.base_type == "jsonb") column.cast = "::" + column.base_type;
      break;
    case PostgresForm::kBytes:
      column.wire_type = "pg_catalog.bytea";
      break;
  }
  return column;
}

std::string PostgresWidthSql(const PostgresTable& table, const PostgresVectorColumn& column) {
  const std::string name = QuotePostgresName(column.name);
  switch (column.form) {
    case PostgresForm::kVector:
    case PostgresForm::kHalfvec:
      // The type knows: no need to fetch the vector.
      if (column.dim > 0) return absl::StrCat("CASE WHEN ", name, " IS NOT NULL THEN ", column.dim, " END");
      return absl::StrCat(QuotePostgresName(table.extension_schema), ".vector_dims(", name, ")");
    case PostgresForm::kBit:
      return absl::StrCat("pg_catalog.length(", name, ")");
    case PostgresForm::kBytes:
      return absl::StrCat("CASE WHEN octet_length(", name, ") % 4 = 0 THEN octet_length(", name, ") / 4 ELSE ",
                          "CASE WHEN ", name, " IS NOT NULL THEN -1 END END");
    case PostgresForm::kJson:
      break;
  }
  const bool bytes = column.base_type == "bytea";
  const std::string text = bytes ? absl::StrCat("encode(", name, ", 'escape')") : name + "::text";
  const std::string trimmed = absl::StrCat("btrim(", text, ", E' \\n\\r\\t')");
  // Bare numbers between commas are read too, by their ends: a pattern over all of a cell is slow.
  const std::string is_list = bytes ? absl::StrCat(" NOT LIKE '[%]' AND (left(", trimmed, ", 1) !~ '[-0-9]' OR right(",
                                                   trimmed, ", 1) !~ '[0-9.]')")
                                    : " NOT LIKE '[%]'";
  // Counts commas: nothing in PostgreSQL 15 looks at a text as JSON without an error when it is none. Elements that are
  // no numbers are found by a letter: null and true, texts, Python's NaN. To print a jsonb is slow, so it is asked.
  const std::string odd = column.base_type == "jsonb"
                              ? absl::StrCat(" OR jsonb_path_exists(", name, ", '$[*] ? (@.type() <> \"number\")')")
                              : absl::StrCat(" OR strpos(", text, ", 'u') > 0 OR strpos(", text,
                                             ", 'N') > 0 OR strpos(", text, ", '\"') > 0");
  return absl::StrCat("CASE WHEN ", name, " IS NULL THEN NULL WHEN ", trimmed, is_list, odd, " THEN -1 WHEN ", trimmed,
                      " = '[]' THEN 0 ELSE length(", text, ") - length(replace(", text, ", ',', '')) + 1 END");
}

std::string PostgresHasVectorSql(const PostgresTable& table, const PostgresVectorColumn& column, int dim) {
  if (column.dim > 0 && column.form != PostgresForm::kBit) {
    return column.dim == dim ? absl::StrCat("(", QuotePostgresName(column.name), " IS NOT NULL)") : "false";
  }
  return absl::StrCat("coalesce(", PostgresWidthSql(table, column), " = ", dim, ", false)");
}

std::string PostgresResultSql(const PostgresVectorColumn& column) {
  const bool as_text = column.form == PostgresForm::kJson && column.base_type != "bytea";
  return absl::StrCat(QuotePostgresName(column.name), as_text ? "::text" : "");
}

bool AppendPostgresVector(PostgresForm form, absl::Span<const float> vector, std::string* out) {
  const size_t begin = out->size();
  const int dim = static_cast<int>(vector.size());
  AppendInt32(0, out);  // the length, known at the end
  switch (form) {
    case PostgresForm::kVector: {
      AppendInt16(dim, out);
      AppendInt16(0, out);
      const size_t at = out->size();
      out->resize(at + vector.size() * sizeof(float));
      char* to = out->data() + at;
      for (const float number : vector) {
        const uint32_t swapped = __builtin_bswap32(std::bit_cast<uint32_t>(number));
        std::memcpy(to, &swapped, sizeof(swapped));
        to += sizeof(swapped);
      }
      break;
    }
    case PostgresForm::kHalfvec:
      AppendInt16(dim, out);
      AppendInt16(0, out);
      for (const float number : vector) {
        const uint16_t half = HalfFromFloat(number);
        if ((half & 0x7fff) >= 0x7c00) {
          out->resize(begin);
          return false;
        }
        AppendInt16(half, out);
      }
      break;
    case PostgresForm::kBit: {
      AppendInt32(dim, out);
      const size_t at = out->size();
      out->resize(at + (vector.size() + 7) / 8, '\0');
      for (size_t i = 0; i < vector.size(); ++i) {
        char& bits = (*out)[at + i / 8];
        if (vector[i] > 0) bits = static_cast<char>(bits | 0x80 >> (i % 8));
      }
      break;
    }
    case PostgresForm::kJson:
      AppendJson(vector, out);
      break;
    case PostgresForm::kBytes:
      out->append(reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float));
      break;
  }
  std::string length;
  AppendInt32(static_cast<int32_t>(out->size() - begin - sizeof(int32_t)), &length);
  out->replace(begin, length.size(), length);
  return true;
}

namespace {

int64_t StoreCell(PostgresForm form, absl::string_view cell, absl::Span<float> out) {
  switch (form) {
    case PostgresForm::kVector:
    case PostgresForm::kHalfvec: {
      const size_t bytes = form == PostgresForm::kVector ? sizeof(uint32_t) : sizeof(uint16_t);
      if (cell.size() < 4) return -1;
      const size_t dim = ReadBigEndian(cell.data(), 2);
      if (cell.size() != 4 + dim * bytes) return -1;
      const char* const numbers = cell.data() + 4;
      const size_t stored = std::min(dim, out.size());
      if (form == PostgresForm::kVector) {
        for (size_t i = 0; i < stored; ++i) {
          uint32_t bits;
          std::memcpy(&bits, numbers + i * sizeof(bits), sizeof(bits));
          out[i] = std::bit_cast<float>(__builtin_bswap32(bits));
        }
      } else {
        for (size_t i = 0; i < stored; ++i) {
          out[i] = FloatFromHalf(static_cast<uint16_t>(ReadBigEndian(numbers + i * bytes, 2)));
        }
      }
      return static_cast<int64_t>(dim);
    }
    case PostgresForm::kBit: {
      if (cell.size() < 4) return -1;
      const size_t dim = ReadBigEndian(cell.data(), 4);
      if (cell.size() != 4 + (dim + 7) / 8) return -1;
      for (size_t i = 0; i < std::min(dim, out.size()); ++i) {
        out[i] = (cell[4 + i / 8] & (0x80 >> (i % 8))) != 0 ? 1.0f : 0.0f;
      }
      return static_cast<int64_t>(dim);
    }
    case PostgresForm::kJson: {
      const absl::string_view text = absl::StripAsciiWhitespace(cell);
      const bool bare = !text.empty() && (text[0] == '-' || absl::ascii_isdigit(static_cast<unsigned char>(text[0])));
      const std::optional<int> dim =
          bare ? ParseNumberArray(absl::StrCat("[", text, "]"), out) : ParseNumberArray(cell, out);
      return dim.has_value() ? *dim : -1;
    }
    case PostgresForm::kBytes:
      if (cell.size() % sizeof(float) != 0) return -1;
      if (!cell.empty() && !out.empty()) {
        std::memcpy(out.data(), cell.data(), std::min(cell.size(), out.size() * sizeof(float)));
      }
      return static_cast<int64_t>(cell.size() / sizeof(float));
  }
  return -1;
}

}  // namespace

int64_t DecodePostgresVector(PostgresForm form, absl::string_view cell, absl::Span<float> out) {
  const int64_t dim = StoreCell(form, cell, out);
  if (dim <= 0 || out.empty()) return dim;
  const absl::Span<const float> stored = out.subspan(0, static_cast<size_t>(dim));
  return CheckVector(stored) == VectorFault::kNotFinite ? -1 : dim;
}

void RoundLikePostgres(const PostgresVectorColumn& column, absl::Span<float> vector) {
  for (float& number : vector) {
    if (column.form == PostgresForm::kHalfvec) number = FloatFromHalf(HalfFromFloat(number));
    if (column.form == PostgresForm::kBit) number = number > 0 ? 1.0f : 0.0f;
    if (column.base_type == "jsonb" && number == 0) number = 0;
  }
}

std::string PostgresArrayHead(int32_t element_oid, size_t elements) {
  std::string head;
  for (const int32_t word : {1, 0, element_oid, static_cast<int32_t>(elements), 1}) AppendInt32(word, &head);
  return head;
}

std::string PostgresKeyArrayHead(const PostgresTable& table, size_t keys) {
  return PostgresArrayHead(table.key_kind == PostgresTable::KeyKind::kInteger ? kPostgresInt8Oid : kPostgresTextOid,
                           keys);
}

void AppendPostgresKey(const PostgresTable& table, const std::string& key, std::string* out) {
  int64_t number;
  if (table.key_kind == PostgresTable::KeyKind::kInteger && absl::SimpleAtoi(key, &number)) {
    AppendInt32(sizeof(number), out);
    AppendInt64(number, out);
    return;
  }
  AppendInt32(static_cast<int32_t>(key.size()), out);
  out->append(key);
}

void AppendInt32(int32_t number, std::string* out) {
  const uint32_t swapped = __builtin_bswap32(static_cast<uint32_t>(number));
  out->append(reinterpret_cast<const char*>(&swapped), sizeof(swapped));
}

uint32_t ReadInt32(absl::string_view bytes) { return ReadBigEndian(bytes.data(), 4); }

void AppendInt64(int64_t number, std::string* out) {
  const uint64_t swapped = __builtin_bswap64(static_cast<uint64_t>(number));
  out->append(reinterpret_cast<const char*>(&swapped), sizeof(swapped));
}

}  // namespace reembed
