// SPDX-License-Identifier: Apache-2.0
// A target's last two steps: all rows are in it, and then readers are switched over. A run that is killed between them
// goes on with the second, and buys nothing.

#include <signal.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/crash/expected_table.h"
#include "tests/crash/text_shop.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

constexpr int kRows = 40;

TEST(PublishKillTest, ARunKilledBetweenCompleteAndPublishGoesOnWithPublish) {
  PostgresServer& server = TestPostgres();
  std::string sql =
      "DROP TABLE IF EXISTS t CASCADE; CREATE TABLE t (k bigint PRIMARY KEY, body text, v vector(3)); INSERT INTO t "
      "VALUES ";
  for (int row = 1; row <= kRows; ++row) {
    absl::StrAppend(&sql, row == 1 ? "" : ", ", "(", row, ", '", kRowTextMark, row, "', '[1,2,3]')");
  }
  server.Run(sql);
  const TempFolder folder;
  TextShop shop(4);
  const auto command = [&](const std::string& kill_at) {
    return RunProcess({REEMBED_ARMED_BINARY, "run", "--source",
                       server.Uri("table=t&key=k&text=body&vector=v&new_column=v2&index=hnsw"), "--all", "--yes",
                       "--api-base", shop.api_base(), "--model", "fake", "--dimensions", "4", "--job", folder / "job"},
                      {{"HOME", folder.path()},
                       {"XDG_STATE_HOME", folder / "state"},
                       {"XDG_CONFIG_HOME", folder / "config"},
                       {"OPENAI_API_KEY", "sk-crash"},
                       {"OPENAI_BASE_URL", ""},
                       {"KILL_POINT_AT", kill_at}});
  };
  const std::string indexes = "SELECT count(*) FROM pg_indexes WHERE tablename = 't'";
  const ProcessResult killed = command("sink: completed:1");
  ASSERT_EQ(killed.signal, SIGKILL) << killed.out << killed.err;
  EXPECT_EQ(server.Ask("SELECT count(*) FROM t WHERE v = '[1,2,3]' AND v2 IS NOT NULL"), absl::StrCat(kRows))
      << "all rows are there, and readers see the old ones";
  EXPECT_EQ(server.Ask(indexes), "1") << "that of the key";
  EXPECT_EQ(shop.sold(), kRows);
  const ProcessResult again = command("");
  EXPECT_EQ(again.exit_code, 0) << again.out << again.err;
  EXPECT_EQ(server.Ask("SELECT count(*) FROM t WHERE v_old = '[1,2,3]' AND vector_dims(v) = 4"), absl::StrCat(kRows));
  EXPECT_EQ(server.Ask(indexes), "2");
  EXPECT_EQ(shop.sold(), kRows) << "nothing is bought for that";
  const ProcessResult done = command("");
  EXPECT_EQ(done.exit_code, 0) << done.out << done.err;
  EXPECT_EQ(server.Ask("SELECT count(*) FROM t WHERE v_old = '[1,2,3]' AND vector_dims(v) = 4"), absl::StrCat(kRows));
}

}  // namespace
}  // namespace reembed
