// SPDX-License-Identifier: Apache-2.0
#include "io/store/falkordb/falkordb_undo.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "engine/lost_writes.h"
#include "engine/number/float_list.h"
#include "engine/rollback.h"
#include "engine/setting.h"
#include "engine/status_macros.h"
#include "io/store/falkordb/falkordb_fetch.h"

namespace reembed {
namespace {

constexpr absl::string_view kKeyIndexNote = "key index";
constexpr absl::string_view kVectorIndexNote = "vector index";
constexpr absl::string_view kMade = "made";

constexpr size_t kAskedKeys = 256;  // in one query
constexpr size_t kKeptRows = 1024;  // in one piece of the log
// Of one statement of a rollback.
constexpr size_t kChangedRows = 256;
constexpr size_t kChangedBytes = size_t{1} << 19;

// How a value begins. A vector goes on with binary32, a literal with Cypher.
constexpr char kAbsent = 'n';
constexpr char kVector = 'v';
constexpr char kLiteral = 'x';
constexpr char kUnknown = '?';  // never in the log: it cannot be put back

std::vector<std::string> Filled(const FalkorNodes& nodes) {
  std::vector<std::string> properties = {nodes.asked.vector};
  if (!nodes.asked.model_property.empty()) properties.push_back(nodes.asked.model_property);
  return properties;
}

// The server shows 15 digits of a double, and 17 are needed. So it is asked for the lower half of its bits too, which
// 15 digits can show. Source of the splitting: T. J. Dekker, A floating-point technique for extending the available
// precision, 1971.
constexpr double kSplitter = 134217729;  // 2^27 + 1

double UpperHalf(double number) {
  const double large = number * kSplitter;
  return large - (large - number);
}

// Cypher: what `of` makes, as one list, of the list that `property` is; of anything else the empty list. CASE would do
// the sum with anything.
std::string OfList(const std::string& property, absl::string_view of) {
  return absl::StrCat("reduce(all = [], l IN [l IN [", property, "] WHERE typeOf(l) = 'List'] | all + ", of, ")");
}

// Cypher: the property; a map, which no property can be, where it has lists in lists: those are beyond what a reply of
// the server may nest.
std::string Readable(const std::string& property) {
  return absl::StrCat("CASE WHEN size(", OfList(property, "[x IN l WHERE typeOf(x) = 'List']"), ") > 0 THEN {} ELSE ",
                      property, " END");
}

// Cypher: the lower halves of the doubles that are the property, or are in it, in their order.
std::string LowerHalves(const std::string& property) {
  const std::string halves = " WHERE typeOf(x) = 'Float' | x - (x * 134217729.0 - (x * 134217729.0 - x))]";
  return absl::StrCat("[x IN [", property, "]", halves, " + ", OfList(property, absl::StrCat("[x IN l", halves)));
}

// The answer to LowerHalves(), taken one by one.
class Halves {
 public:
  explicit Halves(const FalkorCell& answer) : answer_(answer) {}

  // nullopt: there is none, or it is not finite.
  std::optional<double> Next() {
    double half = 0;
    if (next_ == answer_.size() || !absl::SimpleAtod(answer_[next_++].Text(), &half)) return std::nullopt;
    return std::isfinite(half) ? std::optional(half) : std::nullopt;
  }

