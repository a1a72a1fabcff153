# SPDX-License-Identifier: Apache-2.0
"""The admission policy that refuses wrong annotations, made from the scaler's table of them."""
