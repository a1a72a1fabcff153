"""The watched cluster as values: workloads, pods, exporters, scale, events."""
