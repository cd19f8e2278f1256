// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/memu.h"

#include <sqlite3.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/fakes/old_vector.h"
#include "tests/fakes/process.h"

namespace reembed {
namespace {

constexpr char kTables[] =
    "CREATE TABLE resources (id TEXT PRIMARY KEY, user_id TEXT NOT NULL, agent_id TEXT NOT NULL, url TEXT NOT NULL, "
    "modality TEXT NOT NULL, local_path TEXT NOT NULL, caption TEXT, created_at REAL, UNIQUE(user_id, agent_id, url));"
    "CREATE TABLE memory_items (id TEXT PRIMARY KEY, user_id TEXT NOT NULL, agent_id TEXT NOT NULL, resource_id TEXT, "
    "memory_type TEXT NOT NULL, summary TEXT NOT NULL, created_at REAL);"
    "CREATE TABLE categories (id TEXT PRIMARY KEY, user_id TEXT NOT NULL, agent_id TEXT NOT NULL, name TEXT NOT NULL, "
    "description TEXT NOT NULL, summary TEXT, created_at REAL, UNIQUE(user_id, agent_id, name));";

struct Text {
  const char* plain;
  const char* json;  // as Python writes it
};
constexpr std::array<Text, 5> kTexts = {{
    {"likes tea", "likes tea"},
    {"isst gern \xC3\x84pfel", "isst gern \\u00c4pfel"},
    {"\xE4\xBC\x9A\xE8\xAD\xB0 \xF0\x9F\x98\x80", "\\u4f1a\\u8b70 \\ud83d\\ude00"},
    {"said \"no\" \\ never", "said \\\"no\\\" \\\\ never"},
    {"two\nlines\t\x01\b\f\x7F/", "two\\nlines\\t\\u0001\\b\\f\\u007f/"},
}};

class Database {
 public:
  explicit Database(const std::string& path) {
    if (sqlite3_open(path.c_str(), &db_) != SQLITE_OK) std::abort();
    Run(kTables);
    Run("BEGIN");
  }
  ~Database() {
    Run("COMMIT");
    sqlite3_close(db_);
  }
  void Run(const std::string& sql) {
    if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK) return;
    std::fprintf(stderr, "SQLite: %s\n", sqlite3_errmsg(db_));
    std::abort();
  }

 private:
  sqlite3* db_ = nullptr;
};

std::string Quoted(const std::string& text) {
  char* const quoted = sqlite3_mprintf("%Q", text.c_str());
  std::string out = quoted;
  sqlite3_free(quoted);
  return out;
}

// vectors.json as Python prints it.
class VectorsFile {
 public:
  void Begin(const std::string& collection) {
    out_ += absl::StrCat(out_.empty() ? "{" : "\n  },", "\n  \"", collection, "\": {");
    first_ = true;
  }
  // Numbers are 0.5 or -0.25, which every language prints alike.
  void Add(const std::string& id, const std::string& user, const std::string& agent, const std::vector<float>& vector,
           const std::string& text_json) {
    out_ += absl::StrCat(first_ ? "" : ",", "\n    \"", id, "\": {\n      \"user_id\": \"", user,
                         "\",\n      \"agent_id\": \"", agent, "\",\n      \"vector\": [");
    first_ = false;
    for (size_t i = 0; i < vector.size(); ++i) out_ += absl::StrCat(i == 0 ? "" : ",", "\n        ", vector[i]);
    out_ += absl::StrCat(vector.empty() ? "" : "\n      ", "],\n      \"text\": ", text_json, "\n    }");
  }
  std::string End() { return out_ + "\n  }\n}"; }

 private:
  std::string out_;
  bool first_ = true;
};

constexpr char kReader[] = R"(
import array, json, sys
raw = open(sys.argv[1], encoding='utf-8', newline='').read()
data = json.loads(raw)
print(int(json.dumps(data, indent=2) == raw))
for name, entries in data.items():
    for id, entry in entries.items():
        vector = array.array('f', entry['vector']).tobytes().hex()
        text = entry.get('text')
        text = '-' if text is None else text.encode('utf-8', 'surrogatepass').hex()
        print(name, id, entry['user_id'], entry['agent_id'], 'v' + vector, 't' + text)
)";

}  // namespace

