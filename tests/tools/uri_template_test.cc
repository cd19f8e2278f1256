// SPDX-License-Identifier: Apache-2.0
#include "tools/uri_template.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class UriTemplateTest : public ::testing::Test {
 protected:
  UriTemplateTest() {
    const std::string file = folder_ / "variables";
    std::ofstream(file) << "T_URL=http://host/\nT_PORTED=https://[::1]:7000/base\nT_SIX=http://[::1]\nT_NAME=a&b=c d\n"
                        << "T_TOKEN=s3cr3t\nT_LOGIN=postgres://me:pa55word@h/d\n";
    EXPECT_THAT(environment_.AddFile(file), IsOk());
  }

  std::string Expand(const std::string& uri, const TemplatePlaces& places = {}) {
    const absl::StatusOr<Location> place = ExpandPlace({uri}, places, {}, {}, environment_);
    return place.ok() ? place->ToString() : std::string(place.status().message());
  }

  TempFolder folder_;
  Environment environment_;
};

TEST_F(UriTemplateTest, NamesStandForVariables) {
  EXPECT_EQ(Expand("qdrant:{T_URL}/{T_NONE|'memories'}?text=content"), "qdrant:http://host/memories?text=content");
  EXPECT_EQ(Expand("qdrant:{T_NONE|T_URL}/x"), "qdrant:http://host/x");
  EXPECT_EQ(Expand("qdrant:{T_URL:6333}/x"), "qdrant:http://host:6333/x");
  EXPECT_EQ(Expand("qdrant:{T_PORTED:6333}/x"), "qdrant:https://[::1]:7000/base/x");
  EXPECT_EQ(Expand("qdrant:{T_SIX:6333}/x"), "qdrant:http://[::1]:6333/x");
  EXPECT_EQ(Expand("qdrant:{T_URL}/{T_NONE}"), "set T_NONE");
  EXPECT_EQ(Expand("qdrant:{T_NONE|T_NEITHER}/x"), "set T_NONE or T_NEITHER");
}

TEST_F(UriTemplateTest, TheFirstTemplateThatHasAllItsValuesIsMeant) {
  const absl::StatusOr<Location> place =
      ExpandPlace({"qdrant:{T_NONE}/a", "qdrant:{T_URL}/b", "qdrant:{T_URL}/c"}, {}, {}, {}, environment_);
  ASSERT_THAT(place, IsOk());
  EXPECT_EQ(place->path, "http://host/b");
  EXPECT_THAT(ExpandPlace({"qdrant:{T_NONE}/a", "qdrant:{T_NEITHER}/b"}, {}, {}, {}, environment_),
              HasError(absl::StatusCode::kNotFound, HasSubstr("set T_NONE or T_NEITHER")));
}

TEST_F(UriTemplateTest, AValueInAParameterStandsForItself) {
  const absl::StatusOr<Location> place =
      ExpandPlace({"qdrant:{T_URL}/x?text={T_NAME}&filter={{\"a\":1}&key=%26"}, {}, {}, {}, environment_);
  ASSERT_THAT(place, IsOk());
  EXPECT_EQ(place->Get("text"), "a&b=c d");
  EXPECT_EQ(place->Get("filter"), "{\"a\":1}");
  EXPECT_EQ(place->Get("key"), "&");
  EXPECT_THAT(Expand("qdrant:{T_URL}/x?text=a&text=b"), HasSubstr("gives `text` twice"));
  EXPECT_THAT(Expand("qdrant:{T_URL}/x?text"), HasSubstr("should be name=value"));
}

TEST_F(UriTemplateTest, ParametersBesideTheTemplateWin) {
  const absl::StatusOr<Location> place =
      ExpandPlace({"qdrant:{T_URL}/x?text=a&key=k"}, {}, {{"text", "b"}, {"filter", "{\"a\":1}"}}, {}, environment_);
  ASSERT_THAT(place, IsOk());
  EXPECT_EQ(place->ToString(), "qdrant:http://host/x?filter={\"a\":1}&key=k&text=b");
}

TEST_F(UriTemplateTest, PlacesAreTheirUrisPathsAndFolders) {
  const Location db{.scheme = "sqlite", .path = "/x/what?.db", .parameters = {{"extension", "/y.so"}}};
  const Location target{.scheme = "memu", .path = "/x/vectors.json"};
  EXPECT_EQ(Expand("{db}?table=t", {.db = &db}), "sqlite:/x/what?.db?extension=/y.so&table=t");
  EXPECT_EQ(Expand("memu:{db.folder}/vectors.json", {.db = &db}), "memu:/x/vectors.json");
  EXPECT_EQ(Expand("automem://h/g?points={target}", {.target = &target}), "automem://h/g?points=memu:/x/vectors.json");
  EXPECT_EQ(Expand("memu:{target.path}?db={db.path}", {.db = &db, .target = &target}),
            "memu:/x/vectors.json?db=/x/what%3F.db&extension=/y.so");
  EXPECT_EQ(Expand("{db}?table=t"), "set db");
}

TEST_F(UriTemplateTest, ASecretIsNoPartOfAPlace) {
  const Location db{.scheme = "postgres", .path = "//h/d", .secret = "of the database"};
  absl::StatusOr<Location> place = ExpandPlace({"{db}?table=t"}, {.db = &db}, {}, {}, environment_);
  ASSERT_THAT(place, IsOk());
  EXPECT_EQ(place->secret, "of the database");
  place = ExpandPlace({"libsql://h?table=t&authToken={T_TOKEN}"}, {}, {}, {}, environment_);
  ASSERT_THAT(place, IsOk());
  EXPECT_EQ(place->secret, "s3cr3t");
  EXPECT_THAT(place->ToString(), Not(HasSubstr("s3cr3t")));
  const std::string refused = Expand("{T_LOGIN}?table=t");
  EXPECT_THAT(refused, AllOf(HasSubstr("holds a password"), Not(HasSubstr("pa55word"))));
}

}  // namespace
}  // namespace reembed
