# SPDX-License-Identifier: Apache-2.0
# Every source file is as .clang-format wants it.
cmake_minimum_required(VERSION 3.25)
set(files)
foreach(folder engine io index tools bench tests)
  file(GLOB_RECURSE more ${ROOT}/${folder}/*.h ${ROOT}/${folder}/*.cc)
  list(APPEND files ${more})
endforeach()
execute_process(COMMAND ${CLANG_FORMAT} --dry-run --Werror ${files} RESULT_VARIABLE code ERROR_VARIABLE out)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "run clang-format -i on the files named here:\n${out}")
endif()
