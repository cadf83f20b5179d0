# What libespalier_cuda.so and its emulated twin are made of, beside the CPU kernels.
set(ESPALIER_CUDA_FOLDER ${CMAKE_CURRENT_LIST_DIR})
set(ESPALIER_CUDA_LIBRARY
  batch.cpp captures.cpp constraint.cpp context.cpp memory.cpp probe.cpp runs.cpp set.cpp stepper.cpp trie.cpp uploader.cpp)
list(TRANSFORM ESPALIER_CUDA_LIBRARY PREPEND ${ESPALIER_CUDA_FOLDER}/)
set(ESPALIER_CUDA_KERNELS ${ESPALIER_CUDA_FOLDER}/step.cu)
