// SPDX-License-Identifier: Apache-2.0
#include "tools/live/live_run.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "engine/run_counters.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tools/live/dashboard.h"
#include "tools/live/json_member.h"
#include "tools/live/listen_address.h"
#include "tools/live/metrics.h"
#include "tools/live/report_page.h"
#include "tools/live/run_series.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

using ::testing::HasSubstr;
using ::testing::Not;

class IdleClient final : public EmbeddingClient {
 public:
  const Model& model() const override { return model_; }
  void Send(Batch*, Done) override {}
  absl::Status Decode(Batch*) const override { return absl::OkStatus(); }
  void Stop(InTheAir, const absl::Status&) override {}
  ClientStats stats() const override { return {.requests = 7, .tokens = 70}; }

 private:
  const Model model_{.name = "m", .dim = 2};
};

class LiveRunTest : public ::testing::Test {
 protected:
  std::unique_ptr<RunWatch> Watch() {
    return std::make_unique<RunWatch>(
        RunWatch::Parts{.counters = &counters_, .client = &client_, .control = &control_, .scope = {.rows = 100}});
  }

  RunCounters counters_;
  IdleClient client_;
  RunControl control_{16};
  std::atomic<int> signal_{0};
  std::atomic<int> stops_{0}, aborts_{0};
  LiveRun live_{{.job = "/jobs/a \"job\"",
                 .streams = 2,
                 .control = &control_,
                 .signal = [this] { return signal_.load(); },
                 .stop = [this] { ++stops_; },
                 .abort = [this] { ++aborts_; }}};
};

TEST_F(LiveRunTest, GoesThroughItsStates) {
  EXPECT_STREQ(live_.Look().state, "preparing");
  EXPECT_THAT(LookLine(live_.Look(), 200), HasSubstr("preparing"));
  auto watch = Watch();
  live_.Begin("notes", watch.get());
  EXPECT_STREQ(live_.Look().state, "running");
  control_.Pause();
  EXPECT_STREQ(live_.Look().state, "paused");
  counters_.rows_done = 30;
  EXPECT_EQ(live_.Look().total.rows_done, 30);
  RunSnapshot last = watch->Take();
  live_.End(last);
  watch.reset();
  EXPECT_EQ(live_.Look().total.rows_done, 30) << "what has ended stays as it was";
  signal_ = 15;
  EXPECT_STREQ(live_.Look().state, "stopping");
  live_.Finish(kExitRejectedRows);
  EXPECT_STREQ(live_.LookAtAll().state, "finished");
  EXPECT_EQ(JsonMember(LookJson(live_.Look()), "exit_code"), "3");
}

TEST_F(LiveRunTest, AddsUpItsStreams) {
  const auto first = Watch();
  live_.Begin("notes", first.get());
  counters_.rows_done = 10;
  live_.End(first->Take());
  counters_.rows_done = 4;
  const auto second = Watch();
  live_.Begin("facts", second.get());
  const LiveLook look = live_.Look();
  EXPECT_EQ(look.total.rows_done, 14);
  EXPECT_EQ(look.total.client.tokens, 140);
  EXPECT_EQ(JsonMember(JsonMember(LookJson(look), "run"), "rows_done"), "14");
  EXPECT_THAT(LookLine(look, 200), HasSubstr("facts, 4 of 100 rows"));
}

