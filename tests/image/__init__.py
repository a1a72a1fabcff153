# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile, built by a real engine on a stand-in for its base image."""
