// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_SURVEY_H_
#define REEMBED_ENGINE_SURVEY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace reembed {

// What a table that a job fills in place holds now, of the rows of a Selection, also of one with a range of keys.
struct Survey {
  struct WidthCount {
    int64_t dim = 0;  // -1: something that is no vector
    int64_t rows = 0;
  };
  struct ModelCount {
    std::string model;  // empty: NULL or empty in the table
    int64_t rows = 0;
  };
  int64_t rows_selected = 0;         // whatever their vector; all that follows is about them
  int64_t rows_with_vector = 0;      // a vector of the planned width
  int64_t rows_null = 0;             // no vector: NULL, or the column is not there yet
  int64_t rows_needed = 0;           // no such vector, and readers of the table fail over that: the location's `needed`
  std::vector<WidthCount> widths;    // of the rows that have something there; at most kMaxGroups
  std::vector<ModelCount> models;    // of rows_with_vector, if a model column is named; as widths
  int64_t orphans = 0;               // vectors of rows that are gone; they stay. Not counted for a part of the rows
  std::vector<std::string> remarks;  // what else people should know of it, one line each
  static constexpr size_t kMaxGroups = 32;

  // Adds to the group, or makes a new one; beyond kMaxGroups it is left out.
  void AddWidth(int64_t dim, int64_t count) {
    for (WidthCount& width : widths) {
      if (width.dim == dim) {
        width.rows += count;
        return;
      }
    }
    if (widths.size() < kMaxGroups) widths.push_back({dim, count});
  }
  void AddModel(const std::string& name, int64_t count) {
    for (ModelCount& model : models) {
      if (model.model == name) {
        model.rows += count;
        return;
      }
    }
    if (models.size() < kMaxGroups) models.push_back({name, count});
  }
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_SURVEY_H_
