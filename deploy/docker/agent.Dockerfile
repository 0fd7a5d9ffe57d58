# syntax=docker/dockerfile:1
# The agent as an image of one static file, for both architectures:
#
#   docker buildx build -f deploy/docker/agent.Dockerfile --platform linux/amd64,linux/arm64 -t forebay-agent .
#
# Alpine's Rust is for musl and links statically. Each architecture is built as itself, under emulation where the
# builder is of the other one.

FROM rust:1.95-alpine AS build
# Headers and start files of musl, and a C compiler for ring.
RUN apk add --no-cache build-base
WORKDIR /src
COPY . .
ARG TARGETARCH
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=forebay-agent-${TARGETARCH} \
    cargo build --locked --profile dist -p forebay-agent && cp target/dist/forebay-agent /
# A sidecar is pulled by every node: at most 8 MiB.
RUN test "$(stat -c %s /forebay-agent)" -le 8388608

FROM scratch
COPY --from=build /forebay-agent /forebay-agent
# Nobody in particular, by number, as `runAsNonRoot` wants it. Give the sidecar the component's UID (`runAsUser`) where
# it samples by shared-pid.
USER 65532:65532
# The kubelet asks for /livez and /readyz from outside the pod; batches are taken from within alone.
ENV FOREBAY_LISTEN=0.0.0.0:9410
EXPOSE 9410
ENTRYPOINT ["/forebay-agent"]
