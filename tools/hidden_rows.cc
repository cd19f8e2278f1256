// SPDX-License-Identifier: Apache-2.0
#include "tools/hidden_rows.h"

#include "absl/strings/string_view.h"
#include "engine/status_macros.h"
#include "io/store/postgres/postgres_security.h"

namespace reembed {
namespace {

absl::StatusOr<HiddenRows> FindInPostgres(const Location& place) {
  ABSL_ASSIGN_OR_RETURN(const PostgresRowSecurity security, LookUpPostgresRowSecurity(place));
  return HiddenRows{.may_be = security.is_active, .known = security.is_active ? security.rows_known : -1};
}

// Schemes of places that can hide rows.
constexpr struct {
  absl::string_view scheme;
  absl::StatusOr<HiddenRows> (*find)(const Location& place);
} kHiders[] = {{"postgres", FindInPostgres}, {"postgresql", FindInPostgres}};

}  // namespace

absl::StatusOr<HiddenRows> FindHiddenRows(const Location& place) {
  for (const auto& [scheme, find] : kHiders) {
    if (place.scheme == scheme) return find(place);
  }
  return HiddenRows();
}

}  // namespace reembed