 private:
  const FalkorCell answer_;
  size_t next_ = 0;
};

// False: Cypher has no literal for it.
bool AppendNumber(const FalkorCell& cell, std::optional<double> lower, std::string* out) {
  double shown = 0;
  if (!lower.has_value() || !absl::SimpleAtod(cell.Text(), &shown) || !std::isfinite(shown)) return false;
  // A zero may have a sign.
  const double number = *lower == 0 ? UpperHalf(shown) : UpperHalf(shown - *lower) + *lower;
  const std::string text = absl::StrFormat("%.17g", shown == 0 ? shown : number);
  // Without either it would become an integer.
  absl::StrAppend(out, text, text.find_first_of(".e") == std::string::npos ? ".0" : "");
  return true;
}

// Likewise.
bool AppendLiteral(const FalkorCell& cell, Halves* halves, std::string* out) {
  switch (cell.type()) {
    case FalkorCell::Type::kNull:
      out->append("null");
      return true;
    case FalkorCell::Type::kText:
      AppendFalkorText(cell.Text(), out);
      return true;
    case FalkorCell::Type::kInteger:
      absl::StrAppend(out, cell.Integer());
      return true;
    case FalkorCell::Type::kBoolean:
      out->append(cell.Text().data(), cell.Text().size());
      return true;
    case FalkorCell::Type::kDouble:
      return AppendNumber(cell, halves->Next(), out);
    case FalkorCell::Type::kArray:
      out->push_back('[');
      for (size_t i = 0; i < cell.size(); ++i) {
        if (i > 0) out->push_back(',');
        if (!AppendLiteral(cell[i], halves, out)) return false;
      }
      out->push_back(']');
      return true;
    default:
      return false;
  }
}

// nullopt: it cannot be put back.
std::optional<std::string> ValueOf(const FalkorCell& cell, Halves halves) {
  if (cell.IsNull()) return std::string(1, kAbsent);
  std::string value;
  if (cell.type() == FalkorCell::Type::kVector) {
    std::vector<float> numbers(cell.size());
    if (cell.Vector(absl::MakeSpan(numbers)) != static_cast<int64_t>(numbers.size())) return std::nullopt;
    value.push_back(kVector);
    value.append(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(float));
    return value;
  }
  value.push_back(kLiteral);
  if (!AppendLiteral(cell, &halves, &value)) return std::nullopt;
  return value;
}

// Of ValueOf(); of a vector its numbers.
std::string Cypher(absl::string_view value) {
  if (value[0] == kAbsent) return "null";
  if (value[0] == kLiteral) return std::string(value.substr(1));
  std::vector<float> numbers((value.size() - 1) / sizeof(float));
  std::memcpy(numbers.data(), value.data() + 1, numbers.size() * sizeof(float));
  std::string list;
  AppendFloatList(numbers, &list);
  return list;
}

// Values with their lengths, as OldRow::content.
std::string ContentOf(const std::vector<std::string>& values) {
  std::string content;
  for (const std::string& value : values) {
    const auto size = static_cast<uint32_t>(value.size());
    content.append(reinterpret_cast<const char*>(&size), sizeof(size));
    content.append(value);
  }
  return content;
}

absl::StatusOr<std::vector<std::string>> ParseContent(absl::string_view content, size_t values) {
  std::vector<std::string> parsed;
  uint32_t size = 0;
  while (content.size() >= sizeof(size)) {
    std::memcpy(&size, content.data(), sizeof(size));
    content.remove_prefix(sizeof(size));
    if (size == 0 || size > content.size()) break;
    parsed.emplace_back(content.substr(0, size));
    content.remove_prefix(size);
  }
  if (content.empty() && parsed.size() == values) return parsed;
  return absl::DataLossError("undo.db: a row's old properties are damaged");
}

// Calls `take` with the place of each key whose node is there, and its values, one per property of Filled(); nullopt
// for one that cannot be put back.
template <typename Take>
absl::Status ReadValues(const FalkorNodes& nodes, absl::Span<const KeyView> keys, Take take) {
  std::vector<std::string> asked;
  for (const std::string& name : Filled(nodes)) {
    asked.push_back(Readable(nodes.Property(name)));
    asked.push_back(LowerHalves(nodes.Property(name)));
  }
  for (size_t begin = 0; begin < keys.size(); begin += kAskedKeys) {
    ABSL_RETURN_IF_ERROR(ForEachFalkorNode(nodes, keys.subspan(begin, kAskedKeys), asked,
                                           [&](size_t place, const FalkorRows& rows, size_t row) {
                                             std::vector<std::optional<std::string>> values;
                                             for (size_t i = 1; i <= asked.size(); i += 2)
                                               values.push_back(ValueOf(rows(row, i), Halves(rows(row, i + 1))));
                                             take(begin + place, std::move(values));
                                           }));
  }
  return absl::OkStatus();
}

// One piece of LogFalkorNodes().
absl::Status KeepPiece(const FalkorNodes& nodes, absl::Span<RowToWrite* const> rows, UndoLog* log) {
  std::vector<KeyView> keys;
  for (const RowToWrite* const row : rows) keys.push_back(row->row->key);
  std::vector<std::optional<std::string>> contents(rows.size());
  absl::Status unknown;
  ABSL_RETURN_IF_ERROR(ReadValues(nodes, keys, [&](size_t place, std::vector<std::optional<std::string>> values) {
    std::vector<std::string> known;
    for (std::optional<std::string>& value : values) {
      if (value.has_value()) known.push_back(*std::move(value));
    }
    contents[place] = ContentOf(known);
    if (known.size() == values.size()) return;
    unknown = WithSetting(absl::FailedPreconditionError(nodes.Message(absl::StrCat(
                              "row ", KeyText(keys[place]),
                              ": a value in the property could not be restored by a rollback, as Cypher has no literal "
                              "for its type; fill another property, or run without an undo log"))),
                          Setting::kUndoLog);
  }));
  ABSL_RETURN_IF_ERROR(unknown);
  return LogOldRows(rows, log, [&](size_t row, std::optional<absl::string_view>* content) -> absl::StatusOr<bool> {
    *content = contents[row];
    return content->has_value();
  });
}

// Which of a row's old properties were vectors, bit by bit.
absl::StatusOr<unsigned> VectorsOf(const FalkorNodes& nodes, absl::string_view content) {
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> old, ParseContent(content, Filled(nodes).size()));
  unsigned vectors = 0;
  for (size_t i = 0; i < old.size(); ++i) vectors |= (old[i][0] == kVector ? 1U : 0U) << i;
  return vectors;
}

class NodeRows final : public RowTable {
 public:
  // `server`: FalkorGraph::ServerRun() before the first row is put back.
  NodeRows(const FalkorNodes& nodes, std::string server) : nodes_(nodes), server_(std::move(server)) {}

