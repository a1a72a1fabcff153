# SPDX-License-Identifier: Apache-2.0
"""`gpu-exporter doctor`: checks a node step by step and says what to fix."""
