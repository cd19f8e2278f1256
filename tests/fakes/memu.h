// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_MEMU_H_
#define REEMBED_TESTS_FAKES_MEMU_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace reembed {

struct MemuOptions {
  int64_t items = 20000;
  int dim = 1536;
  uint64_t seed = 1;
};

struct MemuEntry {
  std::string user, agent;
  std::string embedded;       // the text that is embedded; empty: it keeps the vector it has
  std::string text;           // what `text` in vectors.json says then
  std::vector<float> vector;  // what it has now
};

// By collection and id: every entry that vectors.json must have in the end.
using MemuEntries = std::map<std::string, std::map<std::string, MemuEntry>>;

// Makes memu.db and vectors.json in the folder as MemU and its faults leave them: entries that are not there, empty, of
// another width or of another owner; entries without a row; a collection that is not there; captions that only
// vectors.json has, and some that are lost; texts of any language, with quotes and control characters.
MemuEntries MakeMemu(const std::string& folder, const MemuOptions& options);

// What Python makes of a vectors.json: entries by collection and id, as MemU's own loader has them (and it fails where
// that forgets everything). `canonical`: the file is byte for byte what json.dump(indent=2) makes of it.
// `order`: COLLECTION/ID of all entries. Empty map: there is no Python, or it failed; `error` says which.
struct MemuAsPythonReadsIt {
  MemuEntries entries;
  std::vector<std::string> order;
  bool canonical = false;
  std::string error;
};
MemuAsPythonReadsIt ReadMemuWithPython(const std::string& path);

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_MEMU_H_
