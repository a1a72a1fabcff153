# SPDX-License-Identifier: Apache-2.0
"""The devices that a simulated node's device plugin offers to the kubelet.

IDs take the forms of the NVIDIA device plugin (`GPU-...`, `GPU-...::0`, `MIG-...`) or of GKE's
(`nvidia0`, `nvidia0/vgpu1`, `nvidia0/gi7`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from simulator.driver import SimulatedDriver

GPU_RESOURCE: Final = "nvidia.com/gpu"
SHARED_GPU_RESOURCE: Final = "nvidia.com/gpu.shared"


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginDevice:
    """One ID that a device plugin offers, and the GPU or MIG instance behind it."""

    resource_name: str
    device_id: str
    uuid: str


def plugin_devices(
    driver: SimulatedDriver,
    *,
    replicas: int = 1,
    resource_name: str = GPU_RESOURCE,
    gke_names: bool = False,
) -> list[PluginDevice]:
    """Return what the device plugin of a node with these GPUs offers.

    `replicas` above 1 is time-slicing. GKE offers MIG instances as nvidia.com/gpu too.
    """
    if replicas < 1:
        msg = f"{replicas} replicas per GPU: 1 is a whole GPU, 2 and more share it"
        raise ValueError(msg)
    devices = []
    for gpu in driver.gpus:
        if not gpu.mig_enabled:
            whole = f"nvidia{gpu.minor_number}" if gke_names else gpu.uuid
            separator = "/vgpu" if gke_names else "::"
            ids = [f"{whole}{separator}{n}" for n in range(replicas)] if replicas > 1 else [whole]
            devices += [
                PluginDevice(resource_name=resource_name, device_id=one, uuid=gpu.uuid)
                for one in ids
            ]
            continue
        for mig in gpu.mig_devices:
            if mig is None:
                continue
            profile = mig.profile.replace("+", ".")  # a resource name has no plus sign
            gke_id = f"nvidia{gpu.minor_number}/gi{mig.gpu_instance_id}"
            devices.append(
                PluginDevice(
                    resource_name=resource_name if gke_names else f"nvidia.com/mig-{profile}",
                    device_id=gke_id if gke_names else mig.uuid,
                    uuid=mig.uuid,
                )
            )
    return devices
