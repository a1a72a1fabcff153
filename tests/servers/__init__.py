# SPDX-License-Identifier: Apache-2.0
"""Real model servers on a machine without a GPU or a model hub, and load for them.

`make cluster-tools` installs them. Each binds the loopback address that it is given, since tests
use such addresses as pod IPs; a test that does needs "linux", where all of 127.0.0.0/8 is there.
"""
