# SPDX-License-Identifier: Apache-2.0
"""A GPU cluster without GPUs: for the demo, the tests and the benchmarks."""
