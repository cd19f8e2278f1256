// SPDX-License-Identifier: Apache-2.0
#include "io/net/trust_store.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class TrustStoreTest : public ::testing::Test {
 protected:
  TrustStoreTest() {
    for (const char* const name : {"own.pem", "debian.crt", "fedora.crt", "certifi.pem"}) {
      std::ofstream(folder_ / name) << "PEM";
    }
    std::filesystem::create_directory(folder_ / "hashed");
  }

  absl::StatusOr<TrustStore> Find(const std::vector<std::string>& usual) {
    std::vector<std::string> paths;
    for (const std::string& name : usual) paths.push_back(folder_ / name);
    return FindTrustStore(paths, [this](const char* name) { return variables_[name]; });
  }

  TempFolder folder_;
  std::map<std::string, std::string> variables_;
};

TEST_F(TrustStoreTest, TheFirstUsualPlaceThatIsThere) {
  const auto found = Find({"none.crt", "fedora.crt", "debian.crt"});
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->file, folder_ / "fedora.crt");
  EXPECT_EQ(found->folder, "");
}

TEST_F(TrustStoreTest, TheUsersOwnFileComesBeforeAll) {
  variables_ = {{"SSL_CERT_FILE", folder_ / "own.pem"}, {"REEMBED_CERTIFI", folder_ / "certifi.pem"}};
  const auto found = Find({"debian.crt"});
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->file, folder_ / "own.pem");
  EXPECT_EQ(found->origin, "SSL_CERT_FILE");
}

TEST_F(TrustStoreTest, AFolderOfTheUsersStandsBesideTheFile) {
  variables_ = {{"SSL_CERT_DIR", folder_ / "hashed"}};
  const auto both = Find({"debian.crt"});
  ASSERT_THAT(both, IsOk());
  EXPECT_EQ(both->file, folder_ / "debian.crt");
  EXPECT_EQ(both->folder, folder_ / "hashed");
  const auto alone = Find({});
  ASSERT_THAT(alone, IsOk());
  EXPECT_EQ(alone->file, "");
}

TEST_F(TrustStoreTest, CertifiIsTheLast) {
  variables_ = {{"REEMBED_CERTIFI", folder_ / "certifi.pem"}};
  const auto last = Find({"none.crt"});
  ASSERT_THAT(last, IsOk());
  EXPECT_EQ(last->file, folder_ / "certifi.pem");
  const auto before = Find({"none.crt", "debian.crt"});
  ASSERT_THAT(before, IsOk());
  EXPECT_EQ(before->file, folder_ / "debian.crt");
}

// A folder is no file: another program may have made one there.
TEST_F(TrustStoreTest, WhatCannotBeReadIsNamed) {
  for (const char* const variable : {"SSL_CERT_FILE", "REEMBED_CERTIFI"}) {
    for (const std::string& path : {folder_ / "none.pem", folder_ / "hashed"}) {
      variables_ = {{variable, path}};
      EXPECT_THAT(Find({}),
                  HasError(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr(variable), HasSubstr(path))));
    }
  }
}

TEST_F(TrustStoreTest, NoneAtAllIsSaidWithWhatToDo) {
  EXPECT_THAT(Find({"none.crt"}), HasError(absl::StatusCode::kFailedPrecondition,
                                           AllOf(HasSubstr(folder_ / "none.crt"), HasSubstr("ca-certificates"),
                                                 HasSubstr("SSL_CERT_FILE"), HasSubstr("ca-certificates"))));
}

}  // namespace
}  // namespace reembed
