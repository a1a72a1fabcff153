# SPDX-License-Identifier: Apache-2.0
"""A web server that follows the web configuration file of Prometheus exporters."""
