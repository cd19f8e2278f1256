// SPDX-License-Identifier: Apache-2.0
#include "tools/registry.h"

#include <cstdlib>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"
#include "tools/place.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(StoreKindTest, EachNameMeansOneKind) {
  std::set<std::string> names;
  for (const StoreKind* const kind : StoreKinds()) {
    EXPECT_TRUE(names.insert(kind->name).second) << kind->name;
    EXPECT_EQ(FindKind(kind->name), kind) << kind->name;
    EXPECT_TRUE(absl::StartsWith(kind->example, kind->name)) << kind->example;
    EXPECT_FALSE(std::string(kind->title).empty()) << kind->name;
    for (const char* const other : kind->other_names) {
      EXPECT_TRUE(names.insert(other).second) << other;
      EXPECT_EQ(FindKind(other), kind) << other;
    }
  }
  EXPECT_EQ(FindKind("zebra"), nullptr);
  EXPECT_FALSE(StoreOf({.scheme = "zebra"}).is_known());
  EXPECT_EQ(FindKind(""), nullptr);
}

// What belongs together in a row is there together, so that whoever looks at one field may call the other.
TEST(StoreKindTest, NoRowIsHalf) {
  for (const StoreKind* const kind : StoreKinds()) {
    SCOPED_TRACE(kind->name);
    EXPECT_TRUE(kind->open_source != nullptr || kind->make_sink != nullptr || kind->open_reader != nullptr);
    EXPECT_TRUE(kind->changes != nullptr || kind->make_sink == nullptr || !kind->is_table());
    EXPECT_TRUE(kind->open_source != nullptr || !kind->is_table());
    EXPECT_EQ(kind->parts.empty(), kind->join_secrets == nullptr);
    EXPECT_EQ(kind->secret == SecretKind::kNone && kind->parts.empty(), kind->secret_variables.empty());
    EXPECT_EQ(kind->holds_vectors != nullptr, kind->make_own_sink != nullptr);
    EXPECT_EQ(kind->holds_vectors != nullptr, kind->vectors_parameter != nullptr);
    EXPECT_EQ(kind->imports.drop_tables != nullptr, kind->imports.log_dropped != nullptr);
    EXPECT_TRUE(kind->whole_file == nullptr || (kind->is_file && kind->make_sink != nullptr && !kind->is_table()));
    EXPECT_TRUE(kind->make_sink == nullptr || kind->is_stream || kind->open_reader != nullptr);
    const TableCatalog& catalog = kind->catalog;
    EXPECT_EQ(catalog.has_table != nullptr, catalog.vector_columns != nullptr);
    EXPECT_EQ(catalog.has_table != nullptr, catalog.check_value != nullptr);
    EXPECT_TRUE(catalog.look_up == nullptr || catalog.has_table != nullptr);
    const BackupWays& backup = kind->backup;
    EXPECT_EQ(backup.back_up != nullptr, backup.occupant != nullptr);
    EXPECT_EQ(backup.back_up != nullptr, backup.restore != nullptr);
    EXPECT_EQ(backup.back_up != nullptr, backup.example != nullptr);
    EXPECT_EQ(FindBackupKind(kind->name) == kind, backup.back_up != nullptr);
  }
}

TEST(StoreKindTest, APathWithoutASchemeIsGuessedByItsName) {
  const std::pair<const char*, const char*> guesses[] = {
      {"a.npy", "npy:a.npy"},        {"a.FBIN", "fbin:a.FBIN"},    {"a.fvecs", "fvecs:a.fvecs"},
      {"a.index", "faiss:a.index"},  {"a.json", "jsonl:a.json"},   {"a.ndjson", "jsonl:a.ndjson"},
      {"a.h5?x=y", "hdf5:a.h5?x=y"}, {"notes.db", "sqlite:notes"}, {"my.npy.old", "sqlite:my.npy"},
      {"a.faiss", "faiss:a.faiss"}};
  for (const auto& [path, guess] : guesses) {
    EXPECT_THAT(ParsePlace(path, {}, Environment()).status(),
                HasError(absl::StatusCode::kInvalidArgument, HasSubstr(absl::StrCat("did you mean ", guess))));
  }
  // Who does not know the kinds guesses none.
  EXPECT_THAT(ParseLocation("a.npy").status().message(),
              AllOf(HasSubstr("names no kind of store"), Not(HasSubstr("did you mean"))));
}

TEST(StoreKindTest, OnlyAKindWithATokenTakesOneOutOfTheAddress) {
  const absl::StatusOr<Location> server = ParsePlace("libsql://h?authToken=t0ken", {}, Environment());
  ASSERT_THAT(server, IsOk());
  EXPECT_EQ(server->secret, "t0ken");
  EXPECT_EQ(server->ToString(), "libsql://h");
  const absl::StatusOr<Location> file = ParsePlace("sqlite:/a.db?authToken=t0ken", {}, Environment());
  ASSERT_THAT(file, IsOk());
  EXPECT_EQ(file->Get("authToken"), "t0ken");  // which the store refuses by its name
  // Where nobody knows the kind, nothing that looks like a secret is kept in the text.
  EXPECT_EQ(ParseLocation("zebra://h?authToken=t0ken")->ToString(), "zebra://h");
}

TEST(StoreKindTest, APlaceOfSeveralHasTheSecretsOfAll) {
  setenv("FALKORDB_PASSWORD", "of the graph", 1);
  setenv("QDRANT_API_KEY", "of the points", 1);
  const absl::StatusOr<Location> both = ParsePlace("automem://h/g?points=qdrant:http://h/c", {}, Environment());
  const absl::StatusOr<Location> points = ParsePlace("qdrant:http://h/c", {.password = "OTHER"}, Environment());
  unsetenv("FALKORDB_PASSWORD");
  unsetenv("QDRANT_API_KEY");
  EXPECT_EQ(both->secret, "of the graph\nof the points");
  EXPECT_EQ(points->secret, "of the points");  // no flag names its variable
}

TEST(StoreKindTest, FilesInParametersAreAbsolute) {
  const auto get = [](const std::string& uri, const std::string& name) {
    return ParsePlace(uri, {}, Environment())->Get(name);
  };
  EXPECT_EQ(get("sqlite:/a.db?extension=/x/../vec0.so", "extension"), "/vec0.so");
  EXPECT_EQ(get("sqlite:/a.db?extension=vec0", "extension"), "vec0");  // looked for where libraries are
  EXPECT_EQ(get("memu:/v.json?db=/x/../memu.db", "db"), "/memu.db");
  for (const char* const scheme : {"postgres", "postgresql"}) {
    EXPECT_EQ(get(absl::StrCat(scheme, "://h/d?schema_file=/x/../s.sql"), "schema_file"), "/s.sql");
  }
  EXPECT_EQ(get("qdrant:http://h/c?vector=/x/../v", "vector"), "/x/../v");
}

TEST(StoreKindTest, WhatAPlaceCannotBeIsSaidWithWhatCan) {
  EXPECT_THAT(OpenSource(StoreOf({.scheme = "npy", .path = "a"}), {}).status(),
              HasError(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("`npy` is no source"), HasSubstr("postgres, postgresql, qdrant"))));
  EXPECT_THAT(OpenReader(StoreOf({.scheme = "qdrent", .path = "a"}), 0).status(),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("did you mean `qdrant`?")));
}

}  // namespace
}  // namespace reembed
