#include "engine/source.h"

#include "engine/row_page.h"

namespace reembed {

absl::StatusOr<bool> Source::NextPage(RowPage* page) {
  while (!page->holds(RowPage::kManyRows)) {
    const absl::StatusOr<std::optional<RowView>> row = Next();
    if (!row.ok()) return row.status();
    if (!row->has_value()) return false;
    page->Add((*row)->key, (*row)->text);
  }
  return true;
}

}  // namespace reembed
