// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "tools/command_words.h"

namespace reembed {
namespace {

// Text as roff takes it: hyphens that may be typed, nothing that looks like a request, addresses that may be parted.
std::string Roff(const std::string& text) {
  std::string out = absl::StrReplaceAll(
      text, {{"\\", "\\e"}, {"-", "\\-"}, {"&", "&\\:"}, {"?", "?\\:"}, {",", ",\\:"}, {"|", "|\\:"}, {"[", "\\:["}});
  if (!out.empty() && (out[0] == '.' || out[0] == '\'')) out.insert(0, "\\&");
  return out;
}

// Lines as they are; those that are indented, as examples are, in a fixed font.
std::string RoffLines(const std::string& text) {
  std::string out;
  bool example = false;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const bool indented = !line.empty() && line[0] == ' ';
    if (indented != example) absl::StrAppend(&out, indented ? ".RS\n.nf\n" : ".fi\n.RE\n");
    example = indented;
    const std::string words(absl::StripAsciiWhitespace(line));
    absl::StrAppend(&out, words.empty() ? ".PP" : Roff(words), "\n");
  }
  return example ? out + ".fi\n.RE\n" : out;
}

std::string ValueName(const FlagWords& flag) {
  switch (flag.value) {
    case ValueKind::kNone:
      return "";
    case ValueKind::kWord:
      return absl::StrJoin(flag.values, "|");
    case ValueKind::kPath:
      return "PATH";
    case ValueKind::kPlace:
      return "URI";
    case ValueKind::kSystem:
      return "NAME";
    case ValueKind::kNumber:
      return "VALUE";
  }
  return "";
}

std::string FlagEntry(const FlagWords& flag) {
  std::vector<std::string> names;
  for (const std::string& name : flag.names) names.push_back(absl::StrCat("\\fB", Roff(name), "\\fR"));
  const std::string value = ValueName(flag);
  return absl::StrCat(".TP\n", absl::StrJoin(names, ", "), value.empty() ? "" : " \\fI", Roff(value),
                      value.empty() ? "" : "\\fR", "\n", Roff(flag.help), "\n");
}

bool IsSame(const FlagWords& a, const FlagWords& b) { return a.names == b.names && a.help == b.help; }

std::vector<FlagWords> Without(const std::vector<FlagWords>& flags, const std::vector<FlagWords>& others) {
  std::vector<FlagWords> left;
  for (const FlagWords& flag : flags) {
    const bool there =
        std::any_of(others.begin(), others.end(), [&](const auto& other) { return IsSame(flag, other); });
    if (!there) left.push_back(flag);
  }
  return left;
}

std::string Synopsis(const CommandWords& command) {
  std::string out = absl::StrCat("\\fBreembed ", Roff(command.name), "\\fR");
  for (const ArgumentWords& argument : command.arguments) {
    absl::StrAppend(&out, " [\\fI", Roff(absl::AsciiStrToUpper(argument.name)), "\\fR]",
                    argument.repeats ? " ..." : "");
  }
  return out + " [\\fIflags\\fR]";
}

void AddFlags(const std::vector<FlagWords>& flags, std::string* out) {
  std::vector<std::string> groups;
  for (const FlagWords& flag : flags) {
    if (std::find(groups.begin(), groups.end(), flag.group) == groups.end()) groups.push_back(flag.group);
  }
  for (const std::string& group : groups) {
    if (groups.size() > 1) absl::StrAppend(out, ".PP\n\\fI", Roff(group), "\\fR\n");
    for (const FlagWords& flag : flags) {
      if (flag.group == group) absl::StrAppend(out, FlagEntry(flag));
    }
  }
}

// Flags that an earlier command has are said there, if these are nearly all of that command's.
void AddFlagsOnce(const CommandWords& command, const std::vector<const CommandWords*>& before, std::string* out) {
  constexpr size_t kFewest = 20, kMostLeftOut = 16;
  for (const CommandWords* const earlier : before) {
    const std::vector<FlagWords> left_out = Without(earlier->flags, command.flags);
    const std::vector<FlagWords> more = Without(command.flags, earlier->flags);
    const bool same = left_out.empty() && more.empty();
    if (earlier->flags.size() < (same ? 2 : kFewest) || left_out.size() > kMostLeftOut) continue;
    std::vector<std::string> names;
    names.reserve(left_out.size());
    for (const FlagWords& flag : left_out) names.push_back(flag.names.front());
    absl::StrAppend(out, ".PP\nFlags: those of \\fB", Roff(earlier->name), "\\fR",
                    names.empty() ? "" : Roff(absl::StrCat(" without ", absl::StrJoin(names, ", "))),
                    more.empty() ? ".\n" : ", and these:\n");
    return AddFlags(more, out);
  }
  AddFlags(command.flags, out);
}

}  // namespace

