# The programs of native/cuda/check.sh over the stand-in for a device; on a machine with a GPU check/build.sh makes them.
set(CHECK_FOLDER ${CMAKE_CURRENT_LIST_DIR})
set(BASELINES_FOLDER ${CMAKE_CURRENT_LIST_DIR}/../baselines)

add_executable(cuda_check EXCLUDE_FROM_ALL ${CHECK_FOLDER}/check.cpp ${CHECK_FOLDER}/decode_case.cpp ${CHECK_FOLDER}/uploads.cpp)
add_executable(cuda_time EXCLUDE_FROM_ALL
  ${CHECK_FOLDER}/time.cpp ${CHECK_FOLDER}/catalog.cpp ${CHECK_FOLDER}/measurement.cpp
  ${BASELINES_FOLDER}/static_tables.cpp ${BASELINES_FOLDER}/static_step.cu)
set_source_files_properties(${BASELINES_FOLDER}/static_step.cu PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++")
foreach(program cuda_check cuda_time)
  target_link_libraries(${program} PRIVATE espalier_cuda_emulated_parts)
  # A score is rounded after each operation, as in the kernels.
  target_compile_options(${program} PRIVATE -ffp-contract=off)
endforeach()
