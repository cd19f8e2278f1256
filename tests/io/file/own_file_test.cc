// SPDX-License-Identifier: Apache-2.0
#include "io/file/own_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/file/file.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

using testing::AllOf;
using testing::HasSubstr;

mode_t RightsOf(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

std::string Content(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// With a umask that keeps nothing from others, as somebody may have it.
class OwnFileTest : public testing::Test {
 protected:
  OwnFileTest() : before_(umask(0)) { std::ofstream(victim_) << "precious"; }
  ~OwnFileTest() override { umask(before_); }

  const mode_t before_;
  TempFolder folder_;
  const std::string victim_ = folder_ / "victim";
};

TEST_F(OwnFileTest, FoldersAreMadeForOneUserAlone) {
  ASSERT_THAT(MakeOwnFolder(folder_ / "a/b/c"), IsOk());
  for (const char* const dir : {"a", "a/b", "a/b/c"}) EXPECT_EQ(RightsOf(folder_ / dir), 0700u) << dir;
}

TEST_F(OwnFileTest, AFolderThatIsThereIsTightenedOnlyIfItIsEmpty) {
  ASSERT_EQ(mkdir((folder_ / "empty").c_str(), 0777), 0);
  EXPECT_THAT(MakeOwnFolder(folder_ / "empty"), IsOk());
  EXPECT_EQ(RightsOf(folder_ / "empty"), 0700u);
  ASSERT_EQ(mkdir((folder_ / "shown").c_str(), 0755), 0);
  std::ofstream(folder_ / "shown/other") << "x";
  EXPECT_THAT(MakeOwnFolder(folder_ / "shown"), IsOk());
  EXPECT_EQ(RightsOf(folder_ / "shown"), 0755u);
}

TEST_F(OwnFileTest, AFolderThatOthersMayWriteToIsRefused) {
  for (const mode_t rights : {0777, 0775, 0757}) {
    const std::string dir = folder_ / std::to_string(rights);
    ASSERT_EQ(mkdir(dir.c_str(), rights), 0);
    std::ofstream(dir + "/other") << "x";
    EXPECT_THAT(MakeOwnFolder(dir), HasError(absl::StatusCode::kPermissionDenied, HasSubstr("chmod go-w " + dir)));
  }
  ASSERT_EQ(mkdir((folder_ / "sticky").c_str(), 0777), 0);
  ASSERT_EQ(chmod((folder_ / "sticky").c_str(), 01777), 0);
  std::ofstream(folder_ / "sticky/other") << "x";
  EXPECT_THAT(MakeOwnFolder(folder_ / "sticky"), IsOk());
}

TEST_F(OwnFileTest, AFolderOfAnotherUserIsRefused) {
  ASSERT_EQ(mkdir((folder_ / "theirs").c_str(), 0777), 0);
  if (geteuid() != 0) {
    EXPECT_THAT(MakeOwnFolder("/"), HasError(absl::StatusCode::kPermissionDenied, HasSubstr("another user")));
    return;
  }
  ASSERT_EQ(chown((folder_ / "theirs").c_str(), 12345, 12345), 0);
  EXPECT_THAT(MakeOwnFolder(folder_ / "theirs"),
              HasError(absl::StatusCode::kPermissionDenied, AllOf(HasSubstr("12345"), HasSubstr("another folder"))));
}

TEST_F(OwnFileTest, FilesAreMadeAndTightened) {
  ASSERT_THAT(OpenOwnFile(folder_ / "new", Absent::kMake), IsOk());
  EXPECT_EQ(RightsOf(folder_ / "new"), 0600u);
  ASSERT_THAT(ClaimOwnFile(folder_ / "claimed", Absent::kMake), IsOk());
  EXPECT_EQ(RightsOf(folder_ / "claimed"), 0600u);
  for (const auto& open : {+[](const std::string& path) { return OpenOwnFile(path, Absent::kFail).status(); },
                           +[](const std::string& path) { return ClaimOwnFile(path, Absent::kMake); }}) {
    std::ofstream(folder_ / "old") << "kept";
    ASSERT_EQ(chmod((folder_ / "old").c_str(), 0644), 0);
    ASSERT_THAT(open(folder_ / "old"), IsOk());
    EXPECT_EQ(RightsOf(folder_ / "old"), 0600u);
    EXPECT_EQ(Content(folder_ / "old"), "kept");
  }
  EXPECT_THAT(OpenOwnFile(folder_ / "absent", Absent::kFail), HasError(absl::StatusCode::kNotFound, testing::_));
  EXPECT_THAT(ClaimOwnFile(folder_ / "absent", Absent::kFail), IsOk());
  EXPECT_FALSE(std::filesystem::exists(folder_ / "absent"));
}

TEST_F(OwnFileTest, NoLinkIsFollowed) {
  std::filesystem::create_symlink(victim_, folder_ / "link");
  std::filesystem::create_symlink(folder_ / "nowhere", folder_ / "dangling");
  ASSERT_EQ(mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  for (const char* const name : {"link", "dangling", "pipe"}) {
    const std::string path = folder_ / name;
    for (const Absent absent : {Absent::kMake, Absent::kFail}) {
      EXPECT_THAT(OpenOwnFile(path, absent), HasError(absl::StatusCode::kPermissionDenied, HasSubstr(path))) << name;
      EXPECT_THAT(ClaimOwnFile(path, absent), HasError(absl::StatusCode::kPermissionDenied, HasSubstr(path))) << name;
    }
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "nowhere"));
  EXPECT_EQ(Content(victim_), "precious");
}

TEST_F(OwnFileTest, ReplacingTakesTheNameAndNothingElse) {
  std::filesystem::create_symlink(victim_, folder_ / "file");
  std::filesystem::create_symlink(victim_, folder_ / "file.partial");
  ASSERT_THAT(ReplaceOwnFile(folder_ / "file", "new"), IsOk());
  EXPECT_EQ(Content(victim_), "precious");
  EXPECT_EQ(Content(folder_ / "file"), "new");
  EXPECT_EQ(RightsOf(folder_ / "file"), 0600u);
  EXPECT_FALSE(std::filesystem::is_symlink(folder_ / "file"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "file.partial"));
}

TEST(FileErrorTest, AFileSystemWithoutLocksIsSaidToBeOne) {
  EXPECT_THAT(std::string(FileError("/nfs/job/lock", "lock", ENOLCK).message()),
              AllOf(HasSubstr("/nfs/job/lock: could not lock"), HasSubstr("this file system gives no locks")));
}

}  // namespace
}  // namespace reembed