std::string ManPage(const std::vector<CommandWords>& all, const std::string& version) {
  const CommandWords& program = all.front();
  std::string out = absl::StrCat(
      ".\\\" Made by `reembed completion man`.\n.TH REEMBED 1 \"\" \"reembed ", version, "\" \"User Commands\"\n",
      // Addresses are long words: neither stretched nor parted.
      ".ad l\n.nh\n", ".SH NAME\nreembed \\- ", Roff(program.help.substr(program.help.find(' ') + 1)),
      "\n.SH SYNOPSIS\n", "\\fBreembed\\fR \\fIcommand\\fR [\\fIflags\\fR]\n.SH DESCRIPTION\n",
      Roff("Streams rows from a database or a file, turns their texts into vectors through an embedding API as fast as "
           "the quota allows, writes the vectors back, and builds an index, in one pass. After a stop or a crash the "
           "same command resumes; it never buys a vector again that was received."),
      "\n.SH COMMANDS\n");
  std::vector<const CommandWords*> before;
  for (const CommandWords& command : all) {
    if (command.name.empty() || command.has_commands) continue;
    absl::StrAppend(&out, ".SS ", Roff(command.name), "\n", Synopsis(command), "\n.PP\n", Roff(command.help), "\n");
    for (const ArgumentWords& argument : command.arguments) {
      absl::StrAppend(&out, ".TP\n\\fI", Roff(absl::AsciiStrToUpper(argument.name)), "\\fR\n", Roff(argument.help),
                      "\n");
    }
    AddFlagsOnce(command, before, &out);
    if (!command.footer.empty()) absl::StrAppend(&out, ".PP\n", RoffLines(command.footer));
    before.push_back(&command);
  }
  absl::StrAppend(
      &out, ".SH ENVIRONMENT\n",
      Roff("Each flag is also read from a variable: of run and plan REEMBED_ and its name (--batch-size: "
           "REEMBED_BATCH_SIZE), of other commands with theirs between (search --top: REEMBED_SEARCH_TOP). Flags win "
           "over variables, these over .env, job file, ./reembed.toml, and the files of settings of the user and the "
           "system; `reembed config show --origin` prints what comes from where. Keys of APIs are never flags; they "
           "come from the vendor's own variable, from "
           "--api-key-env or --api-key-file."),
      "\n.TP\n\\fBREEMBED_DATA\\fR\n", Roff("folder with systems/*.toml and models.toml that comes before all others"),
      "\n.TP\n\\fBSSL_CERT_FILE\\fR, \\fBSSL_CERT_DIR\\fR\n", Roff("certificate authorities to trust"),
      "\n.SH FILES\n`reembed paths` prints them.\n.SH EXIT STATUS\n");
  // The last lines of the program's own footer.
  const size_t codes = program.footer.find("Exit codes:");
  if (codes != std::string::npos) absl::StrAppend(&out, RoffLines(program.footer.substr(codes)));
  return out;
}

}  // namespace reembed
