// SPDX-License-Identifier: Apache-2.0
#include "io/net/line_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

class LineSocketTest : public ::testing::Test {
 protected:
  void Listen() {
    auto socket = LineSocket::Listen(path_, [](absl::string_view line) { return absl::StrCat("heard ", line); });
    ASSERT_THAT(socket, IsOk());
    socket_ = *std::move(socket);
  }

  TempFolder folder_;
  const std::string path_ = folder_ / "s";
  std::unique_ptr<LineSocket> socket_;
};

TEST_F(LineSocketTest, AnswersEachLineAndIsThisUsersAlone) {
  const mode_t before = umask(0);
  Listen();
  umask(before);
  struct stat found;
  ASSERT_EQ(stat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0600u);
  for (int i = 0; i < 3; ++i) {
    const auto answer = AskLineSocket(path_, absl::StrCat("line ", i));
    ASSERT_THAT(answer, IsOk());
    EXPECT_EQ(*answer, absl::StrCat("heard line ", i));
  }
  socket_.reset();
  EXPECT_EQ(access(path_.c_str(), F_OK), -1) << "it is removed at the end";
  EXPECT_THAT(AskLineSocket(path_, "x").status(), HasError(absl::StatusCode::kNotFound, HasSubstr("")));
}

TEST_F(LineSocketTest, ManyMayAskAtOnce) {
  Listen();
  std::atomic<int> right{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([&, i] {
      for (int n = 0; n < 20; ++n) {
        const auto answer = AskLineSocket(path_, absl::StrCat(i, " ", n));
        right += answer.ok() && *answer == absl::StrCat("heard ", i, " ", n) ? 1 : 0;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(right, 160);
}

TEST_F(LineSocketTest, OneThatWasLeftBehindIsReplacedAndAFileIsNot) {
  const int dead = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, path_.c_str());
  ASSERT_EQ(bind(dead, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  close(dead);
  EXPECT_THAT(AskLineSocket(path_, "x").status(), HasError(absl::StatusCode::kNotFound, HasSubstr("")))
      << "nobody listens";
  Listen();
  EXPECT_THAT(AskLineSocket(path_, "x"), IsOk());
  const std::string file = folder_ / "file";
  std::ofstream(file) << "mine";
  EXPECT_THAT(LineSocket::Listen(file, [](absl::string_view) { return std::string(); }).status(),
              HasError(absl::StatusCode::kUnavailable, HasSubstr("")));
  std::string content;
  std::ifstream(file) >> content;
  EXPECT_EQ(content, "mine");
}

TEST_F(LineSocketTest, APathThatIsTooLongIsNamedWithItsLength) {
  const std::string path = folder_ / std::string(120, 'x');
  const absl::Status refused = LineSocket::Listen(path, [](absl::string_view) { return std::string(); }).status();
  EXPECT_THAT(refused, HasError(absl::StatusCode::kInvalidArgument, HasSubstr("")));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("at most 107 bytes"));
  EXPECT_THAT(AskLineSocket(path, "x").status(), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("")));
}

TEST_F(LineSocketTest, WhoSaysNothingOrTooMuchHoldsNobodyUpForLong) {
  Listen();
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, path_.c_str());
  const int silent = socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(connect(silent, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_THAT(AskLineSocket(path_, "x"), IsOk());
  close(silent);
  EXPECT_THAT(AskLineSocket(path_, std::string(LineSocket::kLongestLine + 1, 'x')).status(),
              HasError(absl::StatusCode::kUnavailable, HasSubstr("")));
  EXPECT_THAT(AskLineSocket(path_, "x"), IsOk());
}

}  // namespace
}  // namespace reembed
