# SPDX-License-Identifier: Apache-2.0
# Every file of code says under which licence it is, in its first or second line.
cmake_minimum_required(VERSION 3.25)
set(checked 0)
foreach(folder engine io index tools bench tests)
  file(GLOB_RECURSE files ${ROOT}/${folder}/*.h ${ROOT}/${folder}/*.cc ${ROOT}/${folder}/*.cmake ${ROOT}/${folder}/*.mjs
       ${ROOT}/${folder}/*.py ${ROOT}/${folder}/CMakeLists.txt)
  foreach(file ${files})
    math(EXPR checked "${checked} + 1")
    file(STRINGS ${file} lines LIMIT_COUNT 2)
    if(NOT lines MATCHES "SPDX-License-Identifier: Apache-2[.]0")
      message(SEND_ERROR "${file}: the first line is to be `SPDX-License-Identifier: Apache-2.0`, in a comment")
    endif()
  endforeach()
endforeach()
if(checked EQUAL 0)
  message(FATAL_ERROR "no file found below ${ROOT}: is ROOT right?")
endif()
message(STATUS "license: ${checked} files checked")
