# SPDX-License-Identifier: Apache-2.0
# Installs the build tree into a fresh folder and builds and runs a program against what is installed.
# Wants: BUILD (build tree), SOURCE (this folder), WORK (folder to use).
cmake_minimum_required(VERSION 3.25)
file(REMOVE_RECURSE ${WORK})
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out)
  if(NOT code EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\nended with ${code}:\n${out}")
  endif()
endfunction()
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/installed)
run(${CMAKE_COMMAND} -S ${SOURCE}/consumer -B ${WORK}/build -DCMAKE_BUILD_TYPE=Release
    -DCMAKE_PREFIX_PATH=${WORK}/installed)
run(${CMAKE_COMMAND} --build ${WORK}/build)
run(${WORK}/build/consumer ${WORK}/job)
run(${WORK}/installed/bin/reembed --version)
# The installed command finds its presets beside itself.
run(${CMAKE_COMMAND} -E env --unset=REEMBED_DATA ${WORK}/installed/bin/reembed systems agentloop)
