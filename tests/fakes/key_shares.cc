// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/key_shares.h"

#include <optional>
#include <string>

#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

struct Share {
  std::vector<std::string> keys;
  int64_t counted = 0;
  Survey survey;
};

Share Look(const KeyRange& range, absl::FunctionRef<absl::StatusOr<std::unique_ptr<Source>>(const KeyRange&)> open,
           absl::FunctionRef<absl::StatusOr<Survey>(const KeyRange&)> survey) {
  Share share;
  const auto source = open(range);
  EXPECT_THAT(source, IsOk());
  if (!source.ok()) return share;
  const auto surveyed = survey(range);
  EXPECT_THAT(surveyed, IsOk());
  if (surveyed.ok()) share.survey = *surveyed;
  const auto counted = (*source)->CountRows();
  EXPECT_THAT(counted, IsOk());
  share.counted = counted.value_or(-1);
  while (true) {
    const auto row = (*source)->Next();
    EXPECT_THAT(row, IsOk());
    if (!row.ok() || !row->has_value()) return share;
    share.keys.push_back(KeyJson((*row)->key));
  }
}

}  // namespace

void ExpectSharesAreTheWhole(const std::vector<Key>& cuts,
                             absl::FunctionRef<absl::StatusOr<std::unique_ptr<Source>>(const KeyRange&)> open,
                             absl::FunctionRef<absl::StatusOr<Survey>(const KeyRange&)> survey) {
  const Share whole = Look({}, open, survey);
  std::vector<std::string> keys;
  int64_t selected = 0, with_vector = 0, null = 0;
  int with_rows = 0;
  for (size_t i = 0; i <= cuts.size(); ++i) {
    KeyRange range;
    if (i > 0) range.from = cuts[i - 1];
    if (i < cuts.size()) range.before = cuts[i];
    const Share share = Look(range, open, survey);
    EXPECT_EQ(share.counted, static_cast<int64_t>(share.keys.size())) << "share " << i;
    keys.insert(keys.end(), share.keys.begin(), share.keys.end());
    selected += share.survey.rows_selected;
    with_vector += share.survey.rows_with_vector;
    null += share.survey.rows_null;
    with_rows += share.keys.empty() ? 0 : 1;
  }
  EXPECT_GE(with_rows, 2) << "nothing was shared";
  EXPECT_EQ(keys, whole.keys);
  EXPECT_EQ(selected, whole.survey.rows_selected);
  EXPECT_EQ(with_vector, whole.survey.rows_with_vector);
  EXPECT_EQ(null, whole.survey.rows_null);
}

}  // namespace reembed
