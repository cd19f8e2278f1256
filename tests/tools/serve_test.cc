// SPDX-License-Identifier: Apache-2.0
#include "tools/serve.h"

#include <future>
#include <ostream>
#include <stop_token>
#include <streambuf>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/raw_http.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

// Hands over what was written before the first flush.
class FirstFlush : public std::streambuf {
 public:
  std::future<std::string> text() { return text_.get_future(); }

 protected:
  int overflow(int c) override {
    written_.push_back(static_cast<char>(c));
    return c;
  }
  int sync() override {
    text_.set_value(written_);
    return 0;
  }

 private:
  std::string written_;
  std::promise<std::string> text_;
};

TEST(ServeTest, SaysWhereItListensAndServesUntilStopped) {
  FirstFlush buffer;
  std::ostream out(&buffer);
  std::future<std::string> line = buffer.text();
  std::stop_source stop;
  absl::Status status = absl::UnknownError("not run");
  std::thread server([&] { status = Serve({}, stop.get_token(), out); });
  const std::string said = line.get();
  EXPECT_THAT(said,
              MatchesRegex("listening on http://127.0.0.1:[0-9]+/v1 [(]model reembed-lexical-1, 512 dimensions[)]\n"));
  int port = 0;
  EXPECT_TRUE(absl::SimpleAtoi(said.substr(said.rfind(':') + 1, said.find("/v1") - said.rfind(':') - 1), &port));
  EXPECT_EQ(RawHttpClient(port).Get("/health").status, 200);
  stop.request_stop();
  server.join();
  EXPECT_THAT(status, IsOk());
  EXPECT_FALSE(RawHttpClient(port).connected());
}

TEST(ServeTest, EndsAtOnceWhenStoppedBefore) {
  FirstFlush buffer;
  std::ostream out(&buffer);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THAT(Serve({}, stop.get_token(), out), IsOk());
}

TEST(ServeTest, PassesErrorsOn) {
  FirstFlush buffer;
  std::ostream out(&buffer);
  ServeOptions options;
  options.server.dim = 5000;
  EXPECT_THAT(Serve(options, std::stop_token(), out), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("5000")));
}

}  // namespace
}  // namespace reembed
