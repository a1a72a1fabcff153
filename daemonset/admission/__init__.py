"""The admission policy that refuses wrong annotations, made from the scaler's table of them."""
