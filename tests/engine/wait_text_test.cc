// SPDX-License-Identifier: Apache-2.0
#include "engine/wait_text.h"

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

// Wed, 21 Oct 2026 07:28:00 GMT.
absl::Time Clock() { return absl::FromCivil(absl::CivilSecond(2026, 10, 21, 7, 28, 0), absl::UTCTimeZone()); }

struct Case {
  std::string text;
  std::optional<absl::Duration> expected;
};

TEST(ParseWaitTest, ReadsEveryForm) {
  const int64_t now = absl::ToUnixSeconds(Clock());
  const std::vector<Case> cases = {
      // Numbers.
      {"120", absl::Minutes(2)},
      {" 2 ", absl::Seconds(2)},
      {"1.5", absl::Seconds(1.5)},
      {"+30", absl::Seconds(30)},
      {"\"30\"", absl::Seconds(30)},
      {"30; reason=quota", absl::Seconds(30)},
      {"30 (seconds)", absl::Seconds(30)},
      {"86400", absl::Hours(24)},
      {"0", std::nullopt},
      {"-5", std::nullopt},
      {"nan", std::nullopt},
      {"", std::nullopt},
      {"later", std::nullopt},
      // Moments.
      {absl::StrCat(now + 9), absl::Seconds(9)},
      {absl::StrCat(now + 9, ".5"), absl::Seconds(9.5)},
      {absl::StrCat((now + 9) * 1000), absl::Seconds(9)},
      {absl::StrCat((now + 9) * 1000000), absl::Seconds(9)},
      {absl::StrCat(now - 9), std::nullopt},
      // The three dates of RFC 9110, and what is seen besides.
      {"Wed, 21 Oct 2026 07:28:30 GMT", absl::Seconds(30)},
      {"Wednesday, 21-Oct-26 07:28:30 GMT", absl::Seconds(30)},
      {"Wed Oct 21 07:28:30 2026", absl::Seconds(30)},
      {"Sun Nov  1 07:28:30 2026", absl::Hours(24 * 11) + absl::Seconds(30)},
      {"Wed, 21 Oct 2026 07:27:30 GMT", std::nullopt},
      {"Wed, 21 Oct 2026 07:28:30 UTC", absl::Seconds(30)},
      {"Wed, 21 Oct 2026 09:28:30 +0200", absl::Seconds(30)},
      {"Wed, 21 Oct 2026 02:28:30 -0500", absl::Seconds(30)},
      {"Wed, 21 Oct 2026 03:28:30 EDT", absl::Seconds(30)},
      {"Wed, 21 Oct 2026 07:28:30", absl::Seconds(30)},
      {"21 Oct 2026 07:28:30 GMT", absl::Seconds(30)},
      {"wed, 21 oct 2026 07:28:30 gmt", absl::Seconds(30)},
      {"Wed Oct 21 2026 07:28:30 GMT+0000 (Coordinated Universal Time)", absl::Seconds(30)},
      {"2026-10-21T07:28:30Z", absl::Seconds(30)},
      {"2026-10-21T07:28:30.5Z", absl::Seconds(30.5)},
      {"2026-10-21T09:28:30+02:00", absl::Seconds(30)},
      {"2026-10-21 07:28:30", absl::Seconds(30)},
      {"2026-10-21 07:28:30 UTC", absl::Seconds(30)},
      {"Wed, 21 Oct 2026 07:28:30 XYZ", std::nullopt},
      {"Wed, 32 Oct 2026 07:28:30 GMT", std::nullopt},
      {"Wed, 21 Oct 2026", std::nullopt},
      // Durations.
      {"12ms", absl::Milliseconds(12)},
      {"8.64s", absl::Milliseconds(8640)},
      {"6m0s", absl::Minutes(6)},
      {"1m30s", absl::Seconds(90)},
      {"1h2m3s", absl::Hours(1) + absl::Minutes(2) + absl::Seconds(3)},
      {"250us", absl::Microseconds(250)},
      {"250µs", absl::Microseconds(250)},
      {"5ns", absl::Nanoseconds(5)},
      {"2 minutes", absl::Minutes(2)},
      {"2 Minutes", absl::Minutes(2)},
      {"120 seconds", absl::Minutes(2)},
      {"120 sec", absl::Minutes(2)},
      {"in 5 minutes", absl::Minutes(5)},
      {"1 hour and 30 minutes", absl::Minutes(90)},
      {"1 h, 30 min", absl::Minutes(90)},
      {"a minute", absl::Minutes(1)},
      {"an hour", absl::Hours(1)},
      {"1 day", absl::Hours(24)},
      {"PT2M", absl::Minutes(2)},
      {"PT1M30.5S", absl::Seconds(90.5)},
      {"P1DT2H", absl::Hours(26)},
      {"00:02:00", absl::Minutes(2)},
      {"1:30", absl::Seconds(90)},
      {"-5s", std::nullopt},
      {"s", std::nullopt},
      {"5x", std::nullopt},
      {"ms5", std::nullopt},
      {"P1M", std::nullopt},  // a month, of whatever length
      {"5 requests", std::nullopt},
      // Lists: the longest.
      {"30, 60", absl::Seconds(60)},
      {"60, 30", absl::Seconds(60)},
      {"Wed, 21 Oct 2026 07:28:30 GMT, 10", absl::Seconds(30)},
      {"soon, 10", absl::Seconds(10)},
  };
  for (const Case& c : cases) EXPECT_EQ(ParseWait(c.text, absl::Seconds(1), Clock()), c.expected) << c.text;
}

