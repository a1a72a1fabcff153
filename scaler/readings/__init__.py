# SPDX-License-Identifier: Apache-2.0
"""Where metric values come from; each source answers the same `ReadingRequest`s."""
