{
  "variables": {
    "avx2_flags": ["-mavx2", "-mfma", "-mf16c", "-mbmi", "-mbmi2", "-mlzcnt", "-mpopcnt"],
    "avx512_flags": [
      "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vbmi", "-mavx512vbmi2", "-mavx512vpopcntdq",
      # GCC 12 warns of its own header.
      "-Wno-maybe-uninitialized",
    ],
  },
  "target_defaults": {
    "cflags_cc": ["-std=c++17", "-O3", "-Wall", "-Wextra", "-fvisibility=hidden"],
    "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20"],
    "cflags": ["-fPIC"],
    "xcode_settings": {
      "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
      "CLANG_CXX_LANGUAGE_STANDARD": "c++17",
      "GCC_OPTIMIZATION_LEVEL": "3",
    },
  },
  # Each instruction set is compiled with its own flags; nothing else may use them.
  "targets": [
    {
      "target_name": "espalier_scalar",
      "type": "static_library",
      "sources": ["native/cpu/levels/scalar.cpp"],
    },
    {
      "target_name": "espalier_neon",
      "type": "static_library",
      "sources": ["native/cpu/levels/neon.cpp"],
    },
    {
      "target_name": "espalier_avx2",
      "type": "static_library",
      "sources": ["native/cpu/levels/avx2.cpp"],
      "cflags_cc": ["<@(avx2_flags)"],
      "xcode_settings": {"OTHER_CPLUSPLUSFLAGS": ["<@(avx2_flags)"]},
    },
    {
      "target_name": "espalier_avx512",
      "type": "static_library",
      "sources": ["native/cpu/levels/avx512.cpp"],
      "cflags_cc": ["<@(avx2_flags)", "<@(avx512_flags)"],
      "xcode_settings": {"OTHER_CPLUSPLUSFLAGS": ["<@(avx2_flags)", "<@(avx512_flags)"]},
    },
    {
      "target_name": "espalier",
      "dependencies": ["espalier_scalar"],
      "conditions": [
        ["target_arch=='x64'", {"dependencies": ["espalier_avx2", "espalier_avx512"]}],
        ["target_arch=='arm64'", {"dependencies": ["espalier_neon"]}],
        # dlopen, where the C library is older than glibc 2.34.
        ["OS=='linux'", {"libraries": ["-ldl"]}],
      ],
      "defines": ["NAPI_VERSION=8"],
      "sources": [
        "native/cpu/builder.cpp",
        "native/cpu/constraint.cpp",
        "native/cpu/levels/dispatch.cpp",
        "native/cpu/memory.cpp",
        "native/cpu/scan.cpp",
        "native/cpu/sets.cpp",
        "native/cpu/status.cpp",
        "native/cpu/step.cpp",
        "native/cpu/step_checks.cpp",
        "native/cpu/thread_pool.cpp",
        "native/cpu/trie.cpp",
        "native/binding/addon.cpp",
        "native/binding/build.cpp",
        "native/binding/cuda_library.cpp",
        "native/binding/cuda_objects.cpp",
        "native/binding/cuda_step.cpp",
        "native/binding/js.cpp",
        "native/binding/scan.cpp",
        "native/binding/sets.cpp",
        "native/binding/step.cpp",
        "native/binding/step_arguments.cpp",
        "native/binding/tries.cpp",
      ],
    },
  ],
}