TEST(ParseWaitTest, CountsNumbersInTheUnitOfTheField) {
  EXPECT_EQ(ParseWait("1350", absl::Milliseconds(1), Clock()), absl::Milliseconds(1350));
  EXPECT_EQ(ParseWait("0.5", absl::Milliseconds(1), Clock()), absl::Microseconds(500));
  EXPECT_EQ(ParseWait("2s", absl::Milliseconds(1), Clock()), absl::Seconds(2));
}

TEST(ParseWaitTest, SurvivesHugeNumbers) {
  for (const char* huge : {"1e300", "99999999999999999999999999999999", "inf"}) {
    const auto wait = ParseWait(huge, absl::Seconds(1), Clock());
    ASSERT_TRUE(wait.has_value()) << huge;
    EXPECT_GT(*wait, absl::Hours(1)) << huge;
  }
}

TEST(ParseDateTest, TakesAYearOfTwoDigitsForTheNearest) {
  const auto year = [](const char* text) {
    const std::optional<absl::Time> date = ParseDate(text, Clock());
    return date.has_value() ? absl::ToCivilYear(*date, absl::UTCTimeZone()).year() : 0;
  };
  EXPECT_EQ(year("Sunday, 06-Nov-94 08:49:37 GMT"), 1994);
  EXPECT_EQ(year("Sunday, 06-Nov-27 08:49:37 GMT"), 2027);
  EXPECT_EQ(year("Sunday, 06-Nov-76 08:49:37 GMT"), 2076);
  EXPECT_EQ(year("Sunday, 06-Nov-77 08:49:37 GMT"), 1977);
}

TEST(WaitInSentenceTest, ReadsWhatServersWrite) {
  const std::vector<Case> cases = {
      {"Rate limit reached for m on tokens per min (TPM): Limit 150000, Used 149000, Requested 2000. Please try again "
       "in 6ms. Visit https://platform.openai.com to learn more.",
       absl::Milliseconds(6)},
      {"Please try again in 1.2s.", absl::Seconds(1.2)},
      {"Please try again in 1m30s", absl::Seconds(90)},
      {"Please try again in 7m12.5s.", absl::Minutes(7) + absl::Seconds(12.5)},
      {"Please try again in 2 minutes", absl::Minutes(2)},
      {"Try again in 1 hour and 5 minutes.", absl::Minutes(65)},
      {"Please try again in a minute", absl::Minutes(1)},
      {"Please try again in a few minutes", std::nullopt},
      {"Please try again later", std::nullopt},
      {"Please try again after 60 seconds.", absl::Minutes(1)},
      {"Please retry after 7 seconds.", absl::Seconds(7)},
      {"Please retry after 7", absl::Seconds(7)},
      {"Please retry in 34.074824224s.", absl::Seconds(34.074824224)},
      {"Please retry your request after 20 seconds.", absl::Seconds(20)},
      {"retry_after: 12", absl::Seconds(12)},
      {"Please wait 30 seconds and try again", absl::Seconds(30)},
      {"You must wait for at least 2 minutes", absl::Minutes(2)},
      {"Too many requests. Limit resets in 42 seconds", absl::Seconds(42)},
      {"The quota resets at 2026-10-21T07:30:00Z.", absl::Minutes(2)},
      {"Try again after 2026-10-21 07:30:00 UTC", absl::Minutes(2)},
      {"Try again at Wed, 21 Oct 2026 07:30:00 GMT.", absl::Minutes(2)},
      {"Try again at 2026-10-21T07:00:00Z", std::nullopt},
      {"Try again in 00:02:00.", absl::Minutes(2)},
      {"Please retry after a while", std::nullopt},
      {"retry 3 times", std::nullopt},
      {"retry after 3 attempts", std::nullopt},
      {"Quota will be available in 5 minutes.", absl::Minutes(5)},
      {"at most 60 requests per 5 seconds", std::nullopt},
      {"Limit: 5 per minute, then wait. Try again in 9 s", absl::Seconds(9)},
      {"waiter, 5 seconds", std::nullopt},
      {"", std::nullopt},
  };
  for (const Case& c : cases) EXPECT_EQ(WaitInSentence(c.text, Clock()), c.expected) << c.text;
}

// Whatever servers send: nothing is below or at zero, nothing breaks, and what is printed is read.
TEST(ParseWaitTest, NeverNamesAWaitThatIsNone) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  const std::vector<std::string> pieces = {
      "1",     "30",  " ",   ",",   ";",      ":",    "-",     "+",     ".",     "s",   "ms",  "m",
      "h",     "GMT", "Wed", "Oct", "2026",   "21",   "07:28", "in",    "PT",    "T",   "e",   "inf",
      "retry", "\"",  "(",   "and", "minute", "\xff", "µs",    "again", "after", "try", "1e9", "99999999999"};
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (unsigned n = random() % 9; n > 0; --n) text += pieces[random() % pieces.size()];
    for (const auto& wait : {ParseWait(text, absl::Seconds(1), Clock()), WaitInSentence(text, Clock())}) {
      ASSERT_GT(wait.value_or(absl::Seconds(1)), absl::ZeroDuration()) << text;
    }
  }
  for (int i = 0; i < 1000; ++i) {
    const absl::Duration wait = absl::Milliseconds(1 + random() % 100000000);
    EXPECT_EQ(ParseWait(absl::FormatDuration(wait), absl::Seconds(1), Clock()), wait) << wait;
    const absl::Duration whole = absl::Ceil(wait, absl::Seconds(1));
    for (const char* format :
         {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y", absl::RFC3339_sec}) {
      const std::string date = absl::FormatTime(format, Clock() + whole, absl::UTCTimeZone());
      EXPECT_EQ(ParseWait(date, absl::Seconds(1), Clock()), whole) << date;
    }
  }
}

}  // namespace
}  // namespace reembed
