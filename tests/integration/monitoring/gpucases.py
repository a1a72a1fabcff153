# SPDX-License-Identifier: Apache-2.0
"""The alerts of the group gpu-devices."""

from __future__ import annotations

from typing import Final

from tests.integration.monitoring.cases import Case

EXPORTER: Final = 'instance="n1",job="gpu-exporter"'
GPU: Final = 'uuid="GPU-1",node_name="n1"'
ON_GPU: Final = {"uuid": "GPU-1", "node_name": "n1"}
ON_NODE: Final = {"instance": "n1", "job": "gpu-exporter"}
XID: Final = f"nvidia_gpu_xid_errors_total{{{GPU}"
HELD_BACK: Final = f"nvidia_gpu_clocks_event_seconds_total{{{GPU}"
DEVICES: Final = (
    Case(
        alert="GPULost",
        what="one of a node",
        series={f"nvidia_gpu_exporter_unreadable_devices{{{EXPORTER}}}": "0 1x5"},
        quiet=(0, 1),
        fires=2,
        labels=ON_NODE,
        description="The driver on n1 lists GPUs that cannot be read: 1.",
    ),
    Case(
        alert="GPULost",
        what="it was read again at once",
        series={f"nvidia_gpu_exporter_unreadable_devices{{{EXPORTER}}}": "0 1 0x5"},
        quiet=(1, 2, 6),
    ),
    Case(
        alert="GPUMissing",
        what="the driver shows one fewer",
        series={'nvidia_gpu_num_devices{node_name="n1",instance="n1"}': "8x9 7x9"},
        quiet=(9, 14),
        fires=15,
        labels={"node_name": "n1"},
        description="n1 has lost GPUs that it had in the last 24 hours: 1.",
    ),
    Case(
        alert="GPUMissing",
        what="the exporter's pod is another, the node has gone, or one GPU more came",
        series={
            'nvidia_gpu_num_devices{node_name="n1",instance="10.0.0.1"}': "8x9 stale",
            'nvidia_gpu_num_devices{node_name="n1",instance="10.0.0.2"}': "_x10 8x20",
            'nvidia_gpu_num_devices{node_name="n2",instance="n2"}': "8x9 stale",
            'nvidia_gpu_num_devices{node_name="n3",instance="n3"}': "7x9 8x20",
        },
        quiet=(9, 20, 29),
    ),
    Case(
        alert="GPUXidNeedsReset",
        what="a GPU that two containers share fell off the bus",
        series={
            f'{XID},pod_name="a",xid="79"}}': "0x3 1x9",
            f'{XID},pod_name="b",xid="79"}}': "0x3 1x9",
        },
        quiet=(3,),
        fires=4,
        labels=ON_GPU | {"xid": "79"},
        description="GPU GPU-1 on n1 reported Xid 79 in the last 15 minutes.",
    ),
    Case(
        alert="GPUXidNeedsReset",
        what="the error ended the pod, and its series",
        series={
            f'{XID},pod_name="a",xid="48"}}': "0x3 stale",
            f'{XID},xid="48"}}': "_x4 1x9",
        },
        quiet=(3,),
        fires=4,
        labels=ON_GPU | {"xid": "48"},
        description="GPU GPU-1 on n1 reported Xid 48 in the last 15 minutes.",
    ),
    Case(
        alert="GPUXidNeedsReset",
        what="an application's error, an old one under a new pod, and a new exporter",
        series={
            f'{XID},pod_name="a",xid="31"}}': "0x3 1x9",
            f'{XID},pod_name="a",xid="79"}}': "2x3 stale",
            f'{XID},pod_name="b",xid="79"}}': "_x4 2x9",
            f'{XID},pod_name="b",xid="48"}}': "3x6 0x9",
        },
        quiet=(4, 9, 12),
    ),
    Case(
        alert="GPUXidMemory",
        what="an error was contained",
        series={f'{XID},pod_name="a",xid="94"}}': "0x3 1x30"},
        quiet=(3, 25),
        fires=4,
        labels=ON_GPU | {"xid": "94"},
        description="GPU GPU-1 on n1 reported Xid 94 in the last 15 minutes.",
    ),
    Case(
        alert="GPUXidMemory",
        what="another Xid",
        series={f'{XID},xid="79"}}': "0x3 1x30"},
        quiet=(4, 9),
    ),
    Case(
        alert="GPURowRemappingFailed",
        what="no row was left",
        series={
            f'nvidia_gpu_row_remapping_failed{{{GPU},pod_name="a"}}': "0 1x5",
            f'nvidia_gpu_row_remapping_failed{{{GPU},pod_name="b"}}': "0 1x5",
        },
        quiet=(0,),
        fires=1,
        labels=ON_GPU,
        description="GPU GPU-1 on n1 could not remap a faulty memory row. Replace the board.",
    ),
    Case(
        alert="GPURowRemappingFailed",
        what="none failed",
        series={f"nvidia_gpu_row_remapping_failed{{{GPU}}}": "0x5"},
        quiet=(5,),
    ),
    Case(
        alert="GPUResetPending",
        what="rows wait, and the driver asks for it too",
        series={
            f"nvidia_gpu_row_remapping_pending{{{GPU}}}": "0 1x20",
            f'nvidia_gpu_recovery_action{{{GPU},action="none"}}': "1 0x20",
            f'nvidia_gpu_recovery_action{{{GPU},action="gpu_reset"}}': "0 1x20",
        },
        quiet=(15,),
        fires=16,
        labels=ON_GPU,
        description="GPU GPU-1 on n1 has needed a reset for 15 minutes.",
    ),
    Case(
        alert="GPUResetPending",
        what="only the driver asks for it",
        series={f'nvidia_gpu_recovery_action{{{GPU},action="node_reboot"}}': "0 1x20"},
        quiet=(15,),
        fires=16,
        labels=ON_GPU,
        description="GPU GPU-1 on n1 has needed a reset for 15 minutes.",
    ),
    Case(
        alert="GPUResetPending",
        what="it needs nothing",
        series={
            f"nvidia_gpu_row_remapping_pending{{{GPU}}}": "0x20",
            f"nvidia_gpu_page_retirement_pending{{{GPU}}}": "0x20",
            f'nvidia_gpu_recovery_action{{{GPU},action="none"}}': "1x20",
            f'nvidia_gpu_recovery_action{{{GPU},action="gpu_reset"}}': "0x20",
        },
        quiet=(20,),
    ),
    Case(
        alert="GPUHeldBack",
        what="by heat, half of the time",
        series={f'{HELD_BACK},reason="hw_thermal_slowdown"}}': "0+30x40"},
        quiet=(15,),
        fires=20,
        labels=ON_GPU | {"reason": "hw_thermal_slowdown"},
        description="GPU GPU-1 on n1 is throttled 50% of the time (hw_thermal_slowdown).",
    ),
    Case(
        alert="GPUHeldBack",
        what="by the power limit that was set, or seldom by heat",
        series={
            f'{HELD_BACK},reason="sw_power_cap"}}': "0+60x40",
            f'{HELD_BACK},reason="sw_thermal_slowdown"}}': "0+6x40",
        },
        quiet=(40,),
    ),
)
