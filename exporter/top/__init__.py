# SPDX-License-Identifier: Apache-2.0
"""`gpu-exporter top`: a table of one node's GPUs and of the containers that hold them."""
