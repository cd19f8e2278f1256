// SPDX-License-Identifier: Apache-2.0
#include "engine/source.h"

#include "engine/row_page.h"
#include "engine/status_macros.h"

namespace reembed {

absl::StatusOr<bool> Source::NextPage(RowPage* page) {
  while (!page->holds(RowPage::kManyRows)) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> row, Next());
    if (!row.has_value()) return false;
    page->Add(row->key, row->text);
  }
  return true;
}

}  // namespace reembed
