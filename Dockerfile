# One image, both programs: `gpu-exporter` (DaemonSet) and `gpu-scaler` (Deployment).
# glibc is needed: the driver's libnvidia-ml.so.1, which the container runtime mounts, is built for it.
FROM python:3.13-slim-trixie AS build
WORKDIR /src
RUN python -m venv /app
COPY requirements.lock ./
RUN /app/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
COPY scaler scaler
COPY simulator simulator
RUN pip install --no-cache-dir hatchling \
    && python -m hatchling build -t wheel \
    && /app/bin/pip install --no-cache-dir --no-deps dist/*.whl \
    && /app/bin/pip uninstall --yes pip

FROM python:3.13-slim-trixie
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=utility
USER 65532:65532
CMD ["gpu-scaler", "run"]
