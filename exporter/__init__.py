"""gpu-exporter: NVIDIA GPU metrics, each labelled with the pod that holds the GPU."""

from importlib.metadata import version

__version__ = version("gpu-scaler")