TEST_F(LiveRunTest, ObeysWordsAndNamesThoseItKnows) {
  const auto watch = Watch();
  live_.Begin("", watch.get());
  ASSERT_THAT(live_.Obey(" pause\n"), IsOk());
  EXPECT_TRUE(control_.paused());
  ASSERT_THAT(live_.Obey("resume"), IsOk());
  EXPECT_FALSE(control_.paused());
  const auto rate = live_.Obey("rate tpm=5000 rpm=60");
  ASSERT_THAT(rate, IsOk());
  EXPECT_EQ(JsonMember(*rate, "rpm"), "60");
  EXPECT_EQ(control_.wish().tokens_per_minute, 5000);
  ASSERT_THAT(live_.Obey("concurrency 3"), IsOk());
  EXPECT_EQ(control_.wish().concurrency, 3);
  ASSERT_THAT(live_.Obey("stop"), IsOk());
  EXPECT_EQ(stops_, 1);
  EXPECT_EQ(aborts_, 0);
  EXPECT_THAT(live_.Obey("abort"), IsOk());
  EXPECT_EQ(aborts_, 1);
  EXPECT_EQ(stops_, 1);
  EXPECT_EQ(JsonMember(*live_.Obey("status"), "state"), "running");
  for (const char* const wrong : {"", "status now", "pause 3", "rate", "rate 5", "rate rpm=", "rate rpm=nan",
                                  "concurrency", "concurrency 3 4", "concurrency 17", "abort now"}) {
    EXPECT_THAT(live_.Obey(wrong), HasError(absl::StatusCode::kInvalidArgument, HasSubstr(""))) << wrong;
  }
  live_.Finish(kExitDone);
  EXPECT_THAT(live_.Obey("pause"), HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("")));
  EXPECT_THAT(live_.Obey("status"), IsOk());
}

TEST_F(LiveRunTest, ManyMayLookWhileStreamsComeAndGo) {
  std::atomic<bool> done{false};
  std::thread looker([&] {
    while (!done) LookJson(live_.LookAtAll());
  });
  for (int i = 0; i < 200; ++i) {
    const auto watch = Watch();
    live_.Begin("s", watch.get());
    live_.Look();
    live_.End(watch->Take());
  }
  done = true;
  looker.join();
}

