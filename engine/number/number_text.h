// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_NUMBER_NUMBER_TEXT_H_
#define REEMBED_ENGINE_NUMBER_NUMBER_TEXT_H_

#include <string>

namespace reembed {

// A number as programs print it that keep it in a double: the fewest digits that give that double again, so 0.1f is
// 0.10000000149011612. Stores of numbers as text want exactly the bytes that their own programs write.

// As JavaScript's JSON.stringify: 1, 1e-7, 0.00001, 1e+21; -0 is 0; what is not finite is null.
// Source: ECMA-262, Number::toString.
void AppendJsNumber(double value, std::string* out);

// As Python's repr and json.dumps: 1.0, 1e-07, 1e-05, 1e+16, -0.0; what is not finite is NaN, Infinity, -Infinity.
// Source: docs.python.org, format specification "r": exponent form below 1e-4 and from 1e16 on.
void AppendPythonNumber(double value, std::string* out);

}  // namespace reembed

#endif  // REEMBED_ENGINE_NUMBER_NUMBER_TEXT_H_
