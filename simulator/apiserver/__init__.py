# SPDX-License-Identifier: Apache-2.0
"""A small embedded Kubernetes API: enough for the scaler, simulated nodes and kubectl.

It keeps objects in memory, runs the Deployment and ReplicaSet controllers and collects garbage;
it has no authentication, no scheduler and no kubelets (simulated nodes are those).
"""

from simulator.apiserver.faults import Faults
from simulator.apiserver.resources import SCALED_OBJECTS
from simulator.apiserver.server import ApiServer, running_apiserver

__all__ = ["SCALED_OBJECTS", "ApiServer", "Faults", "running_apiserver"]
