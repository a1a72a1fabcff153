# SPDX-License-Identifier: Apache-2.0
"""One real node for the real control plane: containerd, kubelet, device plugin, images."""
