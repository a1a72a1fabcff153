"""A simulated NVML library: the C functions of nvml.h over a `SimulatedDriver`."""
