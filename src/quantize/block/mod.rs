//! Block kernels: rows of f32 to the bytes of a ggml type, bit for bit as the reference's x86-64 build.