MemuEntries MakeMemu(const std::string& folder, const MemuOptions& options) {
  std::mt19937_64 random(options.seed);
  Database db(folder + "/memu.db");
  VectorsFile file;
  MemuEntries entries;
  const auto user = [](int64_t row) { return absl::StrCat("user", row % 3); };
  const auto agent = [](int64_t row) { return absl::StrCat("agent", row % 2); };

  file.Begin("resources");
  for (int64_t row = 0; row < options.items / 10 + 8; ++row) {
    const std::string id = absl::StrCat("0198-r", row), url = absl::StrCat("https://x/", row);
    db.Run(absl::StrCat("INSERT INTO resources VALUES (", Quoted(id), ", ", Quoted(user(row)), ", ", Quoted(agent(row)),
                        ", ", Quoted(url), ", 'text', '/tmp/x', NULL, 1.5)"));
    const Text& text = kTexts[static_cast<size_t>(row) % kTexts.size()];
    const std::string plain = absl::StrCat(" caption ", row, " ", text.plain, "\n");
    const std::string json = absl::StrCat("\" caption ", row, " ", text.json, "\\n\"");
    std::string stripped = plain.substr(1, plain.size() - 2);
    MemuEntry entry{.user = user(row), .agent = agent(row), .text = plain};
    switch (row % 4) {
      case 0:  // the vector is gone, the caption is not
        entry.embedded = stripped;
        file.Add(id, entry.user, entry.agent, {}, json);
        break;
      case 1:
        entry.vector = OldVector(stripped, options.dim);
        file.Add(id, entry.user, entry.agent, entry.vector, json);
        break;
      case 2:  // no caption: the url stands for it
        entry.text = url;
        file.Add(id, entry.user, entry.agent, {}, absl::StrCat("\"", url, "\""));
        break;
      default:  // the caption is lost
        continue;
    }
    entries["resources"][id] = entry;
  }

  file.Begin("items");
  for (int64_t row = 0; row < options.items; ++row) {
    const std::string id = absl::StrCat("0198-i", row);
    const Text& text = kTexts[static_cast<size_t>(row) % kTexts.size()];
    const std::string plain = absl::StrCat("item ", row / 2, " ", text.plain);
    const std::string json = absl::StrCat("\"item ", row / 2, " ", text.json, "\"");
    db.Run(absl::StrCat("INSERT INTO memory_items VALUES (", Quoted(id), ", ", Quoted(user(row)), ", ",
                        Quoted(agent(row)), ", NULL, 'event', ", Quoted(plain), ", 1.5)"));
    MemuEntry entry{.user = user(row), .agent = agent(row), .embedded = plain, .text = plain};
    switch (random() % 6) {
      case 0:
        break;  // not there
      case 1:
        file.Add(id, entry.user, entry.agent, {}, json);
        break;
      case 2:
        file.Add(id, entry.user, entry.agent, OldVector(plain, 3), "null");
        break;
      case 3:
        file.Add(id, "somebody", entry.agent, OldVector(plain, options.dim), json);
        break;
      default:
        entry.embedded = "";
        entry.vector = OldVector(plain, options.dim);
        file.Add(id, entry.user, entry.agent, entry.vector, json);
    }
    entries["items"][id] = entry;
  }
  for (int orphan = 0; orphan < 3; ++orphan) {
    const std::string id = absl::StrCat("gone", orphan);
    MemuEntry entry{.user = "user0", .agent = "agent0", .text = "gone", .vector = OldVector("gone", options.dim)};
    file.Add(id, entry.user, entry.agent, entry.vector, "\"gone\"");
    entries["items"][id] = entry;
  }

  for (int64_t row = 0; row < 30; ++row) {
    const std::string id = absl::StrCat("0198-c", row), name = row == 7 ? "" : absl::StrCat("name ", row);
    const std::string description = row % 3 == 0 ? "" : absl::StrCat("about ", row);
    db.Run(absl::StrCat("INSERT INTO categories VALUES (", Quoted(id), ", ", Quoted(user(row)), ", ",
                        Quoted(agent(row)), ", ", Quoted(name), ", ", Quoted(description), ", NULL, 1.5)"));
    const std::string text =
        absl::StrCat(name.empty() ? "Untitled" : name, description.empty() ? "" : ": ", description);
    entries["categories"][id] = {.user = user(row), .agent = agent(row), .embedded = text, .text = text};
  }
  std::ofstream(folder + "/vectors.json", std::ios::binary) << file.End();
  return entries;
}

MemuAsPythonReadsIt ReadMemuWithPython(const std::string& path) {
  MemuAsPythonReadsIt read;
  const ProcessResult result = RunProcess({"/usr/bin/env", "python3", "-c", kReader, path});
  if (result.exit_code != 0) {
    read.error = absl::StrCat("python3: ", result.err);
    return read;
  }
  std::vector<std::string> lines = absl::StrSplit(result.out, '\n', absl::SkipEmpty());
  read.canonical = !lines.empty() && lines[0] == "1";
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::vector<std::string> fields = absl::StrSplit(lines[i], ' ');
    MemuEntry entry{.user = fields.at(2), .agent = fields.at(3)};
    const std::string bytes = absl::HexStringToBytes(fields.at(4).substr(1));
    entry.vector.resize(bytes.size() / sizeof(float));
    if (!bytes.empty()) std::memcpy(entry.vector.data(), bytes.data(), bytes.size());
    entry.text = fields.at(5) == "t-" ? "" : absl::HexStringToBytes(fields.at(5).substr(1));
    read.entries[fields.at(0)][fields.at(1)] = entry;
    read.order.push_back(absl::StrCat(fields.at(0), "/", fields.at(1)));
  }
  return read;
}

}  // namespace reembed
