# syntax=docker/dockerfile:1

FROM rust:1-slim-bookworm AS build
WORKDIR /build
COPY . .
# The caches are mounts and no part of the image, so the program is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked && cp target/release/fedgate /fedgate

# No shell, no package manager; the C library and the certificate authorities are there.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="fedgate" \
      org.opencontainers.image.description="Verifies Matrix federation requests before they reach the homeserver" \
      org.opencontainers.image.source="https://github.com/fedgate/fedgate" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build --chmod=0755 /fedgate /fedgate
# Federation over TLS, federation behind a proxy, health and metrics. Nothing is written but the keys,
# where /var/lib/fedgate is a volume, so any user and a read-only root will do.
EXPOSE 8448 8449 9448
HEALTHCHECK --interval=15s --timeout=5s --start-period=5s CMD ["/fedgate", "healthcheck"]
ENTRYPOINT ["/fedgate"]
CMD ["run"]
