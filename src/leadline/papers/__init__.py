"""Published numbers and claims, and what becomes of them."""
