"""A GPU cluster without GPUs: for the demo, the tests and the benchmarks."""
