// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_URI_TEMPLATE_H_
#define REEMBED_TOOLS_URI_TEMPLATE_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/location.h"
#include "tools/environment.h"
#include "tools/place.h"

// URIs with names between braces, as presets have them:
//   qdrant:{QDRANT_URL:6333}/{COLLECTION|'memories'}?text=content
// A name is a variable of the environment. {A|B} is the first of several that is set, and a last 'text' what is taken
// when none is. Slashes at the end of a value are left out; :PORT behind a name is given to a value, a URL, that has no
// port.
// {{ is a brace. Behind the ? a value is put in as it is, and the words of the template are percent-decoded.
// Names in lower case are places: {db} and {target} their URIs, {db.path} and {target.path} the paths alone,
// {db.folder} the folder that the database is in.
namespace reembed {

// The places that names can mean; null: there is none, and a template with its name has no value.
struct TemplatePlaces {
  const Location* db = nullptr;
  const Location* target = nullptr;
};

// The text with the values; nullopt: a name has none.
std::optional<std::string> ExpandText(absl::string_view text, const TemplatePlaces& places,
                                      const Environment& environment);

// The first of the templates, texts of any kind, all of whose variables are set. nullopt: there is none.
std::optional<std::string> FirstUrl(const std::vector<std::string>& templates, const Environment& environment);

// The place that the first of the templates names all of whose names have a value, with `parameters` in place of its
// own. A template that begins with {db} or {target} is that place, with its parameters and its secret. Errors: as
// ParsePlace; kNotFound (no template has all its values: `set A or B`, the variables that would do).
absl::StatusOr<Location> ExpandPlace(const std::vector<std::string>& templates, const TemplatePlaces& places,
                                     const std::map<std::string, std::string>& parameters,
                                     const SecretVariables& secrets, const Environment& environment);

// The parameters of a template, but for those in which a name has no value. Errors: as ParseLocation.
absl::StatusOr<std::map<std::string, std::string>> ExpandParameters(absl::string_view uri, const TemplatePlaces& places,
                                                                    const Environment& environment);

// Whether one of them has a name that begins so: `db`, `target`.
bool NamesPlace(const std::vector<std::string>& templates, absl::string_view place);

// The scheme of a template; empty: it begins with a name.
absl::string_view SchemeOfTemplate(absl::string_view uri);

// The names of variables that a preset has in one text, with | between them.
std::vector<std::string> VariableNames(absl::string_view names);

}  // namespace reembed

#endif  // REEMBED_TOOLS_URI_TEMPLATE_H_
