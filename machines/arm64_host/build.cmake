# What is built on (or for) an AArch64 host: the KVM engine with its tests, for which headers suffice, so that a cross build
# needs no packages of the other architecture; and, where its libraries are, the program with machine virt on that engine.
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

include(base/libraries.cmake)

# What x86-64 hosts have: the translator's engines, a PC's own devices, and libraries that Debian has no static form of.
set(elsewhere "frontend/(main|engine|diff_command|replay_command)\\.cpp$|devices/(block/nbd|net/user)\\.cpp$"
  "devices/irq/(apic|ioapic|lapic|pic)|devices/char/uart16550|devices/pci/(host_bridge|lpc_bridge)|devices/timer/(hpet|pit)"
  "devices/misc/(acpi_pm|debug_ports|i8042|kvmclock|pc_testdev|ps2|pvpanic|reset_ports)")
list(JOIN elsewhere "|" elsewhere)
function(tandem_sources name)
  cmake_parse_arguments(arg "" "" "FILES;LINK" ${ARGN})
  list(TRANSFORM arg_FILES PREPEND ${CMAKE_SOURCE_DIR}/)
  file(GLOB sources CONFIGURE_DEPENDS ${arg_FILES})
  list(FILTER sources EXCLUDE REGEX "${elsewhere}")
  add_library(${name} STATIC ${sources})
  target_link_libraries(${name} PUBLIC tandem_options ${arg_LINK})
  tandem_precompile(${name} tandem_base)
endfunction()

tandem_sources(tandem_base FILES base/*.cpp)
tandem_sources(tandem_cpu FILES cpu/register_text.cpp cpu/arm64/state.cpp cpu/arm64/system/numbered.cpp LINK tandem_base)
tandem_sources(tandem_gic FILES devices/fabric/address_space.cpp devices/fabric/guest_memory.cpp devices/irq/gic*.cpp
  LINK tandem_base)
tandem_sources(tandem_accel FILES accel/run_loop.cpp accel/signals.cpp accel/trace.cpp accel/vcpu_base.cpp
  accel/kvm/device.cpp accel/kvm/doorbells.cpp accel/kvm/gate.cpp accel/kvm/slots.cpp accel/kvm/arm64/*.cpp LINK tandem_cpu tandem_gic)

# The program, where its libraries are: a cross build has them from Debian's packages, unpacked (./dev build arm64).
set(TANDEM_ARM64_PACKAGES "" CACHE PATH "Folder with unpacked arm64 packages; empty: the system's")
if(TANDEM_ARM64_PACKAGES)
  file(GLOB folders ${TANDEM_ARM64_PACKAGES}/*/usr)
endif()
set(have_libraries ON)
foreach(library fdt zstd z uring capstone)
  find_library(ARM64_${library} NAMES lib${library}.a HINTS ${folders} PATH_SUFFIXES lib/aarch64-linux-gnu)
  if(NOT ARM64_${library})
    message(STATUS "the front end is left out: there is no lib${library} for AArch64")
    set(have_libraries OFF)
  endif()
endforeach()
if(have_libraries)
  list(TRANSFORM folders APPEND /include OUTPUT_VARIABLE includes)
  add_library(arm64_libraries INTERFACE)
  target_include_directories(arm64_libraries SYSTEM INTERFACE ${includes})
  target_link_libraries(arm64_libraries INTERFACE ${ARM64_fdt} ${ARM64_zstd} ${ARM64_z} ${ARM64_uring} ${ARM64_capstone})
  tandem_sources(tandem_processors FILES cpu/*/models/*.cpp cpu/*/decode/disassemble.cpp cpu/*/system/inspect.cpp
    cpu/x86/fpu/xsave.cpp cpu/numbered.cpp cpu/x86/system/numbered.cpp
    LINK tandem_cpu arm64_libraries)
  tandem_sources(tandem_devices FILES devices/*/*.cpp LINK tandem_gic arm64_libraries)
  tandem_sources(tandem_machines FILES accel/state_registers.cpp machines/*.cpp machines/arm64_host/*.cpp machines/snapshot/*.cpp
    machines/virt/*.cpp
    LINK tandem_accel tandem_processors tandem_devices)
  tandem_sources(tandem_frontend FILES frontend/*.cpp frontend/arm64_host/*.cpp frontend/monitor/*.cpp LINK tandem_machines)
  target_compile_definitions(tandem_frontend PUBLIC TANDEM_VERSION="${PROJECT_VERSION}")
  add_executable(tandem frontend/main.cpp)
  target_link_libraries(tandem PRIVATE tandem_frontend)
  # Of x86-64 processors only the description is used: what executes their instructions is not there.
  target_compile_options(tandem_processors PRIVATE -ffunction-sections)
  target_link_options(tandem PRIVATE -static LINKER:--gc-sections)
endif()

enable_testing()
file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/lab/arm64/*.cpp)
add_executable(tandem-tests-arm64-kvm ${tests} tests/lab/arm64/guests.S tests/test_main.cpp)
target_link_libraries(tandem-tests-arm64-kvm PRIVATE tandem_accel)
# The lab's guest has no libraries.
target_link_options(tandem-tests-arm64-kvm PRIVATE -static)
add_test(NAME arm64-kvm COMMAND tandem-tests-arm64-kvm)
