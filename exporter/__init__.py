"""gpu-exporter: NVIDIA GPU metrics, each labelled with the pod that holds the GPU."""

__version__ = "0.1.0"
