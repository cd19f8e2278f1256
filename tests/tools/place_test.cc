// SPDX-License-Identifier: Apache-2.0
#include "tools/place.h"

#include <cstdlib>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tools/database_url.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kVariable[] = "A_VARIABLE_OF_THIS_TEST";

// The secret of a place, when the variable that is named has this value.
absl::StatusOr<std::string> SecretBy(const std::string& value, const std::string& uri) {
  setenv(kVariable, value.c_str(), 1);
  const absl::StatusOr<Location> place = ParsePlace(uri, {.token = kVariable, .password = kVariable}, Environment());
  unsetenv(kVariable);
  if (!place.ok()) return place.status();
  return place->secret;
}

TEST(PlaceSecretTest, IsInTheVariableOrInAUrlThereForEveryStore) {
  const std::string postgres = "postgres://me@127.0.0.1/db?table=t&text=c", falkor = "falkordb://127.0.0.1/g?label=L";
  const std::string libsql = "libsql://127.0.0.1?table=t";
  for (const std::string& place : {postgres, falkor, libsql}) {
    EXPECT_EQ(*SecretBy("plain", place), "plain") << place;
  }
  EXPECT_EQ(*SecretBy("postgres://me:pass%20word@127.0.0.1:5432/db?sslmode=disable", postgres), "pass word");
  EXPECT_EQ(*SecretBy("postgresql+asyncpg://me:pw@127.0.0.1/db", postgres), "pw");
  EXPECT_EQ(*SecretBy("falkordb://default:p%40ss@127.0.0.1:6379/g", falkor), "p@ss");
  EXPECT_EQ(*SecretBy("redis://:pw@127.0.0.1:6379", falkor), "pw");
  EXPECT_EQ(*SecretBy("libsql://127.0.0.1?authToken=t0ken", libsql), "t0ken");
  EXPECT_EQ(*SecretBy("postgres://127.0.0.1/db", postgres), "");  // that server asks for none
}

TEST(PlaceSecretTest, ABrokenUrlIsNotShown) {
  EXPECT_THAT(SecretBy("redis://:s3cret%zz@127.0.0.1", "falkordb://127.0.0.1/g?label=L").status().message(),
              AllOf(HasSubstr("write %25"), Not(HasSubstr("s3cret"))));
}

TEST(PlaceSecretTest, WhatIsMissingNamesTheStoresOwnVariable) {
  for (const auto& [uri, variable] : {std::pair("postgres://me@127.0.0.1/db?table=t", "PGPASSWORD"),
                                      {"falkordb://127.0.0.1/g?label=L", "FALKORDB_PASSWORD"},
                                      {"libsql://127.0.0.1?table=t", "TURSO_AUTH_TOKEN"}}) {
    EXPECT_THAT(ParsePlace(uri, {.token = kVariable, .password = kVariable}, Environment()).status(),
                HasError(absl::StatusCode::kUnauthenticated, AllOf(HasSubstr(kVariable), HasSubstr(variable))));
  }
  EXPECT_THAT(ParsePlace("postgres://me:pw@127.0.0.1/db?table=t", {}, Environment()).status().message(),
              HasSubstr("(PGPASSWORD)"));
  EXPECT_THAT(ParsePlace("falkordb://me:pw@127.0.0.1/g?label=L", {}, Environment()).status().message(),
              HasSubstr("(FALKORDB_PASSWORD)"));
}

TEST(PlaceTest, APathIsTakenAsItIsAndWhatIsBehindTheQuestionMarkIsDecoded) {
  const TempFolder folder;
  std::ofstream(folder / "100%41.db").put(' ');
  std::ofstream(folder / "my notes.db").put(' ');
  const absl::StatusOr<Location> own =
      ParsePlace("sqlite:" + (folder / "100%41.db") + "?table=my%20notes", {}, Environment());
  ASSERT_THAT(own, IsOk());
  EXPECT_EQ(own->path, folder / "100%41.db");
  EXPECT_EQ(own->Get("table"), "my notes");
  EXPECT_THAT(ParsePlace("sqlite:" + (folder / "my notes.db"), {}, Environment()), IsOk());
  EXPECT_THAT(ParsePlace("sqlite:" + (folder / "my%20notes.db"), {}, Environment()).status(),
              HasError(absl::StatusCode::kNotFound, HasSubstr("my notes.db` is")));
  // What is not there under either name is made under the one that was given.
  EXPECT_EQ(ParsePlace("npy:" + (folder / "a%20b.npy"), {}, Environment())->path, folder / "a%20b.npy");
  // But other programs' URLs are URLs.
  EXPECT_EQ(ParseDatabase("file:" + (folder / "my%20notes.db"), Environment())->path, folder / "my notes.db");
}

TEST(PlaceTest, APathWithoutASchemeIsOfferedWithTheOneThatFits) {
  for (const auto& [path, offered] : {std::pair("q.npy", "npy:q.npy"),
                                      {"a/q.FBIN", "fbin:a/q.FBIN"},
                                      {"rows.jsonl?key=id", "jsonl:rows.jsonl?key=id"},
                                      {"q.h5", "hdf5:q.h5"},
                                      {"q.faiss", "faiss:q.faiss"},
                                      {"notes.db", "sqlite:notes.db"},
                                      {"q", "sqlite:q"}}) {
    EXPECT_THAT(ParsePlace(path, {}, Environment()).status().message(),
                HasSubstr(std::string("did you mean ") + offered + "?"));
  }
}

TEST(PlaceTest, AUriThatTheShellCutOffIsToBeQuoted) {
  const absl::Status wrong = absl::InvalidArgumentError("nothing to write to");
  const auto advice = [&](const std::string& uri) { return std::string(WithQuotingAdvice(wrong, {uri}).message()); };
  for (const char* const uri : {"sqlite:notes.db?table=notes", "postgres://h/db?table=t", "falkordb://h/g?label=L"}) {
    EXPECT_THAT(advice(uri), AllOf(HasSubstr("nothing to write to"), HasSubstr("quote the whole URI"))) << uri;
  }
  for (const char* const uri : {"sqlite:notes.db", "sqlite:notes.db?table=n&text=b", "qdrant:http://h:6333/c?text=c",
                                "npy:q.npy", "jsonl:r.jsonl?key=id&text=t", ""}) {
    EXPECT_EQ(advice(uri), "nothing to write to") << uri;
  }
  const absl::Status other = absl::UnavailableError("no answer");
  EXPECT_EQ(WithQuotingAdvice(other, {"sqlite:notes.db?table=notes"}), other);
}

}  // namespace
}  // namespace reembed
