# What is built on (or for) an AArch64 host: the KVM engine with what it uses of devices and processors, and its tests. The
# libraries behind it are headers, so that a cross build needs no packages of the other architecture.
enable_language(ASM)

set(headers ${CMAKE_BINARY_DIR}/headers)
file(MAKE_DIRECTORY ${headers})
foreach(library fmt catch2 nlohmann)
  if(NOT EXISTS /usr/include/${library})
    message(FATAL_ERROR "there are no headers of ${library} in /usr/include")
  endif()
  file(CREATE_LINK /usr/include/${library} ${headers}/${library} SYMBOLIC)
endforeach()
add_library(fmt_headers INTERFACE)
target_compile_definitions(fmt_headers INTERFACE FMT_HEADER_ONLY)
target_include_directories(fmt_headers SYSTEM INTERFACE ${headers})
add_library(fmt::fmt ALIAS fmt_headers)

include(cmake/libraries.cmake)

function(tandem_sources name)
  cmake_parse_arguments(arg "" "" "FILES;LINK" ${ARGN})
  list(TRANSFORM arg_FILES PREPEND ${CMAKE_SOURCE_DIR}/)
  file(GLOB sources CONFIGURE_DEPENDS ${arg_FILES})
  add_library(${name} STATIC ${sources})
  target_link_libraries(${name} PUBLIC tandem_options ${arg_LINK})
endfunction()

tandem_sources(tandem_base FILES base/*.cpp)
tandem_sources(tandem_cpu FILES cpu/arm64/state.cpp LINK tandem_base)
tandem_sources(tandem_devices FILES devices/fabric/address_space.cpp devices/fabric/guest_memory.cpp devices/irq/gic.cpp
  devices/irq/gic_bank.cpp devices/irq/gic_virtual.cpp devices/irq/gicv2*.cpp LINK tandem_base)
tandem_sources(tandem_accel FILES accel/run_loop.cpp accel/signals.cpp accel/trace.cpp accel/vcpu_base.cpp
  accel/kvm/device.cpp accel/kvm/gate.cpp accel/kvm/slots.cpp accel/kvm/arm64/*.cpp LINK tandem_cpu tandem_devices)

enable_testing()
file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/lab/arm64/*.cpp)
add_executable(tandem-tests-arm64-kvm ${tests} tests/lab/arm64/guests.S tests/test_main.cpp)
target_link_libraries(tandem-tests-arm64-kvm PRIVATE tandem_accel)
# The lab's guest has no libraries.
target_link_options(tandem-tests-arm64-kvm PRIVATE -static)
add_test(NAME arm64-kvm COMMAND tandem-tests-arm64-kvm)
