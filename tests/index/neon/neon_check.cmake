# SPDX-License-Identifier: Apache-2.0
# Kernels built for AArch64 and run under qemu-user must make the same of the same rows as those of this processor.
cmake_minimum_required(VERSION 3.25)
if(NOT COMPILER OR NOT QEMU)
  message(FATAL_ERROR "needs g++-aarch64-linux-gnu and qemu-user: run tools/install-packages test")
endif()
file(MAKE_DIRECTORY ${WORK})
# Headers without code of their own may come from this system, behind those of the other.
execute_process(
  COMMAND ${COMPILER} -std=c++20 -O2 -ffp-contract=off -static -I${SOURCE} -idirafter /usr/include
          ${SOURCE}/tests/index/neon/neon_check.cc ${SOURCE}/index/graph_kernels.cc ${SOURCE}/index/graph_kernels_x86.cc
          -o ${WORK}/neon_check
  COMMAND_ERROR_IS_FATAL ANY)
set(neon 6)  # GraphSimd::kNeon
execute_process(COMMAND ${QEMU} ${WORK}/neon_check ${neon} OUTPUT_VARIABLE other COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${NATIVE} OUTPUT_VARIABLE here COMMAND_ERROR_IS_FATAL ANY)
if(NOT other STREQUAL here)
  file(WRITE ${WORK}/neon.txt "${other}")
  file(WRITE ${WORK}/here.txt "${here}")
  message(FATAL_ERROR "NEON differs: compare ${WORK}/neon.txt with here.txt")
endif()
string(REGEX MATCHALL "\n" lines "${here}")
list(LENGTH lines count)
if(count LESS 2000)
  message(FATAL_ERROR "expected 2000 widths, got ${count}")
endif()
