// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_ODD_WORDS_H_
#define REEMBED_TESTS_FAKES_ODD_WORDS_H_

#include <string>
#include <vector>

namespace reembed {

// Words that somebody may write and that shells, Slurm and YAML would take for something else. All are UTF-8, none is
// empty; `lines`: also those with control characters.
inline std::vector<std::string> OddWords(bool lines = true) {
  std::vector<std::string> words = {"plain",
                                    "two words",
                                    " blanks around ",
                                    "it's",
                                    "\"quoted\"",
                                    "'\"'\"'",
                                    "back\\slash\\",
                                    "\\n",
                                    "$HOME",
                                    "$(id)",
                                    "$$(NAME)",
                                    "${x:-y}",
                                    "`id`",
                                    "-leading",
                                    "--where=x",
                                    "no",
                                    "true",
                                    "null",
                                    "~",
                                    "1e3",
                                    "0x10",
                                    "2026-11-30",
                                    "- item",
                                    "key: value",
                                    "# comment",
                                    "a #b",
                                    "{a: [b]}",
                                    "&anchor",
                                    "*alias",
                                    "!tag",
                                    "|",
                                    ">",
                                    "%a %% %",
                                    "a;b&c|d<e>f(g)",
                                    "*?[a-z]",
                                    "a!b",
                                    "\u00e4\u20ac\U0001F600",
                                    "\u2028\u2029\u0085\ufeff"};
  if (lines)
    words.insert(words.end(), {"two\nlines", "\n", "tab\there", "end\r\n", "\x01\x1b[31m\x7f", "a\n#SBATCH -x"});
  return words;
}

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_ODD_WORDS_H_
