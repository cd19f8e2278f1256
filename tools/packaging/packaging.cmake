# SPDX-License-Identifier: Apache-2.0
# What an installed command has beside it, and the Debian package. Included by the top CMakeLists.txt.

# Completions and the man page are written by the command itself, from its own flags.
set(words ${PROJECT_BINARY_DIR}/words)
if(NOT REEMBED_SANITIZE AND NOT CMAKE_CROSSCOMPILING)
  add_custom_command(TARGET reembed POST_BUILD VERBATIM
    COMMAND ${CMAKE_COMMAND} -DREEMBED=$<TARGET_FILE:reembed> -DTO=${words}
            -P ${PROJECT_SOURCE_DIR}/tools/packaging/write_words.cmake)
endif()
# Debian's zsh looks into vendor-completions, others do not.
set(REEMBED_ZSH_DIR ${CMAKE_INSTALL_DATADIR}/zsh/site-functions CACHE STRING "Where the completion of zsh goes")
install(FILES ${words}/reembed.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME reembed
        COMPONENT command OPTIONAL)
install(FILES ${words}/_reembed DESTINATION ${REEMBED_ZSH_DIR} COMPONENT command OPTIONAL)
install(FILES ${words}/reembed.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d COMPONENT command OPTIONAL)
install(FILES ${words}/reembed.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT command OPTIONAL)
install(FILES data/grafana/reembed.json DESTINATION ${CMAKE_INSTALL_DATADIR}/reembed/grafana COMPONENT command)
install(FILES data/systemd/reembed@.service data/systemd/reembed@.timer
        DESTINATION ${CMAKE_INSTALL_DATADIR}/reembed/systemd COMPONENT command)
# Where Debian's tools look for it.
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright COMPONENT command)

# tools/package deb
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME reembed)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "the maintainers of reembed <maintainers@reembed.invalid>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
# The command with its data; libraries and headers are for those who build from the tree.
set(CPACK_COMPONENTS_ALL command)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
# Behind the project's own line.
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"Streams rows from a database or a file, turns their texts into vectors through
an embedding API as fast as the quota allows and never faster, writes the
vectors back, and builds a FAISS index, in one pass. A stopped or crashed run
goes on where it was and buys nothing twice.")
set(CPACK_DEBIAN_PACKAGE_SECTION database)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# FAISS takes whatever BLAS is there, and the reference one is slow.
set(CPACK_DEBIAN_PACKAGE_DEPENDS libopenblas0)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS ca-certificates)
include(CPack)
