// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_VECTOR_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_VECTOR_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "io/store/postgres/postgres_table.h"

// How a vector lies in one PostgreSQL column, in SQL and on the wire in binary form.
// Sources: pgvector 0.8.0, src/vector.c, halfvec.c, bitvec.c (vector_recv, halfvec_recv, binary_quantize);
// https://www.postgresql.org/docs/15/sql-copy.html, section "Binary Format".
namespace reembed {

enum class PostgresForm {
  kVector,   // pgvector's `vector`: binary32
  kHalfvec,  // pgvector's `halfvec`: binary16, rounded to nearest, ties to even
  kBit,      // `bit(dim)`: one for a number above zero, as pgvector's binary_quantize()
  kJson,     // a JSON array of numbers in a column of type text, varchar, json, jsonb, or as bytes in bytea, where it
             // is also read without its brackets
  kBytes,    // bytea: binary32, little-endian, no header
};

// A column of vectors: one that is there, or one that is to be added.
struct PostgresVectorColumn {
  std::string name;  // not quoted
  bool exists = false;
  PostgresForm form = PostgresForm::kVector;
  int dim = 0;            // the width that the column's type demands; 0: any
  std::string base_type;  // name in pg_type
  std::string type;       // SQL for the column's type
  std::string wire_type;  // SQL for the type in which vectors are sent
  std::string cast;       // SQL behind a value of that type, which makes it one of the column's
};

// The column `name` of the table, or the plan to add it for vectors of `dim` numbers.
// Errors: kFailedPrecondition (a column of another width, that cannot hold vectors or that cannot be filled; the
// extension is missing: says the statement to run); kInvalidArgument (type= does not fit the column).
absl::StatusOr<PostgresVectorColumn> ResolvePostgresVector(const PostgresTable& table, const PostgresLocation& asked,
                                                           const std::string& name, int dim);

// SQL, never NULL: the column holds a vector of `dim` numbers.
std::string PostgresHasVectorSql(const PostgresTable& table, const PostgresVectorColumn& column, int dim);

// SQL: how many numbers the column holds; -1 when that is no vector; NULL for NULL.
std::string PostgresWidthSql(const PostgresTable& table, const PostgresVectorColumn& column);

// SQL: the column as DecodePostgresVector takes it.
std::string PostgresResultSql(const PostgresVectorColumn& column);

// Appends `vector` to *out as one element of an array of wire_type in binary form, length first. false: it has a number
// that the form cannot hold (halfvec ends at 65504); then *out is as before.
[[nodiscard]] bool AppendPostgresVector(PostgresForm form, absl::Span<const float> vector, std::string* out);

// The reverse, of one cell. Stores the first out.size() numbers and returns how many there are; -1: it is no vector.
int64_t DecodePostgresVector(PostgresForm form, absl::string_view cell, absl::Span<float> out);

// What `vector` is after it was stored and read again: the identity but for halfvec, bit, and jsonb, whose numbers know
// no negative zero.
void RoundLikePostgres(const PostgresVectorColumn& column, absl::Span<float> vector);

// The head of an array of `elements` values in binary form; each follows behind its length. Source: array_recv in
// PostgreSQL's arrayfuncs.c.
std::string PostgresArrayHead(int32_t element_oid, size_t elements);
constexpr size_t kPostgresArrayHeadBytes = 20;
// OIDs of pg_catalog that never change: https://github.com/postgres/postgres, src/include/catalog/pg_type.dat.
constexpr int32_t kPostgresInt8Oid = 20;
constexpr int32_t kPostgresTextOid = 25;

// The same for keys of the table: `key` in text form.
std::string PostgresKeyArrayHead(const PostgresTable& table, size_t keys);
void AppendPostgresKey(const PostgresTable& table, const std::string& key, std::string* out);

// Big-endian numbers of the wire.
void AppendInt32(int32_t number, std::string* out);
void AppendInt64(int64_t number, std::string* out);
uint32_t ReadInt32(absl::string_view bytes);  // of the first four

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_VECTOR_H_
