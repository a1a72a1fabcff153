# SPDX-License-Identifier: Apache-2.0
# One image with all programs: gpu-exporter (DaemonSet), gpu-scaler (Deployment) and gpu-simulator.
# glibc is needed: the driver's libnvidia-ml.so.1, which the container runtime mounts, is built for it.
# The tag of the base image gets Debian's security updates, so it is no digest here. A release looks up
# its digest once and builds both architectures from that (.github/workflows/release.yaml), as anybody
# can with --build-arg PYTHON_IMAGE=python:TAG@sha256:DIGEST
ARG PYTHON_IMAGE=python:3.13.16-slim-trixie

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ONLY_BINARY=:all: \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /build \
    && /build/bin/pip install --no-cache-dir --no-compile --require-hashes -r requirements-build.lock \
    && python -m venv --without-pip /app \
    && /build/bin/pip --python /app/bin/python install --no-cache-dir --no-compile \
        --require-hashes -r requirements.lock \
    # Of the Kubernetes client the scaler uses what reads kubeconfigs and tokens. The classes of the
    # API, half of all that is installed, are loaded when they are first used, and never are. aiohttp's
    # WebSockets, which nobody here speaks, do without their compiled twin; gRPC's own authorities are
    # of no use on a kubelet's socket. Tests, C sources, the parser of C (for builds of cffi), stubs of
    # types and pydantic's old version 1 go as well.
    && find /app/lib/python3.*/site-packages \
        \( -path '*/kubernetes/*client/api/*.py' -o -path '*/kubernetes/*client/models/*.py' \
        -o -path '*/kubernetes/*_test.py' -o -path '*/kubernetes/*/test_*.py' \
        -o -path '*/aiohttp/_websocket/*.so' -o -path '*/grpc/*/roots.pem' -o -path '*/pydantic/v1/*' \
        -o -path '*/pycparser/*.py' -o -path '*/websocket/tests/*' -o -name '*.pyi' \
        -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' \) ! -name __init__.py -delete
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
COPY scaler scaler
COPY simulator simulator
COPY toolkit toolkit
RUN /build/bin/hatchling build -t wheel \
    && /build/bin/pip --python /app/bin/python install --no-cache-dir --no-compile --no-deps \
        dist/*.whl \
    && /build/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application \
        --output-reproducible --of JSON -o /app/sbom.cdx.json /app/bin/python

FROM ${PYTHON_IMAGE} AS root
# What no server needs goes, and what could raise a user's rights. The modules' bytecode is made here,
# as there will be nowhere to write it; it is never compared with its source, which cannot change.
RUN rm -rf /usr/local/bin/idle* /usr/local/bin/pip* /usr/local/bin/pydoc* \
        /usr/local/bin/python*-config /usr/local/include /usr/local/share \
        /usr/local/lib/pkgconfig /usr/local/lib/python3.*/config-3.* \
        /usr/local/lib/python3.*/ensurepip /usr/local/lib/python3.*/idlelib \
        /usr/local/lib/python3.*/pydoc_data /usr/local/lib/python3.*/site-packages/* \
        /usr/local/lib/python3.*/tkinter /usr/local/lib/python3.*/turtledemo \
    && find / -xdev -type f -perm /6000 -exec chmod ug-s {} +
COPY --from=build /app /app
RUN python -m compileall -q --invalidation-mode unchecked-hash /usr/local/lib/python3.* /app/lib

FROM scratch
ARG VERSION=""
ARG REVISION=""
ARG CREATED=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="gpu-scaler" \
      org.opencontainers.image.description="GPU metrics with pod labels for Kubernetes, and a scaler that acts on them" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"
# One layer: in the base image's own layers the removed files would still be there.
# hadolint ignore=DL3067
COPY --from=root / /
ENV PATH=/app/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/ \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=utility
USER 65532:65532
CMD ["gpu-scaler", "run"]
