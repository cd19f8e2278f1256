// SPDX-License-Identifier: Apache-2.0
#include "engine/number/number_text.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <random>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/fakes/process.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

std::string Js(float value) {
  std::string text = ">";
  AppendJsNumber(value, &text);
  return text.substr(1);
}

std::string Python(float value) {
  std::string text = ">";
  AppendPythonNumber(value, &text);
  return text.substr(1);
}

TEST(NumberTextTest, FormsOfBothLanguages) {
  struct Case {
    float value;
    const char* js;
    const char* python;
  };
  // 0.26380798 is the float next to the vector element that a real client printed so.
  for (const Case& c :
       {Case{0, "0", "0.0"}, Case{-0.0f, "0", "-0.0"}, Case{1, "1", "1.0"}, Case{-2.5f, "-2.5", "-2.5"},
        Case{0.26380798f, "0.2638079822063446", "0.2638079822063446"},
        Case{std::ldexp(1.0f, -20), "9.5367431640625e-7", "9.5367431640625e-07"},
        Case{std::ldexp(1.0f, -17), "0.00000762939453125", "7.62939453125e-06"},
        Case{std::ldexp(1.0f, -13), "0.0001220703125", "0.0001220703125"},
        Case{std::ldexp(1.0f, 53), "9007199254740992", "9007199254740992.0"},
        Case{std::ldexp(1.0f, 54), "18014398509481984", "1.8014398509481984e+16"},
        Case{std::ldexp(1.0f, 69), "590295810358705700000", "5.902958103587057e+20"},
        Case{std::ldexp(1.0f, 70), "1.1805916207174113e+21", "1.1805916207174113e+21"},
        Case{std::numeric_limits<float>::denorm_min(), "1.401298464324817e-45", "1.401298464324817e-45"},
        Case{std::numeric_limits<float>::infinity(), "null", "Infinity"}}) {
    EXPECT_EQ(Js(c.value), c.js);
    EXPECT_EQ(Python(c.value), c.python);
  }
}

// Random bits: every size, also denormal ones, infinities and NaN; and numbers of the size that vectors have.
std::vector<float> SomeFloats(uint64_t seed, size_t count) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, 0.03f);
  std::vector<float> floats(count);
  for (size_t i = 0; i < count; ++i) {
    floats[i] = i % 2 == 0 ? std::bit_cast<float>(static_cast<uint32_t>(random())) : normal(random);
  }
  return floats;
}

// REEMBED_TEST_FLOATS asks for more.
size_t FloatsToTry() {
  const char* const asked = std::getenv("REEMBED_TEST_FLOATS");
  return asked == nullptr ? 200000 : std::strtoul(asked, nullptr, 10);
}

// The floats as `program` prints them, one a line, and as we do.
void CompareWith(const std::vector<std::string>& program, std::string (*ours)(float)) {
  if (RunProcess({"/usr/bin/env", program[0], "--version"}).exit_code != 0) {
    FAIL() << program[0] << " is not installed: tools/install-packages test";
  }
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  const std::vector<float> floats = SomeFloats(seed, FloatsToTry());
  const TempFolder folder;
  std::ofstream(folder / "floats", std::ios::binary)
      .write(reinterpret_cast<const char*>(floats.data()), static_cast<std::streamsize>(floats.size() * sizeof(float)));
  std::vector<std::string> args = {"/usr/bin/env"};
  args.insert(args.end(), program.begin(), program.end());
  args.push_back(folder / "floats");
  const ProcessResult printed = RunProcess(args);
  ASSERT_EQ(printed.exit_code, 0) << printed.err;
  std::string wanted;
  for (const float value : floats) absl::StrAppend(&wanted, ours(value), "\n");
  if (printed.out == wanted) return;
  size_t at = 0;
  while (at < wanted.size() && at < printed.out.size() && wanted[at] == printed.out[at]) ++at;
  const size_t line = wanted.rfind('\n', at) + 1;
  FAIL() << "ours: " << wanted.substr(line, 60) << "\ntheirs: " << printed.out.substr(line, 60);
}

TEST(NumberTextTest, AsRealJavaScript) {
  CompareWith({"node", "-e",
               "const b = require('fs').readFileSync(process.argv[1]);"
               "const f = new Float32Array(b.buffer, b.byteOffset, b.length / 4);"
               "process.stdout.write(Array.from(f, x => JSON.stringify(x)).join('\\n') + '\\n')"},
              Js);
}

TEST(NumberTextTest, AsRealPython) {
  CompareWith({"python3", "-c",
               "import array, json, sys; a = array.array('f'); a.frombytes(open(sys.argv[1], 'rb').read());"
               "sys.stdout.write('\\n'.join(json.dumps(x) for x in a) + '\\n')"},
              Python);
}

}  // namespace
}  // namespace reembed