TEST_F(LiveRunTest, MetricsNameJobAndStreamWithTheirOddCharacters) {
  const auto watch = Watch();
  live_.Begin("a\\b", watch.get());
  counters_.rejects.Note(int64_t{1}, absl::DataLossError("zero"));
  const std::string text = MetricsText(live_.Look());
  EXPECT_THAT(text, HasSubstr("reembed_requests_total{reembed_job=\"a \\\"job\\\"\",stream=\"a\\\\b\"} 7\n"));
  EXPECT_THAT(text, HasSubstr("reason=\"unusable vector\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("reembed_run_state{reembed_job=\"a \\\"job\\\"\",state=\"running\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("reembed_exit_code")));
}

TEST(RunSeriesTest, StaysSmallAndEvenHoweverLongARunIs) {
  RunSeries series(1);
  for (int second = 0; second < 100'000; ++second) {
    series.Add({.seconds = static_cast<double>(second), .rows = 10.0 * second});
  }
  ASSERT_LE(series.points().size(), RunSeries::kMostPoints);
  ASSERT_GE(series.points().size(), RunSeries::kMostPoints / 2);
  EXPECT_EQ(series.points().front().seconds, 0);
  const double distance = series.points()[1].seconds;
  for (size_t i = 1; i < series.points().size(); ++i) {
    EXPECT_NEAR(series.points()[i].seconds - series.points()[i - 1].seconds, distance, 0.5 * distance) << i;
  }
  EXPECT_GT(series.points().back().seconds, 98'000);
}

// It is written without syncs: a power cut may leave its first bytes alone, or zeros for some of its sectors.
TEST(RunSeriesTest, ACourseThatAPowerCutLeftHalfIsPassedOver) {
  TempFolder job;
  const std::string look = absl::StrCat(R"({"job":")", std::string(1600, 'j'), R"("})");
  RunCourse run{.started = absl::FromUnixSeconds(1'700'000'000), .look = look};
  for (int i = 0; i < 20; ++i) run.points.push_back({.seconds = 1.0 * i, .rows = 100.0 * i});
  ASSERT_THAT(KeepCourse(job.path(), run), IsOk());
  ASSERT_EQ(CoursesOf(job.path()).size(), 1);
  const std::string path = fs::directory_iterator(job.path())->path();
  std::ifstream file(path, std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(file), {}};
  const auto replace = [&path](absl::string_view content) {
    std::ofstream(path, std::ios::binary | std::ios::trunc).write(content.data(), content.size());
  };
  const size_t json_bytes = whole.size() - 1;  // without the end of its line
  for (size_t bytes = 0; bytes < json_bytes; bytes += bytes < json_bytes - 40 ? 37 : 1) {
    replace(absl::string_view(whole).substr(0, bytes));
    EXPECT_TRUE(CoursesOf(job.path()).empty()) << "the first " << bytes << " bytes of " << whole.size();
  }
  constexpr size_t kSectorBytes = 512;
  ASSERT_GT(whole.size(), 3 * kSectorBytes);
  for (size_t at = 0; at < whole.size(); at += kSectorBytes) {
    std::string torn = whole;
    for (size_t i = at; i < std::min(torn.size(), at + kSectorBytes); ++i) torn[i] = '\0';
    replace(torn);
    EXPECT_TRUE(CoursesOf(job.path()).empty()) << "zeros at " << at;
  }
  replace(whole);
  EXPECT_EQ(CoursesOf(job.path()).size(), 1);
}

TEST(ListenAddressTest, KnowsTheFormsThatPeopleWrite) {
  for (const auto& [text, address, port] : {std::tuple("on", "127.0.0.1", 0),
                                            {"true", "127.0.0.1", 0},
                                            {"9464", "127.0.0.1", 9464},
                                            {":9464", "127.0.0.1", 9464},
                                            {"127.0.0.2:1", "127.0.0.2", 1},
                                            {"[::1]:80", "::1", 80},
                                            {"localhost:80", "127.0.0.1", 80},
                                            {"0.0.0.0:0", "0.0.0.0", 0}}) {
    const auto parsed = ParseListenAddress("--metrics", text);
    ASSERT_THAT(parsed, IsOk()) << text;
    EXPECT_EQ(parsed->address, address) << text;
    EXPECT_EQ(parsed->port, port) << text;
  }
  for (const char* const wrong :
       {"", "x", "host:80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "::1:x", "job.toml"}) {
    EXPECT_THAT(ParseListenAddress("--metrics", wrong), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("")))
        << wrong;
  }
}

TEST(ReportPageTest, ShowsTextsAsTheyAreInBothForms) {
  ReportPage page{.title = "a <b> & \"c\"", .text = "x | y"};
  page.sections.push_back({.title = "table", .head = {"n", "what"}, .rows = {{"1", "<script>alert(1)</script> | z"}}});
  page.sections.push_back(
      {.title = "plot",
       .plots = {{.title = "rate", .lines = {{.name = "r", .seconds = {0, 1, 2}, .values = {0, 5, 3}}}}}});
  const std::string html = HtmlOf(page), md = MarkdownOf(page);
  EXPECT_THAT(html, HasSubstr("<h1>a &lt;b&gt; &amp; &quot;c&quot;</h1>"));
  EXPECT_THAT(html, HasSubstr("<td class=\"short\">1</td><td>&lt;script&gt;alert(1)"));
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, HasSubstr("<svg"));
  EXPECT_THAT(md, HasSubstr("| 1 | &lt;script>alert(1)&lt;/script> \\| z |\n"));
  EXPECT_THAT(md, Not(HasSubstr("plot"))) << "which has nothing but a picture";
}

TEST(ReportPageTest, APlotMayBeOverALogarithmOrBeBars) {
  ReportPage page;
  page.sections.push_back(
      {.plots = {{.title = "speed",
                  .lines = {{.name = "s", .seconds = {1, 10, 100}, .values = {0, 1, 2}}},
                  .across = " rows a write",
                  .begin = 1,
                  .is_log = true},
                 {.title = "parts",
                  .unit = " rows/s",
                  .lines = {{.name = "a", .values = {50}}, {.name = "b", .values = {100}, .is_limit = true}},
                  .is_bars = true}}});
  const std::string html = HtmlOf(page);
  EXPECT_THAT(html, HasSubstr("L210.0 ")) << "10 is in the middle between 1 and 100";
  EXPECT_THAT(html, AllOf(HasSubstr(">1</text>"), HasSubstr(">100 rows a write</text>")));
  EXPECT_THAT(html, AllOf(HasSubstr(">a: 50 rows/s</text><rect class=\"bar\" x=\"0\" y=\"18\" width=\"210.0\""),
                          HasSubstr("<rect class=\"bar narrow\" x=\"0\" y=\"58\" width=\"420.0\"")));
}

}  // namespace
}  // namespace reembed
