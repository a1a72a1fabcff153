# SPDX-License-Identifier: Apache-2.0
"""What people see in Grafana and are woken by: dashboards as code, rules for the operator.

`python -m daemonset.monitoring` (`make generate`) writes what is committed beside it.
"""
