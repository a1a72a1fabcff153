"""One real node for the real control plane: containerd, kubelet, device plugin, images."""