  absl::Status Read(absl::Span<const OldRow> rows, absl::Span<RowNow> now) override {
    std::vector<KeyView> keys;
    for (size_t i = 0; i < rows.size(); ++i) {
      keys.push_back(rows[i].key);
      now[i].was_there = true;  // nodes are not made
      ABSL_RETURN_IF_ERROR(ParseContent(rows[i].content.value_or(""), Filled(nodes_).size()).status());
    }
    return ReadValues(nodes_, keys, [&](size_t place, std::vector<std::optional<std::string>> values) {
      std::vector<std::string> known;
      known.reserve(values.size());
      for (std::optional<std::string>& value : values) {
        known.push_back(value.has_value() ? *std::move(value) : std::string(1, kUnknown));
      }
      now[place].there = true;
      now[place].vector = known[0];
      now[place].content = ContentOf(known);
    });
  }

  absl::StatusOr<std::optional<bool>> Holds(const RowNow& now, absl::Span<const float> written) override {
    return now.vector[0] == kVector && now.vector.size() == 1 + written.size() * sizeof(float) &&
           std::memcmp(now.vector.data() + 1, written.data(), written.size() * sizeof(float)) == 0;
  }

  absl::Status Apply(absl::Span<const RowChange> changes, absl::Span<RowOutcome> outcomes) override;

  absl::Status TakeAway(UndoReader* log, RollbackReport* report) override {
    ABSL_RETURN_IF_ERROR(nodes_.graph->Sync().status());
    ABSL_ASSIGN_OR_RETURN(const std::string server, nodes_.graph->ServerRun());
    if (server != server_) {
      return LostWritesError(nodes_.Message(
          "the server was restarted or replaced, and may have lost what was rolled back; run the same command again"));
    }
    ABSL_RETURN_IF_ERROR(SayIndex(kKeyIndexNote, "INDEX", nodes_.asked.key, log, report));
    return SayIndex(kVectorIndexNote, "VECTOR INDEX", nodes_.asked.vector, log, report);
  }

 private:
  // What one statement changes.
  struct Group {
    unsigned vectors = 0;   // VectorsOf()
    bool in_index = false;  // an index finds the nodes
    std::vector<size_t> places;
    size_t bytes = 0;
  };

  absl::Status Restore(const Group& group, absl::Span<const RowChange> changes, absl::Span<RowOutcome> outcomes);
  absl::Status SayIndex(absl::string_view note, absl::string_view kind, const std::string& property, UndoReader* log,
                        RollbackReport* report);

