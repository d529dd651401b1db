# A smaller find_package(Torch). The one inside torch insists on a CUDA toolkit of torch's own version as soon as torch was
# built for CUDA; kaldifeat holds no CUDA code (it reaches the GPU through torch's dispatcher), so headers and libraries do.
# Reads PYTHON_EXECUTABLE and TORCH_DIR, both set by kaldifeat's CMakeLists before it looks for Torch.
execute_process(
  COMMAND "${PYTHON_EXECUTABLE}" -c "import torch; print(int(torch.compiled_with_cxx11_abi()))"
  OUTPUT_STRIP_TRAILING_WHITESPACE
  OUTPUT_VARIABLE torch_cxx11_abi
)
set(TORCH_CXX_FLAGS "-D_GLIBCXX_USE_CXX11_ABI=${torch_cxx11_abi}")
add_library(torch INTERFACE IMPORTED)
target_include_directories(torch INTERFACE
  "${TORCH_DIR}/include"
  "${TORCH_DIR}/include/torch/csrc/api/include"
)
target_link_libraries(torch INTERFACE
  "${TORCH_DIR}/lib/libtorch.so"
  "${TORCH_DIR}/lib/libtorch_cpu.so"
  "${TORCH_DIR}/lib/libc10.so"
)
set(TORCH_LIBRARIES torch)
set(Torch_FOUND TRUE)
