# libespalier_cuda_emulated.so: the sources of libespalier_cuda.so over a stand-in for the CUDA runtime, compiled by the
# C++ compiler alone. A test tool: it is installed nowhere and chosen by nothing.
include(${CMAKE_CURRENT_LIST_DIR}/../sources.cmake)

add_library(espalier_cuda_emulated_parts STATIC ${ESPALIER_CUDA_LIBRARY} machine.cpp memory_map.cpp runtime.cpp)
target_compile_definitions(espalier_cuda_emulated_parts PUBLIC ESPALIER_CUDA_EMULATED)
target_link_libraries(espalier_cuda_emulated_parts PUBLIC espalier_cuda_step_emulated)
set_target_properties(espalier_cpu espalier_cuda_step_emulated espalier_cuda_emulated_parts
                      PROPERTIES POSITION_INDEPENDENT_CODE ON)

add_library(espalier_cuda_emulated SHARED EXCLUDE_FROM_ALL
  $<TARGET_OBJECTS:espalier_cuda_emulated_parts> $<TARGET_OBJECTS:espalier_cuda_step_emulated>
  $<TARGET_OBJECTS:espalier_cpu>)
set_target_properties(espalier_cuda_emulated PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
target_link_libraries(espalier_cuda_emulated PRIVATE Threads::Threads)
target_link_options(espalier_cuda_emulated PRIVATE
  -Wl,--version-script=${ESPALIER_CUDA_FOLDER}/exports.map -Wl,--no-undefined)

set(TESTS ${CMAKE_CURRENT_LIST_DIR}/../../tests)
add_executable(cuda_library_test
  ${TESTS}/cuda_library_test.cpp ${TESTS}/cuda_refusals.cpp ${TESTS}/cuda_captures.cpp
  ${TESTS}/cuda_decodes.cpp)
target_link_libraries(cuda_library_test PRIVATE espalier_cuda_emulated_parts)
