# A static binary in an empty image. The builder needs Rust and a C compiler: any image that has both will do.
ARG BUILDER=rust:1-slim-bookworm

FROM ${BUILDER} AS build
WORKDIR /src
COPY . .
# The target is named so that crt-static applies to the program and not to the compiler's own plug-ins.
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
 && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --package composed --target "$target" \
 && mkdir -p /out/state /out/run/composed /out/run/composed-view /out/tmp \
 && cp "target/$target/release/composed" /out/composed

FROM scratch
COPY --from=build --chown=65534:65534 /out /
# Nobody, in the group of the Docker socket: run it with --group-add or user: as examples/compose.yaml does.
USER 65534:65534
ENV COMPOSED_STATE_DIR=/state COMPOSED_SOCKET=/run/composed/composed.sock \
    COMPOSED_VIEW=/run/composed-view/docker.sock
VOLUME ["/state", "/run/composed", "/run/composed-view"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/composed", "healthcheck"]
ENTRYPOINT ["/composed"]
CMD ["run", "/desired"]
