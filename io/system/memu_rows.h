// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_SYSTEM_MEMU_ROWS_H_
#define REEMBED_IO_SYSTEM_MEMU_ROWS_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/location.h"
#include "engine/source.h"
#include "engine/text/text_template.h"
#include "io/file/vectors_json.h"
#include "io/store/sqlite/sqlite_db.h"
#include "io/store/sqlite/sqlite_source.h"

namespace reembed {

// What a location `memu:VECTORS_JSON?db=FILE&collection=items&table=memory_items&text=summary&...` asks for.
//   collection       items, categories or resources (required)
//   db               the SQLite file with the rows (required for a source)
//   table, key, text, template, where   as of sqlite:
struct MemuLocation {
  std::string vectors;  // path
  std::string collection;
  Location rows;  // sqlite:
};

// Errors: kInvalidArgument.
absl::StatusOr<MemuLocation> ParseMemuLocation(const Location& location);

// A row of MemU's database. The views die at the next call.
struct MemuRow {
  KeyView key;
  absl::string_view user_id, agent_id;
  std::optional<absl::string_view> text;      // nullopt: there is nothing to embed
  const VectorsJson::Entry* entry = nullptr;  // what the file of vectors has under its id; null: nothing
  bool owned = false;                         // and `entry` is of the row's own user and agent: MemU can see it
};

// The rows of one collection in the order of their ids, with their texts, owners and entries. The caption of a resource
// is never in the database, only in the file of vectors [src/memu/app/service.py:277-284]: there it is taken from its
// entry's `text`, unless that is the url, which stands for none. Used by one thread; holds no lock between two calls.
class MemuRows {
 public:
  // Errors: as OpenSqliteSource, VectorsJson::Open.
  static absl::StatusOr<std::unique_ptr<MemuRows>> Open(const Location& location, const Selection& selection);

  absl::StatusOr<std::optional<MemuRow>> Next();
  absl::Status SeekAfter(KeyView key) { return rows_->SeekAfter(key); }
  absl::StatusOr<std::optional<MemuRow>> Find(KeyView key);

  const VectorsJson& vectors() const { return *vectors_; }
  const MemuLocation& location() const { return location_; }

 private:
  MemuRows() = default;
  absl::StatusOr<std::optional<MemuRow>> Complete(const RowView& row);
  void TakeCaption(absl::string_view url, MemuRow* row);

  MemuLocation location_;
  std::unique_ptr<Source> rows_;
  std::unique_ptr<VectorsJson> vectors_;
  const VectorsJson::Collection* collection_ = nullptr;  // null: there is none yet
  std::unique_ptr<SqliteDb> db_;
  SqliteStatement owner_;
  std::optional<TextTemplate> trim_;
  std::string user_, agent_, token_, other_token_, caption_;
};

// Rows that want a vector: kWithoutVector means those whose entry is not there, is another user's or agent's, or has no
// vector of selection.dim numbers. Rows without a text are none of MemU's and are passed over.
absl::StatusOr<std::unique_ptr<Source>> OpenMemuSource(const Location& location, const Selection& selection);

// What the file of vectors holds for the selected rows. Errors: as OpenMemuSource.
absl::StatusOr<Survey> SurveyMemu(const Location& location, const Selection& selection);

}  // namespace reembed

#endif  // REEMBED_IO_SYSTEM_MEMU_ROWS_H_
