# syntax=docker/dockerfile:1
# jamph-quantizer in a small image: the program, the C and C++ libraries that llama.cpp's released tools want, root
# certificates; no shell and no package manager.
#
#   docker build --tag jamph-quantizer .
#   docker run --rm --volume "$PWD:/workspace" --env HF_TOKEN jamph-quantizer run
#
# Runs as any user, with a read-only root: it writes to /models (what it downloads, and builds of llama.cpp) and to
# /workspace (outputs) alone. compose.yaml sets that up.

ARG RUST_VERSION=1.95.0

FROM rust:${RUST_VERSION}-bookworm AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --bin jamph-quantizer \
    && install -D target/release/jamph-quantizer /root-of-image/usr/local/bin/jamph-quantizer \
    && install -D --mode=644 --target-directory=/root-of-image/usr/share/doc/jamph-quantizer LICENSE-APACHE LICENSE-MIT NOTICE \
    && install --directory --mode=1777 /root-of-image/models /root-of-image/workspace

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /root-of-image/ /
# An unknown user has no home: everything that is written has its place by name.
ENV HOME=/models \
    HF_HOME=/models/huggingface \
    JAMPH_CACHE=/models/cache \
    JAMPH_OUTPUT=/workspace/output \
    TMPDIR=/models
VOLUME ["/models", "/workspace"]
WORKDIR /workspace
# The image's user `nonroot`.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/jamph-quantizer"]
CMD ["--help"]
