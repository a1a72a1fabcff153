"""Our own custom.metrics.k8s.io behind the API server: exporters, scalers, HPAs, nothing else."""
