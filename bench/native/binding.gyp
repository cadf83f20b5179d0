{
  # Rivals of the decode step, for the machine that they are measured on: everything that its compiler can do.
  "targets": [
    {
      "target_name": "rivals",
      "defines": ["NAPI_VERSION=8"],
      "sources": ["addon.cpp"],
      "cflags_cc": ["-std=c++17", "-O3", "-march=native", "-Wall", "-Wextra"],
      "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20"],
      "cflags": ["-fPIC"],
      "xcode_settings": {
        "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
        "CLANG_CXX_LANGUAGE_STANDARD": "c++17",
        "GCC_OPTIMIZATION_LEVEL": "3",
      },
    },
  ],
}