  const FalkorNodes& nodes_;
  const std::string server_;
};

absl::Status NodeRows::Apply(absl::Span<const RowChange> changes, absl::Span<RowOutcome> outcomes) {
  std::map<std::pair<unsigned, bool>, Group> groups;
  for (size_t i = 0; i < changes.size(); ++i) {
    ABSL_ASSIGN_OR_RETURN(const unsigned vectors, VectorsOf(nodes_, *changes[i].content));
    const bool in_index = IsInFalkorIndex(changes[i].key);
    Group& group = groups[{vectors, in_index}];
    group.vectors = vectors;
    group.in_index = in_index;
    group.places.push_back(i);
    group.bytes += changes[i].content->size();
    if (group.places.size() < kChangedRows && group.bytes < kChangedBytes) continue;
    ABSL_RETURN_IF_ERROR(Restore(std::exchange(group, Group()), changes, outcomes));
  }
  for (const auto& [key, group] : groups) {
    ABSL_RETURN_IF_ERROR(Restore(group, changes, outcomes));
  }
  return absl::OkStatus();
}

absl::Status NodeRows::Restore(const Group& group, absl::Span<const RowChange> changes,
                               absl::Span<RowOutcome> outcomes) {
  if (group.places.empty()) return absl::OkStatus();
  const auto value = [&](size_t property) {
    const std::string element = absl::StrCat("r[", property + 1, "]");
    return (group.vectors >> property & 1) != 0 ? absl::StrCat("vecf32(", element, ")") : element;
  };
  std::string cypher = "CYPHER rows=[";
  for (const size_t place : group.places) {
    cypher.append(cypher.back() == '[' ? "[" : ",[");
    AppendFalkorKey(changes[place].key, &cypher);
    ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> old,
                          ParseContent(*changes[place].content, Filled(nodes_).size()));
    for (const std::string& property : old) absl::StrAppend(&cypher, ",", Cypher(property));
    cypher.push_back(']');
  }
  const std::string vector = nodes_.Property(nodes_.asked.vector);
  // Something else first, as the sink does it and for its reason.
  absl::StrAppend(&cypher, "] UNWIND $rows AS r MATCH (n:", FalkorName(nodes_.asked.label), ") WHERE ",
                  nodes_.KeyIs("r[0]", group.in_index), " SET ", vector, " = '' WITH n, r SET ", vector, " = ",
                  value(0),
                  nodes_.asked.model_property.empty()
                      ? ""
                      : absl::StrCat(", ", nodes_.Property(nodes_.asked.model_property), " = ", value(1)),
                  " RETURN count(n)");
  int64_t restored = 0;
  absl::Status status = nodes_.graph->client()->Persist([&] {
    const absl::StatusOr<FalkorRows> answer = nodes_.graph->Query(cypher, FalkorGraph::Access::kWrite);
    if (answer.ok()) restored = answer->size() == 1 ? (*answer)(0, 0).Integer() : 0;
    return answer.status();
  });
  RowOutcome outcome;
  if (absl::IsInvalidArgument(status)) {
    outcome = {RowOutcome::Kind::kTogether, std::string(status.message())};
  } else if (!status.ok()) {
    return status;
  } else if (restored != static_cast<int64_t>(group.places.size())) {
    outcome.kind = RowOutcome::Kind::kAgain;  // some nodes went away meanwhile
  }
  for (const size_t place : group.places) outcomes[place] = outcome;
  return absl::OkStatus();
}

absl::Status NodeRows::SayIndex(absl::string_view note, absl::string_view kind, const std::string& property,
                                UndoReader* log, RollbackReport* report) {
  const absl::StatusOr<std::optional<std::string>> made = log->FindNote(note);
  if (!made.ok() || !made->has_value()) return made.status();
  report->notes.push_back(absl::StrCat("the index on ", property, " stays, which the job had made: DROP ", kind, " ",
                                       nodes_.OnProperty(property), " if nobody needs it"));
  return absl::OkStatus();
}

}  // namespace

absl::Status LogFalkorNodes(const FalkorNodes& nodes, absl::Span<RowToWrite* const> rows, UndoLog* log) {
  if (log == nullptr) return absl::OkStatus();
  for (size_t begin = 0; begin < rows.size(); begin += kKeptRows) {
    ABSL_RETURN_IF_ERROR(KeepPiece(nodes, rows.subspan(begin, kKeptRows), log));
  }
  return absl::OkStatus();
}

absl::Status LogFalkorKeyIndexMade(UndoLog* log) { return log->LogNote(kKeyIndexNote, kMade); }

absl::Status LogFalkorVectorIndexMade(UndoLog* log) { return log->LogNote(kVectorIndexNote, kMade); }

absl::StatusOr<RollbackReport> RollBackFalkor(const Location& location, UndoReader* old_rows,
                                              const FalkorOptions& options) {
  ABSL_ASSIGN_OR_RETURN(FalkorLocation asked, ParseFalkorLocation(location, options));
  const absl::StatusOr<FalkorNodes> nodes = OpenFalkorNodes(std::move(asked), "", options.patience);
  if (absl::IsNotFound(nodes.status())) {
    RollbackReport report;
    ABSL_RETURN_IF_ERROR(CountRowsGone(old_rows, nodes.status().message(), &report));
    return report;
  }
  ABSL_RETURN_IF_ERROR(nodes.status());
  ABSL_ASSIGN_OR_RETURN(std::string server, nodes->graph->ServerRun());
  NodeRows rows(*nodes, std::move(server));
  return RollBackRows(nodes->Message(nodes->asked.label), &rows, old_rows);
}

}  // namespace reembed
